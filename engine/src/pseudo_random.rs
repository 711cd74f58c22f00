//! Pseudo-random numbers that are the same in every run.

/// A random number generator (splitmix64).
pub(crate) struct PseudoRandom(pub(crate) u64);

impl PseudoRandom {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 up to, but not including, 1.
    #[cfg(test)]
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number from 0 up to, but not including, `n`. Returns 0 if `n` is 0.
    #[cfg(feature = "fit")]
    pub(crate) fn next_below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}
