//! Who is speaking, while a recording arrives.
//!
//! A session computes the windows and pieces of the recording that `listening` would, as soon as their samples are there, so that its end is what
//! the whole recording gives. Meanwhile it clusters the last minutes at each step, with one more window that ends with the audio so far, and
//! gives the clusters the labels that they had before.

mod events;
mod labels;
mod session;
mod transcripts;
mod turns;

pub use events::{LiveEvent, LiveSaid, LiveWarning};
pub use session::{
    LiveOptions, LiveSession, PARTIAL_SECONDS, PARTIAL_SECONDS_RANGE, Prepared, Purpose, latency_seconds,
};
pub use transcripts::LiveTranscriptError;
