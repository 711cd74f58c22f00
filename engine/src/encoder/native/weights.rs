//! The encoder's weights in 16-bit integers, laid out for the vector instructions.
//!
//! Hidden values h are between -1 and 1 and are stored as `round(h x 8192)`. Each row of weights has its own scale, so
//! that no sum of products can exceed 32 bits, whatever the input. Layer 0's input stays in floats because mel power
//! has too wide a range. Source: the measurements in `docs/performance.md` of how much 16 bits cost this model.

use std::array;
use std::f64::consts::LOG2_E;

/// Mel bands of a frame (`mel_n_channels` of resemblyzer's `hparams.py`).
pub const N_MELS: usize = 40;

/// Hidden units of each LSTM layer (`model_hidden_size`).
pub const HIDDEN_UNITS: usize = 256;

/// LSTM layers (`model_num_layers`).
pub const LSTM_LAYERS: usize = 3;

/// Components of an embedding (`model_embedding_size`).
pub const EMBEDDING_DIM: usize = 256;

/// The embedding of one window: L2 norm 1.
pub(super) type WindowEmbedding = [f32; EMBEDDING_DIM];

/// The encoder's weights, and the metadata of its ONNX file.
#[derive(Debug, PartialEq)]
pub struct EncoderWeights {
    /// The LSTM's layers, from the bottom up.
    pub layers: Vec<LstmWeights>,
    /// The linear layer after the LSTM.
    pub linear: LinearWeights,
    /// Key-value pairs stored in the file.
    pub metadata: Vec<(String, String)>,
}

/// Weights of one LSTM layer in ONNX's layout: gates in the order input, output, forget, cell.
#[derive(Debug, PartialEq)]
pub struct LstmWeights {
    /// `[1, 4 x hidden, inputs]`.
    pub input: Vec<f32>,
    /// `[1, 4 x hidden, hidden]`.
    pub recurrent: Vec<f32>,
    /// `[1, 8 x hidden]`: biases of the input, then of the recurrence.
    pub bias: Vec<f32>,
}

/// Weights of the linear layer after the LSTM.
#[derive(Debug, PartialEq)]
pub struct LinearWeights {
    /// `[embedding, hidden]`.
    pub weight: Vec<f32>,
    /// `[embedding]`.
    pub bias: Vec<f32>,
}

/// The integer that represents a hidden value of 1.
pub(super) const HIDDEN_SCALE: f32 = 8_192.0;

/// The maximum sum of the magnitudes of a row's integers. Multiplied by [`HIDDEN_SCALE`], it still fits an `i32`.
const MAX_ROW_SUM: i32 = i32::MAX / HIDDEN_SCALE as i32;

/// Pairs of hidden values: they are multiplied two at a time.
pub(super) const PAIRS: usize = HIDDEN_UNITS / 2;

pub(super) const GATES: usize = 4;

/// The place of each gate in ONNX's order (input, output, forget, cell). Listed in the order used here: input, cell,
/// forget, output.
const ONNX_GATES: [usize; GATES] = [0, 3, 2, 1];

/// Adding this to a small number leaves the nearest integer in the lowest bits.
const ROUNDING_F64: f64 = 6_755_399_441_055_744.0;

/// A value that begins on a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// Float weights of `LANES` outputs in each of four vectors, from `INPUTS` inputs.
#[repr(align(64))]
pub(super) struct FloatBlock<const LANES: usize, const INPUTS: usize> {
    pub(super) weights: [[[f32; LANES]; GATES]; INPUTS],
    pub(super) bias: [[f32; LANES]; GATES],
}

/// Integer weights of the four gates of `LANES` hidden units. Each lane holds two weights of 16 bits, for a pair of inputs.
#[repr(align(64))]
pub(super) struct IntBlock<const LANES: usize> {
    pub(super) weights: [[[i32; LANES]; GATES]; PAIRS],
    /// The factor for each sum.
    pub(super) scale: [[f32; LANES]; GATES],
}

/// One LSTM layer. Each block is for `LANES` units.
pub(super) struct Layer<const LANES: usize> {
    pub(super) input: Input<LANES>,
    pub(super) recurrent: Vec<IntBlock<LANES>>,
}

/// The input weights of a layer, by what the layer takes.
pub(super) enum Input<const LANES: usize> {
    /// Mel bands.
    Mels(Vec<FloatBlock<LANES, N_MELS>>),
    /// Hidden values of the layer below.
    Hidden { weights: Vec<IntBlock<LANES>>, bias: Vec<[[f32; LANES]; GATES]> },
}

