//! The head of CAM++: convolutions over bands and frames.
//!
//! All layers run together, some tiles of frames at a time, so that what passes between them stays in the CPU's cache. A
//! layer takes the frame after a tile too. Therefore each layer is one tile behind the layer before.

#![allow(clippy::inline_always, reason = "see `Task`")]

use std::ops::Range;

use super::convolution::{Convolution, ConvolutionWeights, Linear, largest_of, quantise_up_to};
use super::frames::ScaledFrames;
use super::simd::Simd;
use super::winograd::{PRODUCTS, TAPS, TILE_FRAMES, combine, tap_factors, transform};

/// Bands of a frame.
pub(super) const N_BANDS: usize = 80;

/// Channels of a map.
pub(super) const CHANNELS: usize = 32;

/// Pairs of a band's values.
pub(super) const BAND_PAIRS: usize = CHANNELS / 2;

/// The kernel size of the convolutions, in bands and in frames.
const KERNEL: usize = TAPS;

/// Tiles that a layer computes in one step. Their rows then fill whole register tiles for most numbers of bands.
const STEP_TILES: usize = 3;

/// Frames that a layer computes in one step.
const STEP_FRAMES: usize = STEP_TILES * TILE_FRAMES;

/// Frames of the step before that the next layer needs: those of the tile that it is behind, and one before.
const CARRIED: usize = TILE_FRAMES + 1;

/// Frames that a shortcut remembers: its block adds them two tiles later.
const REMEMBERED: usize = STEP_FRAMES + 2 * TILE_FRAMES;

/// Bands of the first map that are computed together.
const BANDS_AT_ONCE: usize = 8;

/// Layers of a residual block.
const BLOCK_LAYERS: usize = 2;

/// A residual block: two convolutions beside a shortcut.
#[derive(Debug, PartialEq)]
pub struct ResidualWeights {
    /// The first convolution.
    pub first: ConvolutionWeights,
    /// The second convolution.
    pub second: ConvolutionWeights,
    /// The shortcut's convolution, if the block halves the bands.
    pub shortcut: Option<ConvolutionWeights>,
}

/// The head's weights, packed for vectors of `LANES`.
pub(super) struct CampplusHead<const LANES: usize> {
    first: Linear<LANES>,
    residuals: Vec<Residual<LANES>>,
    last: Convolution<LANES>,
}

struct Residual<const LANES: usize> {
    first: Convolution<LANES>,
    second: Convolution<LANES>,
    /// If there is none, the block's input is added unchanged.
    shortcut: Option<Convolution<LANES>>,
}

impl<const LANES: usize> Residual<LANES> {
    /// Returns the stride of the first convolution and of the shortcut, in bands.
    fn stride(&self) -> usize {
        if self.shortcut.is_some() { 2 } else { 1 }
    }
}

impl<const LANES: usize> CampplusHead<LANES> {
    pub(super) fn new(
        first: &ConvolutionWeights,
        residuals: &[ResidualWeights],
        last: &ConvolutionWeights,
    ) -> Self {
        let residual = |weights: &ResidualWeights| Residual {
            first: in_tiles(&weights.first),
            second: in_tiles(&weights.second),
            shortcut: weights.shortcut.as_ref().map(over_bands),
        };
        Self {
            first: Linear::new(first),
            residuals: residuals.iter().map(residual).collect(),
            last: in_tiles(last),
        }
    }

