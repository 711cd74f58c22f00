//! The segmentation network without ONNX Runtime: its LSTMs and convolutions in 16-bit integers, its filters and norms in floats.
//!
//! Source: the graph that `models/segmentation/network.rs` writes.

#![allow(clippy::inline_always, reason = "see `Task`")]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and gates are unrolled, their arrays are registers"
)]

use std::array;

use super::campplus::NormWeights;
use super::convolution::{Convolution, ConvolutionWeights, Linear, quantise_magnitudes};
use super::kernel::{exp2, lstm_cell};
use super::simd::{Simd, Task};
use super::weights::{Aligned, GATES, HIDDEN_SCALE, QuantisedRow, exponent_factor, lanes, onnx_gate, paired};

/// Classes of a frame.
pub(super) const CLASSES: usize = 7;

/// The minimum number of samples for one frame.
const MIN_SAMPLES: usize = 991;

/// The samples of a filter, and the step from one position to the next.
const FILTER_SAMPLES: usize = 251;
const FILTER_STEP: usize = 10;

/// The number of even filters, which is also the number of odd filters.
const HALF_FILTERS: usize = 40;

/// Samples on either side of a filter's centre.
const ARM: usize = FILTER_SAMPLES / 2;

/// Filter positions that are computed together: whole groups for pooling.
const FILTER_ROWS: usize = 12;

/// Frames that a pool reduces to their largest value.
const POOL: usize = 3;

/// The kernel size of the convolutions, in frames.
const KERNEL: usize = 5;

/// Channels of a map, and the width that a frame is padded to so that whole vectors can be written.
const FIRST_CHANNELS: usize = 2 * HALF_FILTERS;
const FIRST_WIDTH: usize = 96;
const CHANNELS: usize = 60;
const WIDTH: usize = 64;

/// Hidden units of an LSTM in each direction.
const HIDDEN: usize = 128;

/// Pairs of hidden values of one direction, and of both.
const PAIRS: usize = HIDDEN / 2;
const BOTH_PAIRS: usize = HIDDEN;

/// Values that the classifier takes.
const LINEAR: usize = 128;

/// Scores of a frame. They are computed for whole vectors.
const SCORES: usize = 32;

/// PyTorch's default epsilon.
const NORM_EPSILON: f64 = 1e-5;

/// The slope of a leaky ReLU below zero.
const LEAK: f32 = 0.01;

/// The weights of the network.
#[derive(Debug, PartialEq)]
pub struct SegmentationWeights {
    /// The norm of the samples.
    pub wav_norm: NormWeights,
    /// The fixed filters, `[80, 251]`: the even ones, then the odd ones.
    pub filters: Vec<f32>,
    /// The norms after the filters and after each convolution.
    pub norms: [NormWeights; 3],
    /// The convolutions after the first two of these norms.
    pub convolutions: [ConvolutionWeights; 2],
    /// The LSTM layers, each forward and backward.
    pub lstms: Vec<BidirectionalWeights>,
    /// The linear layers after the LSTMs.
    pub linear: [ConvolutionWeights; 2],
    /// The layer from there to the classes.
    pub classifier: ConvolutionWeights,
    /// Key-value pairs stored with the weights.
    pub metadata: Vec<(String, String)>,
}

/// Weights of one bidirectional LSTM layer in ONNX's layout: forward, then backward. Gates are in the order input,
/// output, forget, cell.
#[derive(Debug, PartialEq)]
pub struct BidirectionalWeights {
    /// `[2, 4 x hidden, inputs]`.
    pub input: Vec<f32>,
    /// `[2, 4 x hidden, hidden]`.
    pub recurrent: Vec<f32>,
    /// `[2, 8 x hidden]`: biases of the input, then of the recurrence.
    pub bias: Vec<f32>,
}

/// The network, packed for vectors of `LANES`.
pub(super) struct PackedSegmentation<const LANES: usize> {
    wav_norm: (f32, f32),
    /// The even filters, then the odd ones.
    filters: [Vec<Filters<LANES>>; 2],
    norms: [NormWeights; 3],
    convolutions: [Convolution<LANES>; 2],
    lstms: Vec<[Direction<LANES>; 2]>,
    linear: [Convolution<LANES>; 2],
    classifier: Linear<LANES>,
}

/// The weights of `LANES` filters, from the centre outwards.
type Filters<const LANES: usize> = [[f32; LANES]; ARM + 1];

