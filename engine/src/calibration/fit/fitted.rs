//! Fits a calibration to comparisons.

use super::error::FitError;
use super::metrics::{binomial_bound, round_to_six, seconds_of};
use super::regression::{Observation, Prior, location_and_scale, logistic};
use super::trials::{Trial, Trials};
use crate::calibration::file::Unchecked;
use crate::calibration::{
    Calibration, FalseAcceptCurve, Impostors, Knots, Limits, Linear, Seconds, SetDescription, Term, VERSION,
};
use crate::pseudo_random::PseudoRandom;

/// The smallest false-accept rate that is ever claimed. Below it, rooms, devices and days matter more than speakers.
const MIN_FAR: f64 = 0.001;

/// The largest floor. Two speakers show almost nothing, but a floor must be below 1.
const MAX_FLOOR: f64 = 0.95;

/// From this many speakers on, speaker pairs depend on each other so much that only half of them count.
const DEPENDENT_SPEAKERS: usize = 50;

/// The rule of three: if no event is seen among `n`, no more than 1 in 20 sets hides a rate of 3 in `n`.
const RULE_OF_THREE: f64 = 3.0;

/// The rates at which the false-accept curve has knots.
const KNOT_RATES: [f64; 14] =
    [0.99, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005];

/// A knot needs comparisons beyond it. Its rate is at least this part of the smallest rate that the set supports.
const KNOT_BELOW_FLOOR: f64 = 0.5;

/// The assumed seconds of speech of recordings whose seconds are unknown.
const TYPICAL_SECONDS: f64 = 5.0;

/// The way in which a calibration is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Fits every coefficient of the base's terms again. This needs a hundred speakers or more, with recordings of all
    /// lengths.
    Refit,
    /// Shifts and stretches the base to fit, and keeps its dependence on the seconds of speech.
    Adjust,
    /// Ignores the seconds of speech.
    WithoutSeconds,
}

/// The name and the description of a new calibration.
#[derive(Clone, Debug)]
pub struct About {
    /// The name of the calibration in responses.
    pub name: String,
    /// The fingerprint of the model.
    pub model: String,
    /// A description of the recordings.
    pub description: String,
    /// A description of the recordings that the calibration does not cover.
    pub not_measured: String,
    /// Codes of the warnings that most recordings have.
    pub warnings: Vec<String>,
    /// The number of speakers that are known to be different people, if not all of them are.
    pub known_speakers: Option<usize>,
    /// The smallest rate to claim, instead of the one that the speakers support.
    pub floor: Option<f64>,
}

/// Returns the smallest false-accept rate that this many speakers and pairs can show if no false accept was seen.
pub fn supported_rate(n_speakers: usize, n_speaker_pairs: usize) -> f64 {
    let n = if n_speakers >= DEPENDENT_SPEAKERS { n_speaker_pairs / 2 } else { n_speaker_pairs };
    if n == 0 { 1.0 } else { binomial_bound(0, n) }
}

/// Fits a calibration.
///
/// 1. Log-likelihood ratio: logistic regression with both classes weighted equally.
/// 2. Mean and standard deviation of different speakers' similarities: maximum likelihood of a normal distribution.
/// 3. Knots: quantiles of the standardised similarities, as far as the set supports them.
/// 4. Limits: from the numbers of speakers.
///
/// The table of rates stays empty.
pub fn fit(trials: &Trials, base: &Calibration, how: How, about: &About) -> Result<Calibration, FitError> {
    if trials.different().next().is_none() {
        return Err(FitError::NoImpostors);
    }
    let base = if how == How::WithoutSeconds { &without_seconds(base) } else { base };
    let set = set_description(trials, about);
    let limits = limits(trials, &set, base, about);
    let log_likelihood_ratio = if set.same_trials == 0 {
        None
    } else if how == How::Refit {
        Some(refitted_llr(trials, base)?)
    } else {
        Some(adjusted_llr(trials, base)?)
    };
    let false_accept_rate = curve(trials, base, how, limits.far_floor)?;
    let file = Unchecked {
        version: VERSION,
        name: about.name.clone(),
        model: about.model.clone(),
        set,
        limits,
        log_likelihood_ratio,
        false_accept_rate,
        rates: Vec::new(),
    };
    Ok(Calibration::try_from(file)?)
}