    /// Runs the head. Its output is in [`HeadWorkspace::output`].
    #[inline(always)]
    pub(super) fn run<S: Simd<LANES>, const ROWS: usize>(
        &self,
        simd: S,
        frames: &[[f32; N_BANDS]],
        workspace: &mut HeadWorkspace,
    ) {
        let n_layers = self.residuals.len() * BLOCK_LAYERS + 2;
        let n_tiles = frames.len().div_ceil(TILE_FRAMES);
        let HeadWorkspace { rows, carried, remembered, shortcuts, output, .. } = workspace;
        rows.resize(STEP_FRAMES * N_BANDS * CHANNELS, 0.0);
        shortcuts.resize(STEP_FRAMES * N_BANDS / 2 * CHANNELS, 0.0);
        carried.resize_with(n_layers - 1, CarriedFrames::default);
        remembered.resize_with(self.residuals.len(), ScaledFrames::default);
        let mut n_bands = N_BANDS;
        carried[0].begin(n_bands);
        for (i, residual) in self.residuals.iter().enumerate() {
            remembered[i].fit_padded(REMEMBERED, n_bands * BAND_PAIRS, BAND_PAIRS);
            n_bands /= residual.stride();
            (1..=BLOCK_LAYERS).for_each(|layer| carried[i * BLOCK_LAYERS + layer].begin(n_bands));
        }
        output.fit(frames.len(), n_bands / 2 * BAND_PAIRS);
        // The last layer is the furthest behind.
        for number in 0..(n_tiles + n_layers - 1).div_ceil(STEP_TILES) {
            let mut step = HeadStep::<S, LANES, ROWS> {
                simd,
                number,
                n_tiles,
                n_frames: frames.len(),
                workspace: &mut *workspace,
            };
            step.first_map(&self.first, frames);
            let mut n_bands = N_BANDS;
            for (i, residual) in self.residuals.iter().enumerate() {
                n_bands /= residual.stride();
                step.residual(residual, i, n_bands);
            }
            step.last(&self.last, n_layers - 1, n_bands / 2);
        }
    }
}

/// Packs a convolution of shape `[outputs, channels, bands, frames]`. A tap is a frame, and its values are bands of channels.
fn over_bands<const LANES: usize>(weights: &ConvolutionWeights) -> Convolution<LANES> {
    let [n_outputs, n_channels, n_bands, n_frames] = weights.shape[..] else { panic!("four dimensions") };
    let weight = |output: usize, frame: usize, value: usize| weight_of(weights, output, frame, value);
    Convolution::new([n_outputs, n_frames, n_bands * n_channels], weight, weights.bias.as_deref())
}

/// Like [`over_bands`], for the products of a tile instead of the frames.
fn in_tiles<const LANES: usize>(weights: &ConvolutionWeights) -> Convolution<LANES> {
    let [n_outputs, n_channels, n_bands, TAPS] = weights.shape[..] else { panic!("{TAPS} frames") };
    let weight = |output: usize, product: usize, value: usize| {
        let taps = tap_factors(product).into_iter().enumerate();
        taps.map(|(tap, factor)| factor * weight_of(weights, output, tap, value)).sum()
    };
    Convolution::new([n_outputs, PRODUCTS, n_bands * n_channels], weight, weights.bias.as_deref())
}

fn weight_of(weights: &ConvolutionWeights, output: usize, frame: usize, value: usize) -> f32 {
    let [_, n_channels, n_bands, n_frames] = weights.shape[..] else { panic!("four dimensions") };
    let (band, channel) = (value / n_channels, value % n_channels);
    weights.values[((output * n_channels + channel) * n_bands + band) * n_frames + frame]
}

/// Buffers of the head, reused for the next unit.
#[derive(Default)]
pub(super) struct HeadWorkspace {
    /// The outputs of a layer in one step, and the largest value of each frame.
    rows: Vec<f32>,
    largest: [f32; STEP_FRAMES],
    /// The input of the next layer: the products of each tile, with zeros beside the bands.
    tiles: ScaledFrames,
    /// For each layer but the last, frames of the step before.
    carried: Vec<CarriedFrames>,
    /// For each residual block, its latest input. The place of a frame is its number modulo [`REMEMBERED`].
    remembered: Vec<ScaledFrames>,
    /// The outputs of a shortcut's convolution.
    shortcuts: Vec<f32>,
    /// The last map.
    pub(super) output: ScaledFrames,
}

