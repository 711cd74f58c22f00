//! The network as an ONNX graph.
//!
//! Source: Wang et al., *CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking*,
//! 2023; 3D-Speaker's `DTDNN.py` with `config_str='batchnorm_'`, that is, without an activation at the end.

use super::hparams::{DIMENSION, FBANK, INPUT_NAME, OUTPUT_NAME};
use crate::encoder::native::ConvolutionWeights;
use crate::models::checkpoint::Tensors;
use crate::models::error::ConvertError;
use crate::models::graph::GraphBuilder;
use crate::models::onnx::{Dim, ELEM_TYPE_FLOAT, Message, float, int, ints, value_info};

/// Layers and dilation of each dense block.
pub(super) const BLOCKS: [(usize, u64); 3] = [(12, 1), (24, 2), (16, 2)];

/// Frames over which a segment's mean is taken. Each of them covers two frames of the input.
const SEGMENT_FRAMES: i64 = 100;

/// Channels times bands after the residual blocks: 32 by 10.
const HEAD_CHANNELS: i64 = 320;

/// PyTorch's default epsilon.
const BATCH_NORM_EPSILON: f32 = 1e-5;

/// Builds the graph `feats [n, frames, 80]` -> `embeds [n, 192]`, not normalised. Batch norms after a convolution are
/// folded into it. The weights of convolutions are stored in 16 bits and widened when the graph is loaded.
///
/// 1. Residual blocks over frames and bands, which reduce 80 bands to 10.
/// 2. A convolution over time that halves the frames.
/// 3. Dense blocks of convolutions, each masked by its context: the mean of the recording and of segments.
/// 4. Mean and deviation over time, linear.
pub(super) fn network(source: &dyn CampplusSource) -> Result<Message, ConvertError> {
    let mut graph = GraphBuilder::new(source);
    let bands = graph.op("Transpose", &[INPUT_NAME], &[ints("perm", &[0, 2, 1])]);
    let axis = graph.int64("axis_1", &[1]);
    let image = graph.op("Unsqueeze", &[&bands, &axis], &[]);
    let features = head(&mut graph, &image)?;
    let conv = Conv {
        bias: Bias::BatchNorm("xvector.tdnn.nonlinear.batchnorm"),
        strides: &[2],
        pads: &[2, 2],
        ..Conv::default()
    };
    let mut x = graph.conv(&features, "xvector.tdnn.linear.weight", conv)?;
    x = graph.relu(&x);
    let n_frames = graph.frame_count(&x);
    let segments = graph.segments(&n_frames);
    for (i, (n_layers, dilation)) in BLOCKS.into_iter().enumerate() {
        for layer in 1..=n_layers {
            let masked = masked_layer(
                &mut graph,
                &format!("xvector.block{}.tdnnd{layer}", i + 1),
                &x,
                &segments,
                dilation,
            )?;
            x = graph.op("Concat", &[&x, &masked], &[int("axis", 1)]);
        }
        let transit = format!("xvector.transit{}", i + 1);
        let active = graph.batch_norm_relu(&x, &format!("{transit}.nonlinear.batchnorm"))?;
        let bias = if i + 1 < BLOCKS.len() {
            Bias::None
        } else {
            Bias::BatchNorm("xvector.out_nonlinear.batchnorm")
        };
        x = graph.conv(&active, &format!("{transit}.linear.weight"), Conv { bias, ..Conv::default() })?;
    }
    let x = graph.relu(&x);
    let statistics = graph.statistics(&x, &n_frames);
    let conv = Conv { bias: Bias::BatchNorm("xvector.dense.nonlinear.batchnorm"), ..Conv::default() };
    let embedding = graph.conv(&statistics, "xvector.dense.linear.weight", conv)?;
    let axis = graph.int64("axis_2", &[2]);
    graph.op_named("Squeeze", &[&embedding, &axis], OUTPUT_NAME, &[]);
    let n = Dim::Any("n");
    let input = value_info(INPUT_NAME, &[n, Dim::Any("frames"), Dim::Size(FBANK.n_bands)]);
    let output = value_info(OUTPUT_NAME, &[n, Dim::Size(DIMENSION)]);
    Ok(graph.finish("speaker_encoder", &input, &output))
}

