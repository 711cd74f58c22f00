//! Claims about a comparison (log-likelihood ratio and error rate), and the threshold for a wanted error rate.

use std::ops::RangeInclusive;

use super::file::{Calibration, Impostors, Rate};
use super::search::{rate_among, rate_of_one};
use super::terms::Seconds;
use crate::report::{AudioReport, Warning};

/// The rate at which a search may misidentify a person who is not enrolled, unless another rate or a threshold is given.
pub const DEFAULT_FALSE_IDENTIFICATION_RATE: f64 = 0.05;

/// Warnings that the models' own calibrations do not cover.
const UNMEASURED: [Warning; 5] =
    [Warning::Narrowband, Warning::Noise, Warning::LowLevel, Warning::Clipped, Warning::SeveralSpeakers];

/// The properties of a voice that a claim depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    speech_seconds: Option<f64>,
    /// A bit for each of [`UNMEASURED`].
    unmeasured: u8,
    n_recordings: u32,
}

/// The kind of comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// Two voices.
    Pair,
    /// One voice with each of this many speakers.
    Search(usize),
}

/// The rule for a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Criterion {
    /// The default of the model or the service.
    Default,
    /// A cosine similarity that must be exceeded.
    Threshold(f64),
    /// A false-accept rate for a pair, or a false-identification rate for a search.
    Rate(f64),
}

impl Criterion {
    /// The valid thresholds: cosines.
    pub const THRESHOLDS: RangeInclusive<f64> = -1.0..=1.0;

    /// The valid rates.
    pub const RATES: RangeInclusive<f64> = 0.0..=1.0;
}

/// The reason why a criterion cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CriterionError {
    /// The model has no calibration, so its error rates are unknown.
    #[error("There is no calibration for this model: set a threshold instead")]
    NoCalibration,
    /// The calibration cannot show a rate this small.
    #[error("Input should be at least {floor}{}: the calibration supports no lower rate", among(*.comparison))]
    BelowFloor {
        /// The smallest rate that it can show.
        floor: f64,
        /// The comparison that the rate is for.
        comparison: Comparison,
    },
}

fn among(comparison: Comparison) -> String {
    match comparison {
        Comparison::Pair => String::new(),
        Comparison::Search(n) => format!(" among {n}"),
    }
}

/// A claim about a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The natural logarithm of the likelihood ratio: how much more likely the similarity is if both voices belong to one
    /// speaker than if they belong to two.
    pub log_likelihood_ratio: Option<f64>,
    /// The share of comparisons of different speakers, or of searches for unenrolled people, that score at least this high.
    pub error_rate: Option<Rate>,
    /// Names the data behind the rate and the recordings that it does not cover, or explains why there is no rate.
    pub note: String,
}

/// Decides comparisons for a model, based on its threshold and calibration.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The calibration, if there is one.
    pub calibration: Option<&'a Calibration>,
    /// The threshold of the model or of the configuration.
    pub threshold: Threshold,
}

/// The cosine similarity above which two embeddings count as the same speaker, unless a request gives another threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The cosine similarity.
    pub similarity: f64,
    /// Whether the configuration sets it. If so, it holds for any seconds of speech.
    pub is_set: bool,
}

impl Threshold {
    /// Creates a model's default threshold.
    pub const fn of_model(similarity: f64) -> Self {
        Self { similarity, is_set: false }
    }

    /// Creates a threshold that the configuration sets.
    pub const fn set(similarity: f64) -> Self {
        Self { similarity, is_set: true }
    }
}

impl Evidence {
    /// Creates the evidence for a voice from `n_recordings` recordings with the codes of all their warnings. 0 seconds of
    /// speech mean that the seconds are unknown.
    pub fn new<'w>(
        speech_seconds: Option<f64>,
        warnings: impl IntoIterator<Item = &'w str>,
        n_recordings: usize,
    ) -> Self {
        let place = |code: &str| UNMEASURED.into_iter().position(|warning| warning.code() == code);
        Self {
            speech_seconds: speech_seconds.filter(|seconds| *seconds > 0.0),
            unmeasured: warnings.into_iter().filter_map(place).fold(0, |bits, place| bits | 1 << place),
            n_recordings: n_recordings as u32,
        }
    }

    /// Returns the warnings that rule out a claim, unless the calibration covers them.
    pub fn unmeasured(&self) -> impl Iterator<Item = Warning> + use<> {
        let bits = self.unmeasured;
        UNMEASURED
            .into_iter()
            .enumerate()
            .filter(move |(place, _)| bits & 1 << place != 0)
            .map(|(_, warning)| warning)
    }

    /// Returns the seconds of speech, if they are known.
    pub fn speech_seconds(&self) -> Option<f64> {
        self.speech_seconds
    }
}

