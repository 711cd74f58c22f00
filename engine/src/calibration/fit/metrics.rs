//! Metrics of similarities and log-likelihood ratios: how well they separate speakers.

use super::trials::{Trial, Trials};
use crate::calibration::{Calibration, Seconds};
use crate::pseudo_random::PseudoRandom;

/// Bounds of the ranges into which the seconds of the shorter side are divided.
pub(super) const SECONDS: [f64; 7] = [0.5, 1.3, 2.0, 3.2, 5.0, 8.0, f64::INFINITY];

/// The number of times that the speakers are resampled for an interval.
const RESAMPLINGS: u64 = 200;

/// The share of resamplings outside an interval, on each side.
const TAIL: f64 = 0.025;

/// An interval that contains a value in 95 of 100 draws of speakers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The quality of a calibration on a set of comparisons.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// The rate at which false accepts and misses are equally frequent, at a threshold on the log-likelihood ratio. As a
    /// similarity, that threshold depends on the seconds.
    pub equal_error_rate: f64,
    /// The interval of the equal error rate, from resampled speakers.
    pub interval: Interval,
    /// The cost of the log-likelihood ratios in bits: 0 is perfect, and 1 is as good as no ratios (Brümmer and du Preez, 2006).
    pub cllr: f64,
    /// The lowest possible cost with the same order of comparisons.
    pub min_cllr: f64,
}

/// A point of a DET curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRates {
    /// The false-accept rate.
    pub false_accept: f64,
    /// The miss rate.
    pub miss: f64,
}

/// The score of a comparison, and the properties of the comparison that the metrics need.
#[derive(Clone, Copy)]
struct Scored {
    score: f64,
    is_same: bool,
    speakers: [u32; 2],
    weight: f64,
}

/// Returns the quality of a calibration on comparisons of both kinds. Returns `None` if either kind is missing or the
/// calibration has no ratios.
pub fn quality(trials: &Trials, calibration: &Calibration) -> Option<Quality> {
    let scored = scored(&trials.trials, calibration)?;
    let curve = det(&scored, |_| 1.0)?;
    let limited =
        |scored: &Scored| scored.score.clamp(calibration.limits.llr_min, calibration.limits.llr_max);
    let llrs: Vec<Scored> = scored.iter().map(|s| Scored { score: limited(s), ..*s }).collect();
    Some(Quality {
        equal_error_rate: equal_error_rate(&curve),
        interval: interval(&scored, trials.numbers()),
        cllr: cllr(&llrs),
        min_cllr: min_cllr(&scored),
    })
}

/// Returns false accepts and misses at every threshold on the log-likelihood ratio, from accepting no comparison to
/// accepting all.
pub fn det_curve(trials: &Trials, calibration: &Calibration) -> Option<Vec<ErrorRates>> {
    det(&scored(&trials.trials, calibration)?, |_| 1.0)
}

/// Returns the scores of comparisons, in descending order.
fn scored(trials: &[Trial], calibration: &Calibration) -> Option<Vec<Scored>> {
    let score = |trial: &Trial| {
        let score = calibration.unlimited_llr(trial.similarity, seconds_of(trial, calibration))?;
        Some(Scored { score, is_same: trial.is_same(), speakers: trial.speakers, weight: trial.weight })
    };
    let mut scored: Vec<Scored> = trials.iter().map(score).collect::<Option<_>>()?;
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    Some(scored)
}

/// Returns the seconds of a comparison. Unknown seconds count as the longest, as in decisions.
pub fn seconds_of(trial: &Trial, calibration: &Calibration) -> Seconds {
    let longest = calibration.limits.seconds_max;
    trial.seconds.unwrap_or(Seconds { a: longest, b: longest })
}

