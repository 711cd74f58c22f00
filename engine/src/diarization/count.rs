//! The number of speakers in a recording.

use std::ops::RangeInclusive;

/// The largest number of speakers that a request can ask for.
pub const MAX_SPEAKERS: usize = 30;

/// The maximum number of speakers, unless a request gives one.
const DEFAULT_MAX_SPEAKERS: usize = 10;

/// The number of speakers in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeakerCount {
    /// Exactly this many.
    Exactly(usize),
    /// A number within these bounds, which the recording determines.
    Within(RangeInclusive<usize>),
}

impl SpeakerCount {
    /// Creates a count within bounds, either of which may be missing. Returns `None` if the lower bound is above the upper.
    pub fn from_bounds(least: Option<usize>, most: Option<usize>) -> Option<Self> {
        let least = least.unwrap_or(1);
        let most = most.unwrap_or(DEFAULT_MAX_SPEAKERS.max(least));
        (least <= most).then_some(Self::Within(least..=most))
    }

    /// Returns the smallest and the largest number of speakers.
    pub(super) fn bounds(&self) -> RangeInclusive<usize> {
        match self {
            Self::Exactly(n_speakers) => *n_speakers..=*n_speakers,
            Self::Within(bounds) => bounds.clone(),
        }
    }
}

impl Default for SpeakerCount {
    fn default() -> Self {
        Self::Within(1..=DEFAULT_MAX_SPEAKERS)
    }
}
