//! The tail of a distribution as knots: the rates at which standardised scores are exceeded.

use serde::{Deserialize, Serialize};

/// The line beyond the last knot passes through it and through the knot this many places before it.
const LINE_KNOTS: usize = 3;

/// The rates at which standardised scores `z` are exceeded. Between knots, the logarithm of the rate is linear. Above the
/// last knot, it follows the line through that knot and the third knot before it. Below the first knot, the rate is 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = FalseAcceptKnots))]
#[serde(deny_unknown_fields)]
pub struct Knots {
    /// The scores, ascending.
    pub z: Vec<f64>,
    /// The rates at which the scores are exceeded, descending, each between 0 and 1.
    pub far: Vec<f64>,
}

impl Knots {
    /// Returns what is wrong with the knots, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { z, far } = self;
        if z.len() != far.len() {
            return Some(format!("have {} z and {} rates", z.len(), far.len()));
        }
        if z.len() < 2 {
            return Some(format!("are {}; at least 2 are needed", z.len()));
        }
        if !z.iter().all(|z| z.is_finite()) || !far.iter().all(|far| *far > 0.0 && *far < 1.0) {
            return Some("hold a z that is not finite, or a rate that is not between 0 and 1".into());
        }
        let not_ascending = z.windows(2).any(|z| z[0] >= z[1]);
        let not_descending = far.windows(2).any(|far| far[0] <= far[1]);
        (not_ascending || not_descending)
            .then(|| "must have ascending z and descending rates: more similar is less often".into())
    }

    /// Returns the rate at which `z` is exceeded.
    pub(super) fn rate(&self, z: f64) -> f64 {
        let last = self.z.len() - 1;
        if z < self.z[0] {
            return 1.0;
        }
        if z > self.z[last] {
            return (self.far[last].ln() + self.slope() * (z - self.z[last])).exp();
        }
        let right = self.z.partition_point(|knot| *knot < z).clamp(1, last);
        let (from, to) = (self.far[right - 1].ln(), self.far[right].ln());
        let share = (z - self.z[right - 1]) / (self.z[right] - self.z[right - 1]);
        (from + share * (to - from)).exp()
    }

    /// Returns the `z` that is exceeded at a rate.
    pub(super) fn z(&self, rate: f64) -> f64 {
        let last = self.z.len() - 1;
        if rate >= self.far[0] {
            return self.z[0];
        }
        if rate < self.far[last] {
            return self.z[last] + (rate.ln() - self.far[last].ln()) / self.slope();
        }
        let right = self.far.partition_point(|knot| *knot > rate).clamp(1, last);
        let (from, to) = (self.far[right - 1].ln(), self.far[right].ln());
        self.z[right - 1] + (rate.ln() - from) / (to - from) * (self.z[right] - self.z[right - 1])
    }

    /// Returns the slope of the line beyond the last knot, which is negative.
    fn slope(&self) -> f64 {
        let last = self.z.len() - 1;
        let from = last.saturating_sub(LINE_KNOTS);
        (self.far[last].ln() - self.far[from].ln()) / (self.z[last] - self.z[from])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knots() -> Knots {
        Knots { z: vec![-0.1, 1.0, 2.0, 2.5, 3.0], far: vec![0.5, 0.1, 0.01, 0.003, 0.001] }
    }

    #[test]
    fn rates_and_scores_are_each_others_inverse() {
        let knots = knots();
        let cases = [(1.0, 0.1), (1.5, 0.1f64.sqrt() * 0.1), (3.0, 0.001), (-0.1, 0.5)];
        for (z, rate) in cases {
            assert!((knots.rate(z) - rate).abs() < 1e-12, "{z}: {}", knots.rate(z));
        }
        // The line through (1, 0.1) and (3, 0.001) falls by a decade per unit.
        assert!((knots.rate(4.0) - 1e-4).abs() < 1e-12, "{}", knots.rate(4.0));
        for z in [-0.1, 0.3, 1.0, 2.2, 2.7, 3.0, 3.5, 9.0] {
            assert!((knots.z(knots.rate(z)) - z).abs() < 1e-9, "{z}");
        }
        assert_eq!((knots.rate(-0.2), knots.z(0.7), knots.z(1.0)), (1.0, -0.1, -0.1));
    }

    #[test]
    fn knots_that_no_fit_gives_are_faulty() {
        assert_eq!(knots().fault(), None);
        let with = |change: fn(&mut Knots)| {
            let mut knots = knots();
            change(&mut knots);
            knots.fault()
        };
        for (change, reason) in [
            ((|knots| knots.far.truncate(4)) as fn(&mut Knots), "5 z and 4 rates"),
            (|knots| (knots.z, knots.far) = (vec![1.0], vec![0.1]), "at least 2"),
            (|knots| knots.far.swap(1, 2), "descending"),
            (|knots| knots.far[1] = knots.far[2], "descending"),
            (|knots| knots.z.swap(1, 2), "ascending"),
            (|knots| knots.z[4] = f64::INFINITY, "not finite"),
            (|knots| knots.far[0] = 1.0, "between 0 and 1"),
        ] {
            let fault = with(change).unwrap_or_default();
            assert!(fault.contains(reason), "{reason}: {fault}");
        }
    }
}