/// Adds step 1, with channels and bands joined.
fn head(graph: &mut GraphBuilder<'_, dyn CampplusSource + '_>, image: &str) -> Result<String, ConvertError> {
    let same = Conv { bias: Bias::BatchNorm("head.bn1"), pads: &[1; 4], ..Conv::default() };
    let mut x = graph.conv(image, "head.conv1.weight", same)?;
    x = graph.relu(&x);
    for layer in ["head.layer1", "head.layer2"] {
        x = residual(graph, &format!("{layer}.0"), &x, true)?;
        x = residual(graph, &format!("{layer}.1"), &x, false)?;
    }
    let halving =
        Conv { bias: Bias::BatchNorm("head.bn2"), strides: &[2, 1], pads: &[1; 4], ..Conv::default() };
    x = graph.conv(&x, "head.conv2.weight", halving)?;
    x = graph.relu(&x);
    let shape = graph.int64("joined_shape", &[0, HEAD_CHANNELS, -1]);
    Ok(graph.op("Reshape", &[&x, &shape], &[]))
}

/// Adds two convolutions beside a shortcut. If the block halves the bands, the shortcut has a convolution too.
fn residual(
    graph: &mut GraphBuilder<'_, dyn CampplusSource + '_>,
    name: &str,
    x: &str,
    halves: bool,
) -> Result<String, ConvertError> {
    let strides: &[u64] = if halves { &[2, 1] } else { &[1, 1] };
    let batch_norm = |i: &str| format!("{name}.{i}");
    let first = Conv { bias: Bias::BatchNorm(&batch_norm("bn1")), strides, pads: &[1; 4], ..Conv::default() };
    let mut y = graph.conv(x, &format!("{name}.conv1.weight"), first)?;
    y = graph.relu(&y);
    let second = Conv { bias: Bias::BatchNorm(&batch_norm("bn2")), pads: &[1; 4], ..Conv::default() };
    y = graph.conv(&y, &format!("{name}.conv2.weight"), second)?;
    let shortcut = if halves {
        let conv = Conv { bias: Bias::BatchNorm(&batch_norm("shortcut.1")), strides, ..Conv::default() };
        graph.conv(x, &format!("{name}.shortcut.0.weight"), conv)?
    } else {
        x.to_owned()
    };
    let sum = graph.op("Add", &[&y, &shortcut], &[]);
    Ok(graph.relu(&sum))
}

/// Adds a layer of a dense block: a convolution over time, masked by its context.
///
/// The mask is the same for all frames of a segment. It is computed once per segment and spread over the segment's
/// frames by a product with a matrix of zeros and ones.
fn masked_layer(
    graph: &mut GraphBuilder<'_, dyn CampplusSource + '_>,
    name: &str,
    x: &str,
    segments: &str,
    dilation: u64,
) -> Result<String, ConvertError> {
    let active = graph.batch_norm_relu(x, &format!("{name}.nonlinear1.batchnorm"))?;
    let batch_norm = format!("{name}.nonlinear2.batchnorm");
    let conv = Conv { bias: Bias::BatchNorm(&batch_norm), ..Conv::default() };
    let narrow = graph.conv(&active, &format!("{name}.linear1.weight"), conv)?;
    let narrow = graph.relu(&narrow);
    let conv = Conv { pads: &[dilation, dilation], dilations: &[dilation], ..Conv::default() };
    let local = graph.conv(&narrow, &format!("{name}.cam_layer.linear_local.weight"), conv)?;

    let frames = SEGMENT_FRAMES as u64;
    let pool = [ints("kernel_shape", &[frames]), ints("strides", &[frames]), int("ceil_mode", 1)];
    let of_segments = graph.op("AveragePool", &[&narrow], &pool);
    let of_all = graph.mean(&narrow);
    let mut mask = graph.op("Add", &[&of_segments, &of_all], &[]);
    for (layer, activation) in [("linear1", "Relu"), ("linear2", "Sigmoid")] {
        let bias = format!("{name}.cam_layer.{layer}.bias");
        let conv = Conv { bias: Bias::Tensor(&bias), ..Conv::default() };
        mask = graph.conv(&mask, &format!("{name}.cam_layer.{layer}.weight"), conv)?;
        mask = graph.op(activation, &[&mask], &[]);
    }
    let mask = graph.op("MatMul", &[&mask, segments], &[]);
    Ok(graph.op("Mul", &[&local, &mask], &[]))
}

