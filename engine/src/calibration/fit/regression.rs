//! Weighted regressions with up to a handful of coefficients, by Newton's method.

use crate::vectors::dot;

/// The maximum number of steps.
const MAX_STEPS: usize = 100;

/// The maximum number of halvings of a step.
const MAX_HALVINGS: usize = 30;

/// Smaller relative changes of the loss may be rounding errors.
const LOSS_ROUNDING: f64 = 1e-12;

/// Iteration stops when a step changes every coefficient by at most this, relatively.
const TOLERANCE: f64 = 1e-9;

/// If a coefficient exceeds this limit, the classes are separable.
const MAX_COEFFICIENT: f64 = 1e6;

/// An observation: the values of the terms, the observed value and its weight.
#[derive(Clone, Debug)]
pub(super) struct Observation<Y> {
    pub(super) terms: Vec<f64>,
    pub(super) observed: Y,
    pub(super) weight: f64,
}

/// The values towards which a penalty draws the coefficients, and the strength of the penalty.
#[derive(Clone, Debug)]
pub(super) struct Prior {
    pub(super) coefficients: Vec<f64>,
    pub(super) strength: f64,
}

/// Fits a logistic regression with both classes weighted equally, so that the sum of the terms is a log-likelihood ratio.
/// Returns `None` if the coefficients are not determined.
///
/// The loss is the sum over both classes of the weighted mean of ln(1 + exp(-+sum)), plus half the prior's strength times
/// the squared distance of the coefficients from the prior.
pub(super) fn logistic(rows: &[Observation<bool>], prior: &Prior) -> Option<Vec<f64>> {
    let total =
        |class: bool| rows.iter().filter(|row| row.observed == class).map(|row| row.weight).sum::<f64>();
    let (total_true, total_false) = (total(true), total(false));
    if total_true <= 0.0 || total_false <= 0.0 {
        return None;
    }
    let loss = |coefficients: &[f64]| {
        let of_row = |row: &Observation<bool>| {
            let sum = dot(&row.terms, coefficients);
            let x = if row.observed { -sum } else { sum };
            row.weight / if row.observed { total_true } else { total_false }
                * (x.max(0.0) + (-x.abs()).exp().ln_1p())
        };
        let pull: f64 = coefficients.iter().zip(&prior.coefficients).map(|(c, p)| (c - p).powi(2)).sum();
        rows.iter().map(of_row).sum::<f64>() + prior.strength / 2.0 * pull
    };
    let mut coefficients = prior.coefficients.clone();
    for _ in 0..MAX_STEPS {
        let mut newton = Newton::new(&coefficients, prior);
        for row in rows {
            let weight = row.weight / if row.observed { total_true } else { total_false };
            let probability = 1.0 / (1.0 + (-dot(&row.terms, &coefficients)).exp());
            let error = probability - f64::from(u8::from(row.observed));
            newton.add(&row.terms, weight * error, weight * probability * (1.0 - probability));
        }
        let before = coefficients.clone();
        let is_last = newton.step(&mut coefficients)?;
        // A full step may lead too far. It is halved until the loss does not rise.
        let accepted = loss(&before) * (1.0 + LOSS_ROUNDING);
        for _ in 0..MAX_HALVINGS {
            if loss(&coefficients) <= accepted {
                break;
            }
            coefficients.iter_mut().zip(&before).for_each(|(c, before)| *c = f64::midpoint(*c, *before));
        }
        if is_last {
            return Some(coefficients);
        }
    }
    None
}

