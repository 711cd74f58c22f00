//! The LSTM's arithmetic for a batch of windows, written once for all instruction sets.
//!
//! Integer sums do not depend on the order of addition, and all other operations are the same everywhere. Each
//! instruction set therefore gives the same bits.

#![allow(clippy::inline_always, reason = "see `Task`")]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over rows and gates are unrolled, their arrays are registers"
)]

use std::array;

use super::simd::{Simd, Task};
use super::weights::{
    Aligned, EMBEDDING_DIM, FloatBlock, GATES, HIDDEN_SCALE, HIDDEN_UNITS, Input, IntBlock, Layer, N_MELS,
    Network, PAIRS, WindowEmbedding, exponent_factor,
};

/// The maximum number of windows that are encoded together. More windows are encoded group by group.
pub(super) const MAX_GROUP: usize = 12;

/// Rows of input that a layer multiplies before it computes their steps: few enough to stay in the cache, and at least
/// [`MAX_GROUP`].
const CHUNK_ROWS: usize = 56;

/// Exponents beyond this bound all give the same sigmoid and tanh. Within it, no sum or product of the exponentials overflows.
const EXP2_BOUND: f32 = 62.0;

/// Coefficients of a polynomial for (2^x - 1) / x with x from -0.5 to 0.5, lowest power first. The resulting 2^x has a
/// relative error of 2e-8.
const EXP2: [f32; 6] =
    [0.693_147_3, 0.240_226_97, 0.055_502_046, 0.009_612_638_5, 0.001_343_552_4, 0.000_169_482_4];

/// Adding this to a small float leaves the nearest integer in the lowest bits.
const ROUNDING: f32 = 12_582_912.0;

/// The contribution of a row's input to the gates of a block.
type Projection<const LANES: usize> = Aligned<[[f32; LANES]; GATES]>;

/// Buffers for one batch, reused for the next.
#[derive(Default)]
pub(super) struct Workspace<const LANES: usize> {
    /// Hidden values of every window at every step, in pairs. Up to the current step they belong to the current layer,
    /// beyond it to the layer below.
    hidden: Vec<Aligned<[i32; PAIRS]>>,
    /// Contributions of the input to the gates of some steps: block after block, row after row.
    projections: Vec<Projection<LANES>>,
    /// Cell state of every window.
    cells: Vec<Aligned<[f32; HIDDEN_UNITS]>>,
    /// Hidden state of every window, as floats.
    states: Vec<Aligned<[f32; HIDDEN_UNITS]>>,
}

/// A [`Task`] that embeds windows of equal length; pass it to [`Simd::run`].
pub(super) struct EmbedWindows<'a, S, const LANES: usize> {
    pub(super) simd: S,
    pub(super) network: &'a Network<LANES>,
    pub(super) workspace: &'a mut Workspace<LANES>,
    /// The frames: window after window, frame after frame.
    pub(super) mels: &'a [[f32; N_MELS]],
    /// One embedding per window, at most [`MAX_GROUP`].
    pub(super) embeddings: &'a mut [WindowEmbedding],
}

/// Evaluates `$body` for each tile of rows, with `ROWS` as the tile's number of rows and `$first` as its first row.
/// Uses as few tiles as possible, of nearly equal size.
macro_rules! each_tile {
    ($max_rows:expr, $n_rows:expr, |$first:ident, $rows:ident| $body:expr) => {
        let n_tiles = $n_rows.div_ceil($max_rows);
        let mut $first = 0;
        for tile in 0..n_tiles {
            let rows = $n_rows / n_tiles + usize::from(tile < $n_rows % n_tiles);
            each_tile!(@match rows, $max_rows, $rows, $body, 1 2 3 4 5 6);
            $first += rows;
        }
    };
    (@match $actual:ident, $max_rows:expr, $rows:ident, $body:expr, $($n:literal)+) => {
        match $actual {
            $($n if $n <= $max_rows => {
                const $rows: usize = $n;
                $body
            })+
            _ => unreachable!("a tile has 1 to MAX_ROWS rows"),
        }
    };
}