/// A convolution. Empty strides, pads or dilations mean the smallest ones.
#[derive(Clone, Copy, Default)]
struct Conv<'a> {
    bias: Bias<'a>,
    strides: &'a [u64],
    pads: &'a [u64],
    dilations: &'a [u64],
}

/// The bias of a convolution.
#[derive(Clone, Copy, Default)]
pub(super) enum Bias<'a> {
    #[default]
    None,
    /// A tensor of the checkpoint.
    Tensor(&'a str),
    /// The shift of a batch norm, whose scale goes into the weights.
    BatchNorm(&'a str),
}

impl GraphBuilder<'_, dyn CampplusSource + '_> {
    fn relu(&mut self, x: &str) -> String {
        self.op("Relu", &[x], &[])
    }

    /// Adds the mean over time.
    fn mean(&mut self, x: &str) -> String {
        self.op("ReduceMean", &[x], &[ints("axes", &[2]), int("keepdims", 1)])
    }

    /// Adds a convolution with the weights of a tensor.
    fn conv(&mut self, x: &str, weight: &str, conv: Conv<'_>) -> Result<String, ConvertError> {
        let ConvolutionWeights { shape, values, bias } = self.tensors.convolution(weight, conv.bias)?;
        let widened = self.halves(weight, &shape, &values);
        let bias = bias.map(|bias| self.floats(&format!("{weight}.bias"), &bias));
        let inputs: Vec<&str> = [x, &widened].into_iter().chain(bias.as_deref()).collect();
        let attributes = [("strides", conv.strides), ("pads", conv.pads), ("dilations", conv.dilations)];
        let attributes: Vec<Message> = attributes
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| ints(name, values))
            .collect();
        Ok(self.op("Conv", &inputs, &attributes))
    }

    /// Adds a batch norm without a preceding convolution, and its activation.
    fn batch_norm_relu(&mut self, x: &str, name: &str) -> Result<String, ConvertError> {
        let mut inputs = vec![x.to_owned()];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            let name = format!("{name}.{part}");
            let values = self.tensors.vector(&name)?;
            inputs.push(self.floats(&name, &values));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = self.op("BatchNormalization", &inputs, &[float("epsilon", BATCH_NORM_EPSILON)]);
        Ok(self.relu(&y))
    }

    /// Adds the number of frames, a scalar.
    fn frame_count(&mut self, x: &str) -> String {
        let shape = self.op("Shape", &[x], &[int("start", 2), int("end", 3)]);
        let axis = self.int64("axis_0", &[0]);
        self.op("Squeeze", &[&shape, &axis], &[])
    }

    /// Adds a matrix with a row for each segment: 1 for the segment's frames and 0 elsewhere.
    fn segments(&mut self, n_frames: &str) -> String {
        let (zero, one) = (self.scalar("zero", 0), self.scalar("one", 1));
        let length = self.scalar("segment_frames", SEGMENT_FRAMES);
        let frames = self.op("Range", &[&zero, n_frames, &one], &[]);
        let segment_of_frame = self.op("Div", &[&frames, &length], &[]);
        let last_frame = self.op("Sub", &[n_frames, &one], &[]);
        let last_segment = self.op("Div", &[&last_frame, &length], &[]);
        let n_segments = self.op("Add", &[&last_segment, &one], &[]);
        let segments = self.op("Range", &[&zero, &n_segments, &one], &[]);
        let segments = self.op("Unsqueeze", &[&segments, "axis_1"], &[]);
        let is_in_segment = self.op("Equal", &[&segments, &segment_of_frame], &[]);
        self.op("Cast", &[&is_in_segment], &[int("to", ELEM_TYPE_FLOAT)])
    }

    /// Adds the mean and the sample standard deviation of each channel over time.
    fn statistics(&mut self, x: &str, n_frames: &str) -> String {
        let mean = self.mean(x);
        let centred = self.op("Sub", &[x, &mean], &[]);
        let sum = self.op("ReduceSumSquare", &[&centred], &[ints("axes", &[2]), int("keepdims", 1)]);
        let divisor = self.op("Sub", &[n_frames, "one"], &[]);
        let divisor = self.op("Cast", &[&divisor], &[int("to", ELEM_TYPE_FLOAT)]);
        let variance = self.op("Div", &[&sum, &divisor], &[]);
        let deviation = self.op("Sqrt", &[&variance], &[]);
        self.op("Concat", &[&mean, &deviation], &[int("axis", 1)])
    }
}

