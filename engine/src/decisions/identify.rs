//! Whose voice is it?

use serde::Serialize;

use crate::calibration::{Claim, Comparison, Criterion, CriterionError, Evidence, Judge};
use crate::compare::is_same_speaker;
use crate::embedding::ModelId;
use crate::report::AudioReport;
use crate::speakers::{Candidate, Found, Identifier, SpeakerKey, Wanted};

/// How far the best candidate must be ahead of the second, unless another margin is wanted.
pub const DEFAULT_MARGIN: f64 = 0.05;

/// What is asked of a search.
#[derive(Clone, Copy, Debug)]
pub struct IdentifyCriteria {
    /// What decides on the best candidate's similarity.
    pub criterion: Criterion,
    /// How much more similar than the second best it must be, whether that is above the threshold or not.
    pub margin: f64,
    /// Candidates that are answered.
    pub top: usize,
}

impl IdentifyCriteria {
    /// The search that [`identify`] takes the result of: the margin needs a second candidate.
    pub fn search(&self, collection: Identifier, except: Option<SpeakerKey>) -> Wanted {
        Wanted { collection, top: self.top.max(2), except }
    }
}

/// Why a speaker is named, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

/// Whose voice it is.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = IdentifyAnswer))]
pub struct Identification {
    /// The file, on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    pub path: Option<String>,
    /// The place of a segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The speaker's id; null if nobody can be named.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "anna"))]
    pub speaker: Option<Identifier>,
    /// `match`, `below_threshold`, `ambiguous` (two are too close), `empty_collection` or `no_profile_of_model`.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "match"))]
    pub reason: Reason,
    /// The most similar, best first.
    pub candidates: Vec<Candidacy>,
    /// The share of searches among as many, with as much speech, in which somebody who is not enrolled scores at least what the best candidate
    /// does, on the calibration's recordings. Null where that cannot be told; `calibration_note` says why.
    #[cfg_attr(feature = "schema", schema(example = 0.02))]
    pub false_identification_rate: Option<f64>,
    /// Whether the rate is only known to be no more than this.
    #[cfg_attr(feature = "schema", schema(example = false))]
    pub false_identification_rate_is_bound: bool,
    /// What the claims are computed with; null if there is nothing for this model.
    #[cfg_attr(feature = "schema", schema(example = "librispeech-2026"))]
    pub calibration: Option<String>,
    /// What was measured and what was not, or why nothing is claimed.
    #[cfg_attr(
        feature = "schema",
        schema(
            example = "On clean read English, 130 speakers: with as much speech, about 1 in 50 searches among 12 of ..."
        )
    )]
    pub calibration_note: String,
    /// The number of speakers that were compared: the more there are, the more likely a stranger is taken for one of them.
    #[cfg_attr(feature = "schema", schema(example = 12))]
    pub searched: usize,
    /// The threshold that was used.
    #[cfg_attr(feature = "schema", schema(example = 0.75))]
    pub threshold: f64,
    /// The margin that was used.
    #[cfg_attr(feature = "schema", schema(example = 0.05))]
    pub margin: f64,
    /// Names weights and preprocessing.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// Of a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioReport>,
}

/// A speaker that it may be.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = CandidateAnswer))]
pub struct Candidacy {
    /// The id.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "anna"))]
    pub speaker: Identifier,
    /// What people call them.
    #[cfg_attr(feature = "schema", schema(example = "Anna"))]
    pub name: String,
    /// Cosine similarity to the profile.
    #[cfg_attr(feature = "schema", schema(example = 0.91))]
    pub similarity: f64,
    /// The natural logarithm of how much more likely the similarity is if it is this speaker; null where that cannot be told.
    #[cfg_attr(feature = "schema", schema(example = 4.2))]
    pub log_likelihood_ratio: Option<f64>,
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

/// Decides from the best candidates of a search in a collection with a model's embedding: at least two of them, if there are.
pub fn identify(
    judge: Judge<'_>,
    criteria: &IdentifyCriteria,
    model: &ModelId,
    collection: &Identifier,
    found: Found,
    probe: &Evidence,
) -> Result<Identification, CriterionError> {
    let threshold = threshold(judge, &found, criteria.criterion, probe)?;
    let (speaker, reason) = match decide(&found, threshold, criteria.margin) {
        Ok(best) => (Some(best.speaker.clone()), Reason::Match),
        Err(reason) => (None, reason),
    };
    let claim = claim(judge, &found, probe);
    let note = match reason {
        // A name with a typing error looks the same.
        Reason::EmptyCollection => {
            format!("There is no collection {:?}: nobody is enrolled in it.", collection.as_str())
        }
        _ => claim.note,
    };
    let candidacy = |candidate: Candidate| Candidacy {
        log_likelihood_ratio: judge.log_likelihood_ratio(candidate.similarity, [probe, &candidate.evidence]),
        speaker: candidate.speaker,
        name: candidate.name,
        similarity: candidate.similarity,
    };
    Ok(Identification {
        path: None,
        index: None,
        speaker,
        reason,
        candidates: found.candidates.into_iter().take(criteria.top).map(candidacy).collect(),
        false_identification_rate: claim.error_rate.map(|rate| rate.value),
        false_identification_rate_is_bound: claim.error_rate.is_some_and(|rate| rate.is_bound),
        calibration: judge.calibration.map(|calibration| calibration.name.clone()),
        calibration_note: note,
        searched: found.searched,
        threshold,
        margin: criteria.margin,
        model: model.fingerprint().to_owned(),
        audio: None,
    })
}

/// The similarity that the best candidate must exceed, by its seconds of speech, the probe's, and the number searched.
pub(super) fn threshold(
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
pub(super) fn claim(judge: Judge<'_>, found: &Found, probe: &Evidence) -> Claim {
    match found.candidates.first() {
        Some(best) => {
            judge.claim(best.similarity, Comparison::Search(found.searched), [probe, &best.evidence])
        }
        None => Claim { log_likelihood_ratio: None, error_rate: None, note: "Nobody was searched.".into() },
    }
}

/// The best candidate, if it is named.
pub(super) fn decide(found: &Found, threshold: f64, margin: f64) -> Result<&Candidate, Reason> {
    let (Some(best), second) = (found.candidates.first(), found.candidates.get(1)) else {
        let is_empty = found.speakers == 0;
        return Err(if is_empty { Reason::EmptyCollection } else { Reason::NoProfileOfModel });
    };
    if !is_same_speaker(best.similarity, threshold) {
        return Err(Reason::BelowThreshold);
    }
    let ahead = second.map_or(f64::INFINITY, |second| best.similarity - second.similarity);
    if ahead < margin || ahead == 0.0 {
        return Err(Reason::Ambiguous);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_named_unless_well_above_the_others() {
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
            let decided = decide(&found, 0.75, 0.05).map_or_else(|reason| reason, |_| Reason::Match);
            assert_eq!(decided, expected, "{similarities:?}");
            if similarities == [0.90, 0.86] {
                assert!(decide(&found, 0.75, 0.0).is_ok());
            }
        }
    }
}