/// The whole encoder.
pub(super) struct Network<const LANES: usize> {
    pub(super) layers: Vec<Layer<LANES>>,
    pub(super) linear: Vec<FloatBlock<LANES, HIDDEN_UNITS>>,
}

/// A row of weights in 16 bits.
pub(super) struct QuantisedRow {
    pub(super) weights: Vec<i16>,
    /// The weight that an integer of 1 represents.
    pub(super) step: f64,
}

impl QuantisedRow {
    /// Quantises a row of weights for hidden values.
    pub(super) fn new(row: &[f32; HIDDEN_UNITS]) -> Self {
        // Rounding adds at most a half to each weight.
        Self::of_taps(row, HIDDEN_UNITS, HIDDEN_UNITS as f64 / 2.0)
    }

    /// Quantises a row with the finest step at which it fits. Each weight must fit 16 bits, and the sum of the products
    /// of each `n_values` consecutive weights must fit 32 bits. `room` is the most that rounding may add to the
    /// magnitudes of those weights.
    pub(super) fn of_taps(row: &[f32], n_values: usize, room: f64) -> Self {
        let largest = row.iter().fold(0.0_f64, |largest, weight| largest.max(f64::from(weight.abs())));
        let sum_of = |tap: &[f32]| tap.iter().map(|weight| f64::from(weight.abs())).sum::<f64>();
        let sum = row.chunks(n_values).map(sum_of).fold(0.0, f64::max);
        let most = f64::from(MAX_ROW_SUM) - room;
        let step = (sum / most).max(largest / f64::from(i16::MAX)).max(f64::MIN_POSITIVE);
        // Same as `round_ties_even`, which becomes a library call if the build's target CPU may lack the instruction.
        let nearest = |x: f64| ((x + ROUNDING_F64) - ROUNDING_F64) as i16;
        let steps_in_one = 1.0 / step;
        Self { weights: row.iter().map(|weight| nearest(f64::from(*weight) * steps_in_one)).collect(), step }
    }
}

impl<const LANES: usize> Network<LANES> {
    /// Packs and quantises weights.
    pub(super) fn new(weights: &EncoderWeights) -> Self {
        let layers = weights.layers.iter().map(|layer| {
            let (of_input, of_recurrence) = layer.bias.split_at(GATES * HIDDEN_UNITS);
            let bias: Vec<f32> = of_input.iter().zip(of_recurrence).map(|(a, b)| a + b).collect();
            let input = if layer.input.len() == GATES * HIDDEN_UNITS * N_MELS {
                Input::Mels(float_blocks(HIDDEN_UNITS / LANES, &layer.input, &bias, |block, gate, lane| {
                    (gate_row(gate, block * LANES + lane), exponent_factor(gate))
                }))
            } else {
                Input::Hidden { weights: int_blocks(&layer.input), bias: gate_bias(&bias) }
            };
            Layer { input, recurrent: int_blocks(&layer.recurrent) }
        });
        let linear = &weights.linear;
        let n_blocks = EMBEDDING_DIM / (GATES * LANES);
        let linear = float_blocks(n_blocks, &linear.weight, &linear.bias, |block, vector, lane| {
            ((block * GATES + vector) * LANES + lane, 1.0)
        });
        Self { layers: layers.collect(), linear }
    }
}

/// Returns the place of a gate in ONNX's order.
pub(super) fn onnx_gate(gate: usize) -> usize {
    ONNX_GATES[gate]
}

/// Returns the row of a gate's weights for a hidden unit.
pub(super) fn gate_row(gate: usize, unit: usize) -> usize {
    ONNX_GATES[gate] * HIDDEN_UNITS + unit
}

/// Returns the factor that turns a gate's sum into the exponent of 2 for its function: e^-x for a sigmoid, e^-2x for a tanh.
pub(super) fn exponent_factor(gate: usize) -> f64 {
    if ONNX_GATES[gate] == 3 { -2.0 * LOG2_E } else { -LOG2_E }
}

/// Packs float weights. `place` returns the row and the factor for a block, a vector and a lane.
fn float_blocks<const LANES: usize, const INPUTS: usize>(
    n_blocks: usize,
    weights: &[f32],
    bias: &[f32],
    place: impl Fn(usize, usize, usize) -> (usize, f64),
) -> Vec<FloatBlock<LANES, INPUTS>> {
    let block = |block| {
        let mut packed = FloatBlock { weights: [[[0.0; LANES]; GATES]; INPUTS], bias: [[0.0; LANES]; GATES] };
        for (vector, lane) in lanes::<LANES>() {
            let (row, factor) = place(block, vector, lane);
            let scaled = |value: f32| (f64::from(value) * factor) as f32;
            packed.bias[vector][lane] = scaled(bias[row]);
            for (packed, weight) in packed.weights.iter_mut().zip(&weights[row * INPUTS..]) {
                packed[vector][lane] = scaled(*weight);
            }
        }
        packed
    };
    (0..n_blocks).map(block).collect()
}