/// Fits the mean and the logarithm of the standard deviation of a normal distribution by maximum likelihood. Each is a
/// sum of terms.
///
/// 1. The mean is fitted by least squares, weighted by the precision.
/// 2. The logarithm of the deviation is fitted by Newton's steps on the squared residuals.
/// 3. Both steps are repeated until neither value changes.
pub(super) fn location_and_scale(
    rows: &[Observation<f64>],
    scale_terms: &[Vec<f64>],
) -> Option<(Vec<f64>, Vec<f64>)> {
    let (n_mean, n_scale) = (rows.first()?.terms.len(), scale_terms.first()?.len());
    let no_prior = |n: usize| Prior { coefficients: vec![0.0; n], strength: 0.0 };
    let (mean_prior, scale_prior) = (no_prior(n_mean), no_prior(n_scale));
    let (mut mean, mut ln_sd) = (vec![0.0; n_mean], vec![0.0; n_scale]);
    for _ in 0..MAX_STEPS {
        let before = [&mean[..], &ln_sd[..]].concat();
        let mut newton = Newton::new(&mean, &mean_prior);
        for (row, scale) in rows.iter().zip(scale_terms) {
            let precision = row.weight * (-2.0 * dot(scale, &ln_sd)).exp();
            let error = dot(&row.terms, &mean) - row.observed;
            newton.add(&row.terms, precision * error, precision);
        }
        newton.step(&mut mean)?;
        let mut newton = Newton::new(&ln_sd, &scale_prior);
        for (row, scale) in rows.iter().zip(scale_terms) {
            let residual = row.observed - dot(&row.terms, &mean);
            let ratio = residual * residual * (-2.0 * dot(scale, &ln_sd)).exp();
            // Uses the expected second derivative (Fisher's scoring). The initial deviation of 1 is larger than any
            // deviation of cosines, so no step overshoots.
            newton.add(scale, row.weight * (1.0 - ratio), 2.0 * row.weight);
        }
        newton.step(&mut ln_sd)?;
        let after = [&mean[..], &ln_sd[..]].concat();
        if is_close(&before, &after) {
            return Some((mean, ln_sd));
        }
    }
    None
}

/// The gradient and the second derivatives of a loss.
struct Newton {
    gradient: Vec<f64>,
    /// The rows of the matrix.
    curvature: Vec<Vec<f64>>,
}

impl Newton {
    fn new(coefficients: &[f64], prior: &Prior) -> Self {
        let n = coefficients.len();
        let pull = coefficients.iter().zip(&prior.coefficients).map(|(c, p)| prior.strength * (c - p));
        let mut curvature = vec![vec![0.0; n]; n];
        (0..n).for_each(|i| curvature[i][i] = prior.strength);
        Self { gradient: pull.collect(), curvature }
    }

    fn add(&mut self, terms: &[f64], slope: f64, curvature: f64) {
        for (i, term) in terms.iter().enumerate() {
            self.gradient[i] += slope * term;
            for (j, other) in terms.iter().enumerate() {
                self.curvature[i][j] += curvature * term * other;
            }
        }
    }

    /// Takes a step and returns whether it was the last. Returns `None` if the system has no solution or the coefficients
    /// grow without limit.
    fn step(self, coefficients: &mut [f64]) -> Option<bool> {
        let step = solve(self.curvature, self.gradient)?;
        let before = coefficients.to_vec();
        coefficients.iter_mut().zip(&step).for_each(|(c, step)| *c -= step);
        let is_sound = coefficients.iter().all(|c| c.is_finite() && c.abs() < MAX_COEFFICIENT);
        is_sound.then(|| is_close(&before, coefficients))
    }
}

fn is_close(before: &[f64], after: &[f64]) -> bool {
    before.iter().zip(after).all(|(b, a)| (a - b).abs() <= TOLERANCE * (1.0 + a.abs()))
}

