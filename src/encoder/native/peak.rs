//! How many integers the CPU can multiply at the most, for benchmarks.

use std::hint::black_box;

use super::simd::{Simd, Task};

/// Sums that grow independently: enough to hide how long one addition takes, and few enough for registers.
const SUMS: usize = 10;

/// Multiplies and sums in registers; how many multiplications that was.
pub(super) fn multiply<S: Simd<LANES>, const LANES: usize>(simd: S, rounds: usize) -> usize {
    simd.run(Multiply { simd, rounds });
    rounds * SUMS * LANES * 2
}

struct Multiply<S, const LANES: usize> {
    simd: S,
    rounds: usize,
}

#[allow(clippy::inline_always, reason = "see Task")]
impl<S: Simd<LANES>, const LANES: usize> Task for Multiply<S, LANES> {
    #[inline(always)]
    fn run(self) {
        let Self { simd, rounds } = self;
        let mut sums = [simd.splat_bits(0); SUMS];
        let others: [[i32; LANES]; SUMS] = black_box(std::array::from_fn(|i| [i as i32; LANES]));
        for _ in 0..rounds {
            // Unknown anew each time, or products would be computed once for all.
            let values = simd.splat_bits(black_box(1));
            for (sum, other) in sums.iter_mut().zip(&others) {
                *sum = simd.dot(*sum, values, simd.load_ints(other));
            }
        }
        for sum in sums {
            let mut lanes = [0; LANES];
            simd.store_ints(sum, &mut lanes);
            black_box(lanes);
        }
    }
}