impl<S: Simd<LANES>, const LANES: usize> Task for EmbedWindows<'_, S, LANES> {
    #[inline(always)]
    fn run(self) {
        let Self { simd, network, workspace, mels, embeddings } = self;
        let n_windows = embeddings.len();
        let n_frames = mels.len() / n_windows;
        workspace.fit(n_windows, n_frames);
        for layer in &network.layers {
            run_layer(simd, layer, mels, n_windows, workspace);
        }
        let states = &workspace.states[..n_windows];
        let mut linear = [Aligned([0.0; EMBEDDING_DIM]); MAX_GROUP];
        project_floats(
            simd,
            &network.linear,
            n_windows,
            |window| &states[window].0,
            |window, b, sums| {
                let (blocks, _) = linear[window].0.as_chunks_mut::<LANES>().0.as_chunks_mut();
                store_block(simd, sums, &mut blocks[b]);
            },
        );
        for (embedding, Aligned(linear)) in embeddings.iter_mut().zip(&linear) {
            let positive = linear.map(|component| component.max(0.0));
            let norm = positive.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>().sqrt();
            *embedding = positive.map(|c| if norm > 0.0 { (f64::from(c) / norm) as f32 } else { 0.0 });
        }
    }
}

impl<const LANES: usize> Workspace<LANES> {
    /// Resizes the buffers for a batch.
    fn fit(&mut self, n_windows: usize, n_frames: usize) {
        self.hidden.resize(n_windows * n_frames, Aligned([0; _]));
        self.projections.resize(CHUNK_ROWS * HIDDEN_UNITS / LANES, Aligned([[0.0; _]; _]));
        self.states.resize(n_windows, Aligned([0.0; _]));
    }
}

/// Runs all steps of one layer, in chunks. Each chunk first computes the input's part of the gates, then the steps.
#[inline(always)]
fn run_layer<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    layer: &Layer<LANES>,
    mels: &[[f32; N_MELS]],
    n_windows: usize,
    workspace: &mut Workspace<LANES>,
) {
    let Workspace { hidden, projections, cells, states } = workspace;
    cells.clear();
    cells.resize(n_windows, Aligned([0.0; _]));
    let n_frames = mels.len() / n_windows;
    let steps_at_once = CHUNK_ROWS / n_windows;
    for begin in (0..n_frames).step_by(steps_at_once) {
        let end = (begin + steps_at_once).min(n_frames);
        let n_rows = (end - begin) * n_windows;
        match &layer.input {
            Input::Mels(blocks) => {
                let frame = |row: usize| &mels[row % n_windows * n_frames + begin + row / n_windows];
                project_floats(simd, blocks, n_rows, frame, |row, b, sums| {
                    store_block(simd, sums, &mut projections[b * n_rows + row].0);
                });
            }
            Input::Hidden { weights, bias } => {
                let below = &hidden[begin * n_windows..end * n_windows];
                project_hidden(simd, weights, bias, below, projections);
            }
        }
        for step in begin..end {
            let (before, after) = hidden.split_at_mut(step * n_windows);
            // Empty at the first step.
            let previous = &before[before.len().saturating_sub(n_windows)..];
            let first_row = (step - begin) * n_windows;
            let projection = |b: usize, window: usize| &projections[b * n_rows + first_row + window].0;
            run_step(simd, &layer.recurrent, previous, projection, &mut after[..n_windows], cells, states);
        }
    }
}

/// Multiplies rows of floats by blocks of weights and adds the bias.
#[inline(always)]
fn project_floats<'a, S: Simd<LANES>, const LANES: usize, const INPUTS: usize>(
    simd: S,
    blocks: &[FloatBlock<LANES, INPUTS>],
    n_rows: usize,
    input: impl Fn(usize) -> &'a [f32; INPUTS],
    mut store: impl FnMut(usize, usize, [S::Floats; GATES]),
) {
    for (b, block) in blocks.iter().enumerate() {
        each_tile!(S::MAX_ROWS, n_rows, |first, ROWS| {
            let inputs: [&[f32; INPUTS]; ROWS] = array::from_fn(|row| input(first + row));
            let mut sums = [load_block(simd, &block.bias); ROWS];
            for (k, weights) in block.weights.iter().enumerate() {
                let weights = load_block(simd, weights);
                for row in 0..ROWS {
                    let value = simd.splat(inputs[row][k]);
                    for vector in 0..GATES {
                        sums[row][vector] = simd.mul_add(weights[vector], value, sums[row][vector]);
                    }
                }
            }
            for row in 0..ROWS {
                store(first + row, b, sums[row]);
            }
        });
    }
}

