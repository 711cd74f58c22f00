//! CAM++ without ONNX Runtime: its convolutions in 16-bit integers, the rest in floats.
//!
//! Source: Wang et al., *CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking*,
//! 2023, and the graph that `models/campplus/network.rs` writes.

#![allow(clippy::inline_always, reason = "see `Task`")]

use std::ops::Range;

use super::convolution::{Convolution, ConvolutionWeights, Linear, largest_of, quantise, quantise_up_to};
use super::frames::ScaledFrames;
use super::head::{self, CampplusHead, HeadWorkspace, N_BANDS, ResidualWeights, add, rectify};
use super::kernel::exp2;
use super::simd::{Simd, Task};
use super::weights::Aligned;

/// Components of an embedding.
pub(super) const DIMENSION: usize = 192;

/// Frames that a dense block computes together.
const CHUNK: usize = 24;

/// The kernel size of the first convolution over time, in frames, and its stride.
const TIME_KERNEL: usize = 5;
const TIME_STRIDE: usize = 2;

/// Channels that a layer of a dense block narrows its input to, and channels that it adds.
const NARROW: usize = 128;
const GROWTH: usize = 32;

/// Channels of a mask between its two layers.
const MASK_HIDDEN: usize = 64;

/// Frames of a segment. A mask uses the mean of each segment.
const SEGMENT_FRAMES: usize = 100;

/// The maximum number of channels in a dense block.
const MAX_CHANNELS: usize = 1_024;

/// Channels after the last block.
const OUT_CHANNELS: usize = 512;

/// The weights of CAM++. A batch norm after a convolution is folded into the convolution.
#[derive(Debug, PartialEq)]
pub struct CampplusWeights {
    /// The first convolution, over bands and frames.
    pub first: ConvolutionWeights,
    /// Four residual blocks. The first and the third halve the bands.
    pub residuals: Vec<ResidualWeights>,
    /// The last convolution over bands, which halves them.
    pub last: ConvolutionWeights,
    /// The convolution over time that halves the frames.
    pub time: ConvolutionWeights,
    /// Three dense blocks.
    pub blocks: Vec<DenseBlockWeights>,
    /// The layer from means and deviations to the embedding.
    pub embedding: ConvolutionWeights,
    /// Key-value pairs stored with the weights.
    pub metadata: Vec<(String, String)>,
}

/// A dense block, and the transit layer that narrows its channels.
#[derive(Debug, PartialEq)]
pub struct DenseBlockWeights {
    /// Frames between the taps of its convolutions.
    pub dilation: usize,
    /// The block's layers.
    pub layers: Vec<MaskedLayerWeights>,
    /// The norm before the transit layer.
    pub norm: NormWeights,
    /// The transit layer.
    pub transit: ConvolutionWeights,
}

/// A layer of a dense block.
#[derive(Debug, PartialEq)]
pub struct MaskedLayerWeights {
    /// The norm before the layer.
    pub norm: NormWeights,
    /// The convolution to fewer channels.
    pub narrow: ConvolutionWeights,
    /// The convolution over three frames.
    pub local: ConvolutionWeights,
    /// The mask's first layer.
    pub mask_hidden: ConvolutionWeights,
    /// The mask's second layer.
    pub mask: ConvolutionWeights,
}

/// A batch norm: a factor and a summand for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct NormWeights {
    /// The factor of each channel.
    pub scale: Vec<f32>,
    /// The summand of each channel.
    pub shift: Vec<f32>,
}

/// The network, packed for vectors of `LANES`.
pub(super) struct CampplusNetwork<const LANES: usize> {
    head: CampplusHead<LANES>,
    time: Convolution<LANES>,
    blocks: Vec<DenseBlock<LANES>>,
    embedding: Linear<LANES>,
}

struct DenseBlock<const LANES: usize> {
    dilation: usize,
    layers: Vec<MaskedLayer<LANES>>,
    norm: NormWeights,
    transit: Convolution<LANES>,
}

struct MaskedLayer<const LANES: usize> {
    norm: NormWeights,
    narrow: Convolution<LANES>,
    local: Convolution<LANES>,
    mask_hidden: Linear<LANES>,
    mask: Linear<LANES>,
}

