//! Bytes of an audio file -> [`Recording`]: a mono waveform at 16 kHz, with what was noticed on the way.

mod caf;
mod container;
mod mono_mix;
mod mp4;
pub mod resample;
mod wav;
mod webm;

use std::ops::RangeInclusive;

/// What the service decodes, as error messages name it.
pub const SUPPORTED_FORMATS: &str = "WAV (PCM, float, mu-law, A-law, IMA ADPCM), FLAC, MP3, Ogg (Vorbis, Opus), WebM (Opus, Vorbis), M4A (AAC), AIFF and CAF";

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
        // A comparison with a not-a-number is false.
        if !samples.iter().all(|sample| sample.abs() <= MAX_MAGNITUDE) {
            return Err(AudioError::Corrupt(
                "it holds infinite, not-a-number or absurdly large samples".into(),
            ));
        }
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
pub struct Recording {
    /// The mean of the channels.
    pub waveform: Waveform,
    /// Length of the audio in the file.
    pub duration_seconds: f64,
    /// Sample rate of the file, in Hz.
    pub sample_rate_hz: u32,
    /// Channels in the file.
    pub channels: u16,
    /// More than one sample in a thousand stands at full scale or beyond.
    pub clipped: bool,
    /// The file ends before the audio that its header announces.
    pub truncated: bool,
}

/// How much audio is decoded at the most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest recording, in seconds.
    pub max_seconds: f64,
}

/// Why bytes are not a recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AudioError {
    /// No container or codec that is decoded here.
    #[error("The audio format is not supported; supported: {SUPPORTED_FORMATS}")]
    Unsupported,
    /// A known container that cannot be decoded, and why.
    #[error("The audio file is corrupt: {0}")]
    Corrupt(String),
    /// Longer than [`Limits::max_seconds`].
    #[error("The audio is longer than the limit of {max_seconds} seconds")]
    TooLong {
        /// The limit that was passed.
        max_seconds: f64,
    },
}

/// Decodes an audio file, recognised by its content.
///
/// WAV goes to hound; what is in a WAV that hound does not read, and every other container, to symphonia.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    if bytes.is_empty() {
        return Err(AudioError::Corrupt("it is empty".into()));
    }
    if !matches!(bytes.get(..4), Some(b"RIFF" | b"RF64" | b"BW64")) {
        return container::decode(bytes, limits);
    }
    match wav::decode(bytes, limits) {
        Err(AudioError::Unsupported) if bytes.starts_with(b"RIFF") => container::decode(bytes, limits),
        outcome => outcome,
    }
}

fn check_sample_rate(sample_rate_hz: u32) -> Result<(), AudioError> {
    if SAMPLE_RATES_HZ.contains(&sample_rate_hz) {
        return Ok(());
    }
    let (min, max) = (SAMPLE_RATES_HZ.start(), SAMPLE_RATES_HZ.end());
    Err(AudioError::Corrupt(format!("its sample rate is {sample_rate_hz} Hz, not {min} to {max} Hz")))
}

fn check_channels(channels: u16) -> Result<(), AudioError> {
    if (1..=MAX_CHANNELS).contains(&channels) {
        return Ok(());
    }
    Err(AudioError::Corrupt(format!("it has {channels} channels, not 1 to {MAX_CHANNELS}")))
}