/// Returns the limits that the number of speakers supports.
fn limits(trials: &Trials, set: &SetDescription, base: &Calibration, about: &About) -> Limits {
    let n_pairs = trials.n_impostor_pairs().min(pairs_of(set.speakers));
    let supported = supported_rate(set.speakers, n_pairs);
    let far_floor = about.floor.unwrap_or_else(|| round_to_six(supported.clamp(MIN_FAR, MAX_FLOOR)));
    Limits {
        far_floor,
        llr_min: -tenth_below(f64::ln(set.speakers_of_same_pairs as f64 / RULE_OF_THREE)),
        llr_max: tenth_below(-far_floor.ln()),
        ..base.limits
    }
}

/// Returns the limits that a whole set supports, for calibrations that are fitted to a part of it.
pub(super) fn limits_of(trials: &Trials, base: &Calibration, about: &About) -> Limits {
    limits(trials, &set_description(trials, about), base, about)
}

fn pairs_of(n_speakers: usize) -> usize {
    n_speakers * n_speakers.saturating_sub(1) / 2
}

fn set_description(trials: &Trials, about: &About) -> SetDescription {
    let most = about.known_speakers.unwrap_or(usize::MAX);
    let speakers = trials.n_speakers().min(most);
    SetDescription {
        description: about.description.clone(),
        not_measured: about.not_measured.clone(),
        speakers,
        speakers_of_same_pairs: trials.n_speakers_of_same_pairs(),
        speaker_pairs: trials.n_speaker_pairs().min(pairs_of(speakers)),
        same_trials: trials.same().count(),
        different_trials: trials.different().count(),
        impostors: if trials.have_sexes() { Impostors::SameSex } else { Impostors::All },
        warnings: about.warnings.clone(),
    }
}

/// Rounds a limit of log-likelihood ratios down to a tenth, but to no less than 0.1.
fn tenth_below(limit: f64) -> f64 {
    ((limit * 10.0).floor() / 10.0).max(0.1)
}

fn refitted_llr(trials: &Trials, base: &Calibration) -> Result<Linear, FitError> {
    let terms: Vec<Term> = base.log_likelihood_ratio.iter().flat_map(|llr| llr.keys().copied()).collect();
    let row = |trial: &Trial| Observation {
        terms: values(&terms, trial, base),
        observed: trial.is_same(),
        weight: trial.weight,
    };
    let rows: Vec<Observation<bool>> = trials.trials.iter().map(row).collect();
    let prior = Prior { coefficients: vec![0.0; terms.len()], strength: 0.0 };
    let coefficients = logistic(&rows, &prior).ok_or(FitError::Undetermined("a log-likelihood ratio"))?;
    Ok(linear(&terms, coefficients.into_iter().map(round_to_six)))
}

/// Fits a + b x, where x is the base's ratio. With few speakers, b stays near 1 and a near 0: the prior counts as one speaker.
fn adjusted_llr(trials: &Trials, base: &Calibration) -> Result<Linear, FitError> {
    let base_llr = base.log_likelihood_ratio.as_ref().ok_or(FitError::NoTargets)?;
    let row = |trial: &Trial| {
        let llr = base.unlimited_llr(trial.similarity, seconds_of(trial, base)).unwrap_or(0.0);
        Observation { terms: vec![1.0, llr], observed: trial.is_same(), weight: trial.weight }
    };
    let rows: Vec<Observation<bool>> = trials.trials.iter().map(row).collect();
    let prior = Prior { coefficients: vec![0.0, 1.0], strength: 1.0 / trials.n_speakers().max(1) as f64 };
    let fitted = logistic(&rows, &prior).ok_or(FitError::Undetermined("a log-likelihood ratio"))?;
    let (shift, stretch) = (fitted[0], fitted[1]);
    if stretch <= 0.0 {
        return Err(FitError::NotHigher);
    }
    let mut llr: Linear = base_llr.iter().map(|(term, c)| (*term, round_to_six(c * stretch))).collect();
    let constant = llr.entry(Term::One).or_default();
    *constant = round_to_six(*constant + shift);
    Ok(llr)
}

