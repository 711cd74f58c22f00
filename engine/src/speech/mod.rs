//! [`Waveform`](crate::audio::Waveform) -> [`Utterance`]: speech found, pauses cut out.
//!
//! Source: `preprocess_wav` of resemblyzer's `audio.py`.

pub mod detector;
pub mod level;
mod stretches;
pub mod trim;
mod utterance;

pub use stretches::stretches_of_speech;
pub use utterance::{Pauses, Utterance};
