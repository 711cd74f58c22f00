//! Convolutions over three frames with half of the products (Winograd's minimal filtering, F(4, 3)).
//!
//! A tile is four consecutive frames of outputs. They depend on six frames of inputs. Instead of twelve products (four
//! outputs of three taps), six products are computed: each of a sum of the input frames and a sum of the taps. The outputs
//! are sums of the six products. The factors follow from six points at which polynomials are evaluated and interpolated.
//! The points 0, 2/3, -2/3, 3/2, -3/2 and infinity keep all factors near 1, and so the rounding of integers small.
//!
//! Source: Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, 2015.

#![allow(clippy::inline_always, reason = "see `Task`")]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over products are unrolled, their arrays are registers"
)]

use super::convolution::{LARGEST, SMALLEST};
use super::simd::Simd;

/// Frames of outputs in a tile.
pub(super) const TILE_FRAMES: usize = 4;

/// Taps of a convolution.
pub(super) const TAPS: usize = 3;

/// Products of a tile, and frames of its inputs. The first is the frame before the tile.
pub(super) const PRODUCTS: usize = TILE_FRAMES + TAPS - 1;

/// The points other than 0 and infinity are `A`, `-A`, `B` and `-B`. Their product is 1.
const A: f32 = 2.0 / 3.0;
const B: f32 = 3.0 / 2.0;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// The points other than infinity.
const POINTS: [f32; PRODUCTS - 1] = [0.0, A, -A, B, -B];

/// Returns the factors of the taps in a product. The sum of their magnitudes is 1, so that all products of a convolution
/// have weights of a similar size, as they share one step.
pub(super) fn tap_factors(product: usize) -> [f32; TAPS] {
    match POINTS.get(product) {
        Some(point) => [1.0, *point, point * point].map(|power| power / magnitude(*point)),
        None => [0.0, 0.0, 1.0],
    }
}

const fn magnitude(point: f32) -> f32 {
    1.0 + point.abs() + point * point
}

/// The factors of the products for `A` and `B` in the first frame of a tile: the magnitude that [`tap_factors`] divides
/// by, over the product of the point's distances to all other points.
const OF_A: f32 = magnitude(A) / (2.0 * A2 * (A2 - B2));
const OF_B: f32 = magnitude(B) / (2.0 * B2 * (B2 - A2));

/// Computes the frames of a tile from its products.
#[inline(always)]
pub(super) fn combine<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    products: [S::Floats; PRODUCTS],
) -> [S::Floats; TILE_FRAMES] {
    let [zero, a, minus_a, b, minus_b, infinity] = products;
    let (even_a, odd_a) = (simd.add(a, minus_a), simd.sub(a, minus_a));
    let (even_b, odd_b) = (simd.add(b, minus_b), simd.sub(b, minus_b));
    [
        simd.mul_add(even_a, simd.splat(OF_A), simd.mul_add(even_b, simd.splat(OF_B), zero)),
        simd.mul_add(odd_a, simd.splat(OF_A * A), simd.mul(odd_b, simd.splat(OF_B * B))),
        simd.mul_add(even_a, simd.splat(OF_A * A2), simd.mul(even_b, simd.splat(OF_B * B2))),
        simd.mul_add(
            odd_a,
            simd.splat(OF_A * A2 * A),
            simd.mul_add(odd_b, simd.splat(OF_B * B2 * B), infinity),
        ),
    ]
}

/// Computes the six sums of a tile's input frames, whose values are not negative, and quantises them into pairs. Returns
/// their scales. `largest` has the largest value of each frame.
#[inline(always)]
pub(super) fn transform<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    frames: [&[f32]; PRODUCTS],
    largest: [f32; PRODUCTS],
    mut pairs: [&mut [i32]; PRODUCTS],
) -> [f32; PRODUCTS] {
    let bounds = bounds(largest);
    let is_small = bounds.map(|bound| bound < SMALLEST);
    let mut in_scales = [simd.splat(0.0); PRODUCTS];
    let mut scales = [0.0; PRODUCTS];
    for product in 0..PRODUCTS {
        if !is_small[product] {
            in_scales[product] = simd.splat(LARGEST / bounds[product]);
            scales[product] = bounds[product] / LARGEST;
        }
    }
    let frames = frames.map(|frame| frame.as_chunks::<LANES>().0.as_chunks::<2>().0);
    let n_vectors = frames[0].len();
    let frames = frames.map(|frame| &frame[..n_vectors]);
    let pairs = pairs.each_mut().map(|pairs| &mut pairs.as_chunks_mut::<LANES>().0[..n_vectors]);
    for i in 0..n_vectors {
        let mut halves = [[simd.splat_bits(0); PRODUCTS]; 2];
        for half in 0..2 {
            let mut values = [simd.splat(0.0); PRODUCTS];
            for frame in 0..PRODUCTS {
                values[frame] = simd.load(&frames[frame][i][half]);
            }
            let sums = sums(simd, values);
            for product in 0..PRODUCTS {
                halves[half][product] = simd.round(simd.mul(sums[product], in_scales[product]));
            }
        }
        for product in 0..PRODUCTS {
            simd.store_ints(simd.pair(halves[0][product], halves[1][product]), &mut pairs[product][i]);
        }
    }
    scales
}

