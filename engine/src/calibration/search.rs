//! Error rates of searches. A search makes one comparison per speaker.

/// Returns how often at least one of `n` comparisons errs if each errs at `rate`: 1 - (1 - rate)^n.
pub fn rate_among(rate: f64, n: usize) -> f64 {
    -f64::exp_m1(n as f64 * f64::ln_1p(-rate))
}

/// Returns the error rate of one comparison at which at least one of `n` errs at `rate`: the inverse of [`rate_among`].
pub fn rate_of_one(rate: f64, n: usize) -> f64 {
    -f64::exp_m1(f64::ln_1p(-rate) / n.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_errs_as_often_as_any_of_its_comparisons() {
        assert!((rate_among(0.001, 100) - 0.095_208).abs() < 1e-6);
        assert!((rate_among(1e-12, 100_000) - 1e-7).abs() < 1e-12, "tiny rates keep their digits");
        for (rate, n) in [(0.05, 1), (0.05, 10), (0.3, 100_000), (1e-9, 3)] {
            assert!((rate_among(rate_of_one(rate, n), n) / rate - 1.0).abs() < 1e-9, "{rate} among {n}");
        }
        assert_eq!((rate_among(0.5, 0), rate_of_one(0.05, 0)), (0.0, 0.05));
        assert_eq!((rate_among(1.0, 3), rate_of_one(1.0, 3)), (1.0, 1.0));
    }
}
