//! Who said what: a transcript comes back with speakers, in its own format.

mod attribute;
mod cues;
mod error;
mod json;
mod parse;

pub use attribute::Timeline;
pub use cues::{Cue, CueFormat, cues_of_turns};
pub use error::TranscriptError;
pub use parse::Transcript;
