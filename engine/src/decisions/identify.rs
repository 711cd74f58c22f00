//! Identification: finds the enrolled speaker of a voice.

use serde::Serialize;

use crate::calibration::{Claim, Comparison, Criterion, CriterionError, Evidence, Judge};
use crate::compare::is_same_speaker;
use crate::embedding::ModelId;
use crate::report::AudioReport;
use crate::speakers::{Candidate, Found, Identifier, SearchOptions, SpeakerKey};

/// The default margin by which the best candidate must be ahead of the second.
pub const DEFAULT_MARGIN: f64 = 0.05;

/// The criteria of a search.
#[derive(Clone, Copy, Debug)]
pub struct IdentifyCriteria {
    /// The criterion for the best candidate's similarity.
    pub criterion: Criterion,
    /// The margin by which the best candidate must be ahead of the second, even if the second is below the threshold.
    pub margin: f64,
    /// The number of candidates in the response.
    pub top: usize,
}

impl IdentifyCriteria {
    /// Returns the search whose result [`identify`] takes. The margin needs a second candidate.
    pub fn search(&self, collection: Identifier, except: Option<SpeakerKey>) -> SearchOptions {
        SearchOptions { collection, top: self.top.max(2), except }
    }
}

/// The reason for naming a speaker, or for naming none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The best candidate meets the criteria.
    Match,
    /// No candidate is above the threshold.
    BelowThreshold,
    /// The best two are too close to each other.
    Ambiguous,
    /// The collection has no speakers to search among.
    EmptyCollection,
    /// No speaker is enrolled with the probe's model.
    NoProfileOfModel,
}

/// The result of searching for the speaker of a voice.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = IdentifyAnswer))]
pub struct Identification {
    /// The file, on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    pub path: Option<String>,
    /// The index of the segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The speaker's id. Null if no speaker can be named.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "anna"))]
    pub speaker: Option<Identifier>,
    /// `match`, `below_threshold`, `ambiguous` (the best two are too close), `empty_collection` or `no_profile_of_model`.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "match"))]
    pub reason: Reason,
    /// The most similar speakers, best first.
    pub candidates: Vec<Candidacy>,
    /// How often a search for a person who is not enrolled scores at least as high as the best candidate. The rate was
    /// measured on the calibration's recordings, for the same number of speakers and the same seconds of speech. Null if
    /// it is not known; `calibration_note` gives the reason.
    #[cfg_attr(feature = "schema", schema(example = 0.02))]
    pub false_identification_rate: Option<f64>,
    /// Whether `false_identification_rate` is only an upper bound: the true rate may be lower.
    #[cfg_attr(feature = "schema", schema(example = false))]
    pub false_identification_rate_is_bound: bool,
    /// The name of the calibration that the rates are based on. Null if the model has none.
    #[cfg_attr(feature = "schema", schema(example = "librispeech-2026"))]
    pub calibration: Option<String>,
    /// Describes the recordings that the rates were measured on and those that they do not cover, or explains why there
    /// are no rates.
    #[cfg_attr(
        feature = "schema",
        schema(
            example = "On clean read English, 130 speakers: with as much speech, about 1 in 50 searches among 12 of ..."
        )
    )]
    pub calibration_note: String,
    /// The number of speakers that were compared. The more there are, the more likely a person who is not enrolled
    /// matches one of them.
    #[cfg_attr(feature = "schema", schema(example = 12))]
    pub searched: usize,
    /// The threshold that was used.
    #[cfg_attr(feature = "schema", schema(example = 0.75))]
    pub threshold: f64,
    /// The margin that was used.
    #[cfg_attr(feature = "schema", schema(example = 0.05))]
    pub margin: f64,
    /// The fingerprint of the model, which identifies its weights and preprocessing.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// The properties of the recording, if the voice is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioReport>,
}

/// An enrolled speaker to whom the voice may belong.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = CandidateAnswer))]
pub struct Candidacy {
    /// The speaker's id.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "anna"))]
    pub speaker: Identifier,
    /// The speaker's name.
    #[cfg_attr(feature = "schema", schema(example = "Anna"))]
    pub name: String,
    /// The cosine similarity to the profile.
    #[cfg_attr(feature = "schema", schema(example = 0.91))]
    pub similarity: f64,
    /// The natural logarithm of the likelihood ratio: how much more likely the similarity is if the voice belongs to this
    /// speaker than if it does not. Null if it is not known.
    #[cfg_attr(feature = "schema", schema(example = 4.2))]
    pub log_likelihood_ratio: Option<f64>,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Match, Self::BelowThreshold, Self::Ambiguous, Self::EmptyCollection, Self::NoProfileOfModel];

    /// Returns the name of the reason in responses and metrics.
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

/// Decides from the best candidates of a search with a model's embedding in a collection. `found` has at least two
/// candidates, if the collection has as many.
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
        // A mistyped name of a collection has the same effect, so the note shows the name.
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

/// Returns the similarity that the best candidate must exceed. It depends on the seconds of speech of the candidate and
/// of the probe, and on the number of speakers that were searched.
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

/// Returns how often a search for a person who is not enrolled scores at least as high as the best candidate.
pub(super) fn claim(judge: Judge<'_>, found: &Found, probe: &Evidence) -> Claim {
    match found.candidates.first() {
        Some(best) => {
            judge.claim(best.similarity, Comparison::Search(found.searched), [probe, &best.evidence])
        }
        None => Claim { log_likelihood_ratio: None, error_rate: None, note: "Nobody was searched.".into() },
    }
}

/// Returns the best candidate if it is named, and otherwise the reason why it is not.
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