impl AudioReport {
    /// Returns the properties that claims depend on.
    pub fn evidence(&self) -> Evidence {
        Evidence::new(Some(self.speech_seconds), self.warnings.iter().map(|warning| warning.code()), 1)
    }
}

impl Comparison {
    fn n(self) -> usize {
        match self {
            Self::Pair => 1,
            Self::Search(n) => n,
        }
    }
}

impl Judge<'_> {
    /// Returns the similarity that must be exceeded.
    ///
    /// - For a pair, the default is the similarity above which one speaker is more likely than two. If that is unknown,
    ///   the model's threshold applies; if the configuration sets a threshold, that one applies.
    /// - For a search, it is the higher of the model's threshold and the threshold for the wanted rate.
    ///
    /// A requested rate must be at least the smallest that the calibration can show. The default rate of a search need not.
    ///
    /// Unknown seconds of speech count as the longest. From 1.6 seconds on, the longest require the highest threshold of all.
    pub fn threshold(
        &self,
        criterion: Criterion,
        comparison: Comparison,
        sides: [&Evidence; 2],
    ) -> Result<f64, CriterionError> {
        let is_search = matches!(comparison, Comparison::Search(_));
        let rate = match criterion {
            Criterion::Threshold(threshold) => return Ok(threshold),
            Criterion::Rate(rate) => rate,
            Criterion::Default if is_search => DEFAULT_FALSE_IDENTIFICATION_RATE,
            Criterion::Default => {
                return Ok(self.neutral_similarity(sides).unwrap_or(self.threshold.similarity));
            }
        };
        let own = self.threshold.similarity;
        let Some(calibration) = self.calibration else {
            let is_asked_for = matches!(criterion, Criterion::Rate(_));
            return if is_asked_for { Err(CriterionError::NoCalibration) } else { Ok(own) };
        };
        let (n, floor) = (comparison.n(), calibration.limits.far_floor);
        let of_one = rate_of_one(rate, n);
        if matches!(criterion, Criterion::Rate(_)) && n > 0 && of_one < floor * (1.0 - 1e-6) {
            return Err(CriterionError::BelowFloor { floor: rounded_up(rate_among(floor, n)), comparison });
        }
        let threshold = calibration.threshold(of_one, seconds(calibration, sides));
        Ok(if is_search { threshold.max(own) } else { threshold })
    }

    /// Returns the similarity that is equally likely for one speaker and for two. Returns `None` if it is unknown or the
    /// configuration sets the threshold.
    fn neutral_similarity(&self, sides: [&Evidence; 2]) -> Option<f64> {
        let calibration = self.calibration.filter(|_| !self.threshold.is_set)?;
        if obstacle(calibration, sides).is_some() {
            return None;
        }
        calibration.neutral_similarity(seconds(calibration, sides))
    }

    /// Returns the natural logarithm of the likelihood ratio, if it is known.
    pub fn log_likelihood_ratio(&self, similarity: f64, sides: [&Evidence; 2]) -> Option<f64> {
        let calibration = self.calibration.filter(|calibration| obstacle(calibration, sides).is_none())?;
        calibration.log_likelihood_ratio(similarity, seconds(calibration, sides))
    }

    /// Returns the claim for a similarity.
    pub fn claim(&self, similarity: f64, comparison: Comparison, sides: [&Evidence; 2]) -> Claim {
        let nothing = |note: String| Claim { log_likelihood_ratio: None, error_rate: None, note };
        let Some(calibration) = self.calibration else {
            return nothing("There is no calibration for this model.".into());
        };
        if let Some(obstacle) = obstacle(calibration, sides) {
            return nothing(obstacle);
        }
        let seconds = seconds(calibration, sides);
        let one = calibration.false_accept_rate(similarity, seconds);
        let rate = Rate { value: rate_among(one.value, comparison.n()), is_bound: one.is_bound };
        Claim {
            log_likelihood_ratio: calibration.log_likelihood_ratio(similarity, seconds),
            error_rate: Some(rate),
            note: note(calibration, rate, comparison, sides),
        }
    }
}