/// Returns a DET curve, or `None` if a class has no weight. Comparisons with equal scores form one point.
fn det(scored: &[Scored], multiplicity: impl Fn(&Scored) -> f64) -> Option<Vec<ErrorRates>> {
    let weight = |s: &Scored| s.weight * multiplicity(s);
    let total = |is_same: bool| scored.iter().filter(|s| s.is_same == is_same).map(&weight).sum::<f64>();
    let (same, different) = (total(true), total(false));
    if same <= 0.0 || different <= 0.0 {
        return None;
    }
    let (mut accepted, mut found) = (0.0, 0.0);
    let mut curve = vec![ErrorRates { false_accept: 0.0, miss: 1.0 }];
    for equal in scored.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
        for one in equal {
            *(if one.is_same { &mut found } else { &mut accepted }) += weight(one);
        }
        curve.push(ErrorRates { false_accept: accepted / different, miss: 1.0 - found / same });
    }
    Some(curve)
}

/// Returns the rate at which false accepts and misses are equal: where the curve crosses the diagonal between two points.
pub(super) fn equal_error_rate(curve: &[ErrorRates]) -> f64 {
    let after = curve.partition_point(|point| point.false_accept < point.miss).clamp(1, curve.len() - 1);
    let (left, right) = (curve[after - 1], curve[after]);
    let (from, to) = (left.miss - left.false_accept, right.miss - right.false_accept);
    let share = if from > to { from / (from - to) } else { 0.0 };
    (left.false_accept + share * (right.false_accept - left.false_accept)).max(0.0)
}

