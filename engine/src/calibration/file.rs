//! A calibration: reads and checks its file, and evaluates it for a similarity.

use serde::{Deserialize, Serialize};

use super::error::CalibrationError;
use super::knots::Knots;
use super::limits::Limits;
use super::terms::{Linear, Seconds, sum};

/// The version of the files that this program reads and writes.
pub const VERSION: u32 = 1;

/// Valid standard deviations of the cosines of different speakers.
const DEVIATIONS: std::ops::RangeInclusive<f64> = 1e-4..=1.0;

/// Turns a similarity and the seconds of speech of both sides into a log-likelihood ratio and a false-accept rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Calibration {
    /// The version of the file format.
    #[cfg_attr(feature = "schema", schema(example = 1))]
    pub(in crate::calibration) version: u32,
    /// The name of the calibration in responses.
    #[cfg_attr(feature = "schema", schema(example = "librispeech-2026"))]
    pub name: String,
    /// The fingerprint of the model whose similarities the calibration is for.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// The recordings that the calibration was fitted on.
    pub set: SetDescription,
    /// The limits within which the calibration applies.
    pub limits: Limits,
    /// Coefficients of the natural log-likelihood ratio, by term: `1`, `s` (the cosine), `ln h`, `s*ln h` and so on.
    /// Here, h is the harmonic mean of both sides' seconds of speech. Null if no speaker in the set has two recordings.
    #[cfg_attr(feature = "schema", schema(value_type = Option<std::collections::BTreeMap<String, f64>>))]
    pub log_likelihood_ratio: Option<Linear>,
    /// The false-accept rate: how often different speakers score at least as high.
    pub false_accept_rate: FalseAcceptCurve,
    /// Error rates on the set, by the seconds of speech of the shorter side.
    pub rates: Vec<RatesBySeconds>,
}

/// The set of recordings that a calibration was fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = CalibrationSet))]
#[serde(deny_unknown_fields)]
pub struct SetDescription {
    /// A description of the recordings. In notes, it follows the word "on".
    pub description: String,
    /// A description of the recordings that the calibration does not cover. In notes, it follows "not measured for".
    pub not_measured: String,
    /// The number of speakers.
    pub speakers: usize,
    /// The number of speakers with at least two recordings.
    pub speakers_of_same_pairs: usize,
    /// The number of pairs of different speakers.
    pub speaker_pairs: usize,
    /// The number of same-speaker comparisons.
    pub same_trials: usize,
    /// The number of different-speaker comparisons.
    pub different_trials: usize,
    /// The comparisons that count for the false-accept rate: pairs of different speakers of the same sex (`same_sex`), or
    /// all pairs of different speakers (`all`).
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "same_sex"))]
    pub impostors: Impostors,
    /// Codes of the warnings that most of the set's recordings have. The calibration covers recordings with these
    /// warnings.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The comparisons that a false-accept rate is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impostors {
    /// Different speakers of the same sex.
    SameSex,
    /// All different speakers.
    All,
}

/// The false-accept rate: how often different speakers score at least as high. The similarity is first standardised: its
/// distance from the mean similarity of different speakers is divided by their standard deviation. Both depend on the
/// seconds of speech.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FalseAcceptCurve {
    /// The mean similarity of different speakers, as coefficients of terms.
    #[cfg_attr(feature = "schema", schema(value_type = std::collections::BTreeMap<String, f64>))]
    pub mean: Linear,
    /// The natural logarithm of the standard deviation of these similarities, as coefficients of terms.
    #[cfg_attr(feature = "schema", schema(value_type = std::collections::BTreeMap<String, f64>))]
    pub ln_sd: Linear,
    /// The rates at which the standardised similarity is exceeded.
    pub knots: Knots,
}