/// The source of the weights.
pub(super) trait CampplusSource {
    /// Returns a convolution, with a batch norm that follows it folded into it.
    fn convolution(&self, weight: &str, bias: Bias<'_>) -> Result<ConvolutionWeights, ConvertError>;

    /// Returns a number for each channel.
    fn vector(&self, name: &str) -> Result<Vec<f32>, ConvertError>;
}

impl CampplusSource for Tensors<'_> {
    fn convolution(&self, weight: &str, bias: Bias<'_>) -> Result<ConvolutionWeights, ConvertError> {
        let (shape, mut values) = self.read(weight)?;
        let shape = shape.to_vec();
        let bias = match bias {
            Bias::None => None,
            Bias::Tensor(name) => Some(self.read(name)?.1),
            Bias::BatchNorm(name) => {
                let BatchNorm { scale, shift } = batch_norm(self, name)?;
                let n = values.len() / scale.len();
                for (row, scale) in values.chunks_mut(n).zip(&scale) {
                    row.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
                }
                Some(shift.iter().map(|shift| *shift as f32).collect())
            }
        };
        Ok(ConvolutionWeights { shape, values, bias })
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        self.read(name).map(|(_, values)| values)
    }
}

/// Reads a batch norm. Its weights default to 1, its biases to 0.
fn batch_norm(tensors: &Tensors<'_>, name: &str) -> Result<BatchNorm, ConvertError> {
    let mean = tensors.vector(&format!("{name}.running_mean"))?;
    let variance = tensors.vector(&format!("{name}.running_var"))?;
    let optional = |name: String, default: f32| {
        let missing = vec![default; mean.len()];
        if tensors.has(&name) { tensors.vector(&name) } else { Ok(missing) }
    };
    let weight = optional(format!("{name}.weight"), 1.0)?;
    let bias = optional(format!("{name}.bias"), 0.0)?;
    Ok(BatchNorm::new([&weight, &bias, &mean, &variance]))
}

/// A batch norm as scale and shift of each channel.
pub(super) struct BatchNorm {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

impl BatchNorm {
    /// Computes the scale and shift from weight, bias, mean and variance.
    pub(super) fn new([weight, bias, mean, variance]: [&[f32]; 4]) -> Self {
        let deviation = |variance: &f32| (f64::from(*variance) + f64::from(BATCH_NORM_EPSILON)).sqrt();
        let scale: Vec<f64> =
            weight.iter().zip(variance).map(|(weight, v)| f64::from(*weight) / deviation(v)).collect();
        let moved = mean.iter().zip(&scale).map(|(mean, scale)| f64::from(*mean) * scale);
        let shift = bias.iter().zip(moved).map(|(bias, moved)| f64::from(*bias) - moved).collect();
        Self { scale, shift }
    }
}