/// One direction of an LSTM layer.
struct Direction<const LANES: usize> {
    /// The gates of `LANES` units, block after block.
    input: Convolution<LANES>,
    recurrent: Vec<RecurrentBlock<LANES>>,
}

/// Weights of the four gates of `LANES` hidden units for hidden values, in pairs.
struct RecurrentBlock<const LANES: usize> {
    weights: Vec<Aligned<[[i32; LANES]; GATES]>>,
    scale: [[f32; LANES]; GATES],
}

/// Buffers for one window, reused for the next.
#[derive(Default)]
pub(super) struct SegmentationWorkspace {
    /// The normalised samples, forwards and backwards.
    samples: Vec<f32>,
    reversed: Vec<f32>,
    /// A map of floats, frame after frame.
    map: Vec<f32>,
    /// A map before pooling.
    unpooled: Vec<f32>,
    /// A map in pairs of integers, and the scale of each frame.
    pairs: Vec<i32>,
    scales: Vec<f32>,
    /// The input's contribution to the gates.
    projections: Vec<f32>,
    /// Hidden values in pairs, forward and backward side by side: those of the layer below, and those of the current layer.
    below: Vec<i32>,
    hidden: Vec<i32>,
}

impl<const LANES: usize> PackedSegmentation<LANES> {
    pub(super) fn new(weights: &SegmentationWeights) -> Self {
        let filters = |is_odd: bool| {
            let filter = |number: usize| {
                let place = (usize::from(is_odd) * HALF_FILTERS + number) * FILTER_SAMPLES;
                &weights.filters[place..place + FILTER_SAMPLES]
            };
            let vector = |vector: usize| -> Filters<LANES> {
                let weight = |away: usize, lane: usize| {
                    let number = vector * LANES + lane;
                    if number < HALF_FILTERS { filter(number)[ARM + away] } else { 0.0 }
                };
                array::from_fn(|away| array::from_fn(|lane| weight(away, lane)))
            };
            (0..HALF_FILTERS.div_ceil(LANES)).map(vector).collect()
        };
        let convolution = |weights: &ConvolutionWeights, width: usize| {
            let [n_outputs, n_channels, n_taps] = weights.shape[..] else { panic!("three dimensions") };
            let weight = |output: usize, tap: usize, channel: usize| {
                let is_there = output < n_outputs && channel < n_channels;
                if is_there { weights.values[(output * n_channels + channel) * n_taps + tap] } else { 0.0 }
            };
            let mut bias = weights.bias.clone().unwrap_or_default();
            bias.resize(WIDTH, 0.0);
            Convolution::new([WIDTH, n_taps, width], weight, Some(&bias))
        };
        let linear = |weights: &ConvolutionWeights| {
            let n_values = weights.shape[1];
            let weight = |output: usize, _: usize, value: usize| weights.values[output * n_values + value];
            Convolution::new([LINEAR, 1, n_values], weight, weights.bias.as_deref())
        };
        let mut classifier = weights.classifier.clone();
        classifier.values.resize(SCORES * LINEAR, 0.0);
        classifier.shape[0] = SCORES;
        classifier.bias.get_or_insert_default().resize(SCORES, 0.0);
        Self {
            wav_norm: (weights.wav_norm.scale[0], weights.wav_norm.shift[0]),
            filters: [false, true].map(filters),
            norms: weights.norms.clone(),
            convolutions: [
                convolution(&weights.convolutions[0], FIRST_WIDTH),
                convolution(&weights.convolutions[1], WIDTH),
            ],
            lstms: weights.lstms.iter().map(|layer| [0, 1].map(|of| Direction::new(layer, of))).collect(),
            linear: weights.linear.each_ref().map(linear),
            classifier: Linear::new(&classifier),
        }
    }
}