/// Returns the sums of the input frames, one for each product.
#[inline(always)]
fn sums<S: Simd<LANES>, const LANES: usize>(simd: S, d: [S::Floats; PRODUCTS]) -> [S::Floats; PRODUCTS] {
    let squares = simd.splat(-(A2 + B2));
    let (even_a, odd_a) = even_and_odd(simd, d, A, B2);
    let (even_b, odd_b) = even_and_odd(simd, d, B, A2);
    [
        simd.mul_add(d[2], squares, simd.add(d[0], d[4])),
        simd.add(even_a, odd_a),
        simd.sub(even_a, odd_a),
        simd.add(even_b, odd_b),
        simd.sub(even_b, odd_b),
        simd.mul_add(d[3], squares, simd.add(d[1], d[5])),
    ]
}

/// Returns the even and the odd part of the sum for a point. `other` is the square of the other point.
#[inline(always)]
fn even_and_odd<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    d: [S::Floats; PRODUCTS],
    point: f32,
    other: f32,
) -> (S::Floats, S::Floats) {
    let even = simd.mul_add(d[2], simd.splat(-other), d[4]);
    let odd = simd.mul_add(d[1], simd.splat(-point * other), simd.mul(d[3], simd.splat(point)));
    (even, odd)
}

/// Returns a bound of each sum's magnitude, from the largest value of each frame. No value is negative, so terms of
/// different sign do not add up.
fn bounds(d: [f32; PRODUCTS]) -> [f32; PRODUCTS] {
    let of_point = |point: f32, other: f32| {
        let (d1, d3) = (point * other * d[1], point * d[3]);
        [(d[4] + d3).max(other * d[2] + d1), (d[4] + d1).max(other * d[2] + d3)]
    };
    let ([a, minus_a], [b, minus_b]) = (of_point(A, B2), of_point(B, A2));
    let squares = A2 + B2;
    [(d[0] + d[4]).max(squares * d[2]), a, minus_a, b, minus_b, (d[1] + d[5]).max(squares * d[3])]
}

#[cfg(test)]
mod tests {
    use super::super::self_check::noise;
    use super::super::simd::Portable;
    use super::*;

    #[test]
    fn a_tile_is_the_convolution_of_its_frames() {
        const LANES: usize = 8;
        let mut noise = noise();
        for loud in [1.0, 1_000.0] {
            let frames: [Vec<f32>; PRODUCTS] =
                std::array::from_fn(|_| (0..2 * LANES).map(|_| loud * noise()).collect());
            let taps: [f32; TAPS] = std::array::from_fn(|_| noise() - 0.5);
            let largest = frames.each_ref().map(|frame| frame.iter().copied().fold(0.0, f32::max));
            let mut pairs = [[0_i32; LANES]; PRODUCTS];
            let scales = transform(
                Portable,
                frames.each_ref().map(Vec::as_slice),
                largest,
                pairs.each_mut().map(|p| &mut p[..]),
            );
            let mut products = [[[0.0_f32; LANES]; 2]; PRODUCTS];
            for product in 0..PRODUCTS {
                let weight: f32 =
                    tap_factors(product).iter().zip(taps).map(|(factor, tap)| factor * tap).sum();
                for (lane, pair) in pairs[product].iter().enumerate() {
                    for (half, value) in [pair << 16 >> 16, pair >> 16].into_iter().enumerate() {
                        assert!(value.abs() <= LARGEST as i32);
                        products[product][half][lane] = weight * value as f32 * scales[product];
                    }
                }
            }
            let halves = [0, 1].map(|half| combine(Portable, products.map(|product| product[half])));
            let outputs: [Vec<f32>; TILE_FRAMES] =
                std::array::from_fn(|frame| halves.map(|frames| frames[frame]).concat());
            for (first, output) in outputs.iter().enumerate() {
                for (place, actual) in output.iter().enumerate() {
                    let expected: f32 = (0..TAPS).map(|tap| taps[tap] * frames[first + tap][place]).sum();
                    assert!((actual - expected).abs() < 2e-3 * loud, "{first} {place}: {actual}, {expected}");
                }
            }
        }
    }
}
