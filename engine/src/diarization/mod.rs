//! Who spoke when: embeddings of windows -> speakers -> turns.
//!
//! The way is that of spectral clustering with a pruned affinity, as 3D-Speaker and wespeaker have it, with refinements of its own: see
//! [`Clustering`] and [`turns`].

mod affinity;
mod cluster;
mod diarize;
mod kmeans;
mod lanczos;
mod rttm;
mod timeline;

pub use cluster::{Clustering, MAX_SPEAKERS, SpeakerCount};
pub use diarize::{Diarization, Heard, Speaker, diarize, label};
pub use rttm::rttm;
pub use timeline::{Turn, turns};