impl<const LANES: usize> Direction<LANES> {
    fn new(weights: &BidirectionalWeights, of: usize) -> Self {
        let n_gates = GATES * HIDDEN;
        let n_inputs = weights.input.len() / (2 * n_gates);
        let input = &weights.input[of * n_gates * n_inputs..][..n_gates * n_inputs];
        let recurrent = &weights.recurrent[of * n_gates * HIDDEN..][..n_gates * HIDDEN];
        let (of_input, of_recurrence) = weights.bias[of * 2 * n_gates..][..2 * n_gates].split_at(n_gates);
        let row = |gate: usize, unit: usize| onnx_gate(gate) * HIDDEN + unit;
        // Outputs follow the order of the blocks: unit by unit within a gate, gate by gate within a block.
        let place = |output: usize| {
            let (block, gate, lane) = (output / (GATES * LANES), output / LANES % GATES, output % LANES);
            (row(gate, block * LANES + lane), exponent_factor(gate))
        };
        let width = n_inputs.next_multiple_of(WIDTH);
        let weight = |output: usize, _: usize, value: usize| {
            let (row, factor) = place(output);
            if value < n_inputs { (f64::from(input[row * n_inputs + value]) * factor) as f32 } else { 0.0 }
        };
        let bias = |output: usize| {
            let (row, factor) = place(output);
            (f64::from(of_input[row] + of_recurrence[row]) * factor) as f32
        };
        let bias: Vec<f32> = (0..n_gates).map(bias).collect();
        let block = |block: usize| {
            let mut packed = RecurrentBlock {
                weights: vec![Aligned([[0; LANES]; GATES]); PAIRS],
                scale: [[0.0; LANES]; GATES],
            };
            for (gate, lane) in lanes::<LANES>() {
                let row = row(gate, block * LANES + lane);
                let row = &recurrent[row * HIDDEN..][..HIDDEN];
                let row = QuantisedRow::of_taps(row, HIDDEN, HIDDEN as f64 / 2.0);
                packed.scale[gate][lane] =
                    (row.step / f64::from(HIDDEN_SCALE) * exponent_factor(gate)) as f32;
                for (pair, Aligned(packed)) in packed.weights.iter_mut().enumerate() {
                    packed[gate][lane] = paired::<LANES>(&row.weights, pair);
                }
            }
            packed
        };
        Self {
            input: Convolution::new([n_gates, 1, width], weight, Some(&bias)),
            recurrent: (0..HIDDEN / LANES).map(block).collect(),
        }
    }
}

/// A [`Task`] that segments a window; pass it to [`Simd::run`]. Tiles of convolutions have `ROWS` rows.
pub(super) struct Segment<'a, S, const LANES: usize, const ROWS: usize> {
    pub(super) simd: S,
    pub(super) network: &'a PackedSegmentation<LANES>,
    pub(super) workspace: &'a mut SegmentationWorkspace,
    pub(super) samples: &'a [f32],
    /// `[frames, 7]` log-probabilities.
    pub(super) output: &'a mut Vec<f32>,
}

impl<S: Simd<LANES>, const LANES: usize, const ROWS: usize> Task for Segment<'_, S, LANES, ROWS> {
    #[inline(always)]
    fn run(self) {
        let Self { simd, network, workspace, samples, output } = self;
        output.clear();
        if samples.len() < MIN_SAMPLES {
            return;
        }
        let SegmentationWorkspace {
            samples: normed,
            reversed,
            map,
            unpooled,
            pairs,
            scales,
            projections,
            below,
            hidden,
        } = workspace;
        normalise(samples, network.wav_norm, normed);
        reversed.clear();
        reversed.extend(normed.iter().rev());
        let n_filtered = filter(simd, &network.filters, normed, reversed, map);
        let mut n_frames = n_filtered;
        norm(map, FIRST_WIDTH, FIRST_CHANNELS, n_frames, &network.norms[0]);
        let mut width = FIRST_WIDTH;
        for (convolution, norm_weights) in network.convolutions.iter().zip(&network.norms[1..]) {
            quantise_map::<S, LANES>(simd, &map[..n_frames * width], width, pairs, scales);
            let n_outputs = n_frames.saturating_sub(KERNEL - 1);
            unpooled.resize(n_outputs * WIDTH, 0.0);
            let of_frame = |frame: usize, tap: usize| {
                let frame = frame + tap;
                (&pairs[frame * width / 2..][..width / 2], scales[frame])
            };
            convolution.run::<_, _, ROWS>(simd, 0..n_outputs, of_frame, f32::MIN, unpooled);
            n_frames = n_outputs / POOL;
            pool(unpooled, n_frames, map);
            norm(map, WIDTH, CHANNELS, n_frames, norm_weights);
            width = WIDTH;
        }
        quantise_map::<S, LANES>(simd, &map[..n_frames * WIDTH], WIDTH, pairs, scales);
        for (number, layer) in network.lstms.iter().enumerate() {
            hidden.resize(n_frames * BOTH_PAIRS, 0);
            for (of, direction) in layer.iter().enumerate() {
                projections.resize(n_frames * GATES * HIDDEN, 0.0);
                let of_map =
                    |frame: usize, _: usize| (&pairs[frame * WIDTH / 2..][..WIDTH / 2], scales[frame]);
                let of_below =
                    |frame: usize, _: usize| (&below[frame * BOTH_PAIRS..][..BOTH_PAIRS], 1.0 / HIDDEN_SCALE);
                if number == 0 {
                    direction.input.run::<_, _, ROWS>(simd, 0..n_frames, of_map, f32::MIN, projections);
                } else {
                    direction.input.run::<_, _, ROWS>(simd, 0..n_frames, of_below, f32::MIN, projections);
                }
                run_direction(simd, &direction.recurrent, projections, of == 1, of * PAIRS, hidden);
            }
            std::mem::swap(below, hidden);
        }
        let of_below =
            |frame: usize, _: usize| (&below[frame * BOTH_PAIRS..][..BOTH_PAIRS], 1.0 / HIDDEN_SCALE);
        map.resize(n_frames * LINEAR, 0.0);
        network.linear[0].run::<_, _, ROWS>(simd, 0..n_frames, of_below, f32::MIN, map);
        map[..n_frames * LINEAR].iter_mut().for_each(|value| *value = leaky(*value));
        quantise_map::<S, LANES>(simd, &map[..n_frames * LINEAR], LINEAR, pairs, scales);
        let of_map = |frame: usize, _: usize| (&pairs[frame * LINEAR / 2..][..LINEAR / 2], scales[frame]);
        network.linear[1].run::<_, _, ROWS>(simd, 0..n_frames, of_map, f32::MIN, map);
        for frame in map[..n_frames * LINEAR].chunks_exact_mut(LINEAR) {
            frame.iter_mut().for_each(|value| *value = leaky(*value));
            let mut scores = [0.0; SCORES];
            network.classifier.run(simd, frame, &mut scores);
            log_softmax(simd, &scores, output);
        }
    }
}

