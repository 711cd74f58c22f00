//! Measures how many integers the CPU can multiply and sum, for benchmarks. The set must have a single instruction for
//! this: with two instructions, the compiler would compute a constant product only once.

use std::hint::black_box;

use super::simd::{Simd, Task};

/// Sums that grow independently: enough of them to hide the latency of an addition, and few enough for the registers.
const SUMS: usize = 10;

/// Multiplies and sums in registers, and returns the number of multiplications.
pub(super) fn multiply<S: Simd<LANES>, const LANES: usize>(simd: S, rounds: usize) -> usize {
    simd.run(Multiply { simd, rounds });
    rounds * SUMS * LANES * 2
}

struct Multiply<S, const LANES: usize> {
    simd: S,
    rounds: usize,
}

#[allow(clippy::inline_always, reason = "see Task")]
#[allow(clippy::needless_range_loop, reason = "it is unrolled")]
impl<S: Simd<LANES>, const LANES: usize> Task for Multiply<S, LANES> {
    #[inline(always)]
    fn run(self) {
        let Self { simd, rounds } = self;
        let mut sums = [simd.no_sums(); SUMS];
        let factors = [simd.splat_bits(black_box(1)), simd.splat_bits(black_box(2))];
        for _ in 0..rounds {
            for i in 0..SUMS {
                sums[i] = simd.dot(sums[i], factors[0], factors[i % 2]);
            }
        }
        for sum in sums {
            let mut lanes = [0; LANES];
            simd.store_ints(simd.totals(sum), &mut lanes);
            black_box(lanes);
        }
    }
}
