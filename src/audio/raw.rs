//! Samples without a header.

use super::error::AudioError;
use super::mono_mix::MonoMix;
use super::pcm::SampleFormat;
use super::recording::{DecodeOptions, Recording};
use super::sniff;

/// What samples without a header are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// How a sample is written.
    pub format: SampleFormat,
    /// Samples of a channel in a second.
    pub sample_rate_hz: u32,
    /// Interleaved channels.
    pub channels: u16,
}

/// Samples of one channel, full scale at ±1 -> a recording.
pub fn of_samples(
    samples: &[f32],
    sample_rate_hz: u32,
    options: DecodeOptions,
) -> Result<Recording, AudioError> {
    let mut mono = MonoMix::new(1, sample_rate_hz, options)?;
    mono.reserve(samples.len());
    mono.push(samples)?;
    mono.finish(false)
}

/// Decodes samples without a header. A file that begins as a container does is refused: its header would become noise.
pub fn decode_raw(bytes: &[u8], raw: RawFormat, options: DecodeOptions) -> Result<Recording, AudioError> {
    if bytes.is_empty() {
        return Err(AudioError::Corrupt("it is empty".into()));
    }
    if let Some(name) = sniff::header_name(bytes) {
        return Err(AudioError::Corrupt(format!(
            "it was sent as samples without a header, but it is {name}"
        )));
    }
    let mut mono = MonoMix::new(raw.channels, raw.sample_rate_hz, options)?;
    let frame_len = raw.format.n_bytes() * usize::from(raw.channels);
    if !bytes.len().is_multiple_of(frame_len) {
        let reason =
            format!("its {} bytes are not whole frames of {frame_len}: the last one is cut", bytes.len());
        return Err(AudioError::Corrupt(reason));
    }
    raw.format.push(bytes, &mut mono)?;
    mono.finish(false)
}
