//! The terms of the linear forms, computed from a similarity and the seconds of speech of both sides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// A window of Resemblyzer's encoder with fewer seconds of speech than this is padded.
const FULL_WINDOW_SECONDS: f64 = 1.6;

/// The seconds of speech of two voices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds {
    /// The seconds of the first voice.
    pub a: f64,
    /// The seconds of the second voice.
    pub b: f64,
}

/// A term. `h` is the harmonic mean of the seconds of both sides, each within the limits. A side's `p` is the share of
/// padding in a window of 1.6 s, and the limits do not apply to its seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Term {
    /// The constant.
    #[serde(rename = "1")]
    One,
    /// The cosine similarity.
    #[serde(rename = "s")]
    Similarity,
    /// The logarithm of `h`.
    #[serde(rename = "ln h")]
    LnH,
    /// The square of the logarithm of `h`.
    #[serde(rename = "ln h^2")]
    LnHSquared,
    /// The similarity times the logarithm of `h`.
    #[serde(rename = "s*ln h")]
    SimilarityLnH,
    /// One over `h`.
    #[serde(rename = "1/h")]
    InverseH,
    /// The product of both sides' `p`.
    #[serde(rename = "pp")]
    BothPadded,
    /// The absolute difference of both sides' `p`.
    #[serde(rename = "pd")]
    OnePadded,
}

/// A linear form: the coefficient of each term.
pub type Linear = BTreeMap<Term, f64>;

impl Seconds {
    /// Returns the harmonic mean of both sides, each within the limits.
    pub(super) fn harmonic_mean(self, limits: &Limits) -> f64 {
        let limited = |seconds: f64| seconds.clamp(limits.seconds_min, limits.seconds_max);
        2.0 / (1.0 / limited(self.a) + 1.0 / limited(self.b))
    }

    /// Returns the seconds of the shorter side.
    pub fn least(self) -> f64 {
        self.a.min(self.b)
    }
}

impl Term {
    /// Returns whether the term depends on seconds of speech.
    pub fn is_of_seconds(self) -> bool {
        !matches!(self, Self::One | Self::Similarity)
    }

    /// Returns whether the term depends on the similarity.
    pub fn is_of_similarity(self) -> bool {
        matches!(self, Self::Similarity | Self::SimilarityLnH)
    }

    pub(super) fn value(self, similarity: f64, seconds: Seconds, limits: &Limits) -> f64 {
        let h = seconds.harmonic_mean(limits);
        let padded = |seconds: f64| (1.0 - seconds / FULL_WINDOW_SECONDS).max(0.0);
        let (a, b) = (padded(seconds.a), padded(seconds.b));
        match self {
            Self::One => 1.0,
            Self::Similarity => similarity,
            Self::LnH => h.ln(),
            Self::LnHSquared => h.ln().powi(2),
            Self::SimilarityLnH => similarity * h.ln(),
            Self::InverseH => 1.0 / h,
            Self::BothPadded => a * b,
            Self::OnePadded => (a - b).abs(),
        }
    }
}

/// Returns the sum of the terms, each times its coefficient.
pub(super) fn sum(linear: &Linear, similarity: f64, seconds: Seconds, limits: &Limits) -> f64 {
    linear.iter().map(|(term, coefficient)| coefficient * term.value(similarity, seconds, limits)).sum()
}
