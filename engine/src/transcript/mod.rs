//! Attributes the parts of a transcript to speakers, and returns the transcript in its own format.

mod attribute;
mod cues;
mod error;
mod forms;
mod json;
mod parse;
mod raw;
mod times;

pub use attribute::{Said, Timeline, said_of_turns};
pub use cues::{Cue, CueFormat, cues_of_turns};
pub use error::TranscriptError;
pub use parse::{MAX_TRANSCRIPT_BYTES, Transcript};
