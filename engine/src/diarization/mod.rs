//! Finds who spoke when. The segmentation network finds the speakers of each window of ten seconds, and embeddings decide
//! which of them are the same speaker. The result is a list of turns, which may overlap.
//!
//! # Work
//!
//! Diarization is one job on the queue with two rounds of units (`embedder/hearing.rs`): windows for the segmentation
//! network, then pieces for the encoder. The queue keeps the job's promised deadline between the rounds. Samples are kept
//! in 16 bits with a scale for each 10 ms, and the features of a piece are computed when its turn comes. Only the samples
//! grow with the recording, and they are freed before clustering. Clustering pauses after each join, so a short recording
//! waits for at most one slice.
//!
//! # Recipe
//!
//! The recipe follows pyannote, but clusters differently (docs/diarization.md). Two parts differ from the reference
//! implementation. Both were chosen on the sets of `make der`:
//!
//! - The pieces of a local speaker are clustered first. If more than three people speak within ten seconds, the network
//!   merges two of them, and the mean of both would mislead the clustering. With six speakers in 22 s, the error is 47 %
//!   without this step and 19 % with it. For meetings, it is 23.4 and 21.7 %.
//! - Pauses of 0.35 s remain between turns if the level falls and the network gives silence a chance of 5 %. On meetings,
//!   either condition alone costs a percentage point, but both together gain half a point. False alarms for a single
//!   reader fall from 7.5 to 2.1 %.
//!
//! The segmentation network is not a `ModelSpec`: it makes no embeddings, has no calibration, and no request chooses it.
//! Each worker loads its session with its first unit (`LazySession`), from the file whose hash was computed at start.

mod activity;
mod assignment;
mod count;
mod diarize;
mod linkage;
mod pieces;
#[cfg(test)]
mod reference_tests;
mod rttm;
mod score;
mod timeline;
mod windows;

pub(crate) use assignment::best_pairs;
pub use count::{MAX_SPEAKERS, SpeakerCount};
pub use diarize::{Diarization, DiarizedSpeaker, Heard, TurnOptions, diarize, label};
pub(crate) use pieces::owned_pieces;
pub use pieces::pieces;
pub use rttm::{RttmError, RttmTurn, parse_rttm, rttm};
pub use score::{MAX_SCORED_SPEAKERS, Score, ScoreOptions, ScoredTurn, score};
pub use timeline::{Turn, spoken_seconds};
pub(crate) use windows::{ALIGNED_WINDOWS, FEATURE_STEP_SAMPLES, STEP_SAMPLES};
pub use windows::{FEATURE_FRAMES_A_SECOND, Segmentation, samples_of, windows};
