//! The decision of a search: who it is, or why nobody is named.

use super::identifier::Identifier;
use super::index::Found;
use crate::claims::{Claim, Comparison, Criterion, CriterionError, Evidence, Judge};
use crate::compare::is_same_speaker;

/// How far the best candidate must be ahead of the second, unless another margin is wanted.
pub const DEFAULT_MARGIN: f64 = 0.05;

/// What the best candidate must fulfil to be named.
#[derive(Clone, Copy, Debug)]
pub struct Criteria {
    /// Cosine similarity that must be exceeded.
    pub threshold: f64,
    /// How much more similar than the second best it must be, whether that is above the threshold or not.
    pub margin: f64,
}

/// Why a speaker is named, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The best candidate fulfils the criteria.
    Match,
    /// Nobody is above the threshold.
    BelowThreshold,
    /// The best two are too close to each other.
    Ambiguous,
    /// There is nobody to search among.
    EmptyCollection,
    /// Nobody is enrolled with the probe's model.
    NoProfileOfModel,
}

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The speaker's id.
    pub speaker: Option<Identifier>,
    /// Why.
    pub reason: Reason,
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Match, Self::BelowThreshold, Self::Ambiguous, Self::EmptyCollection, Self::NoProfileOfModel];

    /// The name in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::BelowThreshold => "below_threshold",
            Self::Ambiguous => "ambiguous",
            Self::EmptyCollection => "empty_collection",
            Self::NoProfileOfModel => "no_profile_of_model",
        }
    }
}

/// The similarity that the best candidate must exceed, by its seconds of speech, the probe's, and the number searched.
pub fn threshold(
    judge: Judge<'_>,
    found: &Found,
    criterion: Criterion,
    probe: &Evidence,
) -> Result<f64, CriterionError> {
    let nobody = Evidence::new(None, [], 0);
    let best = found.candidates.first().map_or(&nobody, |best| &best.evidence);
    judge.threshold(criterion, Comparison::Search(found.searched), [probe, best])
}

/// How often a search for somebody who is not there scores what the best candidate does.
pub fn claim(judge: Judge<'_>, found: &Found, probe: &Evidence) -> Claim {
    match found.candidates.first() {
        Some(best) => {
            judge.claim(best.similarity, Comparison::Search(found.searched), [probe, &best.evidence])
        }
        None => Claim { log_likelihood_ratio: None, error_rate: None, note: "Nobody was searched.".into() },
    }
}

/// Decides from the best candidates: at least two of them, if there are.
pub fn decide(found: &Found, criteria: &Criteria) -> Decision {
    let nobody = |reason| Decision { speaker: None, reason };
    let (Some(best), second) = (found.candidates.first(), found.candidates.get(1)) else {
        let is_empty = found.speakers == 0;
        return nobody(if is_empty { Reason::EmptyCollection } else { Reason::NoProfileOfModel });
    };
    if !is_same_speaker(best.similarity, criteria.threshold) {
        return nobody(Reason::BelowThreshold);
    }
    let ahead = second.map_or(f64::INFINITY, |second| best.similarity - second.similarity);
    if ahead < criteria.margin || ahead == 0.0 {
        return nobody(Reason::Ambiguous);
    }
    Decision { speaker: Some(best.speaker.clone()), reason: Reason::Match }
}

#[cfg(test)]
mod tests {
    use super::super::index::Candidate;
    use super::*;
    use crate::claims::Evidence;

    #[test]
    fn nobody_is_named_unless_well_above_the_others() {
        let criteria = Criteria { threshold: 0.75, margin: 0.05 };
        let cases = [
            (&[][..], 0, Reason::EmptyCollection),
            (&[], 2, Reason::NoProfileOfModel),
            (&[0.76], 1, Reason::Match),
            (&[0.75], 1, Reason::BelowThreshold),
            (&[0.90, 0.84], 2, Reason::Match),
            (&[0.90, 0.86], 2, Reason::Ambiguous),
            (&[0.76, 0.72], 2, Reason::Ambiguous),
            (&[0.74, 0.10], 2, Reason::BelowThreshold),
        ];
        for (similarities, speakers, expected) in cases {
            let candidate = |(i, similarity): (usize, &f64)| Candidate {
                speaker: format!("s{i}").parse().unwrap(),
                name: String::new(),
                similarity: *similarity,
                evidence: Evidence::new(Some(3.0), [], 1),
            };
            let candidates: Vec<_> = similarities.iter().enumerate().map(candidate).collect();
            let found = Found { searched: candidates.len(), candidates, speakers };
            let decision = decide(&found, &criteria);
            assert_eq!(decision.reason, expected, "{similarities:?}");
            assert_eq!(decision.speaker.is_some(), expected == Reason::Match, "{similarities:?}");
            let no_margin = Criteria { margin: 0.0, ..criteria };
            if similarities == [0.90, 0.86] {
                assert_eq!(decide(&found, &no_margin).reason, Reason::Match);
            }
        }
    }
}