#[inline(always)]
fn leaky(value: f32) -> f32 {
    let leaked = value * LEAK;
    if value > leaked { value } else { leaked }
}

/// Subtracts the mean from the samples, divides them by their deviation and applies the norm.
#[inline(always)]
fn normalise(samples: &[f32], (scale, shift): (f32, f32), to: &mut Vec<f32>) {
    let n = samples.len() as f64;
    let mean = sum_of(samples, f64::from) / n;
    let variance = sum_of(samples, |sample| (f64::from(sample) - mean).powi(2)) / n;
    let factor = f64::from(scale) / (variance + NORM_EPSILON).sqrt();
    let (factor, shift) = (factor as f32, (f64::from(shift) - mean * factor) as f32);
    to.resize(samples.len(), 0.0);
    for (to, sample) in to.iter_mut().zip(samples) {
        *to = sample.mul_add(factor, shift);
    }
}

/// Returns the sum of `of` over all samples. It keeps eight sums: with one, each addition would wait for the previous one.
#[inline(always)]
fn sum_of(samples: &[f32], of: impl Fn(f32) -> f64) -> f64 {
    let (blocks, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for block in blocks {
        for lane in 0..8 {
            sums[lane] += of(block[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|sample| of(*sample)).sum::<f64>()
}

/// Writes the magnitudes of the filters' outputs to `map`, the largest of each three positions:
/// `[frames, FIRST_WIDTH]`. Returns the number of frames.
///
/// Even filters multiply the sums of the samples at equal distances before and after their centres, odd filters the differences.
#[inline(always)]
fn filter<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    filters: &[Vec<Filters<LANES>>; 2],
    samples: &[f32],
    reversed: &[f32],
    map: &mut Vec<f32>,
) -> usize {
    let n_positions = (samples.len().saturating_sub(FILTER_SAMPLES - 1)).div_ceil(FILTER_STEP);
    let n_frames = n_positions / POOL;
    map.resize((n_frames.next_multiple_of(FILTER_ROWS / POOL) * FIRST_WIDTH).max(map.len()), 0.0);
    // For each position, by the distance from its centre: the sums and the differences of the samples after and before it.
    let mut arms = [[[0.0_f32; ARM + 1]; FILTER_ROWS]; 2];
    for first in (0..n_frames * POOL).step_by(FILTER_ROWS) {
        for row in 0..FILTER_ROWS {
            // If fewer positions are left, the last one is computed again.
            let position = (first + row).min(n_positions - 1);
            let centre = position * FILTER_STEP + ARM;
            let behind = &samples[centre..][..=ARM];
            let before = &reversed[samples.len() - 1 - centre..][..=ARM];
            let [sums, differences] = &mut arms;
            for away in 0..=ARM {
                sums[row][away] = behind[away] + before[away];
                differences[row][away] = behind[away] - before[away];
            }
            sums[row][0] = behind[0];
        }
        for (half, (vectors, arms)) in filters.iter().zip(&arms).enumerate() {
            for (v, vector) in vectors.iter().enumerate() {
                let mut sums = [simd.splat(0.0); FILTER_ROWS];
                for (away, weights) in vector.iter().enumerate() {
                    let weights = simd.load(weights);
                    for row in 0..FILTER_ROWS {
                        sums[row] = simd.mul_add(weights, simd.splat(arms[row][away]), sums[row]);
                    }
                }
                for pooled in 0..FILTER_ROWS / POOL {
                    let mut largest = simd.splat(0.0);
                    for row in 0..POOL {
                        let sum = sums[pooled * POOL + row];
                        largest = simd.max(largest, simd.max(sum, simd.sub(simd.splat(0.0), sum)));
                    }
                    // The first odd filters overwrite the unused lanes after the last even filter.
                    let place = (first / POOL + pooled) * FIRST_WIDTH + half * HALF_FILTERS + v * LANES;
                    let (to, _) = map[place..].as_chunks_mut::<LANES>();
                    simd.store(largest, &mut to[0]);
                }
            }
        }
    }
    n_frames
}

/// Normalises each channel over the frames, applies the leaky ReLU and clears the padding.
#[inline(always)]
fn norm(map: &mut [f32], width: usize, n_channels: usize, n_frames: usize, weights: &NormWeights) {
    let mut sums = [0.0_f64; FIRST_WIDTH];
    for frame in map[..n_frames * width].chunks_exact(width) {
        for channel in 0..n_channels {
            sums[channel] += f64::from(frame[channel]);
        }
    }
    let means = sums.map(|sum| sum / n_frames as f64);
    let mut squares = [0.0_f64; FIRST_WIDTH];
    for frame in map[..n_frames * width].chunks_exact(width) {
        for channel in 0..n_channels {
            let away = f64::from(frame[channel]) - means[channel];
            squares[channel] += away * away;
        }
    }
    let mut factors = [0.0_f32; FIRST_WIDTH];
    let mut shifts = [0.0_f32; FIRST_WIDTH];
    for channel in 0..n_channels {
        let variance = squares[channel] / n_frames as f64;
        let factor = f64::from(weights.scale[channel]) / (variance + NORM_EPSILON).sqrt();
        factors[channel] = factor as f32;
        shifts[channel] = (f64::from(weights.shift[channel]) - means[channel] * factor) as f32;
    }
    for frame in map[..n_frames * width].chunks_exact_mut(width) {
        for channel in 0..n_channels {
            frame[channel] = leaky(frame[channel].mul_add(factors[channel], shifts[channel]));
        }
        frame[n_channels..].fill(0.0);
    }
}

/// Writes the largest values of each three frames to `map`.
#[inline(always)]
fn pool(unpooled: &[f32], n_frames: usize, map: &mut Vec<f32>) {
    map.resize((n_frames * WIDTH).max(map.len()), 0.0);
    for (to, from) in map.chunks_exact_mut(WIDTH).zip(unpooled.chunks_exact(POOL * WIDTH)) {
        for channel in 0..WIDTH {
            let mut largest = from[channel];
            for frame in 1..POOL {
                let value = from[frame * WIDTH + channel];
                largest = if value > largest { value } else { largest };
            }
            to[channel] = largest;
        }
    }
}

/// Quantises a map into pairs of integers, with one scale per frame.
#[inline(always)]
fn quantise_map<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    map: &[f32],
    width: usize,
    pairs: &mut Vec<i32>,
    scales: &mut Vec<f32>,
) {
    pairs.resize((map.len() / 2).max(pairs.len()), 0);
    scales.resize(map.len() / width, 0.0);
    let frames = map.chunks_exact(width).zip(pairs.chunks_exact_mut(width / 2));
    for ((frame, pairs), scale) in frames.zip(scales) {
        *scale = quantise_magnitudes::<S, LANES>(simd, frame, pairs);
    }
}

/// Runs one direction of a layer over all frames. The hidden values go into each frame's pairs from `place` on.
#[inline(always)]
fn run_direction<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    blocks: &[RecurrentBlock<LANES>],
    projections: &[f32],
    is_backward: bool,
    place: usize,
    hidden: &mut [i32],
) {
    let n_frames = projections.len() / (GATES * HIDDEN);
    let mut cells = Aligned([0.0_f32; HIDDEN]);
    let mut previous = Aligned([0_i32; PAIRS]);
    for step in 0..n_frames {
        let frame = if is_backward { n_frames - 1 - step } else { step };
        let (of_frame, _) = projections[frame * GATES * HIDDEN..][..GATES * HIDDEN].as_chunks::<LANES>();
        let to = &mut hidden[frame * BOTH_PAIRS + place..][..PAIRS];
        for (b, block) in blocks.iter().enumerate() {
            let sums = multiply(simd, block, &previous.0);
            let mut gates = [simd.splat(0.0); GATES];
            for gate in 0..GATES {
                let projected = simd.load(&of_frame[b * GATES + gate]);
                let scale = simd.load(&block.scale[gate]);
                gates[gate] = simd.mul_add(simd.to_floats(sums[gate]), scale, projected);
            }
            let cell = &mut cells.0.as_chunks_mut::<LANES>().0[b];
            let (new_cell, state) = lstm_cell(simd, gates, simd.load(cell));
            simd.store(new_cell, cell);
            // Two blocks become one vector of pairs. The pairs' place holds the first block until the second is ready.
            let integers = simd.round(simd.mul(state, simd.splat(HIDDEN_SCALE)));
            let pairs = &mut to.as_chunks_mut::<LANES>().0[b / 2];
            let paired = if b % 2 == 0 { integers } else { simd.pair(simd.load_ints(pairs), integers) };
            simd.store_ints(paired, pairs);
        }
        previous.0.copy_from_slice(to);
    }
}

/// Multiplies hidden values by the weights of a block. Each gate has two sums, so that neither waits for the other.
#[inline(always)]
fn multiply<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    block: &RecurrentBlock<LANES>,
    values: &[i32; PAIRS],
) -> [S::Ints; GATES] {
    let mut sums = [[simd.no_sums(); GATES]; 2];
    for (weights, values) in block.weights.as_chunks::<2>().0.iter().zip(values.as_chunks::<2>().0) {
        for half in 0..2 {
            let value = simd.splat_bits(values[half]);
            for gate in 0..GATES {
                sums[half][gate] = simd.dot(sums[half][gate], simd.load_ints(&weights[half].0[gate]), value);
            }
        }
    }
    let mut totals = [simd.splat_bits(0); GATES];
    for gate in 0..GATES {
        totals[gate] = simd.add_ints(simd.totals(sums[0][gate]), simd.totals(sums[1][gate]));
    }
    totals
}

