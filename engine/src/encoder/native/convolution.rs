//! Convolutions in 16-bit integers, written once for all instruction sets.
//!
//! The input of a convolution is a sequence of frames. The values of a frame are integer multiples of one number, the
//! frame's scale, so that none exceeds [`LARGEST`]. Weights have one scale per output, so that no sum of products within
//! one frame can exceed 32 bits. Those sums are exact. The sums over frames and everything else are floats, with the same
//! operations everywhere.

#![allow(clippy::inline_always, reason = "see `Task`")]
#![allow(clippy::needless_range_loop, reason = "loops over rows are unrolled, their arrays are registers")]

use std::array;

use super::simd::Simd;
use super::weights::{Aligned, HIDDEN_SCALE, QuantisedRow, paired};

/// The largest integer that represents a value of a frame. It equals a hidden value of 1, for which rows of weights are bounded.
pub(super) const LARGEST: f32 = HIDDEN_SCALE;

/// A frame counts as zeros if its largest value is below this.
pub(super) const SMALLEST: f32 = 1e-20;

/// Vectors of outputs in a tile.
const VECTORS: usize = 2;

/// The weights of a convolution, as floats.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvolutionWeights {
    /// `[outputs, inputs, ...]`, as in ONNX.
    pub shape: Vec<usize>,
    /// The weights in row-major order.
    pub values: Vec<f32>,
    /// One bias per output.
    pub bias: Option<Vec<f32>>,
}

/// A convolution whose outputs are a multiple of `2 * LANES`.
pub(super) struct Convolution<const LANES: usize> {
    /// Pairs of values per tap.
    n_pairs: usize,
    blocks: Vec<WeightBlock<LANES>>,
}

/// Weights of two vectors of outputs.
struct WeightBlock<const LANES: usize> {
    /// Tap after tap, pair after pair.
    weights: Vec<Aligned<[[i32; LANES]; VECTORS]>>,
    scale: [[f32; LANES]; VECTORS],
    bias: [[f32; LANES]; VECTORS],
}

impl<const LANES: usize> Convolution<LANES> {
    /// Packs weights. `weight` returns the weight of an output, a tap and a value.
    pub(super) fn new(
        [n_outputs, n_taps, n_values]: [usize; 3],
        weight: impl Fn(usize, usize, usize) -> f32,
        bias: Option<&[f32]>,
    ) -> Self {
        assert!(n_outputs.is_multiple_of(VECTORS * LANES) && n_values.is_multiple_of(2 * LANES));
        let n_pairs = n_values / 2;
        let block = |block: usize| {
            let mut packed = WeightBlock {
                weights: vec![Aligned([[0; LANES]; VECTORS]); n_taps * n_pairs],
                scale: [[0.0; LANES]; VECTORS],
                bias: [[0.0; LANES]; VECTORS],
            };
            for (vector, lane) in (0..VECTORS).flat_map(|v| (0..LANES).map(move |lane| (v, lane))) {
                let output = (block * VECTORS + vector) * LANES + lane;
                let row: Vec<f32> = (0..n_taps)
                    .flat_map(|tap| (0..n_values).map(move |value| (tap, value)))
                    .map(|(tap, value)| weight(output, tap, value))
                    .collect();
                // Rounding adds at most a half to each weight, and to the largest value.
                let row = QuantisedRow::of_taps(&row, n_values, n_values as f64);
                packed.scale[vector][lane] = row.step as f32;
                packed.bias[vector][lane] = bias.map_or(0.0, |bias| bias[output]);
                for (tap, of_tap) in row.weights.chunks(n_values).enumerate() {
                    for pair in 0..n_pairs {
                        packed.weights[tap * n_pairs + pair].0[vector][lane] = paired::<LANES>(of_tap, pair);
                    }
                }
            }
            packed
        };
        Self { n_pairs, blocks: (0..n_outputs / (VECTORS * LANES)).map(block).collect() }
    }

    pub(super) fn n_outputs(&self) -> usize {
        self.blocks.len() * VECTORS * LANES
    }

