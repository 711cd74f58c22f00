//! [`Waveform`](crate::audio::Waveform) -> [`Utterance`]: the level raised, long silences cut out.
//!
//! Source: `preprocess_wav` of resemblyzer's `audio.py`.

pub mod detector;
pub mod level;
pub mod trim;
mod utterance;

pub use utterance::Utterance;
