//! Turns a [`Waveform`](crate::audio::Waveform) into an [`Utterance`]: finds speech and cuts out pauses.
//!
//! Source: `preprocess_wav` of resemblyzer's `audio.py`.

pub mod detector;
pub mod level;
pub mod trim;
mod utterance;

pub use utterance::{Pauses, Utterance};