impl<const LANES: usize> CampplusNetwork<LANES> {
    pub(super) fn new(weights: &CampplusWeights) -> Self {
        let masked = |weights: &MaskedLayerWeights| MaskedLayer {
            norm: weights.norm.clone(),
            narrow: over_time(&weights.narrow),
            local: over_time(&weights.local),
            mask_hidden: Linear::new(&weights.mask_hidden),
            mask: Linear::new(&weights.mask),
        };
        let block = |weights: &DenseBlockWeights| DenseBlock {
            dilation: weights.dilation,
            layers: weights.layers.iter().map(masked).collect(),
            norm: weights.norm.clone(),
            transit: over_time(&weights.transit),
        };
        Self {
            head: CampplusHead::new(&weights.first, &weights.residuals, &weights.last),
            time: over_joined_bands(&weights.time),
            blocks: weights.blocks.iter().map(block).collect(),
            embedding: Linear::new(&weights.embedding),
        }
    }
}

/// Packs a convolution `[outputs, channels, frames]`.
fn over_time<const LANES: usize>(weights: &ConvolutionWeights) -> Convolution<LANES> {
    let [n_outputs, n_channels, n_frames] = weights.shape[..] else { panic!("three dimensions") };
    let weight = |output: usize, frame: usize, channel: usize| {
        weights.values[(output * n_channels + channel) * n_frames + frame]
    };
    Convolution::new([n_outputs, n_frames, n_channels], weight, weights.bias.as_deref())
}

/// Like [`over_time`], for the head's channels joined with their bands. In the weights, each channel is followed by its
/// bands; in the values, each band by its channels.
fn over_joined_bands<const LANES: usize>(weights: &ConvolutionWeights) -> Convolution<LANES> {
    let [n_outputs, n_joined, n_frames] = weights.shape[..] else { panic!("three dimensions") };
    let n_bands = n_joined / head::CHANNELS;
    let weight = |output: usize, frame: usize, value: usize| {
        let channel = value % head::CHANNELS * n_bands + value / head::CHANNELS;
        weights.values[(output * n_joined + channel) * n_frames + frame]
    };
    Convolution::new([n_outputs, n_frames, n_joined], weight, weights.bias.as_deref())
}

/// Buffers for one unit, reused for the next.
#[derive(Default)]
pub(super) struct CampplusWorkspace {
    head: HeadWorkspace,
    /// The input of a dense layer, for some frames.
    active: ScaledFrames,
    /// The narrowed channels of a dense layer.
    narrow: ScaledFrames,
    /// Outputs of some rows before quantisation.
    rows: Vec<f32>,
    /// The channels of a dense block, frame after frame.
    channels: Vec<f32>,
    /// A frame after a norm.
    normed: Vec<f32>,
    /// Sums of the narrowed channels over each segment, and the masks computed from them.
    sums: Vec<[f32; NARROW]>,
    masks: Vec<Aligned<[f32; GROWTH]>>,
}

/// A [`Task`] that embeds a unit of frames; pass it to [`Simd::run`]. A tile has `ROWS` rows.
pub(super) struct EmbedPiece<'a, S, const LANES: usize, const ROWS: usize> {
    pub(super) simd: S,
    pub(super) network: &'a CampplusNetwork<LANES>,
    pub(super) workspace: &'a mut CampplusWorkspace,
    pub(super) frames: &'a [[f32; N_BANDS]],
    pub(super) embedding: &'a mut [f32; DIMENSION],
}

impl<S: Simd<LANES>, const LANES: usize, const ROWS: usize> Task for EmbedPiece<'_, S, LANES, ROWS> {
    #[inline(always)]
    fn run(self) {
        let Self { simd, network, workspace, frames, embedding } = self;
        workspace.rows.resize(CHUNK * OUT_CHANNELS, 0.0);
        network.head.run::<S, ROWS>(simd, frames, &mut workspace.head);
        let n_frames = (frames.len() - 1) / TIME_STRIDE + 1;
        let mut n_channels = run_time::<S, LANES, ROWS>(simd, &network.time, n_frames, workspace);
        for block in &network.blocks {
            n_channels = run_block::<S, LANES, ROWS>(simd, block, n_frames, n_channels, workspace);
        }
        debug_assert_eq!(n_channels, OUT_CHANNELS);
        let statistics = statistics(simd, &mut workspace.channels, n_frames);
        network.embedding.run(simd, &statistics, embedding);
    }
}