/// Solves a symmetric system by elimination with pivots. Returns `None` if it is singular.
fn solve(mut rows: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let n = right.len();
    let largest = rows.iter().flatten().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    for i in 0..n {
        let pivot = (i..n).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs()))?;
        rows.swap(i, pivot);
        right.swap(i, pivot);
        if rows[i][i].abs() <= 1e-13 * largest {
            return None;
        }
        for below in i + 1..n {
            let factor = rows[below][i] / rows[i][i];
            let (above, rest) = rows.split_at_mut(below);
            rest[0].iter_mut().zip(&above[i]).for_each(|(x, y)| *x -= factor * y);
            right[below] -= factor * right[i];
        }
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| rows[i][j] * right[j]).sum();
        right[i] = (right[i] - known) / rows[i][i];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_normal_distributions_have_the_ratio_that_theory_gives() {
        // The log-likelihood ratio of N(1, 1) against N(-1, 1) is 2 x. The test uses quantiles instead of random draws.
        let quantiles = (1..2_000).map(|i| normal_quantile(f64::from(i) / 2_000.0));
        let rows: Vec<Observation<bool>> = quantiles
            .flat_map(|q| [(q + 1.0, true), (q - 1.0, false)])
            .map(|(x, observed)| Observation { terms: vec![1.0, x], observed, weight: 1.0 })
            .collect();
        let no_prior = Prior { coefficients: vec![0.0; 2], strength: 0.0 };
        let fitted = logistic(&rows, &no_prior).unwrap();
        assert!(fitted[0].abs() < 1e-6 && (fitted[1] - 2.0).abs() < 0.02, "{fitted:?}");
        // Both classes count equally, however small the weight of one of them is.
        let lopsided: Vec<_> = rows
            .iter()
            .cloned()
            .map(|row| Observation { weight: if row.observed { 0.01 } else { 1.0 }, ..row })
            .collect();
        let same = logistic(&lopsided, &no_prior).unwrap();
        assert!((same[1] - fitted[1]).abs() < 1e-6 && same[0].abs() < 1e-6, "{same:?}");
    }

    #[test]
    fn separable_classes_have_no_ratio_but_a_prior_gives_one() {
        let rows = [(-1.0, false), (1.0, true)].map(|(x, observed)| Observation {
            terms: vec![1.0, x],
            observed,
            weight: 1.0,
        });
        let prior = |strength| Prior { coefficients: vec![0.0, 1.0], strength };
        assert_eq!(logistic(&rows, &prior(0.0)), None);
        let drawn = logistic(&rows, &prior(0.1)).unwrap();
        assert!(drawn[1] > 1.0 && drawn[1] < 10.0, "{drawn:?}");
        let constant = [(1.0, false), (1.0, true)].map(|(x, observed)| Observation {
            terms: vec![1.0, x],
            observed,
            weight: 1.0,
        });
        assert_eq!(logistic(&constant, &prior(0.0)), None, "a term that does not vary");
    }

    #[test]
    fn mean_and_deviation_follow_their_terms() {
        let mut rows = Vec::new();
        for x in 0..20 {
            let x = f64::from(x) / 10.0;
            for i in 1..200 {
                let z = normal_quantile(f64::from(i) / 200.0);
                let observed = 0.3 + 0.1 * x + (-2.0 + 0.2 * x).exp() * z;
                rows.push(Observation { terms: vec![1.0, x], observed, weight: 1.0 });
            }
        }
        let scale: Vec<Vec<f64>> = rows.iter().map(|row| row.terms.clone()).collect();
        let (mean, ln_sd) = location_and_scale(&rows, &scale).unwrap();
        assert!((mean[0] - 0.3).abs() < 1e-6 && (mean[1] - 0.1).abs() < 1e-6, "{mean:?}");
        assert!((ln_sd[0] + 2.0).abs() < 0.03 && (ln_sd[1] - 0.2).abs() < 1e-4, "{ln_sd:?}");
    }

    /// Returns a quantile by bisection, which is exact enough for a test.
    fn normal_quantile(p: f64) -> f64 {
        let below = |x: f64| {
            // Computes the normal integral by Simpson's rule.
            let n = 200;
            let step = x / f64::from(n);
            let density = |t: f64| (-t * t / 2.0).exp();
            let inner: f64 =
                (1..n).map(|i| density(f64::from(i) * step) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
            0.5 + step / 3.0 * (density(0.0) + inner + density(x)) / (2.0 * std::f64::consts::PI).sqrt()
        };
        let (mut low, mut high) = (-6.0, 6.0);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if below(middle) < p { low = middle } else { high = middle }
        }
        low
    }
}
