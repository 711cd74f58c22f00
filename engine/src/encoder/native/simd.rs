//! Vector instructions behind safe functions. Only this file contains unsafe code.
//!
//! Every set performs the same correctly rounded operations on each lane, so all sets give the same bits. [`Portable`]
//! defines the operations in plain Rust. A value of another set exists only if the CPU has its instructions, which
//! makes its functions safe.
#![allow(unsafe_code, reason = "vector instructions")]

/// `LANES` numbers of 32 bits at a time.
pub(super) trait Simd<const LANES: usize>: Copy + Send + Sync + 'static {
    /// A vector of `f32`.
    type Floats: Copy;

    /// A vector of `i32`.
    type Ints: Copy;

    /// A vector of sums of products. A set may keep each sum in several parts.
    type Sums: Copy;

    /// The maximum number of rows in a tile. The registers hold four sums for each row.
    const MAX_ROWS: usize;

    /// Runs a task in code that is compiled for these instructions.
    fn run<T: Task>(self, task: T);

    /// Returns the same number in every lane.
    fn splat(self, value: f32) -> Self::Floats;

    fn load(self, from: &[f32; LANES]) -> Self::Floats;

    fn store(self, value: Self::Floats, to: &mut [f32; LANES]);

    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// Returns `a * b + c`, rounded once.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// Clamps numbers between two bounds. The numbers must not be NaN.
    fn clamp(self, value: Self::Floats, low: f32, high: f32) -> Self::Floats;

    /// Returns the larger of two numbers, which must not be NaN.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// Adds the lowest nine bits of `exponent` to the exponent of `value`.
    fn add_exponent(self, value: Self::Floats, exponent: Self::Floats) -> Self::Floats;

    /// Returns the same bits in every lane.
    fn splat_bits(self, value: i32) -> Self::Ints;

    fn load_ints(self, from: &[i32; LANES]) -> Self::Ints;

    fn store_ints(self, value: Self::Ints, to: &mut [i32; LANES]);

    /// Returns sums of zero.
    fn no_sums(self) -> Self::Sums;

    /// Returns `sum + a.low * b.low + a.high * b.high`, where each lane of `a` and `b` holds two integers of 16 bits.
    fn dot(self, sum: Self::Sums, a: Self::Ints, b: Self::Ints) -> Self::Sums;

    /// Adds the parts of each sum.
    fn totals(self, sums: Self::Sums) -> Self::Ints;

    fn add_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// Combines integers of 16 bits in lanes of 32 into lanes that hold a pair.
    fn pair(self, low: Self::Ints, high: Self::Ints) -> Self::Ints;

    /// Splits lanes that hold a pair of 16-bit integers into the low and the high ones.
    fn unpair(self, pairs: Self::Ints) -> [Self::Ints; 2];

    fn to_floats(self, value: Self::Ints) -> Self::Floats;

    /// Returns the nearest integers. Halves go to the even neighbour.
    fn round(self, value: Self::Floats) -> Self::Ints;
}

/// A task for [`Simd::run`]. An implementation, and every function and closure on its way to a vector, is
/// `#[inline(always)]`: a function that is not inlined is compiled without the instructions.
pub(super) trait Task {
    fn run(self);
}

/// Plain code without special instructions. It defines, lane by lane, what the other sets must do.
#[derive(Clone, Copy)]
pub(super) struct Portable;

/// The number of lanes of [`Portable`].
const PORTABLE_LANES: usize = 8;

#[allow(clippy::inline_always, reason = "see Task")]
impl Simd<PORTABLE_LANES> for Portable {
    type Floats = [f32; PORTABLE_LANES];
    type Ints = [i32; PORTABLE_LANES];
    type Sums = Self::Ints;

    const MAX_ROWS: usize = 4;