/// Runs the convolution that halves the frames, from the head's output to [`CampplusWorkspace::channels`]. Returns the number
/// of channels.
#[inline(always)]
fn run_time<S: Simd<LANES>, const LANES: usize, const ROWS: usize>(
    simd: S,
    convolution: &Convolution<LANES>,
    n_frames: usize,
    workspace: &mut CampplusWorkspace,
) -> usize {
    let CampplusWorkspace { head, channels, rows, .. } = workspace;
    let n_outputs = convolution.n_outputs();
    channels.resize(channels.len().max(n_frames * MAX_CHANNELS), 0.0);
    for begin in (0..n_frames).step_by(CHUNK) {
        let n_here = CHUNK.min(n_frames - begin);
        let tap = |row: usize, tap: usize| {
            let frame = (TIME_STRIDE * (begin + row) + tap).wrapping_sub(TIME_KERNEL / 2);
            head.output.values(frame, 0)
        };
        convolution.run::<S, _, ROWS>(simd, 0..n_here, tap, 0.0, rows);
        for (row, frame) in rows.chunks_exact(n_outputs).zip(begin..begin + n_here) {
            channels[frame * MAX_CHANNELS..][..n_outputs].copy_from_slice(row);
        }
    }
    n_outputs
}

/// Runs a dense block and its transit layer. Returns the number of channels after it.
#[inline(always)]
fn run_block<S: Simd<LANES>, const LANES: usize, const ROWS: usize>(
    simd: S,
    block: &DenseBlock<LANES>,
    n_frames: usize,
    n_inputs: usize,
    workspace: &mut CampplusWorkspace,
) -> usize {
    workspace.narrow.fit(n_frames, NARROW / 2);
    let mut n_channels = n_inputs;
    for layer in &block.layers {
        run_masked::<S, LANES, ROWS>(simd, layer, n_frames, n_channels, block.dilation, workspace);
        n_channels += GROWTH;
    }
    let n_outputs = block.transit.n_outputs();
    for begin in (0..n_frames).step_by(CHUNK) {
        let frames = begin..(begin + CHUNK).min(n_frames);
        activate(simd, &block.norm, frames.clone(), n_channels, workspace);
        let CampplusWorkspace { active, channels, rows, .. } = &mut *workspace;
        block.transit.run::<S, _, ROWS>(
            simd,
            0..frames.len(),
            |row, _| active.values(row, 0),
            f32::MIN,
            rows,
        );
        for (row, frame) in rows.chunks_exact(n_outputs).zip(frames) {
            channels[frame * MAX_CHANNELS..][..n_outputs].copy_from_slice(row);
        }
    }
    n_outputs
}

/// Normalises and rectifies the channels of some frames and writes them to [`CampplusWorkspace::active`].
#[inline(always)]
fn activate<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    norm: &NormWeights,
    frames: Range<usize>,
    n_channels: usize,
    workspace: &mut CampplusWorkspace,
) {
    let CampplusWorkspace { active, channels, normed, .. } = workspace;
    active.fit(frames.len(), n_channels / 2);
    normed.resize(MAX_CHANNELS, 0.0);
    let normed = &mut normed[..n_channels];
    let scales = norm.scale.as_chunks::<LANES>().0.as_chunks::<2>().0;
    let shifts = norm.shift.as_chunks::<LANES>().0.as_chunks::<2>().0;
    for (row, frame) in frames.enumerate() {
        let channels = channels[frame * MAX_CHANNELS..][..n_channels].as_chunks::<LANES>().0;
        let mut largest = [simd.splat(0.0); 2];
        let places = normed.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0.iter_mut();
        let channels = channels.as_chunks::<2>().0;
        for (((places, channels), scales), shifts) in places.zip(channels).zip(scales).zip(shifts) {
            for i in 0..2 {
                let (scale, shift) = (simd.load(&scales[i]), simd.load(&shifts[i]));
                let value = simd.mul_add(simd.load(&channels[i]), scale, shift);
                let value = simd.max(value, simd.splat(0.0));
                largest[i] = simd.max(largest[i], value);
                simd.store(value, &mut places[i]);
            }
        }
        let (pairs, scale) = active.frame_mut(row);
        *scale = quantise_up_to(simd, largest_of(simd, largest), normed, pairs);
    }
}