/// Multiplies rows of hidden values by blocks of weights and adds the bias.
#[inline(always)]
fn project_hidden<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    blocks: &[IntBlock<LANES>],
    bias: &[[[f32; LANES]; GATES]],
    input: &[Aligned<[i32; PAIRS]>],
    output: &mut [Projection<LANES>],
) {
    for (b, (block, bias)) in blocks.iter().zip(bias).enumerate() {
        each_tile!(S::MAX_ROWS, input.len(), |first, ROWS| {
            let sums = multiply::<S, LANES, ROWS>(simd, block, &input[first..]);
            for row in 0..ROWS {
                let mut gates = load_block(simd, bias);
                for gate in 0..GATES {
                    let scale = simd.load(&block.scale[gate]);
                    gates[gate] = simd.mul_add(simd.to_floats(sums[row][gate]), scale, gates[gate]);
                }
                store_block(simd, gates, &mut output[b * input.len() + first + row].0);
            }
        });
    }
}

/// Runs one step of one layer for every window.
#[inline(always)]
fn run_step<'a, S: Simd<LANES>, const LANES: usize>(
    simd: S,
    blocks: &[IntBlock<LANES>],
    previous: &[Aligned<[i32; PAIRS]>],
    projection: impl Fn(usize, usize) -> &'a [[f32; LANES]; GATES],
    hidden: &mut [Aligned<[i32; PAIRS]>],
    cells: &mut [Aligned<[f32; HIDDEN_UNITS]>],
    states: &mut [Aligned<[f32; HIDDEN_UNITS]>],
) {
    for (b, block) in blocks.iter().enumerate() {
        each_tile!(S::MAX_ROWS, hidden.len(), |first, ROWS| {
            let sums = if previous.is_empty() {
                [[simd.splat_bits(0); GATES]; ROWS]
            } else {
                multiply::<S, LANES, ROWS>(simd, block, &previous[first..])
            };
            for row in 0..ROWS {
                let window = first + row;
                let mut gates = load_block(simd, projection(b, window));
                for gate in 0..GATES {
                    let scale = simd.load(&block.scale[gate]);
                    gates[gate] = simd.mul_add(simd.to_floats(sums[row][gate]), scale, gates[gate]);
                }
                let cell = &mut cells[window].0.as_chunks_mut::<LANES>().0[b];
                let (new_cell, state) = lstm_cell(simd, gates, simd.load(cell));
                simd.store(new_cell, cell);
                simd.store(state, &mut states[window].0.as_chunks_mut().0[b]);

                // Two blocks become one vector of pairs. The pairs' place holds the first block until the second is ready.
                let integers = simd.round(simd.mul(state, simd.splat(HIDDEN_SCALE)));
                let pairs = &mut hidden[window].0.as_chunks_mut().0[b / 2];
                let paired = if b % 2 == 0 { integers } else { simd.pair(simd.load_ints(pairs), integers) };
                simd.store_ints(paired, pairs);
            }
        });
    }
}

/// Multiplies rows of hidden values by the weights of one block. Returns the sums for the four gates of each row.
#[inline(always)]
fn multiply<S: Simd<LANES>, const LANES: usize, const ROWS: usize>(
    simd: S,
    block: &IntBlock<LANES>,
    input: &[Aligned<[i32; PAIRS]>],
) -> [[S::Ints; GATES]; ROWS] {
    let inputs: [&[i32; PAIRS]; ROWS] = array::from_fn(|row| &input[row].0);
    let mut sums = [[simd.no_sums(); GATES]; ROWS];
    for (pair, weights) in block.weights.iter().enumerate() {
        let mut vectors = [simd.splat_bits(0); GATES];
        for gate in 0..GATES {
            vectors[gate] = simd.load_ints(&weights[gate]);
        }
        for row in 0..ROWS {
            let values = simd.splat_bits(inputs[row][pair]);
            for gate in 0..GATES {
                sums[row][gate] = simd.dot(sums[row][gate], vectors[gate], values);
            }
        }
    }
    let mut totals = [[simd.splat_bits(0); GATES]; ROWS];
    for row in 0..ROWS {
        for gate in 0..GATES {
            totals[row][gate] = simd.totals(sums[row][gate]);
        }
    }
    totals
}