/// Error rates on the set for a range of seconds of speech of the shorter side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RatesBySeconds {
    /// The shorter side has at least this many seconds.
    pub seconds_from: f64,
    /// The shorter side has fewer seconds than this. Null means that there is no upper bound.
    pub seconds_to: Option<f64>,
    /// The number of same-speaker comparisons.
    pub same_trials: usize,
    /// The number of different-speaker comparisons on which false accepts are counted.
    pub different_trials: usize,
    /// The rate at which false accepts and misses are equally frequent.
    pub equal_error_rate: Option<f64>,
    /// The model's default threshold, which does not depend on the seconds of speech.
    pub threshold: f64,
    /// The false-accept rate at `threshold`.
    pub false_accept_rate: f64,
    /// The miss rate at `threshold`.
    pub miss_rate: Option<f64>,
    /// The false-accept rate of held-out speakers at the similarity for which the calibration claims 1 %. Null if the set
    /// does not support such a claim.
    pub false_accept_rate_at_1_percent: Option<f64>,
    /// The miss rate at the similarity for which the calibration claims a false-accept rate of 1 %.
    pub miss_rate_at_1_percent: Option<f64>,
}

/// An error rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The rate, from 0 to 1.
    pub value: f64,
    /// Whether the value is only an upper bound: the true rate is at most this, and smaller rates are unknown.
    pub is_bound: bool,
}

impl Calibration {
    /// Reads and checks a file.
    pub fn from_json(json: &[u8]) -> Result<Self, CalibrationError> {
        // The version is read first, because a later version may have other fields.
        let Versioned { version } = serde_json::from_slice(json)?;
        if version != VERSION {
            return Err(CalibrationError::Version { found: version, expected: VERSION });
        }
        let unchecked: Unchecked = serde_json::from_slice(json)?;
        unchecked.try_into()
    }

    /// Returns the content of the calibration's file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("it has no map but of names") + "\n"
    }

    /// Returns whether the calibration takes the seconds of speech into account.
    pub fn is_of_seconds(&self) -> bool {
        let llr = self.log_likelihood_ratio.iter();
        let all = llr.chain([&self.false_accept_rate.mean, &self.false_accept_rate.ln_sd]);
        all.flat_map(|linear| linear.keys()).any(|term| term.is_of_seconds())
    }

    /// Returns the natural logarithm of the likelihood ratio, within the limits: how much more likely the similarity is
    /// if both voices belong to one speaker than if they belong to two.
    pub fn log_likelihood_ratio(&self, similarity: f64, seconds: Seconds) -> Option<f64> {
        let Limits { llr_min, llr_max, .. } = self.limits;
        self.unlimited_llr(similarity, seconds).map(|llr| llr.clamp(llr_min, llr_max))
    }

    pub(super) fn unlimited_llr(&self, similarity: f64, seconds: Seconds) -> Option<f64> {
        self.log_likelihood_ratio.as_ref().map(|llr| sum(llr, similarity, seconds, &self.limits))
    }

    /// Returns the highest similarity, from -1 to 1, at which one speaker is not more likely than two.
    pub fn neutral_similarity(&self, seconds: Seconds) -> Option<f64> {
        let at = |similarity| self.unlimited_llr(similarity, seconds);
        let (at_zero, at_one) = (at(0.0)?, at(1.0)?);
        let mut neutral = (-at_zero / (at_one - at_zero)).clamp(-1.0, 1.0);
        // Corrects the rounding error of the division.
        while neutral > -1.0 && at(neutral)? > 0.0 {
            neutral = neutral.next_down();
        }
        Some(neutral)
    }

    /// Returns the share of different-speaker comparisons with the same seconds of speech that score at least this high.
    pub fn false_accept_rate(&self, similarity: f64, seconds: Seconds) -> Rate {
        let value = self.false_accept_rate.knots.rate(self.standardised(similarity, seconds));
        let floor = self.limits.far_floor;
        Rate { value: value.max(floor), is_bound: value < floor }
    }

    /// Returns the similarity that different speakers exceed at a rate, at most 1. For rates below the floor, it is an
    /// extrapolation.
    pub fn threshold(&self, rate: f64, seconds: Seconds) -> f64 {
        let (mean, sd) = self.impostors_at(seconds);
        (mean + sd * self.false_accept_rate.knots.z(rate)).clamp(-1.0, 1.0)
    }

    /// Returns the similarity in standard deviations above the mean of different speakers with the same seconds of
    /// speech.
    pub fn standardised(&self, similarity: f64, seconds: Seconds) -> f64 {
        let (mean, sd) = self.impostors_at(seconds);
        (similarity - mean) / sd
    }

    /// Returns the mean and the standard deviation of the similarities of different speakers.
    fn impostors_at(&self, seconds: Seconds) -> (f64, f64) {
        let FalseAcceptCurve { mean, ln_sd, .. } = &self.false_accept_rate;
        (sum(mean, 0.0, seconds, &self.limits), sum(ln_sd, 0.0, seconds, &self.limits).exp())
    }
}