/// Appends the natural logarithms of the classes' probabilities.
#[inline(always)]
fn log_softmax<S: Simd<LANES>, const LANES: usize>(simd: S, scores: &[f32; SCORES], output: &mut Vec<f32>) {
    let scores = &scores[..CLASSES];
    let largest =
        scores.iter().fold(f32::MIN, |largest, score| if *score > largest { *score } else { largest });
    let mut sum = 0.0_f64;
    // A vector of four lanes cannot hold all classes.
    for scores in scores.chunks(LANES) {
        let mut exponents = [f32::MIN; LANES];
        for (exponent, score) in exponents.iter_mut().zip(scores) {
            *exponent = (score - largest) * std::f32::consts::LOG2_E;
        }
        let mut powers = [0.0; LANES];
        simd.store(exp2(simd, simd.load(&exponents)), &mut powers);
        sum += powers[..scores.len()].iter().map(|power| f64::from(*power)).sum::<f64>();
    }
    let log = natural_logarithm(sum);
    output.extend(scores.iter().map(|score| (f64::from(score - largest) - log) as f32));
}

/// Returns ln x for x from 1 to 7, with the same bits everywhere, from ln y = 2 artanh((y - 1) / (y + 1)) for the
/// eighth root y of x. Error: 1e-13.
fn natural_logarithm(x: f64) -> f64 {
    let root = x.sqrt().sqrt().sqrt();
    let z = (root - 1.0) / (root + 1.0);
    let square = z * z;
    let series = [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0_f64].into_iter();
    16.0 * z * series.fold(0.0, |sum: f64, n| sum.mul_add(square, 1.0 / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_exact() {
        for i in 0..=600 {
            let x = 1.0 + f64::from(i) / 100.0;
            assert!((natural_logarithm(x) - x.ln()).abs() < 1e-12, "{x}");
        }
    }
}
