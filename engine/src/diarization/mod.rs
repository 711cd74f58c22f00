//! Who spoke when: who speaks in each window of ten seconds, by the segmentation network, and which of these are one speaker, by embeddings ->
//! turns, which may overlap.

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
pub use diarize::{Diarization, Heard, Speaker, TurnOptions, diarize, label};
pub(crate) use linkage::dot;
pub(crate) use pieces::owned_pieces;
pub use pieces::pieces;
pub use rttm::{RttmError, RttmTurn, parse_rttm, rttm};
pub use score::{MAX_SCORED_SPEAKERS, Score, ScoreOptions, ScoredTurn, score};
pub use timeline::{Turn, spoken_seconds};
pub(crate) use windows::{ALIGNED_WINDOWS, FEATURE_STEP_SAMPLES, STEP_SAMPLES};
pub use windows::{FEATURE_FRAMES_A_SECOND, Segmentation, samples_of, windows};