    /// Computes rows of outputs, `ROWS` at a time, and raises outputs below `least` to `least`. `rows` yields the place
    /// of each row. `tap` returns the values and the scale of a tap at a place.
    #[inline(always)]
    pub(super) fn run<'a, S: Simd<LANES>, P: Copy, const ROWS: usize>(
        &self,
        simd: S,
        rows: impl ExactSizeIterator<Item = P>,
        tap: impl Fn(P, usize) -> (&'a [i32], f32),
        least: f32,
        outputs: &mut [f32],
    ) {
        let least = simd.splat(least);
        let n_outputs = self.n_outputs();
        for_each_tile(
            rows,
            #[inline(always)]
            |first: usize, places: [P; ROWS], n_here: usize| {
                for (b, block) in self.blocks.iter().enumerate() {
                    let mut totals = [[simd.splat(0.0); VECTORS]; ROWS];
                    for (t, weights) in block.weights.chunks_exact(self.n_pairs).enumerate() {
                        let (sums, scales) = multiply_tap(simd, weights, places, t, &tap);
                        for row in 0..ROWS {
                            let scale = simd.splat(scales[row]);
                            for vector in 0..VECTORS {
                                let sum = simd.to_floats(sums[row][vector]);
                                totals[row][vector] = simd.mul_add(sum, scale, totals[row][vector]);
                            }
                        }
                    }
                    for row in 0..n_here {
                        let outputs = &mut outputs[(first + row) * n_outputs..][..n_outputs];
                        let (outputs, _) = outputs.as_chunks_mut::<LANES>();
                        for vector in 0..VECTORS {
                            let output = block.scaled(simd, vector, totals[row][vector]);
                            simd.store(simd.max(output, least), &mut outputs[b * VECTORS + vector]);
                        }
                    }
                }
            },
        );
    }