fn curve(
    trials: &Trials,
    base: &Calibration,
    how: How,
    far_floor: f64,
) -> Result<FalseAcceptCurve, FitError> {
    let undetermined = || FitError::Undetermined("a rate of false accepts");
    let mut curve = base.false_accept_rate.clone();
    if how == How::Refit {
        let terms_of = |linear: &Linear| linear.keys().copied().collect::<Vec<_>>();
        let (mean, ln_sd) = (terms_of(&curve.mean), terms_of(&curve.ln_sd));
        let row = |trial: &Trial| Observation {
            terms: values(&mean, trial, base),
            observed: trial.similarity,
            weight: trial.weight,
        };
        let rows: Vec<Observation<f64>> = trials.impostors().map(row).collect();
        let scale: Vec<Vec<f64>> = trials.impostors().map(|trial| values(&ln_sd, trial, base)).collect();
        let fitted = location_and_scale(&rows, &scale).ok_or_else(undetermined)?;
        (curve.mean, curve.ln_sd) = (
            linear(&mean, fitted.0.into_iter().map(round_to_six)),
            linear(&ln_sd, fitted.1.into_iter().map(round_to_six)),
        );
    }
    let standardised = Calibration { false_accept_rate: curve.clone(), ..base.clone() };
    let score =
        |trial: &Trial| (standardised.standardised(trial.similarity, seconds_of(trial, base)), trial.weight);
    let mut scores: Vec<(f64, f64)> = trials.impostors().map(score).collect();
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    curve.knots = Knots { z: Vec::new(), far: Vec::new() };
    for far in KNOT_RATES.into_iter().filter(|far| *far >= far_floor * KNOT_BELOW_FLOOR) {
        let z = (quantile(&scores, 1.0 - far) * 1e4).round() / 1e4;
        if curve.knots.z.last().is_none_or(|last| z > *last) {
            curve.knots.z.push(z);
            curve.knots.far.push(far);
        }
    }
    if curve.knots.z.len() < 2 { Err(undetermined()) } else { Ok(curve) }
}

fn values(terms: &[Term], trial: &Trial, base: &Calibration) -> Vec<f64> {
    let seconds = seconds_of(trial, base);
    terms.iter().map(|term| term.value(trial.similarity, seconds, &base.limits)).collect()
}

/// Returns the weighted quantile of ascending values, linearly interpolated between the middles of their weights.
fn quantile(ascending: &[(f64, f64)], share: f64) -> f64 {
    let total: f64 = ascending.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0.0;
    let mut before: Option<(f64, f64)> = None;
    for (value, weight) in ascending {
        let middle = (sum + weight / 2.0) / total;
        if middle >= share {
            return match before {
                Some((at, left)) if middle > at => left + (value - left) * (share - at) / (middle - at),
                _ => *value,
            };
        }
        sum += weight;
        before = Some((middle, *value));
    }
    before.map_or(0.0, |(_, value)| value)
}

/// Returns the base for recordings of a typical length, so that it no longer depends on the seconds of speech.
fn without_seconds(base: &Calibration) -> Calibration {
    let typical = Seconds { a: TYPICAL_SECONDS, b: TYPICAL_SECONDS };
    let at = |linear: &Linear, similarity: f64| {
        linear.iter().map(|(term, c)| c * term.value(similarity, typical, &base.limits)).sum::<f64>()
    };
    let constant = |linear: &Linear| Linear::from([(Term::One, at(linear, 0.0))]);
    let llr = base.log_likelihood_ratio.as_ref().map(|llr| {
        Linear::from([(Term::One, at(llr, 0.0)), (Term::Similarity, at(llr, 1.0) - at(llr, 0.0))])
    });
    Calibration {
        log_likelihood_ratio: llr,
        false_accept_rate: FalseAcceptCurve {
            mean: constant(&base.false_accept_rate.mean),
            ln_sd: constant(&base.false_accept_rate.ln_sd),
            knots: base.false_accept_rate.knots.clone(),
        },
        ..base.clone()
    }
}

/// Returns the numbers 0 to n - 1, shuffled in the same way in every run.
pub(super) fn shuffled(n: usize) -> Vec<usize> {
    let mut random = PseudoRandom(0);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, random.next_below(i + 1));
    }
    order
}

/// Creates a linear form from terms and their coefficients.
fn linear(terms: &[Term], coefficients: impl IntoIterator<Item = f64>) -> Linear {
    terms.iter().copied().zip(coefficients).collect()
}
