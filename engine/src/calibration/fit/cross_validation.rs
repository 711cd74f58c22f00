//! What a calibration claims of speakers that it was not fitted on.

use super::error::FitError;
use super::fitted::{About, How, fit, limits_of, shuffled};
use super::metrics::{SECONDS, place_by_seconds, seconds_of};
use super::trials::{Trial, Trials};
use crate::calibration::{Calibration, Rate};

/// Groups of speakers.
const FOLDS: usize = 5;

/// Claims that are looked at.
const CLAIMS: [f64; 9] = [0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

/// A claim, and how often it was so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClaimedAndObserved {
    /// The rate of false accepts that is claimed.
    pub claimed: f64,
    /// The share of comparisons of different speakers for which no more is claimed.
    pub observed: f64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct CrossValidation {
    /// Claims down to the smallest that the set supports.
    pub claims: Vec<ClaimedAndObserved>,
    /// The cost of the log-likelihood ratios, in bits, if there are any.
    pub cllr: Option<f64>,
    /// Errors where 1 % of false accepts are claimed, by the seconds of the shorter side.
    pub(super) at_1_percent: [AtClaim; SECONDS.len() - 1],
}

/// Fits a calibration without two groups of speakers at a time, and looks what it says of the comparisons between them; likewise of
/// one group for comparisons within it.
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
            let rest = trials.of(|speakers| !folds_of(speakers).into_iter().any(is_left_out));
            let tested = trials.of(|speakers| {
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

/// Sums over comparisons, each judged by a calibration that does not know its speakers.
#[derive(Default)]
struct Judged {
    floor: f64,
    accepted: [f64; CLAIMS.len()],
    impostors: f64,
    /// Of comparisons of different speakers, and of one: the sum of the costs, and of the weights.
    costs: [(f64, f64); 2],
    has_no_ratios: bool,
    at_1_percent: [AtClaim; SECONDS.len() - 1],
}

/// Comparisons for which more than 1 % is claimed, or no more: the sums of their weights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtClaim {
    /// Of one speaker, and all of those.
    missed: (f64, f64),
    /// Of different speakers, and all of those.
    accepted: (f64, f64),
}

impl AtClaim {
    /// The share of comparisons of different speakers for which no more is claimed.
    pub(super) fn false_accept_rate(&self) -> Option<f64> {
        share(self.accepted)
    }

    /// The share of comparisons of one speaker for which more is claimed.
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
        // Rates are not told below the floor.
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
