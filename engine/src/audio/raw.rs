//! Samples without a header.

use super::codec::Codec;
use super::demux::EqualPackets;
use super::error::AudioError;
use super::mono_mix::MonoMix;
use super::pcm::{BLOCK_FRAMES, RawFormat};
use super::recording::{DecodeOptions, Recording, check_channels};
use super::samples::Samples;
use super::sniff;

/// Turns samples of one channel, full scale at ±1, into a recording.
pub fn from_samples<S: Samples>(
    samples: &[f32],
    sample_rate_hz: u32,
    options: DecodeOptions,
) -> Result<Recording<S::Whole>, AudioError> {
    let mut mono = MonoMix::<S>::new(1, sample_rate_hz, options)?;
    mono.reserve(samples.len());
    mono.push(samples)?;
    mono.finish(false)
}

/// Returns a reader for samples without a header. Rejects a file that begins like a container, because its header would
/// become noise.
pub(super) fn demux(bytes: &[u8], raw: RawFormat) -> Result<EqualPackets<'_>, AudioError> {
    if bytes.is_empty() {
        return Err(AudioError::Corrupt("it is empty".into()));
    }
    if let Some(name) = sniff::header_name(bytes) {
        return Err(AudioError::Corrupt(format!(
            "it was sent as samples without a header, but it is {name}"
        )));
    }
    check_channels(raw.channels)?;
    let frame_len = raw.frame_len();
    if !bytes.len().is_multiple_of(frame_len) {
        let reason =
            format!("its {} bytes are not whole frames of {frame_len}: the last one is cut", bytes.len());
        return Err(AudioError::Corrupt(reason));
    }
    Ok(samples("raw samples", raw, bytes))
}

/// Returns a reader that returns uncompressed samples block by block.
pub(super) fn samples<'a>(container: &'static str, raw: RawFormat, data: &'a [u8]) -> EqualPackets<'a> {
    EqualPackets::samples(container, Codec::Pcm(raw), data, raw.frame_len() * BLOCK_FRAMES)
}