    /// Like [`Self::run`], for rows of `FRAMES` frames of outputs. `combine` computes them from the products of the taps.
    /// `begin_of` returns where the outputs of a place and a frame begin.
    #[inline(always)]
    pub(super) fn run_combined<
        'a,
        S: Simd<LANES>,
        P: Copy,
        const ROWS: usize,
        const PRODUCTS: usize,
        const FRAMES: usize,
    >(
        &self,
        simd: S,
        rows: impl ExactSizeIterator<Item = P>,
        tap: impl Fn(P, usize) -> (&'a [i32], f32),
        combine: impl Fn([S::Floats; PRODUCTS]) -> [S::Floats; FRAMES],
        begin_of: impl Fn(P, usize) -> usize,
        outputs: &mut [f32],
    ) {
        let n_outputs = self.n_outputs();
        for_each_tile(
            rows,
            #[inline(always)]
            |_, places: [P; ROWS], n_here: usize| {
                for (b, block) in self.blocks.iter().enumerate() {
                    let mut products = [[[simd.splat(0.0); VECTORS]; ROWS]; PRODUCTS];
                    for (t, weights) in block.weights.chunks_exact(self.n_pairs).take(PRODUCTS).enumerate() {
                        let (sums, scales) = multiply_tap(simd, weights, places, t, &tap);
                        for row in 0..ROWS {
                            let scale = simd.splat(scales[row]);
                            for vector in 0..VECTORS {
                                products[t][row][vector] = simd.mul(simd.to_floats(sums[row][vector]), scale);
                            }
                        }
                    }
                    for row in 0..n_here {
                        for vector in 0..VECTORS {
                            let frames = combine(array::from_fn(
                                #[inline(always)]
                                |t| products[t][row][vector],
                            ));
                            for (frame, total) in frames.into_iter().enumerate() {
                                let begin = begin_of(places[row], frame);
                                let (outputs, _) = outputs[begin..begin + n_outputs].as_chunks_mut::<LANES>();
                                let output = block.scaled(simd, vector, total);
                                simd.store(output, &mut outputs[b * VECTORS + vector]);
                            }
                        }
                    }
                }
            },
        );
    }
}

impl<const LANES: usize> WeightBlock<LANES> {
    /// Converts sums of integers into a vector of outputs.
    #[inline(always)]
    fn scaled<S: Simd<LANES>>(&self, simd: S, vector: usize, total: S::Floats) -> S::Floats {
        simd.mul_add(total, simd.load(&self.scale[vector]), simd.load(&self.bias[vector]))
    }
}

/// Passes on `ROWS` places at a time, with the number of the first and how many there are. If fewer are left, the last is
/// repeated.
#[inline(always)]
fn for_each_tile<P: Copy, const ROWS: usize>(
    mut rows: impl ExactSizeIterator<Item = P>,
    mut each: impl FnMut(usize, [P; ROWS], usize),
) {
    let n_rows = rows.len();
    let Some(mut place) = rows.next() else { return };
    for first in (0..n_rows).step_by(ROWS) {
        let mut places = [place; ROWS];
        for row in 0..ROWS {
            places[row] = place;
            if let Some(next) = rows.next() {
                place = next;
            }
        }
        each(first, places, ROWS.min(n_rows - first));
    }
}

/// Multiplies the values of a tap at `ROWS` places by its weights. Returns the sums, and the scale of each place.
#[inline(always)]
fn multiply_tap<'a, S: Simd<LANES>, P: Copy, const LANES: usize, const ROWS: usize>(
    simd: S,
    weights: &[Aligned<[[i32; LANES]; VECTORS]>],
    places: [P; ROWS],
    t: usize,
    tap: &impl Fn(P, usize) -> (&'a [i32], f32),
) -> ([[S::Ints; VECTORS]; ROWS], [f32; ROWS]) {
    let mut values: [&[i32]; ROWS] = [&[]; ROWS];
    let mut scales = [0.0; ROWS];
    for row in 0..ROWS {
        (values[row], scales[row]) = tap(places[row], t);
    }
    (multiply::<S, LANES, ROWS>(simd, weights, values), scales)
}

/// Multiplies rows of values by the weights of a block within one tap.
#[inline(always)]
fn multiply<S: Simd<LANES>, const LANES: usize, const ROWS: usize>(
    simd: S,
    weights: &[Aligned<[[i32; LANES]; VECTORS]>],
    values: [&[i32]; ROWS],
) -> [[S::Ints; VECTORS]; ROWS] {
    let n_pairs = weights.len();
    let mut inputs: [&[i32]; ROWS] = [&[]; ROWS];
    for row in 0..ROWS {
        inputs[row] = &values[row][..n_pairs];
    }
    let mut sums = [[simd.no_sums(); VECTORS]; ROWS];
    for (pair, Aligned(weights)) in weights.iter().enumerate() {
        let vectors = [simd.load_ints(&weights[0]), simd.load_ints(&weights[1])];
        for row in 0..ROWS {
            let value = simd.splat_bits(inputs[row][pair]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.dot(sums[row][vector], vectors[vector], value);
            }
        }
    }
    let mut totals = [[simd.splat_bits(0); VECTORS]; ROWS];
    for row in 0..ROWS {
        for vector in 0..VECTORS {
            totals[row][vector] = simd.totals(sums[row][vector]);
        }
    }
    totals
}

/// Quantises values that are not negative into pairs and returns their scale. Their number must be a multiple of `2 * LANES`.
#[inline(always)]
pub(super) fn quantise<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    values: &[f32],
    pairs: &mut [i32],
) -> f32 {
    let mut largest = [simd.splat(0.0); 2];
    for [low, high] in values.as_chunks::<LANES>().0.as_chunks().0 {
        largest = [simd.max(largest[0], simd.load(low)), simd.max(largest[1], simd.load(high))];
    }
    quantise_up_to(simd, largest_of(simd, largest), values, pairs)
}

/// Like [`quantise`], for values of either sign.
#[inline(always)]
pub(super) fn quantise_magnitudes<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    values: &[f32],
    pairs: &mut [i32],
) -> f32 {
    let zero = simd.splat(0.0);
    let mut largest = [zero; 2];
    for vectors in values.as_chunks::<LANES>().0.as_chunks::<2>().0 {
        for half in 0..2 {
            let value = simd.load(&vectors[half]);
            largest[half] = simd.max(largest[half], simd.max(value, simd.sub(zero, value)));
        }
    }
    quantise_up_to(simd, largest_of(simd, largest), values, pairs)
}