    #[inline(always)]
    fn run<T: Task>(self, task: T) {
        task.run();
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Floats {
        [value; PORTABLE_LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; PORTABLE_LANES]) -> Self::Floats {
        *from
    }

    #[inline(always)]
    fn store(self, value: Self::Floats, to: &mut [f32; PORTABLE_LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn clamp(self, value: Self::Floats, low: f32, high: f32) -> Self::Floats {
        value.map(|value| value.clamp(low, high))
    }

    #[inline(always)]
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // Of two zeros, the instruction returns the second.
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn add_exponent(self, value: Self::Floats, exponent: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| {
            f32::from_bits(
                value[i].to_bits().wrapping_add(exponent[i].to_bits() << (f32::MANTISSA_DIGITS - 1)),
            )
        })
    }

    #[inline(always)]
    fn splat_bits(self, value: i32) -> Self::Ints {
        [value; PORTABLE_LANES]
    }

    #[inline(always)]
    fn load_ints(self, from: &[i32; PORTABLE_LANES]) -> Self::Ints {
        *from
    }

    #[inline(always)]
    fn store_ints(self, value: Self::Ints, to: &mut [i32; PORTABLE_LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn no_sums(self) -> Self::Sums {
        [0; PORTABLE_LANES]
    }

    #[inline(always)]
    fn totals(self, sums: Self::Sums) -> Self::Ints {
        sums
    }

    #[inline(always)]
    fn dot(self, sum: Self::Sums, a: Self::Ints, b: Self::Ints) -> Self::Sums {
        let low = |x: i32| i32::from(x as i16);
        let high = |x: i32| x >> 16;
        std::array::from_fn(|i| sum[i] + low(a[i]) * low(b[i]) + high(a[i]) * high(b[i]))
    }

    #[inline(always)]
    fn add_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn pair(self, low: Self::Ints, high: Self::Ints) -> Self::Ints {
        std::array::from_fn(|i| low[i] & 0xffff | high[i] << 16)
    }

    #[inline(always)]
    fn unpair(self, pairs: Self::Ints) -> [Self::Ints; 2] {
        [pairs.map(|pair| i32::from(pair as i16)), pairs.map(|pair| pair >> 16)]
    }

    #[inline(always)]
    fn to_floats(self, value: Self::Ints) -> Self::Floats {
        value.map(|value| value as f32)
    }

    #[inline(always)]
    fn round(self, value: Self::Floats) -> Self::Ints {
        value.map(|value| value.round_ties_even() as i32)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512Vnni, AvxVnni};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "there are forty of them")]
    use std::arch::x86_64::*;

    use crate::encoder::native::simd::{Simd, Task};

    /// Defines a set whose vectors are `__m512` or `__m256`.
    macro_rules! instruction_set {
        (
            $(#[$doc:meta])* $name:ident, $lanes:literal lanes, $rows:literal rows, $floats:ty, $ints:ty,
            detected by [$($detected:tt)+], compiled with $features:literal,
            $load:ident $store:ident $load_ints:ident $store_ints:ident $splat:ident $splat_bits:ident
            $add:ident $sub:ident $mul:ident $div:ident $mul_add:ident $min:ident $max:ident
            $bits:ident $from_bits:ident $add_ints:ident $shift_left:ident $shift_right:ident $and:ident $or:ident
            $to_floats:ident $round:ident, $dot:expr
        ) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(in super::super) struct $name(());

            impl $name {
                /// Returns the set if this CPU has it.
                pub(in super::super) fn detect() -> Option<Self> {
                    ($(is_x86_feature_detected!($detected) &&)+ true).then_some(Self(()))
                }
            }

            // SAFETY of the blocks below: these functions only require the set's instructions, and a value of the set
            // exists only if `detect` found them. Functions that take pointers get them from references to arrays as
            // long as a vector.
            #[allow(clippy::inline_always, reason = "see Task")]
            impl Simd<$lanes> for $name {
                type Floats = $floats;
                type Ints = $ints;
                type Sums = $ints;

                const MAX_ROWS: usize = $rows;

                #[inline(always)]
                fn run<T: Task>(self, task: T) {
                    #[target_feature(enable = $features)]
                    fn run<T: Task>(task: T) {
                        task.run();
                    }
                    // SAFETY: see above.
                    unsafe { run(task) }
                }

                #[inline(always)]
                fn splat(self, value: f32) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                fn load(self, from: &[f32; $lanes]) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $load(from.as_ptr()) }
                }

                #[inline(always)]
                fn store(self, value: Self::Floats, to: &mut [f32; $lanes]) {
                    // SAFETY: see above.
                    unsafe { $store(to.as_mut_ptr(), value) }
                }

                #[inline(always)]
                fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $add(a, b) }
                }

                #[inline(always)]
                fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $sub(a, b) }
                }

                #[inline(always)]
                fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $mul(a, b) }
                }

                #[inline(always)]
                fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $div(a, b) }
                }

                #[inline(always)]
                fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $mul_add(a, b, c) }
                }

                #[inline(always)]
                fn clamp(self, value: Self::Floats, low: f32, high: f32) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $min($splat(high), $max($splat(low), value)) }
                }

                #[inline(always)]
                fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $max(a, b) }
                }

                #[inline(always)]
                fn add_exponent(self, value: Self::Floats, exponent: Self::Floats) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $from_bits($add_ints($bits(value), $shift_left::<23>($bits(exponent)))) }
                }

                #[inline(always)]
                fn splat_bits(self, value: i32) -> Self::Ints {
                    // SAFETY: see above.
                    unsafe { $splat_bits(value) }
                }

                #[inline(always)]
                fn load_ints(self, from: &[i32; $lanes]) -> Self::Ints {
                    // SAFETY: see above.
                    unsafe { $load_ints(from.as_ptr().cast()) }
                }

                #[inline(always)]
                fn store_ints(self, value: Self::Ints, to: &mut [i32; $lanes]) {
                    // SAFETY: see above.
                    unsafe { $store_ints(to.as_mut_ptr().cast(), value) }
                }

                #[inline(always)]
                fn no_sums(self) -> Self::Sums {
                    self.splat_bits(0)
                }

                #[inline(always)]
                fn totals(self, sums: Self::Sums) -> Self::Ints {
                    sums
                }

                #[inline(always)]
                fn dot(self, sum: Self::Sums, a: Self::Ints, b: Self::Ints) -> Self::Sums {
                    // SAFETY: see above.
                    unsafe { $dot(sum, a, b) }
                }

                #[inline(always)]
                fn add_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints {
                    // SAFETY: see above.
                    unsafe { $add_ints(a, b) }
                }

                #[inline(always)]
                fn pair(self, low: Self::Ints, high: Self::Ints) -> Self::Ints {
                    // SAFETY: see above.
                    unsafe { $or($and(low, $splat_bits(0xffff)), $shift_left::<16>(high)) }
                }

                #[inline(always)]
                fn unpair(self, pairs: Self::Ints) -> [Self::Ints; 2] {
                    // SAFETY: see above.
                    unsafe { [$shift_right::<16>($shift_left::<16>(pairs)), $shift_right::<16>(pairs)] }
                }

                #[inline(always)]
                fn to_floats(self, value: Self::Ints) -> Self::Floats {
                    // SAFETY: see above.
                    unsafe { $to_floats(value) }
                }

                #[inline(always)]
                fn round(self, value: Self::Floats) -> Self::Ints {
                    // SAFETY: see above.
                    unsafe { $round(value) }
                }
            }
        };
    }

    instruction_set! {
        /// AVX-512 with VNNI.
        Avx512Vnni, 16 lanes, 6 rows, __m512, __m512i,
        detected by ["avx512f" "avx512vnni"], compiled with "avx512f,avx512vnni",
        _mm512_loadu_ps _mm512_storeu_ps _mm512_loadu_si512 _mm512_storeu_si512 _mm512_set1_ps _mm512_set1_epi32
        _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps _mm512_fmadd_ps _mm512_min_ps _mm512_max_ps
        _mm512_castps_si512 _mm512_castsi512_ps _mm512_add_epi32 _mm512_slli_epi32 _mm512_srai_epi32 _mm512_and_si512 _mm512_or_si512
        _mm512_cvtepi32_ps _mm512_cvtps_epi32, _mm512_dpwssd_epi32
    }

    instruction_set! {
        /// AVX2 with AVX-VNNI.
        AvxVnni, 8 lanes, 2 rows, __m256, __m256i,
        detected by ["avx2" "fma" "avxvnni"], compiled with "avx2,fma,avxvnni",
        _mm256_loadu_ps _mm256_storeu_ps _mm256_loadu_si256 _mm256_storeu_si256 _mm256_set1_ps _mm256_set1_epi32
        _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_min_ps _mm256_max_ps
        _mm256_castps_si256 _mm256_castsi256_ps _mm256_add_epi32 _mm256_slli_epi32 _mm256_srai_epi32 _mm256_and_si256 _mm256_or_si256
        _mm256_cvtepi32_ps _mm256_cvtps_epi32, _mm256_dpwssd_avx_epi32
    }

    instruction_set! {
        /// AVX2 with FMA.
        Avx2, 8 lanes, 2 rows, __m256, __m256i,
        detected by ["avx2" "fma"], compiled with "avx2,fma",
        _mm256_loadu_ps _mm256_storeu_ps _mm256_loadu_si256 _mm256_storeu_si256 _mm256_set1_ps _mm256_set1_epi32
        _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_min_ps _mm256_max_ps
        _mm256_castps_si256 _mm256_castsi256_ps _mm256_add_epi32 _mm256_slli_epi32 _mm256_srai_epi32 _mm256_and_si256 _mm256_or_si256
        _mm256_cvtepi32_ps _mm256_cvtps_epi32, |sum, a, b| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    #[allow(clippy::wildcard_imports, reason = "there are thirty of them")]
    use std::arch::aarch64::*;

    use crate::encoder::native::simd::{Simd, Task};

    /// NEON.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Neon(());

    impl Neon {
        /// Returns NEON if this CPU has it.
        pub(in super::super) fn detect() -> Option<Self> {
            std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
        }
    }

    // SAFETY of the blocks below: these functions only require NEON, and a value exists only if `detect` found it.
    // Functions that take pointers get them from references to arrays as long as a vector.
    #[allow(clippy::inline_always, reason = "see Task")]
    impl Simd<4> for Neon {
        type Floats = float32x4_t;
        type Ints = int32x4_t;

        /// Products of the lower two lanes and of the upper two. The two products of a pair are adjacent.
        type Sums = [int32x4_t; 2];

        const MAX_ROWS: usize = 3;

        #[inline(always)]
        fn run<T: Task>(self, task: T) {
            #[target_feature(enable = "neon")]
            fn run<T: Task>(task: T) {
                task.run();
            }
            // SAFETY: see above.
            unsafe { run(task) }
        }

        #[inline(always)]
        fn splat(self, value: f32) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vdupq_n_f32(value) }
        }

        #[inline(always)]
        fn load(self, from: &[f32; 4]) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vld1q_f32(from.as_ptr()) }
        }

        #[inline(always)]
        fn store(self, value: Self::Floats, to: &mut [f32; 4]) {
            // SAFETY: see above.
            unsafe { vst1q_f32(to.as_mut_ptr(), value) }
        }

        #[inline(always)]
        fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vaddq_f32(a, b) }
        }

        #[inline(always)]
        fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vsubq_f32(a, b) }
        }

        #[inline(always)]
        fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vmulq_f32(a, b) }
        }

        #[inline(always)]
        fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vdivq_f32(a, b) }
        }

        #[inline(always)]
        fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vfmaq_f32(c, a, b) }
        }

        #[inline(always)]
        fn clamp(self, value: Self::Floats, low: f32, high: f32) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vminq_f32(vdupq_n_f32(high), vmaxq_f32(vdupq_n_f32(low), value)) }
        }

        #[inline(always)]
        fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vmaxq_f32(a, b) }
        }

        #[inline(always)]
        fn add_exponent(self, value: Self::Floats, exponent: Self::Floats) -> Self::Floats {
            // SAFETY: see above.
            unsafe {
                let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(exponent));
                vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(value), exponent))
            }
        }

        #[inline(always)]
        fn splat_bits(self, value: i32) -> Self::Ints {
            // SAFETY: see above.
            unsafe { vdupq_n_s32(value) }
        }

        #[inline(always)]
        fn load_ints(self, from: &[i32; 4]) -> Self::Ints {
            // SAFETY: see above.
            unsafe { vld1q_s32(from.as_ptr()) }
        }

        #[inline(always)]
        fn store_ints(self, value: Self::Ints, to: &mut [i32; 4]) {
            // SAFETY: see above.
            unsafe { vst1q_s32(to.as_mut_ptr(), value) }
        }

        #[inline(always)]
        fn no_sums(self) -> Self::Sums {
            [self.splat_bits(0); 2]
        }

        #[inline(always)]
        fn dot(self, [lower, upper]: Self::Sums, a: Self::Ints, b: Self::Ints) -> Self::Sums {
            // SAFETY: see above.
            unsafe {
                let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
                [vmlal_s16(lower, vget_low_s16(a), vget_low_s16(b)), vmlal_high_s16(upper, a, b)]
            }
        }

        #[inline(always)]
        fn totals(self, [lower, upper]: Self::Sums) -> Self::Ints {
            // SAFETY: see above.
            unsafe { vpaddq_s32(lower, upper) }
        }

        #[inline(always)]
        fn add_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints {
            // SAFETY: see above.
            unsafe { vaddq_s32(a, b) }
        }

        #[inline(always)]
        fn pair(self, low: Self::Ints, high: Self::Ints) -> Self::Ints {
            // SAFETY: see above.
            unsafe { vsliq_n_s32::<16>(low, high) }
        }

        #[inline(always)]
        fn unpair(self, pairs: Self::Ints) -> [Self::Ints; 2] {
            // SAFETY: see above.
            unsafe { [vshrq_n_s32::<16>(vshlq_n_s32::<16>(pairs)), vshrq_n_s32::<16>(pairs)] }
        }

        #[inline(always)]
        fn to_floats(self, value: Self::Ints) -> Self::Floats {
            // SAFETY: see above.
            unsafe { vcvtq_f32_s32(value) }
        }

        #[inline(always)]
        fn round(self, value: Self::Floats) -> Self::Ints {
            // SAFETY: see above.
            unsafe { vcvtnq_s32_f32(value) }
        }
    }
}