/// Returns the reason why no claim is possible, if there is one.
fn obstacle(calibration: &Calibration, sides: [&Evidence; 2]) -> Option<String> {
    let is_measured = |warning: Warning| calibration.set.warnings.iter().any(|code| code == warning.code());
    if let Some(warning) =
        sides.iter().flat_map(|side| side.unmeasured()).find(|warning| !is_measured(*warning))
    {
        return Some(format!("Not measured for recordings with the warning {}.", warning.code()));
    }
    let least = calibration.limits.least_seconds;
    for side in sides {
        match side.speech_seconds {
            None if calibration.is_of_seconds() => {
                return Some("The seconds of speech of a voice are not known (speech_seconds).".into());
            }
            Some(seconds) if seconds < least => {
                return Some(format!(
                    "{seconds:.2} s of speech are too little: nothing is known below {least} s."
                ));
            }
            Some(_) | None => {}
        }
    }
    None
}

fn seconds(calibration: &Calibration, [a, b]: [&Evidence; 2]) -> Seconds {
    let known = |side: &Evidence| side.speech_seconds.unwrap_or(calibration.limits.seconds_max);
    Seconds { a: known(a), b: known(b) }
}

/// Describes in words what the rate was measured on and what it does not cover.
fn note(calibration: &Calibration, rate: Rate, comparison: Comparison, sides: [&Evidence; 2]) -> String {
    let (set, often) = (&calibration.set, rate.frequency());
    let length = if calibration.is_of_seconds() { "with as much speech, " } else { "" };
    let what = match (comparison, set.impostors) {
        (Comparison::Pair, impostors) => format!("comparisons of {}", impostors.text()),
        (Comparison::Search(n), Impostors::SameSex) => {
            format!("searches among {n} of the same sex for people who are not enrolled")
        }
        (Comparison::Search(n), Impostors::All) => {
            format!("searches among {n} for people who are not enrolled")
        }
    };
    let mut note = format!(
        "On {}, {} speakers: {length}{often} {what} scored this high.",
        set.description, set.speakers
    );
    if calibration.log_likelihood_ratio.is_none() {
        note += " There is no likelihood ratio, since no speaker had two recordings.";
    }
    if sides.iter().any(|side| side.n_recordings > 1) {
        note += " A profile of several recordings is taken for one of as much speech.";
    }
    note + " Not measured for " + &set.not_measured + "."
}

impl Rate {
    /// Formats the rate for people, such as `about 1 in 240`, `at most 1 in 1000` or `about 37 in 100`.
    pub fn frequency(self) -> String {
        let about = if self.is_bound { "at most" } else { "about" };
        // A bound is rounded up, that is, to 1 in fewer.
        let round = if self.is_bound { f64::floor } else { f64::round };
        if self.value > 0.2 {
            return format!("{about} {:.0} in 100", 100.0 - round(100.0 - self.value * 100.0));
        }
        let one_in = 1.0 / self.value * (1.0 + 1e-9);
        format!(
            "{about} 1 in {:.0}",
            if one_in < 100.0 { round(one_in) } else { round(one_in / 10.0) * 10.0 }
        )
    }
}