/// The field that every version of a file has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A file that was parsed but not checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unchecked {
    pub(super) version: u32,
    pub(super) name: String,
    pub(super) model: String,
    pub(super) set: SetDescription,
    pub(super) limits: Limits,
    pub(super) log_likelihood_ratio: Option<Linear>,
    pub(super) false_accept_rate: FalseAcceptCurve,
    #[serde(default)]
    pub(super) rates: Vec<RatesBySeconds>,
}

impl TryFrom<Unchecked> for Calibration {
    type Error = CalibrationError;

    fn try_from(file: Unchecked) -> Result<Self, CalibrationError> {
        let fault = |field, reason: &str| Err(CalibrationError::Field { field, reason: reason.to_owned() });
        let Unchecked { version, name, model, set, limits, log_likelihood_ratio, false_accept_rate, rates } =
            file;
        if name.is_empty() || model.is_empty() {
            return fault("name and model", "must not be empty");
        }
        if let Some((field, reason)) = limits.fault() {
            return fault(field, reason);
        }
        if let Some(reason) = false_accept_rate.knots.fault() {
            return fault("false_accept_rate.knots", &reason);
        }
        let FalseAcceptCurve { mean, ln_sd, .. } = &false_accept_rate;
        for (field, linear) in [("false_accept_rate.mean", mean), ("false_accept_rate.ln_sd", ln_sd)] {
            if linear.is_empty() || linear.keys().any(|term| term.is_of_similarity()) {
                return fault(field, "must be of the seconds of speech, and not empty");
            }
        }
        let llr_rises = |llr: &Linear| {
            let at = |seconds| {
                let seconds = Seconds { a: seconds, b: seconds };
                sum(llr, 1.0, seconds, &limits) > sum(llr, 0.0, seconds, &limits)
            };
            at(limits.seconds_min) && at(limits.seconds_max)
        };
        if log_likelihood_ratio.as_ref().is_some_and(|llr| !llr_rises(llr)) {
            return fault("log_likelihood_ratio", "must rise with the similarity");
        }
        let checked =
            Self { version, name, model, set, limits, log_likelihood_ratio, false_accept_rate, rates };
        let grid = [limits.least_seconds, limits.seconds_min, 1.0, 1.6, 3.0, 6.0, limits.seconds_max];
        for seconds in grid.into_iter().flat_map(|a| grid.map(|b| Seconds { a, b })) {
            let (mean, sd) = checked.impostors_at(seconds);
            if !((-1.0..=1.0).contains(&mean) && DEVIATIONS.contains(&sd)) {
                let reason = format!(
                    "gives similarities of {mean:.3} with a deviation of {sd:.3}: those are no cosines"
                );
                return fault("false_accept_rate", &reason);
            }
        }
        Ok(checked)
    }
}

impl Impostors {
    /// Returns the name of the comparisons in texts.
    pub fn text(self) -> &'static str {
        match self {
            Self::SameSex => "different speakers of the same sex",
            Self::All => "different speakers",
        }
    }
}
