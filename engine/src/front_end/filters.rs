//! Triangular filters over the bins of a spectrum.

use std::array;
use std::ops::RangeInclusive;

/// Bins of a filter that are multiplied at once.
pub(super) const LANES: usize = 4;

/// A filter: its first bin and the weights from there on, padded with zeros.
pub(super) struct Filter {
    first_bin: usize,
    weights: Vec<[f32; LANES]>,
}

impl Filter {
    /// Creates a filter from its bins and their weights.
    pub(super) fn new(bins: RangeInclusive<usize>, weight: impl Fn(usize) -> f32) -> Self {
        let first_bin = *bins.start();
        let bins: Vec<usize> = bins.collect();
        let lanes = |bins: &[usize]| array::from_fn(|lane| bins.get(lane).map_or(0.0, |bin| weight(*bin)));
        Self { first_bin, weights: bins.chunks(LANES).map(lanes).collect() }
    }

    /// Returns the weighted sum of a power spectrum, which has [`LANES`] zeros after its last bin.
    pub(super) fn apply(&self, power: &[f32]) -> f32 {
        // Uses several independent sums, because a single sum would wait for each addition in turn.
        let mut sums = [0.0; LANES];
        for (weights, power) in self.weights.iter().zip(power[self.first_bin..].as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                sums[lane] += weights[lane] * power[lane];
            }
        }
        sums.iter().sum()
    }
}