/// Estimates the interval of the equal error rate from resampled speakers. A comparison counts as often as its speakers
/// are drawn.
fn interval(scored: &[Scored], numbers: usize) -> Interval {
    let mut rates: Vec<f64> = (0..RESAMPLINGS)
        .filter_map(|seed| {
            let mut random = PseudoRandom(seed);
            let mut drawn = vec![0.0; numbers];
            (0..numbers).for_each(|_| drawn[random.next_below(numbers)] += 1.0);
            let multiplicity = |s: &Scored| {
                let [a, b] = s.speakers.map(|speaker| drawn[speaker as usize]);
                if s.is_same { a } else { a * b }
            };
            Some(equal_error_rate(&det(scored, multiplicity)?))
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let at = |share: f64| rates.get(((rates.len() as f64 - 1.0) * share).round() as usize).copied();
    Interval { low: at(TAIL).unwrap_or(0.0), high: at(1.0 - TAIL).unwrap_or(1.0) }
}

/// Returns the mean cost of log-likelihood ratios in bits, with both classes weighted equally.
fn cllr(scored: &[Scored]) -> f64 {
    let cost = |is_same: bool| {
        let sign = if is_same { -1.0 } else { 1.0 };
        let (mut sum, mut total) = (0.0, 0.0);
        for one in scored.iter().filter(|one| one.is_same == is_same) {
            // Computes ln(1 + exp(x)) without overflow.
            let x = sign * one.score;
            sum += one.weight * (x.max(0.0) + (-x.abs()).exp().ln_1p());
            total += one.weight;
        }
        sum / total
    };
    f64::midpoint(cost(true), cost(false)) / std::f64::consts::LN_2
}

/// Returns the cost of the best ratios that rise with the score. The isotonic regression of the class on the score gives
/// these ratios (pool adjacent violators).
fn min_cllr(scored: &[Scored]) -> f64 {
    let total = |is_same: bool| scored.iter().filter(|s| s.is_same == is_same).map(|s| s.weight).sum::<f64>();
    let (same, different) = (total(true), total(false));
    // Blocks of equal ratio, from the lowest score up. A block holds its share of either class.
    let mut blocks: Vec<(f64, f64)> = Vec::new();
    for equal in scored.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()).rev() {
        let mut block = (0.0, 0.0);
        for one in equal {
            if one.is_same { block.0 += one.weight / same } else { block.1 += one.weight / different }
        }
        // A block must have a higher ratio than the one below it.
        while let Some((s, d)) = blocks.last().copied() {
            if s * block.1 < block.0 * d {
                break;
            }
            blocks.pop();
            block = (block.0 + s, block.1 + d);
        }
        blocks.push(block);
    }
    let cost = |(s, d): &(f64, f64)| {
        let bits = |share: &f64, other: &f64| {
            if *share > 0.0 { share * (1.0 + other / share).log2() } else { 0.0 }
        };
        f64::midpoint(bits(s, d), bits(d, s))
    };
    blocks.iter().map(cost).sum()
}

/// Returns the index of the range that contains the seconds of the shorter side. Returns `None` if they are unknown or too few.
pub(super) fn place_by_seconds(trial: &Trial) -> Option<usize> {
    let least = trial.seconds?.least();
    SECONDS.windows(2).position(|bounds| (bounds[0]..bounds[1]).contains(&least))
}

/// Rounds to six decimals.
pub(super) fn round_to_six(x: f64) -> f64 {
    crate::notation::round_to(x, 6)
}

/// Returns an upper bound on the rate of an event that was seen `events` times in `n` cases. The bound is too low in 5 of
/// 100 cases (Clopper and Pearson, one-sided).
pub fn binomial_bound(events: usize, n: usize) -> f64 {
    if events >= n {
        return 1.0;
    }
    let (mut low, mut high) = (events as f64 / n as f64, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(events, n, middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}

/// Returns the probability of at most `events` events in `n` cases at a rate.
fn at_most(events: usize, n: usize, rate: f64) -> f64 {
    let n = n as f64;
    let mut ln_term = n * (-rate).ln_1p();
    let mut sum = ln_term.exp();
    for k in 1..=events {
        let k = k as f64;
        ln_term += ((n - k + 1.0) / k).ln() + rate.ln() - (-rate).ln_1p();
        sum += ln_term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(same: &[f64], different: &[f64]) -> Vec<Scored> {
        let one = |is_same: bool| {
            move |score: &f64| Scored {
                score: *score,
                is_same,
                speakers: [0, u32::from(!is_same)],
                weight: 1.0,
            }
        };
        let mut all: Vec<Scored> =
            same.iter().map(one(true)).chain(different.iter().map(one(false))).collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all
    }

    #[test]
    fn known_scores_have_known_error_rates() {
        let cases = [
            (&[2.0, 3.0][..], &[0.0, 1.0][..], 0.0),
            (&[0.0, 1.0], &[2.0, 3.0], 1.0),
            (&[1.0], &[1.0], 0.5),
            (&[1.0, 3.0, 4.0, 5.0], &[0.0, 0.5, 0.7, 2.0], 0.25),
        ];
        for (same, different, expected) in cases {
            let curve = det(&scores(same, different), |_| 1.0).unwrap();
            assert!((equal_error_rate(&curve) - expected).abs() < 1e-9, "{same:?} {different:?}: {curve:?}");
        }
        assert!(det(&scores(&[1.0], &[]), |_| 1.0).is_none());
    }

    #[test]
    fn ratios_that_say_nothing_cost_a_bit_and_right_ones_nothing() {
        assert!((cllr(&scores(&[0.0, 0.0], &[0.0])) - 1.0).abs() < 1e-12);
        assert!(cllr(&scores(&[50.0], &[-50.0])) < 1e-12);
        // The ratios are wrong by a constant, but their order is perfect.
        let shifted = scores(&[7.0, 8.0], &[5.0, 6.0]);
        assert!(cllr(&shifted) > 1.0 && min_cllr(&shifted) < 1e-12, "{}", min_cllr(&shifted));
        // The order confuses one comparison of each class. `expected` is above the lowest possible cost.
        let mixed = scores(&[3.0, 1.0], &[2.0, 0.0]);
        let expected = f64::midpoint(0.5 * 2f64.log2() + 0.5, 0.5 * 2f64.log2());
        assert!(min_cllr(&mixed) <= cllr(&mixed) && min_cllr(&mixed) < expected, "{}", min_cllr(&mixed));
    }

    #[test]
    fn a_bound_covers_what_was_not_seen() {
        // The expected bounds are 1 - 0.05^(1/n) if no event was seen, and otherwise from tables of Clopper and Pearson.
        let cases =
            [(0, 300, 0.009_936), (0, 3_000, 0.000_998), (0, 1, 0.95), (1, 20, 0.216_1), (5, 50, 0.198_83)];
        for (events, n, expected) in cases {
            let bound = binomial_bound(events, n);
            assert!((bound - expected).abs() < 2e-4, "{events} of {n}: {bound}");
        }
        assert!(binomial_bound(3, 3) >= 1.0);
    }
}