/// Rounds up to three digits. The smallest rate that an error message names must itself be accepted.
fn rounded_up(rate: f64) -> f64 {
    let scale = 10f64.powi(2 - rate.log10().floor() as i32);
    (rate * scale * (1.0 - 1e-9)).ceil() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{self, resemblyzer};

    fn evidence(seconds: f64, warnings: &[&str]) -> Evidence {
        Evidence::new(Some(seconds), warnings.iter().copied(), 1)
    }

    #[test]
    fn nothing_is_claimed_where_nothing_was_measured() {
        let spec = resemblyzer::spec();
        let judge = Judge { calibration: Some(&spec.calibration), threshold: Threshold::of_model(0.75) };
        let good = evidence(5.0, &["short_speech", "truncated", "of a later version"]);
        let cases = [
            (evidence(5.0, &[]), None),
            (evidence(0.5, &["short_speech"]), None),
            (evidence(0.49, &[]), Some("0.49 s of speech are too little")),
            (evidence(0.0, &[]), Some("not known")),
            (Evidence::new(None, [], 1), Some("not known")),
            (evidence(5.0, &["short_speech", "narrowband"]), Some("warning narrowband")),
            (evidence(5.0, &["noise"]), Some("warning noise")),
            (evidence(5.0, &["low_level"]), Some("warning low_level")),
            (evidence(5.0, &["clipped"]), Some("warning clipped")),
            (evidence(5.0, &["several_speakers"]), Some("warning several_speakers")),
        ];
        for (other, reason) in cases {
            for sides in [[&good, &other], [&other, &good]] {
                let claim = judge.claim(0.8, Comparison::Pair, sides);
                match reason {
                    None => assert!(
                        claim.error_rate.is_some() && claim.log_likelihood_ratio.is_some(),
                        "{claim:?}"
                    ),
                    Some(reason) => {
                        assert!(claim.note.contains(reason), "{claim:?}");
                        assert_eq!((claim.error_rate, claim.log_likelihood_ratio), (None, None));
                        assert_eq!(judge.log_likelihood_ratio(0.8, sides), None);
                    }
                }
            }
        }
        // A calibration without terms of the seconds of speech does not need them, but still rejects too little speech.
        let of_no_length = include_str!("../../../models/resemblyzer/calibration.json");
        let mut of_no_length: serde_json::Value = serde_json::from_str(of_no_length).unwrap();
        of_no_length["log_likelihood_ratio"] = serde_json::json!({"1": -19.1, "s": 28.9});
        of_no_length["false_accept_rate"]["mean"] = serde_json::json!({"1": 0.6});
        of_no_length["false_accept_rate"]["ln_sd"] = serde_json::json!({"1": -2.6});
        let of_no_length = Calibration::from_json(of_no_length.to_string().as_bytes()).unwrap();
        let judge = Judge { calibration: Some(&of_no_length), threshold: Threshold::of_model(0.75) };
        let unknown = Evidence::new(None, [], 1);
        let claim = judge.claim(0.8, Comparison::Pair, [&unknown, &unknown]);
        assert!(claim.error_rate.is_some() && !claim.note.contains("as much speech"), "{claim:?}");
        assert_eq!(judge.claim(0.8, Comparison::Pair, [&unknown, &evidence(0.2, &[])]).error_rate, None);
        // A calibration that was fitted on telephone calls covers telephone calls.
        let mut of_calls = spec.calibration.clone();
        of_calls.set.warnings = vec!["narrowband".into()];
        let judge = Judge { calibration: Some(&of_calls), threshold: Threshold::of_model(0.75) };
        for (warnings, is_claimed) in [(&["narrowband"][..], true), (&["narrowband", "noise"], false)] {
            let claim = judge.claim(0.8, Comparison::Pair, [&good, &evidence(5.0, warnings)]);
            assert_eq!(claim.error_rate.is_some(), is_claimed, "{warnings:?}: {claim:?}");
        }
        let none = Judge { calibration: None, threshold: Threshold::of_model(0.75) };
        assert_eq!(none.claim(0.8, Comparison::Pair, [&good, &good]).error_rate, None);
    }

    #[test]
    fn a_rate_is_told_so_that_a_bound_holds() {
        let cases = [
            (0.001, true, "at most 1 in 1000"),
            (0.00686, true, "at most 1 in 140"),
            (0.00686, false, "about 1 in 150"),
            (0.0213, true, "at most 1 in 46"),
            (0.634, true, "at most 64 in 100"),
            (0.634, false, "about 63 in 100"),
        ];
        for (value, is_bound, text) in cases {
            assert_eq!(Rate { value, is_bound }.frequency(), text);
        }
    }

    #[test]
    fn a_threshold_is_the_one_at_which_its_rate_is_claimed() {
        let spec = resemblyzer::spec();
        let judge = Judge { calibration: Some(&spec.calibration), threshold: Threshold::of_model(-1.0) };
        let (short, long) = (evidence(1.2, &[]), evidence(9.0, &[]));
        for sides in [[&short, &short], [&short, &long], [&long, &long]] {
            for (comparison, rate) in [
                (Comparison::Pair, 0.01),
                (Comparison::Pair, 0.001),
                (Comparison::Search(1), 0.05),
                (Comparison::Search(30), 0.05),
                (Comparison::Search(100), 0.0953),
            ] {
                let threshold = judge.threshold(Criterion::Rate(rate), comparison, sides).unwrap();
                let claim = judge.claim(threshold + 1e-9, comparison, sides).error_rate.unwrap();
                assert!((claim.value / rate - 1.0).abs() < 1e-3, "{comparison:?} {rate}: {claim:?}");
            }
        }
    }

    #[test]
    fn a_decision_agrees_with_its_evidence() {
        for spec in models::all() {
            let judge = |threshold| Judge { calibration: Some(&spec.calibration), threshold };
            let (own, set) = (judge(spec.threshold), judge(Threshold::set(0.5)));
            for (a, b) in [(0.6, 0.6), (1.2, 9.0), (3.0, 3.0), (9.0, 60.0)] {
                let (a, b) = (evidence(a, &[]), evidence(b, &[]));
                let by =
                    |judge: &Judge| judge.threshold(Criterion::Default, Comparison::Pair, [&a, &b]).unwrap();
                let threshold = by(&own);
                let ratio = |similarity| own.log_likelihood_ratio(similarity, [&a, &b]).unwrap();
                assert!(ratio(threshold) <= 0.0 && ratio(threshold + 1e-9) > 0.0, "{}: {threshold}", spec.id);
                assert!((by(&set) - 0.5).abs() < f64::EPSILON);
            }
            let noisy = evidence(5.0, &["noise"]);
            let threshold = own.threshold(Criterion::Default, Comparison::Pair, [&noisy, &noisy]);
            assert_eq!(threshold, Ok(spec.threshold.similarity), "nothing is known of noise");
        }
    }

    #[test]
    fn a_rate_below_the_floor_is_refused_only_if_it_was_asked_for() {
        let spec = resemblyzer::spec();
        let judge = Judge { calibration: Some(&spec.calibration), threshold: Threshold::of_model(0.75) };
        let sides = [&evidence(5.0, &[]), &evidence(5.0, &[])];
        let asked = |rate, comparison| judge.threshold(Criterion::Rate(rate), comparison, sides);
        assert!(asked(0.001, Comparison::Pair).is_ok());
        let error = asked(0.0009, Comparison::Pair).unwrap_err();
        assert!(error.to_string().contains("at least 0.001:"), "{error}");
        let error = asked(0.05, Comparison::Search(100)).unwrap_err();
        assert!(error.to_string().contains("at least 0.0953 among 100"), "{error}");
        assert!(asked(0.0953, Comparison::Search(100)).is_ok(), "the floor that is named is accepted");
        // The default rate is only a target, so the threshold keeps rising with the number of speakers.
        let default = |n| judge.threshold(Criterion::Default, Comparison::Search(n), sides).unwrap();
        let thresholds: Vec<f64> = [0, 1, 10, 100, 1_000, 100_000].map(default).to_vec();
        assert!(thresholds.is_sorted() && thresholds[0] >= 0.75 && thresholds[5] <= 1.0, "{thresholds:?}");
        assert!(thresholds[3] > thresholds[2] + 0.02, "{thresholds:?}");
        let claim = judge.claim(0.99, Comparison::Search(100), sides).error_rate.unwrap();
        assert!(claim.is_bound && (claim.value - rate_among(0.001, 100)).abs() < 1e-12, "{claim:?}");
        // Without seconds of speech, the threshold is the highest of all lengths from a whole window on, for either model.
        let unknown = Evidence::new(None, [], 1);
        for spec in models::all() {
            let judge = Judge { calibration: Some(&spec.calibration), threshold: Threshold::of_model(-1.0) };
            let at =
                |a: &Evidence, b: &Evidence| judge.threshold(Criterion::Rate(0.01), Comparison::Pair, [a, b]);
            let longest = at(&unknown, &unknown).unwrap();
            for seconds in [1.6, 2.0, 3.0, 5.0, 8.0, 12.0, 15.0, 60.0] {
                let known = evidence(seconds, &[]);
                assert!(at(&known, &known).unwrap() <= longest + 1e-9, "{} {seconds} s", spec.id);
                assert!(at(&known, &unknown).unwrap() <= longest + 1e-9, "{} {seconds} s", spec.id);
            }
        }
        let none = Judge { calibration: None, threshold: Threshold::of_model(0.6) };
        let by = |criterion, comparison| none.threshold(criterion, comparison, sides);
        assert_eq!(by(Criterion::Default, Comparison::Search(100)), Ok(0.6));
        assert_eq!(by(Criterion::Threshold(0.2), Comparison::Search(100)), Ok(0.2));
        assert_eq!(by(Criterion::Rate(0.05), Comparison::Pair), Err(CriterionError::NoCalibration));
    }
}
