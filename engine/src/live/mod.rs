//! Reports who is speaking while a recording arrives.
//!
//! A session computes the same windows and pieces of the recording as `listening`, as soon as their samples arrive. Its
//! final result therefore equals that of the whole recording. Meanwhile, each step clusters the last minutes, with one
//! more window that ends with the audio so far. It gives the clusters the labels that they had before.
//!
//! # Files and sessions agree
//!
//! The final result equals that of the file, bit for bit if the networks run natively. No step of the analysis may therefore
//! depend on later samples: the detector amplifies a quiet signal by its level so far, and Resemblyzer's pieces are
//! amplified one by one. The pieces of a window are computed once the next window is known, because no later window changes
//! them. Samples are discarded after half a minute.
//!
//! # Updates
//!
//! Each update adds a window of five seconds that ends with the audio so far, and clusters the last four and a half minutes
//! or more. Clusters keep the labels of their earlier speech, by the assignment that preserves most seconds; clusters
//! without common speech are matched by voice. Turns are settled one second behind the middle of the last regular window.
//!
//! Each step is a job that encodes twice: windows with the segmentation network, then pieces with the model. A session has
//! its own group on the queue, for fairness, and takes no place of a request.

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