/// The last frames of a layer's outputs, and the largest value of each.
#[derive(Default)]
struct CarriedFrames {
    values: Vec<f32>,
    largest: [f32; CARRIED],
}

impl CarriedFrames {
    /// Begins with zeros, which come before the first frame.
    fn begin(&mut self, n_bands: usize) {
        self.values.clear();
        self.values.resize(CARRIED * n_bands * CHANNELS, 0.0);
        self.largest = [0.0; CARRIED];
    }
}

/// Zeros, for the frame after the last.
static NO_FRAME: [f32; N_BANDS * CHANNELS] = [0.0; N_BANDS * CHANNELS];

/// One step of all layers.
struct HeadStep<'a, S, const LANES: usize, const ROWS: usize> {
    simd: S,
    number: usize,
    n_tiles: usize,
    n_frames: usize,
    workspace: &'a mut HeadWorkspace,
}

impl<S: Simd<LANES>, const LANES: usize, const ROWS: usize> HeadStep<'_, S, LANES, ROWS> {
    /// Returns the tiles that a layer computes in this step.
    fn tiles(&self, layer: usize) -> Range<usize> {
        let at = |number: usize| (number * STEP_TILES).saturating_sub(layer).min(self.n_tiles);
        at(self.number)..at(self.number + 1)
    }

    /// Returns the frames that a layer computes in this step.
    fn frames(&self, layer: usize) -> Range<usize> {
        let tiles = self.tiles(layer);
        (tiles.start * TILE_FRAMES).min(self.n_frames)..(tiles.end * TILE_FRAMES).min(self.n_frames)
    }

    /// Runs the first layer. It has one input channel, and its nine weights for each output are floats.
    #[inline(always)]
    fn first_map(&mut self, first: &Linear<LANES>, frames: &[[f32; N_BANDS]]) {
        let here = self.frames(0);
        let HeadWorkspace { rows, largest, remembered, .. } = &mut *self.workspace;
        for (row, frame) in rows.chunks_exact_mut(N_BANDS * CHANNELS).zip(here.clone()) {
            let around: [[f32; N_BANDS + 2]; KERNEL] = std::array::from_fn(|tap| {
                let mut padded = [0.0; N_BANDS + 2];
                if let Some(frame) = (frame + tap).checked_sub(1).and_then(|frame| frames.get(frame)) {
                    padded[1..=N_BANDS].copy_from_slice(frame);
                }
                padded
            });
            for (i, row) in row.chunks_exact_mut(BANDS_AT_ONCE * CHANNELS).enumerate() {
                let bands = i * BANDS_AT_ONCE;
                first.run_rows::<S, BANDS_AT_ONCE>(
                    self.simd,
                    #[inline(always)]
                    |band, input| around[input % KERNEL][bands + band + input / KERNEL],
                    row,
                );
            }
            largest[frame - here.start] = rectify(self.simd, row);
            if let Some(remembered) = remembered.first_mut() {
                remember(self.simd, row, largest[frame - here.start], remembered, frame);
            }
        }
        self.write_tiles(0, N_BANDS);
    }

    /// Runs the two layers of a residual block.
    #[inline(always)]
    fn residual(&mut self, residual: &Residual<LANES>, block: usize, n_bands: usize) {
        let layer = block * BLOCK_LAYERS + 1;
        let frame_len = n_bands * CHANNELS;
        self.convolve(&residual.first, layer, n_bands, residual.stride());
        let n_frames = self.frames(layer).len();
        let HeadWorkspace { rows, largest, .. } = &mut *self.workspace;
        for (row, largest) in rows.chunks_exact_mut(frame_len).zip(largest).take(n_frames) {
            *largest = rectify(self.simd, row);
        }
        self.write_tiles(layer, n_bands);
        let layer = layer + 1;
        self.convolve(&residual.second, layer, n_bands, 1);
        let frames = self.frames(layer);
        let HeadWorkspace { rows, largest, remembered, shortcuts, .. } = &mut *self.workspace;
        let (inputs, outputs) = remembered.split_at_mut(block + 1);
        let (input, mut output) = (&inputs[block], outputs.first_mut());
        if let Some(shortcut) = &residual.shortcut {
            let tap = |(frame, band): (usize, usize), _: usize| {
                input.values(frame % REMEMBERED, (residual.stride() * band + 1) * BAND_PAIRS)
            };
            let places = BandRows::new(frames.clone(), n_bands);
            shortcut.run::<S, _, ROWS>(self.simd, places, tap, f32::MIN, shortcuts);
        }
        for (i, frame) in frames.enumerate() {
            let row = &mut rows[i * frame_len..][..frame_len];
            if residual.shortcut.is_some() {
                add(self.simd, row, &shortcuts[i * frame_len..][..frame_len]);
            } else {
                add_quantised(self.simd, row, input.values(frame % REMEMBERED, BAND_PAIRS));
            }
            largest[i] = rectify(self.simd, row);
            if let Some(output) = &mut output {
                remember(self.simd, row, largest[i], output, frame);
            }
        }
        self.write_tiles(layer, n_bands);
    }

    /// Runs the last layer, which halves the bands.
    #[inline(always)]
    fn last(&mut self, convolution: &Convolution<LANES>, layer: usize, n_bands: usize) {
        self.convolve(convolution, layer, n_bands, 2);
        let frames = self.frames(layer);
        let HeadWorkspace { rows, output, .. } = &mut *self.workspace;
        for (row, frame) in rows.chunks_exact_mut(n_bands * CHANNELS).zip(frames) {
            let largest = rectify(self.simd, row);
            let (pairs, scale) = output.frame_mut(frame);
            *scale = quantise_up_to(self.simd, largest, row, pairs);
        }
    }

    /// Runs a convolution over bands and frames, from [`HeadWorkspace::tiles`] to [`HeadWorkspace::rows`].
    #[inline(always)]
    fn convolve(&mut self, convolution: &Convolution<LANES>, layer: usize, n_bands: usize, stride: usize) {
        let n_tiles = self.tiles(layer).len();
        let HeadWorkspace { rows, tiles, .. } = &mut *self.workspace;
        let tap = |(tile, band): (usize, usize), product: usize| {
            tiles.values(tile * PRODUCTS + product, stride * band * BAND_PAIRS)
        };
        let begin_of = |(tile, band): (usize, usize), frame: usize| {
            ((tile * TILE_FRAMES + frame) * n_bands + band) * CHANNELS
        };
        let simd = self.simd;
        convolution.run_combined::<S, _, ROWS, _, _>(
            simd,
            BandRows::new(0..n_tiles, n_bands),
            tap,
            #[inline(always)]
            |products| combine(simd, products),
            begin_of,
            rows,
        );
    }

    /// Transforms a layer's outputs into the tiles that the next layer computes in this step, and carries over the frames
    /// that the next step needs.
    #[inline(always)]
    fn write_tiles(&mut self, layer: usize, n_bands: usize) {
        let (tiles_here, frames_here) = (self.tiles(layer), self.frames(layer));
        let next = self.tiles(layer + 1);
        let HeadWorkspace { rows, largest, tiles, carried, .. } = &mut *self.workspace;
        let carried = &mut carried[layer];
        let frame_len = n_bands * CHANNELS;
        // The frames after the last are zeros.
        let n_rows = tiles_here.len() * TILE_FRAMES;
        rows[frames_here.len() * frame_len..n_rows * frame_len].fill(0.0);
        largest[frames_here.len()..n_rows].fill(0.0);
        tiles.fit_padded(next.len() * PRODUCTS, n_bands * BAND_PAIRS, BAND_PAIRS);
        for (place, tile) in next.enumerate() {
            // A tile's first frame of input is the one before it.
            let first = tile * TILE_FRAMES + CARRIED - 1 - tiles_here.start * TILE_FRAMES;
            let (mut values, mut bounds) = ([&NO_FRAME[..frame_len]; PRODUCTS], [0.0; PRODUCTS]);
            for i in 0..PRODUCTS {
                if first + i < CARRIED {
                    values[i] = &carried.values[(first + i) * frame_len..][..frame_len];
                    bounds[i] = carried.largest[first + i];
                } else if first + i < CARRIED + n_rows {
                    values[i] = &rows[(first + i - CARRIED) * frame_len..][..frame_len];
                    bounds[i] = largest[first + i - CARRIED];
                }
            }
            let (products, scales) = tiles.frames_mut(place * PRODUCTS);
            *scales = transform(self.simd, values, bounds, products);
        }
        // The last frames of those carried and of this step.
        let n_kept = CARRIED.saturating_sub(n_rows);
        carried.values.copy_within((CARRIED - n_kept) * frame_len.., 0);
        carried.values[n_kept * frame_len..]
            .copy_from_slice(&rows[(n_rows + n_kept - CARRIED) * frame_len..n_rows * frame_len]);
        carried.largest.copy_within(CARRIED - n_kept.., 0);
        carried.largest[n_kept..].copy_from_slice(&largest[n_rows + n_kept - CARRIED..n_rows]);
    }
}