/// Returns the largest number in two vectors, or zero if all are negative.
#[inline(always)]
pub(super) fn largest_of<S: Simd<LANES>, const LANES: usize>(simd: S, vectors: [S::Floats; 2]) -> f32 {
    let mut lanes = [0.0; LANES];
    simd.store(simd.max(vectors[0], vectors[1]), &mut lanes);
    let mut largest = 0.0;
    for lane in lanes {
        largest = if lane > largest { lane } else { largest };
    }
    largest
}

/// Like [`quantise`], if the largest value is already known.
#[inline(always)]
pub(super) fn quantise_up_to<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    largest: f32,
    values: &[f32],
    pairs: &mut [i32],
) -> f32 {
    if largest < SMALLEST {
        pairs.fill(0);
        return 0.0;
    }
    let in_scale = simd.splat(LARGEST / largest);
    let pairs = pairs.as_chunks_mut::<LANES>().0.iter_mut();
    for (pair, vectors) in pairs.zip(values.as_chunks::<LANES>().0.as_chunks::<2>().0) {
        let low = simd.round(simd.mul(simd.load(&vectors[0]), in_scale));
        let high = simd.round(simd.mul(simd.load(&vectors[1]), in_scale));
        simd.store_ints(simd.pair(low, high), pair);
    }
    largest / LARGEST
}

/// A product with a matrix of floats. The number of outputs must be a multiple of `2 * LANES`.
pub(super) struct Linear<const LANES: usize> {
    n_inputs: usize,
    /// For each two vectors of outputs, the weights of one input after the other.
    blocks: Vec<Vec<Aligned<[[f32; LANES]; VECTORS]>>>,
    bias: Vec<[[f32; LANES]; VECTORS]>,
}

impl<const LANES: usize> Linear<LANES> {
    /// Packs weights of shape `[outputs, inputs]`.
    pub(super) fn new(weights: &ConvolutionWeights) -> Self {
        let n_outputs = weights.shape[0];
        let n_inputs = weights.values.len() / n_outputs;
        assert!(n_outputs.is_multiple_of(VECTORS * LANES));
        let output = |block: usize, vector: usize, lane: usize| (block * VECTORS + vector) * LANES + lane;
        let block = |block: usize| {
            let of_input = |input: usize| {
                let weight = |vector, lane| weights.values[output(block, vector, lane) * n_inputs + input];
                Aligned(array::from_fn(|vector| array::from_fn(|lane| weight(vector, lane))))
            };
            (0..n_inputs).map(of_input).collect()
        };
        let bias = |block: usize| {
            let bias =
                |vector, lane| weights.bias.as_ref().map_or(0.0, |bias| bias[output(block, vector, lane)]);
            array::from_fn(|vector| array::from_fn(|lane| bias(vector, lane)))
        };
        let blocks = 0..n_outputs / (VECTORS * LANES);
        Self { n_inputs, blocks: blocks.clone().map(block).collect(), bias: blocks.map(bias).collect() }
    }

    #[inline(always)]
    pub(super) fn run<S: Simd<LANES>>(&self, simd: S, inputs: &[f32], outputs: &mut [f32]) {
        let inputs = &inputs[..self.n_inputs];
        self.run_rows::<S, 1>(simd, |_, input| inputs[input], outputs);
    }

