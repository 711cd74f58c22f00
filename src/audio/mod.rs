//! Bytes of an audio file -> [`Recording`]: a mono waveform at 16 kHz, with what was noticed while decoding.

mod caf;
mod container;
mod error;
mod mono_mix;
mod mp4;
mod recording;
pub mod resample;
mod wav;
mod webm;

pub use error::{AudioError, SUPPORTED_FORMATS};
pub use recording::{
    Limits, MAX_CHANNELS, MAX_MAGNITUDE, Recording, SAMPLE_RATE_HZ, SAMPLE_RATES_HZ, Waveform,
};

/// Decodes an audio file, recognised by its content.
///
/// hound reads WAV; symphonia reads WAV with codecs that hound does not know, and every other container.
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