/// Returns the cell and hidden state of one step. The gates are given as exponents of 2, with the factors of
/// [`exponent_factor`].
///
/// sigmoid(a) x tanh(b) = (1 - e^-2b) / ((1 + e^-a) (1 + e^-2b)).
#[inline(always)]
pub(super) fn lstm_cell<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    [input, candidate, forget, output]: [S::Floats; GATES],
    cell: S::Floats,
) -> (S::Floats, S::Floats) {
    let one = simd.splat(1.0);
    let candidate = exp2(simd, candidate);
    let input_sum = simd.add(one, exp2(simd, input));
    let added = simd.div(simd.sub(one, candidate), simd.mul(input_sum, simd.add(one, candidate)));
    let kept = simd.div(cell, simd.add(one, exp2(simd, forget)));
    let cell = simd.add(kept, added);

    let squashed = exp2(simd, simd.mul(cell, simd.splat(exponent_factor(1) as f32)));
    let output_sum = simd.add(one, exp2(simd, output));
    let state = simd.div(simd.sub(one, squashed), simd.mul(output_sum, simd.add(one, squashed)));
    (cell, state)
}

/// Returns 2^x for x within ±[`EXP2_BOUND`], and 2^±[`EXP2_BOUND`] beyond. Relative error: 1e-7.
#[inline(always)]
pub(super) fn exp2<S: Simd<LANES>, const LANES: usize>(simd: S, x: S::Floats) -> S::Floats {
    let x = simd.clamp(x, -EXP2_BOUND, EXP2_BOUND);
    let shifted = simd.add(x, simd.splat(ROUNDING));
    let fraction = simd.sub(x, simd.sub(shifted, simd.splat(ROUNDING)));
    let mut power = simd.splat(EXP2[5]);
    power = simd.mul_add(power, fraction, simd.splat(EXP2[4]));
    power = simd.mul_add(power, fraction, simd.splat(EXP2[3]));
    power = simd.mul_add(power, fraction, simd.splat(EXP2[2]));
    power = simd.mul_add(power, fraction, simd.splat(EXP2[1]));
    power = simd.mul_add(power, fraction, simd.splat(EXP2[0]));
    power = simd.mul_add(power, fraction, simd.splat(1.0));
    simd.add_exponent(power, shifted)
}

/// Loads the four vectors of a block.
#[inline(always)]
fn load_block<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    from: &[[f32; LANES]; GATES],
) -> [S::Floats; GATES] {
    let mut vectors = [simd.splat(0.0); GATES];
    for vector in 0..GATES {
        vectors[vector] = simd.load(&from[vector]);
    }
    vectors
}

