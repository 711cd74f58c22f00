//! How many speakers there may be.

use std::ops::RangeInclusive;

/// Speakers that can be asked for.
pub const MAX_SPEAKERS: usize = 30;

/// Speakers at the most, unless a request names a number.
const DEFAULT_MAX_SPEAKERS: usize = 10;

/// How many speakers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeakerCount {
    /// So many.
    Exactly(usize),
    /// Within these bounds; what the recording tells.
    Within(RangeInclusive<usize>),
}

impl SpeakerCount {
    /// Within bounds, of which either may be missing; none if the lower one is above the upper.
    pub fn within(least: Option<usize>, most: Option<usize>) -> Option<Self> {
        let least = least.unwrap_or(1);
        let most = most.unwrap_or(DEFAULT_MAX_SPEAKERS.max(least));
        (least <= most).then_some(Self::Within(least..=most))
    }

    /// The least and the most.
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