/// Packs the weights of four gates for hidden values, as integers.
fn int_blocks<const LANES: usize>(weights: &[f32]) -> Vec<IntBlock<LANES>> {
    let (rows, _) = weights.as_chunks();
    (0..HIDDEN_UNITS / LANES).map(|block| int_block(rows, block)).collect()
}

pub(super) fn int_block<const LANES: usize>(rows: &[[f32; HIDDEN_UNITS]], block: usize) -> IntBlock<LANES> {
    let mut packed = IntBlock { weights: [[[0; LANES]; GATES]; PAIRS], scale: [[0.0; LANES]; GATES] };
    for (gate, lane) in lanes::<LANES>() {
        let row = QuantisedRow::new(&rows[gate_row(gate, block * LANES + lane)]);
        let scale = row.step / f64::from(HIDDEN_SCALE) * exponent_factor(gate);
        packed.scale[gate][lane] = scale as f32;
        for (pair, packed) in packed.weights.iter_mut().enumerate() {
            packed[gate][lane] = paired::<LANES>(&row.weights, pair);
        }
    }
    packed
}

/// Packs the two numbers of a pair into one integer.
pub(super) fn paired<const LANES: usize>(numbers: &[i16], pair: usize) -> i32 {
    let (low, high) = places_of_pair::<LANES>(pair);
    i32::from(numbers[low]) & 0xffff | i32::from(numbers[high]) << 16
}

fn gate_bias<const LANES: usize>(bias: &[f32]) -> Vec<[[f32; LANES]; GATES]> {
    let of = |block, gate, lane| {
        (f64::from(bias[gate_row(gate, block * LANES + lane)]) * exponent_factor(gate)) as f32
    };
    let block = |block| array::from_fn(|gate| array::from_fn(|lane| of(block, gate, lane)));
    (0..HIDDEN_UNITS / LANES).map(block).collect()
}

/// Returns each vector of a block with each lane.
pub(super) fn lanes<const LANES: usize>() -> impl Iterator<Item = (usize, usize)> {
    (0..GATES).flat_map(|vector| (0..LANES).map(move |lane| (vector, lane)))
}

/// Returns the places of a pair's two values: the same lane of two vectors, which become one vector of pairs.
pub(super) fn places_of_pair<const LANES: usize>(pair: usize) -> (usize, usize) {
    let low = pair / LANES * 2 * LANES + pair % LANES;
    (low, low + LANES)
}

impl EncoderWeights {
    /// Returns the largest sum of products, in integers, that any row of recurrent or upper input weights can reach. It
    /// must be below 2^31.
    #[cfg(test)]
    pub(crate) fn largest_sum(&self) -> i64 {
        let largest_sum = |row: &[f32; HIDDEN_UNITS]| -> i64 {
            let quantised = QuantisedRow::new(row);
            quantised.weights.iter().map(|weight| i64::from(weight.abs()) * HIDDEN_SCALE as i64).sum()
        };
        let matrices = self.layers.iter().enumerate().flat_map(|(i, layer)| {
            let input = (i > 0).then_some(&layer.input);
            input.into_iter().chain([&layer.recurrent])
        });
        matrices.flat_map(|weights| weights.as_chunks().0).map(largest_sum).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_size_fit() {
        let mut alternating = [0.0; HIDDEN_UNITS];
        alternating
            .iter_mut()
            .enumerate()
            .for_each(|(i, weight)| *weight = if i % 2 == 0 { 3.0 } else { -3.0 });
        let mut single = [0.0; HIDDEN_UNITS];
        single[7] = -1e-20;
        for row in [alternating, single, [0.0; HIDDEN_UNITS], [f32::MAX; HIDDEN_UNITS]] {
            let QuantisedRow { weights, step } = QuantisedRow::new(&row);
            let sum: i32 = weights.iter().map(|weight| i32::from(weight.abs())).sum();
            assert!(sum <= MAX_ROW_SUM);
            for (weight, quantised) in row.iter().zip(weights) {
                let error = (f64::from(quantised) * step - f64::from(*weight)).abs();
                assert!(error <= 0.5001 * step, "{weight}: {quantised} x {step}");
            }
        }
    }
}
