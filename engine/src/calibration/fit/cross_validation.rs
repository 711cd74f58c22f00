//! Cross-validation: tests the claims of a calibration on speakers that it was not fitted on.

use super::error::FitError;
use super::fitted::{About, How, fit, limits_of, shuffled};
use super::metrics::{SECONDS, place_by_seconds, seconds_of};
use super::trials::{Trial, Trials};
use crate::calibration::{Calibration, Rate};

/// The number of groups of speakers.
const FOLDS: usize = 5;

/// The claimed rates that are tested.
const CLAIMS: [f64; 9] = [0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

/// A claimed rate and the observed rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClaimedAndObserved {
    /// The claimed false-accept rate.
    pub claimed: f64,
    /// The share of different-speaker comparisons for which the calibration claims at most `claimed`.
    pub observed: f64,
}

/// The result of a cross-validation.
#[derive(Clone, Debug)]
pub struct CrossValidation {
    /// Claims down to the smallest that the set supports.
    pub claims: Vec<ClaimedAndObserved>,
    /// The cost of the log-likelihood ratios in bits, if there are any.
    pub cllr: Option<f64>,
    /// Errors at a claimed false-accept rate of 1 %, by the seconds of the shorter side.
    pub(super) at_1_percent: [AtClaim; SECONDS.len() - 1],
}

/// For each pair of speaker groups, fits a calibration without them and tests it on the comparisons between them. For the
/// comparisons within a group, the fit leaves out only that group.
pub fn cross_validate(
    trials: &Trials,
    base: &Calibration,
    how: How,
    about: &About,
) -> Result<CrossValidation, FitError> {
    let mut folds = vec![0; trials.numbers()];
    shuffled(folds.len()).into_iter().enumerate().for_each(|(i, speaker)| folds[speaker] = i % FOLDS);
    let folds_of = |speakers: [u32; 2]| speakers.map(|speaker| folds[speaker as usize]);
    let have_sexes = trials.have_sexes();
    let limits = limits_of(trials, base, about);
    let mut judged = Judged { floor: limits.far_floor, ..Judged::default() };
    for one in 0..FOLDS {
        for other in one..FOLDS {
            let is_left_out = |fold: usize| fold == one || fold == other;
            let rest = trials.select(|speakers| !folds_of(speakers).into_iter().any(is_left_out));
            let tested = trials.select(|speakers| {
                let [a, b] = folds_of(speakers);
                (a.min(b), a.max(b)) == (one, other)
            });
            if tested.trials.is_empty() {
                continue;
            }
            let fitted = fit(&rest, base, how, about)?;
            judged.add(&tested, have_sexes, &Calibration { limits, ..fitted });
        }
    }
    Ok(judged.into_result())
}

/// Sums over comparisons. Each comparison is judged by a calibration that was fitted without its speakers.
#[derive(Default)]
struct Judged {
    floor: f64,
    accepted: [f64; CLAIMS.len()],
    impostors: f64,
    /// The sums of costs and of weights, first for comparisons of different speakers, then for those of one speaker.
    costs: [(f64, f64); 2],
    has_no_ratios: bool,
    at_1_percent: [AtClaim; SECONDS.len() - 1],
}

/// Errors at a claimed false-accept rate of 1 %, as sums of weights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtClaim {
    /// The comparisons of one speaker for which more than 1 % is claimed, and all comparisons of one speaker.
    missed: (f64, f64),
    /// The comparisons of different speakers for which at most 1 % is claimed, and all comparisons of different speakers.
    accepted: (f64, f64),
}

impl AtClaim {
    /// Returns the share of comparisons of different speakers for which at most 1 % is claimed.
    pub(super) fn false_accept_rate(&self) -> Option<f64> {
        share(self.accepted)
    }

    /// Returns the share of comparisons of one speaker for which more than 1 % is claimed.
    pub(super) fn miss_rate(&self) -> Option<f64> {
        share(self.missed)
    }
}

fn share((part, whole): (f64, f64)) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

impl Judged {
    fn add(&mut self, tested: &Trials, have_sexes: bool, calibration: &Calibration) {
        for trial in &tested.trials {
            let seconds = seconds_of(trial, calibration);
            let rate = calibration.false_accept_rate(trial.similarity, seconds);
            if trial.is_same() {
                self.add_at_1_percent(trial, rate);
            } else if !have_sexes || trial.is_same_sex == Some(true) {
                self.add_at_1_percent(trial, rate);
                self.impostors += trial.weight;
                for (accepted, claim) in self.accepted.iter_mut().zip(CLAIMS) {
                    *accepted += if rate.value <= claim { trial.weight } else { 0.0 };
                }
            }
            match calibration.log_likelihood_ratio(trial.similarity, seconds) {
                Some(llr) => {
                    let x = if trial.is_same() { -llr } else { llr };
                    let (cost, weight) = &mut self.costs[usize::from(trial.is_same())];
                    *cost += trial.weight * x.exp().ln_1p() / std::f64::consts::LN_2;
                    *weight += trial.weight;
                }
                None => self.has_no_ratios = true,
            }
        }
    }

    fn add_at_1_percent(&mut self, trial: &Trial, rate: Rate) {
        // A calibration claims no rate below its floor.
        if self.floor > 0.01 {
            return;
        }
        let Some(place) = place_by_seconds(trial) else { return };
        let is_accepted = rate.value <= 0.01;
        let AtClaim { missed, accepted } = &mut self.at_1_percent[place];
        let (of, is_error) = if trial.is_same() { (missed, !is_accepted) } else { (accepted, is_accepted) };
        of.0 += if is_error { trial.weight } else { 0.0 };
        of.1 += trial.weight;
    }

    fn into_result(self) -> CrossValidation {
        let claims = CLAIMS.into_iter().zip(self.accepted).filter(|(claimed, _)| *claimed >= self.floor);
        let claims = claims
            .map(|(claimed, accepted)| ClaimedAndObserved { claimed, observed: accepted / self.impostors })
            .collect();
        let [different, same] = self.costs.map(|(cost, weight)| cost / weight);
        let cllr = f64::midpoint(different, same);
        CrossValidation {
            claims,
            cllr: (cllr.is_finite() && !self.has_no_ratios).then_some(cllr),
            at_1_percent: self.at_1_percent,
        }
    }
}
