//! Error rates by the seconds of speech of the shorter side.

use std::ops::Range;

use super::cross_validation::CrossValidation;
use super::metrics::{ErrorRates, SECONDS, det_curve, equal_error_rate, place_by_seconds, round_to_six};
use super::trials::{Trial, Trials, share_of};
use crate::calibration::{Calibration, RatesBySeconds};

/// The smallest number of comparisons of a class for which a rate is reported.
const LEAST_TRIALS: usize = 50;

/// Returns error rates by the seconds of the shorter side, where there are enough comparisons of different speakers. They
/// are the rates of the calibration's ratios, at a threshold, and of held-out speakers where 1 % is claimed.
pub fn rates_by_seconds(
    trials: &Trials,
    calibration: &Calibration,
    threshold: f64,
    validated: &CrossValidation,
) -> Vec<RatesBySeconds> {
    let bounds = SECONDS.windows(2).enumerate();
    bounds
        .filter_map(|(place, bounds)| {
            let is_within = |trial: &&Trial| place_by_seconds(trial) == Some(place);
            let impostors: Vec<&Trial> = trials.impostors().filter(is_within).collect();
            let same: Vec<&Trial> = trials.same().filter(is_within).collect();
            if impostors.len() < LEAST_TRIALS {
                return None;
            }
            let has_same = same.len() >= LEAST_TRIALS;
            let accepted = |of: &[&Trial]| {
                share_of(of.iter().copied(), |trial| trial.similarity > threshold).unwrap_or_default()
            };
            let both: Vec<Trial> = same.iter().chain(&impostors).map(|trial| **trial).collect();
            let curve = det_curve(&Trials { trials: both }, calibration);
            let at_1_percent = &validated.at_1_percent[place];
            Some(RatesBySeconds {
                seconds_from: bounds[0],
                seconds_to: bounds[1].is_finite().then_some(bounds[1]),
                same_trials: same.len(),
                different_trials: impostors.len(),
                equal_error_rate: curve
                    .filter(|_| has_same)
                    .map(|curve| round_to_six(equal_error_rate(&curve))),
                threshold,
                false_accept_rate: round_to_six(accepted(&impostors)),
                miss_rate: has_same.then(|| round_to_six(1.0 - accepted(&same))),
                false_accept_rate_at_1_percent: at_1_percent.false_accept_rate().map(round_to_six),
                miss_rate_at_1_percent: at_1_percent.miss_rate().filter(|_| has_same).map(round_to_six),
            })
        })
        .collect()
}

/// Returns DET curves by the seconds of the shorter side, where there are enough comparisons.
pub fn det_by_seconds(trials: &Trials, calibration: &Calibration) -> Vec<(Range<f64>, Vec<ErrorRates>)> {
    let bounds = SECONDS.windows(2).enumerate();
    bounds
        .filter_map(|(place, bounds)| {
            let within = trials.trials.iter().filter(|trial| place_by_seconds(trial) == Some(place)).copied();
            let within = Trials { trials: within.collect() };
            let is_enough =
                within.same().count() >= LEAST_TRIALS && within.different().count() >= LEAST_TRIALS;
            is_enough.then(|| Some((bounds[0]..bounds[1], det_curve(&within, calibration)?))).flatten()
        })
        .collect()
}