/// Runs a layer of a dense block, which adds channels to the existing ones.
#[inline(always)]
fn run_masked<S: Simd<LANES>, const LANES: usize, const ROWS: usize>(
    simd: S,
    layer: &MaskedLayer<LANES>,
    n_frames: usize,
    n_channels: usize,
    dilation: usize,
    workspace: &mut CampplusWorkspace,
) {
    let n_segments = n_frames.div_ceil(SEGMENT_FRAMES);
    workspace.sums.clear();
    workspace.sums.resize(n_segments, [0.0; NARROW]);
    for begin in (0..n_frames).step_by(CHUNK) {
        let frames = begin..(begin + CHUNK).min(n_frames);
        activate(simd, &layer.norm, frames.clone(), n_channels, workspace);
        let CampplusWorkspace { active, narrow, rows, sums, .. } = &mut *workspace;
        layer.narrow.run::<S, _, ROWS>(simd, 0..frames.len(), |row, _| active.values(row, 0), 0.0, rows);
        for (row, frame) in rows.chunks_exact(NARROW).zip(frames) {
            add(simd, &mut sums[frame / SEGMENT_FRAMES], row);
            let (pairs, scale) = narrow.frame_mut(frame);
            *scale = quantise(simd, row, pairs);
        }
    }
    find_masks(simd, layer, n_frames, workspace);
    let CampplusWorkspace { narrow, rows, channels, masks, .. } = workspace;
    for begin in (0..n_frames).step_by(CHUNK) {
        let frames = begin..(begin + CHUNK).min(n_frames);
        let tap =
            |row: usize, tap: usize| narrow.values((begin + row + tap * dilation).wrapping_sub(dilation), 0);
        layer.local.run::<S, _, ROWS>(simd, 0..frames.len(), tap, f32::MIN, rows);
        for (row, frame) in rows.chunks_exact(GROWTH).zip(frames) {
            let added = &mut channels[frame * MAX_CHANNELS + n_channels..][..GROWTH];
            let mask = &masks[frame / SEGMENT_FRAMES].0;
            let added = added.as_chunks_mut::<LANES>().0.iter_mut();
            for ((added, value), mask) in
                added.zip(row.as_chunks::<LANES>().0).zip(mask.as_chunks::<LANES>().0)
            {
                simd.store(simd.mul(simd.load(value), simd.load(mask)), added);
            }
        }
    }
}

/// Computes each segment's mask from the segment's mean and the mean of all frames.
#[inline(always)]
fn find_masks<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    layer: &MaskedLayer<LANES>,
    n_frames: usize,
    workspace: &mut CampplusWorkspace,
) {
    let CampplusWorkspace { sums, masks, .. } = workspace;
    let mut mean = [0.0_f32; NARROW];
    for sums in sums.iter() {
        mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum);
    }
    mean.iter_mut().for_each(|mean| *mean /= n_frames as f32);
    masks.clear();
    for (segment, sums) in sums.iter().enumerate() {
        let n_here = SEGMENT_FRAMES.min(n_frames - segment * SEGMENT_FRAMES) as f32;
        let context: [f32; NARROW] = std::array::from_fn(|i| sums[i] / n_here + mean[i]);
        let (mut hidden, mut mask) = ([0.0; MASK_HIDDEN], [0.0; GROWTH]);
        layer.mask_hidden.run(simd, &context, &mut hidden);
        rectify(simd, &mut hidden);
        layer.mask.run(simd, &hidden, &mut mask);
        for value in mask.as_chunks_mut::<LANES>().0 {
            simd.store(sigmoid(simd, simd.load(value)), value);
        }
        masks.push(Aligned(mask));
    }
}

#[inline(always)]
fn sigmoid<S: Simd<LANES>, const LANES: usize>(simd: S, value: S::Floats) -> S::Floats {
    let one = simd.splat(1.0);
    let exponent = simd.mul(value, simd.splat(-std::f32::consts::LOG2_E));
    simd.div(one, simd.add(one, exp2(simd, exponent)))
}

/// Returns the means, then the deviations, of the rectified channels over time.
#[inline(always)]
fn statistics<S: Simd<LANES>, const LANES: usize>(
    simd: S,
    channels: &mut [f32],
    n_frames: usize,
) -> [f32; 2 * OUT_CHANNELS] {
    let mut statistics = [0.0; 2 * OUT_CHANNELS];
    let (means, deviations) = statistics.split_at_mut(OUT_CHANNELS);
    let deviations = deviations.as_chunks_mut::<LANES>().0;
    let frames = || (0..n_frames).map(|frame| frame * MAX_CHANNELS..frame * MAX_CHANNELS + OUT_CHANNELS);
    for frame in frames() {
        rectify(simd, &mut channels[frame.clone()]);
        add(simd, means, &channels[frame]);
    }
    let means = means.as_chunks_mut::<LANES>().0;
    let n = simd.splat(n_frames as f32);
    for mean in &mut *means {
        simd.store(simd.div(simd.load(mean), n), mean);
    }
    for frame in frames() {
        let values = channels[frame].as_chunks::<LANES>().0;
        for ((deviation, mean), value) in deviations.iter_mut().zip(&*means).zip(values) {
            let centred = simd.sub(simd.load(value), simd.load(mean));
            simd.store(simd.mul_add(centred, centred, simd.load(deviation)), deviation);
        }
    }
    let divisor = n_frames as f32 - 1.0;
    deviations.as_flattened_mut().iter_mut().for_each(|sum| *sum = (*sum / divisor).sqrt());
    statistics
}
