//! [`Waveform`](crate::audio::Waveform) -> [`Utterance`]: speech found, pauses cut out.
//!
//! Source: `preprocess_wav` of resemblyzer's `audio.py`.

pub mod detector;
pub mod level;
pub mod trim;
mod utterance;

pub use utterance::{Pauses, Utterance};
