//! Verification: decides whether two voices are the same speaker.

use serde::Serialize;

use crate::calibration::{Comparison, Criterion, CriterionError, Evidence, Judge};
use crate::compare::{cosine, is_same_speaker};
use crate::embedding::UnitEmbedding;
use crate::report::AudioReport;
use crate::speakers::Identifier;
use crate::speech::level::TARGET_LEVEL_DBFS;

/// If levels differ by more than this many dB, scores suffer. This applies to recordings that were not raised to one level.
const LEVEL_MISMATCH_DB: f64 = 6.0;

/// A voice to compare.
pub struct Side {
    /// The voice.
    pub embedding: UnitEmbedding,
    /// The properties that claims depend on.
    pub evidence: Evidence,
    /// The codes of the voice's warnings.
    pub warnings: Vec<String>,
    /// The RMS level of the recording, if the voice is one, in dB relative to full scale.
    pub level_dbfs: Option<f64>,
    /// The part of the response about this side.
    pub about: SideAnswer,
}

/// Information about one side of a comparison.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SideAnswer {
    /// The file, on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    pub path: Option<String>,
    /// The properties of the recording, if the side is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioReport>,
    /// The id of the enrolled speaker, if the side is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "anna"))]
    pub speaker: Option<Identifier>,
}

/// The result of comparing two voices.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = VerifyAnswer))]
pub struct Verification {
    /// The cosine similarity, from -1 to 1.
    #[cfg_attr(feature = "schema", schema(example = 0.87))]
    pub similarity: f64,
    /// The threshold that was used.
    #[cfg_attr(feature = "schema", schema(example = 0.75))]
    pub threshold: f64,
    /// Whether the similarity is above the threshold.
    pub is_same_speaker: bool,
    /// The natural logarithm of the likelihood ratio: how much more likely the similarity is if both voices belong to one
    /// speaker than if they belong to two. It is limited to the range that the calibration supports. Null under the same
    /// conditions as the rate.
    #[cfg_attr(feature = "schema", schema(example = 4.2))]
    pub log_likelihood_ratio: Option<f64>,
    /// How often different speakers of the same sex score at least this high. The rate was measured on the calibration's
    /// recordings, for the same seconds of speech. Null if it is not known; `calibration_note` gives the reason.
    #[cfg_attr(feature = "schema", schema(example = 0.002))]
    pub false_accept_rate: Option<f64>,
    /// Whether `false_accept_rate` is only an upper bound: the true rate may be lower.
    #[cfg_attr(feature = "schema", schema(example = false))]
    pub false_accept_rate_is_bound: bool,
    /// The name of the calibration that the rates are based on. Null if the model has none.
    #[cfg_attr(feature = "schema", schema(example = "librispeech-2026"))]
    pub calibration: Option<String>,
    /// Describes the recordings that the rates were measured on and those that they do not cover, or explains why there
    /// are no rates.
    #[cfg_attr(
        feature = "schema",
        schema(
            example = "On clean read English, 130 speakers: with as much speech, about 1 in 500 comparisons of ..."
        )
    )]
    pub calibration_note: String,
    /// The fingerprint of the model, which identifies its weights and preprocessing.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// The first side.
    pub a: SideAnswer,
    /// The second side.
    pub b: SideAnswer,
    /// Reasons to trust the decision less: the warnings of both sides, and `level_mismatch`.
    pub warnings: Vec<String>,
}

/// Compares two voices of one model.
///
/// # Panics
/// If they are of different models.
pub fn verify(
    judge: Judge<'_>,
    criterion: Criterion,
    [a, b]: [Side; 2],
) -> Result<Verification, CriterionError> {
    let evidence = [&a.evidence, &b.evidence];
    let similarity = cosine(&a.embedding, &b.embedding).expect("both are of the judge's model");
    let threshold = judge.threshold(criterion, Comparison::Pair, evidence)?;
    let claim = judge.claim(similarity, Comparison::Pair, evidence);
    Ok(Verification {
        similarity,
        threshold,
        is_same_speaker: is_same_speaker(similarity, threshold),
        log_likelihood_ratio: claim.log_likelihood_ratio,
        false_accept_rate: claim.error_rate.map(|rate| rate.value),
        false_accept_rate_is_bound: claim.error_rate.is_some_and(|rate| rate.is_bound),
        calibration: judge.calibration.map(|calibration| calibration.name.clone()),
        calibration_note: claim.note,
        model: a.embedding.model().fingerprint().to_owned(),
        warnings: warnings(&a, &b),
        a: a.about,
        b: b.about,
    })
}

/// Returns the warnings of both sides, each once, and `level_mismatch` if their levels differ too much.
fn warnings(a: &Side, b: &Side) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for warning in a.warnings.iter().chain(&b.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    if let [Some(a), Some(b)] = [a.level_dbfs, b.level_dbfs]
        && a.min(b) > TARGET_LEVEL_DBFS
        && (a - b).abs() > LEVEL_MISMATCH_DB
    {
        warnings.push("level_mismatch".into());
    }
    warnings
}
