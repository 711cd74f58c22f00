//! A decoded recording, and the limits within which one is decoded.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::AudioError;

/// Rate that recordings are decoded to, in Hz: the one that the encoders were trained at.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// Sample rates that are decoded, in Hz.
pub const SAMPLE_RATES_HZ: RangeInclusive<u32> = 4_000..=384_000;

/// Most channels that are decoded.
pub const MAX_CHANNELS: u16 = 8;

/// Largest magnitude of a sample. Some programs write floats at the scale of 16 or 32-bit integers, which are far below;
/// from 1e17 on, the power spectrum would leave `f32`.
pub const MAX_MAGNITUDE: f32 = 1e10;

/// Mono audio at 16 kHz: at least one sample, all finite, full scale at ±1.
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

    /// The samples, full scale at ±1 (float files may go beyond).
    pub fn samples(&self) -> &[f32] {
        &self.0
    }

    /// The samples, without a copy.
    pub fn into_samples(self) -> Vec<f32> {
        self.0
    }
}

/// A decoded file.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording<W = Waveform> {
    /// The channel asked for, or the mean of all.
    pub waveform: W,
    /// Length of the audio in the file.
    pub duration_seconds: f64,
    /// Sample rate of the file, in Hz.
    pub sample_rate_hz: u32,
    /// Channels in the file.
    pub channels: u16,
    /// More than one sample in a thousand is at full scale or beyond.
    pub clipped: bool,
    /// The file proves that something is missing from it.
    pub truncated: bool,
    /// The channels cancel each other in their mean: it has less than a hundredth of their power.
    pub channels_cancel: bool,
}

/// What is decoded of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeOptions {
    /// The longest recording, in seconds.
    pub max_seconds: f64,
    /// Which channel.
    pub channel: Channel,
}

/// Which channel of a recording is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The mean of all.
    #[default]
    Mix,
    /// One, counted from 0.
    One(u16),
}

/// `mix`, or the number of a channel.
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
    /// The mean of all channels of up to so many seconds.
    pub fn up_to(max_seconds: f64) -> Self {
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
    // A comparison with a not-a-number is false.
    if samples.iter().all(|sample| sample.abs() <= MAX_MAGNITUDE) {
        return Ok(());
    }
    Err(AudioError::Corrupt("it holds infinite, not-a-number or absurdly large samples".into()))
}