/// Quantises a frame for the shortcut that adds it later.
#[inline(always)]
fn remember<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    row: &[f32],
    largest: f32,
    remembered: &mut ScaledFrames,
    frame: usize,
) {
    let (pairs, scale) = remembered.frame_mut(frame % REMEMBERED);
    *scale = quantise_up_to(simd, largest, row, pairs);
}

/// Iterates over the bands of one frame, or tile, after the other.
struct BandRows {
    next: (usize, usize),
    n_bands: usize,
    n_left: usize,
}

impl BandRows {
    fn new(frames: Range<usize>, n_bands: usize) -> Self {
        Self { next: (frames.start, 0), n_bands, n_left: frames.len() * n_bands }
    }
}

impl Iterator for BandRows {
    type Item = (usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        self.n_left = self.n_left.checked_sub(1)?;
        let (frame, band) = self.next;
        self.next = if band + 1 == self.n_bands { (frame + 1, 0) } else { (frame, band + 1) };
        Some((frame, band))
    }

    #[inline(always)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.n_left, Some(self.n_left))
    }
}

impl ExactSizeIterator for BandRows {}

/// Adds values to sums.
#[inline(always)]
pub(super) fn add<S: Simd<LANES>, const LANES: usize>(simd: S, sums: &mut [f32], values: &[f32]) {
    for (sum, value) in sums.as_chunks_mut::<LANES>().0.iter_mut().zip(values.as_chunks::<LANES>().0) {
        simd.store(simd.add(simd.load(sum), simd.load(value)), sum);
    }
}

#[inline(always)]
fn add_quantised<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    sums: &mut [f32],
    (pairs, scale): (&[i32], f32),
) {
    let scale = simd.splat(scale);
    let sums = sums.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0.iter_mut();
    for (sums, pair) in sums.zip(pairs.as_chunks::<LANES>().0) {
        let values = simd.unpair(simd.load_ints(pair));
        for half in 0..2 {
            let sum = simd.mul_add(simd.to_floats(values[half]), scale, simd.load(&sums[half]));
            simd.store(sum, &mut sums[half]);
        }
    }
}

/// Replaces negative values by zeros. Returns the largest value.
#[inline(always)]
pub(super) fn rectify<S: Simd<LANES>, const LANES: usize>(simd: S, values: &mut [f32]) -> f32 {
    let zero = simd.splat(0.0);
    let mut largest = [zero; 2];
    for vectors in values.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0 {
        for half in 0..2 {
            let value = simd.max(simd.load(&vectors[half]), zero);
            largest[half] = simd.max(largest[half], value);
            simd.store(value, &mut vectors[half]);
        }
    }
    largest_of(simd, largest)
}