    /// Computes `ROWS` rows of outputs together. `input` returns an input of a row.
    #[inline(always)]
    pub(super) fn run_rows<S: Simd<LANES>, const ROWS: usize>(
        &self,
        simd: S,
        input: impl Fn(usize, usize) -> f32,
        outputs: &mut [f32],
    ) {
        let n_vectors = self.blocks.len() * VECTORS;
        let outputs = &mut outputs.as_chunks_mut::<LANES>().0[..ROWS * n_vectors];
        for (b, (weights, bias)) in self.blocks.iter().zip(&self.bias).enumerate() {
            let mut sums = [[simd.load(&bias[0]), simd.load(&bias[1])]; ROWS];
            for (i, Aligned(weights)) in weights.iter().enumerate() {
                let weights = [simd.load(&weights[0]), simd.load(&weights[1])];
                for row in 0..ROWS {
                    let input = simd.splat(input(row, i));
                    for vector in 0..VECTORS {
                        sums[row][vector] = simd.mul_add(weights[vector], input, sums[row][vector]);
                    }
                }
            }
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    simd.store(sums[row][vector], &mut outputs[row * n_vectors + b * VECTORS + vector]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::self_check;
    use super::super::simd::Portable;
    use super::super::weights::places_of_pair;
    use super::*;

    const LANES: usize = 8;

    fn noise() -> impl FnMut() -> f32 {
        let mut noise = self_check::noise();
        move || 2.0 * noise() - 1.0
    }

    #[test]
    fn a_convolution_is_the_sum_over_its_taps() {
        let ([n_outputs, n_taps, n_values], n_rows) = ([32, 3, 48], 7);
        let mut noise = noise();
        let weights: Vec<f32> = (0..n_outputs * n_taps * n_values).map(|_| noise()).collect();
        let bias: Vec<f32> = (0..n_outputs).map(|_| noise()).collect();
        let frames: Vec<Vec<f32>> =
            (0..n_rows + 2).map(|i| (0..n_values).map(|_| (i as f32) * noise().abs()).collect()).collect();
        let weight =
            |output: usize, tap: usize, value: usize| weights[(output * n_taps + tap) * n_values + value];
        let convolution = Convolution::<LANES>::new([n_outputs, n_taps, n_values], weight, Some(&bias));
        let quantised: Vec<(Vec<i32>, f32)> = frames
            .iter()
            .map(|frame| {
                let mut pairs = vec![0; n_values / 2];
                let scale = quantise(Portable, frame, &mut pairs);
                (pairs, scale)
            })
            .collect();
        let mut outputs = vec![0.0; n_rows * n_outputs];
        let tap = |row: usize, tap: usize| (&*quantised[row + tap].0, quantised[row + tap].1);
        convolution.run::<_, _, 4>(Portable, 0..n_rows, tap, 0.0, &mut outputs);
        for (row, of_row) in outputs.chunks(n_outputs).enumerate() {
            for (output, actual) in of_row.iter().enumerate() {
                let products = (0..n_taps).flat_map(|tap| (0..n_values).map(move |value| (tap, value)));
                let sum: f64 = products
                    .map(|(tap, value)| {
                        f64::from(weight(output, tap, value)) * f64::from(frames[row + tap][value])
                    })
                    .sum();
                let expected = (sum + f64::from(bias[output])).max(0.0);
                assert!((f64::from(*actual) - expected).abs() < 2e-2, "{row} {output}: {actual}, {expected}");
            }
        }
    }

    #[test]
    fn no_sum_of_a_tap_can_overflow() {
        let mut noise = noise();
        let rows: [Vec<f32>; 4] = [
            (0..3_072).map(|_| noise()).collect(),
            vec![f32::MAX; 3_072],
            (0..3_072).map(|i| if i == 7 { -1e-20 } else { 0.0 }).collect(),
            vec![0.0; 3_072],
        ];
        for row in rows {
            for n_values in [96, 1_024] {
                let QuantisedRow { weights, step } = QuantisedRow::of_taps(&row, n_values, n_values as f64);
                for (tap, floats) in weights.chunks(n_values).zip(row.chunks(n_values)) {
                    let sum: i64 = tap.iter().map(|weight| i64::from(weight.abs())).sum();
                    assert!(sum * LARGEST as i64 <= i64::from(i32::MAX), "{sum}");
                    for (weight, float) in tap.iter().zip(floats) {
                        assert!((f64::from(*weight) * step - f64::from(*float)).abs() <= 0.5001 * step);
                    }
                }
            }
        }
    }

    #[test]
    fn values_are_told_by_their_largest() {
        let values: Vec<f32> = (0..32).map(|i| i as f32 * 0.3).collect();
        let mut pairs = [0; 16];
        let scale = quantise(Portable, &values, &mut pairs);
        for (pair, both) in pairs.iter().enumerate() {
            let (low, high) = places_of_pair::<LANES>(pair);
            for (value, quantised) in [(low, both & 0xffff), (high, both >> 16)] {
                assert!((quantised as f32 * scale - values[value]).abs() <= 0.5001 * scale, "{value}");
            }
        }
        let scale = quantise(Portable, &[0.0; 32], &mut pairs);
        assert_eq!((scale.to_bits(), pairs), (0, [0; 16]));
    }
}
