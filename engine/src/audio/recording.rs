//! A decoded recording, and the limits for decoding one.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::AudioError;

/// Sample rate of decoded recordings, in Hz. The encoders were trained at this rate.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// Supported sample rates, in Hz.
pub const SAMPLE_RATES_HZ: RangeInclusive<u32> = 4_000..=384_000;

/// Largest supported number of channels.
pub const MAX_CHANNELS: u16 = 8;

/// Largest magnitude of a sample. Some programs write floats at the scale of 16 or 32-bit integers, which are far below
/// this limit. From 1e17 on, the power spectrum would exceed the range of `f32`.
pub const MAX_MAGNITUDE: f32 = 1e10;

/// Mono audio at 16 kHz: at least one sample, all samples finite, full scale at ±1.
#[derive(Clone, Debug, PartialEq)]
pub struct Waveform(Vec<f32>);

impl Waveform {
    /// Checks that there are samples and that all are within [`MAX_MAGNITUDE`].
    pub fn new(samples: Vec<f32>) -> Result<Self, AudioError> {
        if samples.is_empty() {
            return Err(AudioError::Corrupt("it holds no samples".into()));
        }
        check_magnitudes(&samples)?;
        Ok(Self(samples))
    }

    /// Returns the samples, full scale at ±1 (float files may exceed it).
    pub fn samples(&self) -> &[f32] {
        &self.0
    }

    /// Returns the samples, without a copy.
    pub fn into_samples(self) -> Vec<f32> {
        self.0
    }
}

/// A decoded file.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording<W = Waveform> {
    /// The requested channel, or the mean of all channels.
    pub waveform: W,
    /// Duration of the audio in the file.
    pub duration_seconds: f64,
    /// Sample rate of the file, in Hz.
    pub sample_rate_hz: u32,
    /// Number of channels in the file.
    pub channels: u16,
    /// Whether more than one sample in a thousand is at full scale or beyond.
    pub clipped: bool,
    /// Whether the file proves that a part of it is missing.
    pub truncated: bool,
    /// Whether the channels cancel each other in their mean: it has less than a hundredth of their power.
    pub channels_cancel: bool,
}

/// Options for decoding a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeOptions {
    /// The longest accepted recording, in seconds.
    pub max_seconds: f64,
    /// The channel to decode.
    pub channel: Channel,
}

/// A choice of a recording's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The mean of all channels.
    #[default]
    Mix,
    /// One channel, counted from 0.
    One(u16),
}

/// Parses `mix` or the number of a channel.
impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const MAX: u16 = MAX_CHANNELS - 1;
        match text.trim().parse() {
            _ if text.trim() == "mix" => Ok(Self::Mix),
            Ok(channel @ 0..=MAX) => Ok(Self::One(channel)),
            _ => Err(format!("Input should be 'mix' or a number from 0 to {MAX}")),
        }
    }
}

impl DecodeOptions {
    /// Decodes the mean of all channels of up to `max_seconds` seconds.
    pub fn with_max_seconds(max_seconds: f64) -> Self {
        Self { max_seconds, channel: Channel::Mix }
    }
}

pub(super) fn check_sample_rate(sample_rate_hz: u32) -> Result<(), AudioError> {
    if SAMPLE_RATES_HZ.contains(&sample_rate_hz) {
        return Ok(());
    }
    let (min, max) = (SAMPLE_RATES_HZ.start(), SAMPLE_RATES_HZ.end());
    Err(AudioError::Corrupt(format!("its sample rate is {sample_rate_hz} Hz, not {min} to {max} Hz")))
}

pub(super) fn check_channels(channels: u16) -> Result<(), AudioError> {
    if (1..=MAX_CHANNELS).contains(&channels) {
        return Ok(());
    }
    Err(match channels {
        0 => AudioError::Corrupt("it has no channels".into()),
        _ => AudioError::Unsupported(format!(
            "Audio of {channels} channels is not supported, only of up to {MAX_CHANNELS}"
        )),
    })
}

pub(super) fn check_magnitudes(samples: &[f32]) -> Result<(), AudioError> {
    // Any comparison with a NaN is false.
    if samples.iter().all(|sample| sample.abs() <= MAX_MAGNITUDE) {
        return Ok(());
    }
    Err(AudioError::Corrupt("it holds infinite, not-a-number or absurdly large samples".into()))
}
