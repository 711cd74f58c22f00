//! Who said what: a transcript comes back with speakers, in its own format.

mod attribute;
mod cues;
mod error;
mod json;
mod parse;
mod raw;

pub use attribute::Timeline;
pub use cues::{Cue, CueFormat, cues_of_turns};
pub use error::TranscriptError;
pub use parse::{MAX_TRANSCRIPT_BYTES, Transcript};
