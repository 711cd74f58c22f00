//! Options for the number of speakers in a recording.

use anyhow::Context;
use clap::Args;

use crate::diarization::{MAX_SPEAKERS, SpeakerCount};

/// Options for the number of speakers.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct SpeakerCountArgs {
    /// Number of speakers, if known.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MAX_SPEAKERS as i64), conflicts_with_all = ["min_speakers", "max_speakers"])]
    pub(super) num_speakers: Option<u16>,
    /// Minimum number of speakers [default: 1].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MAX_SPEAKERS as i64))]
    pub(super) min_speakers: Option<u16>,
    /// Maximum number of speakers [default: 10].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MAX_SPEAKERS as i64))]
    pub(super) max_speakers: Option<u16>,
}

impl SpeakerCountArgs {
    /// Returns the number of speakers, or its bounds.
    pub(super) fn count(&self) -> anyhow::Result<SpeakerCount> {
        if let Some(n) = self.num_speakers {
            return Ok(SpeakerCount::Exactly(n.into()));
        }
        let bounds =
            SpeakerCount::from_bounds(self.min_speakers.map(usize::from), self.max_speakers.map(usize::from));
        bounds.context("--min-speakers is above --max-speakers")
    }
}