/// Stores the four vectors of a block.
#[inline(always)]
fn store_block<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    vectors: [S::Floats; GATES],
    to: &mut [[f32; LANES]; GATES],
) {
    for vector in 0..GATES {
        simd.store(vectors[vector], &mut to[vector]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Portable;
    use super::super::weights::{
        EncoderWeights, LinearWeights, LstmWeights, QuantisedRow, gate_row, int_block, lanes, paired,
    };
    use super::*;

    /// Returns weights of noise from -0.1 to 0.1.
    fn noise_weights() -> EncoderWeights {
        let mut state = 7_u32;
        let mut noise = |len: usize| -> Vec<f32> {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 83_886_080.0 - 0.1
            };
            (0..len).map(|_| next()).collect()
        };
        let mut layer = |n_inputs: usize| LstmWeights {
            input: noise(GATES * HIDDEN_UNITS * n_inputs),
            recurrent: noise(GATES * HIDDEN_UNITS * HIDDEN_UNITS),
            bias: noise(2 * GATES * HIDDEN_UNITS),
        };
        let layers = vec![layer(N_MELS), layer(HIDDEN_UNITS), layer(HIDDEN_UNITS)];
        let linear =
            LinearWeights { weight: noise(EMBEDDING_DIM * HIDDEN_UNITS), bias: noise(EMBEDDING_DIM) };
        EncoderWeights { layers, linear, metadata: Vec::new() }
    }

    fn dot(row: &[f32], values: &[f64]) -> f64 {
        row.iter().zip(values).map(|(weight, value)| f64::from(*weight) * value).sum()
    }

    /// Computes the embedding of one window by the textbook, in `f64`.
    fn reference(weights: &EncoderWeights, mels: &[[f32; N_MELS]]) -> Vec<f64> {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut sequence: Vec<Vec<f64>> =
            mels.iter().map(|mel| mel.iter().copied().map(f64::from).collect()).collect();
        for layer in &weights.layers {
            let (mut hidden, mut cell) = (vec![0.0; HIDDEN_UNITS], vec![0.0; HIDDEN_UNITS]);
            for values in &mut sequence {
                let sum = |gate: usize, unit: usize| {
                    let row = gate * HIDDEN_UNITS + unit;
                    let inputs = &layer.input[row * values.len()..];
                    let recurrent = &layer.recurrent[row * HIDDEN_UNITS..][..HIDDEN_UNITS];
                    let bias = layer.bias[row] + layer.bias[GATES * HIDDEN_UNITS + row];
                    dot(inputs, values) + dot(recurrent, &hidden) + f64::from(bias)
                };
                let step = |unit: usize| {
                    let [input, output, forget, candidate] = array::from_fn(|gate| sum(gate, unit));
                    let cell = sigmoid(forget) * cell[unit] + sigmoid(input) * candidate.tanh();
                    (cell, sigmoid(output) * cell.tanh())
                };
                let (new_cell, new_hidden): (Vec<f64>, Vec<f64>) = (0..HIDDEN_UNITS).map(step).unzip();
                (cell, hidden) = (new_cell, new_hidden);
                values.clone_from(&hidden);
            }
        }
        let last = sequence.last().unwrap();
        let rows = weights.linear.weight.chunks(HIDDEN_UNITS).zip(&weights.linear.bias);
        let positive: Vec<f64> =
            rows.map(|(row, bias)| (dot(row, last) + f64::from(*bias)).max(0.0)).collect();
        let norm = positive.iter().map(|c| c * c).sum::<f64>().sqrt();
        positive.iter().map(|c| c / norm).collect()
    }

    #[test]
    fn a_block_multiplies_the_weights_of_its_units() {
        const LANES: usize = 8;
        const BLOCK: usize = 3;
        let noise = |row: usize, k: usize| ((row * 31 + k * 7) % 101) as f32 / 50.0 - 1.0;
        let rows: Vec<[f32; HIDDEN_UNITS]> =
            (0..GATES * HIDDEN_UNITS).map(|row| array::from_fn(|k| noise(row, k))).collect();
        let hidden: [i16; HIDDEN_UNITS] = array::from_fn(|unit| (unit * 4_099 % 16_385) as i16 - 8_192);
        let input = [Aligned(array::from_fn(|pair| paired::<LANES>(&hidden, pair)))];
        let [sums] = multiply::<Portable, LANES, 1>(Portable, &int_block(&rows, BLOCK), &input);
        for (gate, lane) in lanes::<LANES>() {
            let row = QuantisedRow::new(&rows[gate_row(gate, BLOCK * LANES + lane)]);
            let products = row.weights.iter().zip(&hidden).map(|(w, h)| i32::from(*w) * i32::from(*h));
            assert_eq!(sums[gate][lane], products.sum::<i32>(), "gate {gate}, lane {lane}");
        }
    }

    #[test]
    fn powers_of_two_are_exact_to_the_last_bits() {
        for i in -700_i16..=700 {
            let x = f32::from(i) / 10.0;
            let [power, ..] = exp2(Portable, Portable.splat(x));
            let expected = f64::from(x.clamp(-EXP2_BOUND, EXP2_BOUND)).exp2();
            assert!((f64::from(power) / expected - 1.0).abs() < 1.5e-7, "2^{x}: {power}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours")]
    fn the_arithmetic_is_that_of_an_lstm() {
        let n_frames = 20;
        let weights = noise_weights();
        let mels: Vec<[f32; N_MELS]> = (0..n_frames)
            .map(|frame| array::from_fn(|mel| ((frame * 7 + mel * 3) % 11) as f32 / 11.0))
            .collect();
        let mut embedding = [[0.0; EMBEDDING_DIM]];
        EmbedWindows {
            simd: Portable,
            network: &Network::new(&weights),
            workspace: &mut Workspace::default(),
            mels: &mels,
            embeddings: &mut embedding,
        }
        .run();
        let expected = reference(&weights, &mels);
        for (i, (actual, expected)) in embedding[0].iter().zip(&expected).enumerate() {
            assert!(
                (f64::from(*actual) - expected).abs() < 1e-4,
                "component {i}: {actual}, expected {expected}"
            );
        }
    }
}
