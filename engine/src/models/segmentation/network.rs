//! The network as an ONNX graph.
//!
//! Source: Plaquet and Bredin, *Powerset multi-class cross entropy loss for neural speaker diarization*, 2023;
//! `PyanNet` of pyannote.audio with the SincNet of Ravanelli and Bengio, *Speaker Recognition from Raw Waveform with
//! SincNet*, 2018.

use super::hparams::{CLASSES, INPUT_NAME, OUTPUT_NAME};
use crate::audio::SAMPLE_RATE_HZ;
use crate::models::checkpoint::Tensors;
use crate::models::error::ConvertError;
use crate::models::graph::GraphBuilder;
use crate::models::onnx::{Dim, Message, float, int, ints, text, value_info};

/// Samples from one position of the fixed filters to the next.
const FILTER_STEP: u64 = 10;

/// Units of an LSTM layer in each direction.
pub(super) const HIDDEN_UNITS: usize = 128;

pub(super) const LSTM_LAYERS: usize = 4;

/// PyTorch's default epsilon.
const NORM_EPSILON: f32 = 1e-5;

/// PyTorch's default slope of a leaky ReLU below zero.
const LEAK: f32 = 0.01;

/// The lowest frequency of a filter, and the minimum width of its band, in Hz.
const LEAST_HZ: f64 = 50.0;

/// The source of the network's weights.
pub(in crate::models) trait SegmentationSource {
    /// Returns a list of numbers.
    fn vector(&self, name: &str) -> Result<Vec<f32>, ConvertError>;

    /// Returns the shape and the values of other weights.
    fn matrix(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ConvertError>;

    /// Returns the fixed filters, `[80, 251]`.
    fn filters(&self) -> Result<Vec<f32>, ConvertError>;

    /// Returns the weights of an LSTM layer in ONNX's layout, for both directions: of its input, of its recurrence, and biases.
    fn lstm(&self, layer: usize) -> Result<[Vec<f32>; 3], ConvertError>;
}

/// Builds the graph `samples [n, samples]` -> `log_probabilities [n, frames, 7]`. The weights of the LSTMs and of
/// convolutions are stored in 16 bits and widened when the graph is loaded.
///
/// 1. Instance norm of the samples, 80 fixed filters, absolute value.
/// 2. Three times, with a convolution before the second and the third: maximum of 3, instance norm, leaky ReLU.
/// 3. Four bidirectional LSTMs, two linear layers with leaky ReLU.
/// 4. Linear, log softmax over the classes.
pub(super) fn network(source: &impl SegmentationSource) -> Result<Message, ConvertError> {
    let mut graph = GraphBuilder::new(source);
    let axis = graph.int64("axis_1", &[1]);
    let signal = graph.op("Unsqueeze", &[INPUT_NAME, &axis], &[]);
    let signal = graph.instance_norm(&signal, "sincnet.wav_norm1d")?;
    // Not rounded to 16 bits: the filters are computed, not learned.
    let filters = source.filters()?;
    let shape = [filters.len() / FILTER_SAMPLES, 1, FILTER_SAMPLES];
    let filters = graph.tensor(FILTERS, &shape, &filters);
    let filtered = graph.op("Conv", &[&signal, &filters], &[ints("strides", &[FILTER_STEP])]);
    let mut x = graph.op("Abs", &[&filtered], &[]);
    for block in 0..3 {
        if block > 0 {
            x = graph.convolution(&x, &format!("sincnet.conv1d.{block}"))?;
        }
        let pool = [ints("kernel_shape", &[3]), ints("strides", &[3])];
        let pooled = graph.op("MaxPool", &[&x], &pool);
        let normed = graph.instance_norm(&pooled, &format!("sincnet.norm1d.{block}"))?;
        x = graph.leaky_relu(&normed);
    }
    x = graph.op_named("Transpose", &[&x], "sincnet", &[ints("perm", &[2, 0, 1])]);
    let joined_shape = graph.int64("joined_shape", &[0, 0, -1]);
    for layer in 0..LSTM_LAYERS {
        x = graph.lstm(&x, layer, &joined_shape)?;
    }
    for layer in 0..2 {
        x = graph.linear(&x, &format!("linear.{layer}"))?;
        x = graph.op_named("LeakyRelu", &[&x], &format!("linear{layer}"), &[float("alpha", LEAK)]);
    }
    let scores = graph.linear(&x, "classifier")?;
    let scores = graph.op("Transpose", &[&scores], &[ints("perm", &[1, 0, 2])]);
    graph.op_named("LogSoftmax", &[&scores], OUTPUT_NAME, &[int("axis", 2)]);
    let n = Dim::Any("n");
    let input = value_info(INPUT_NAME, &[n, Dim::Any("samples")]);
    let output = value_info(OUTPUT_NAME, &[n, Dim::Any("frames"), Dim::Size(CLASSES)]);
    Ok(graph.finish("speaker_segmentation", &input, &output))
}

impl<T: SegmentationSource> GraphBuilder<'_, T> {
    fn leaky_relu(&mut self, x: &str) -> String {
        self.op("LeakyRelu", &[x], &[float("alpha", LEAK)])
    }

    /// Adds a list of numbers from the source.
    fn own(&mut self, name: &str) -> Result<String, ConvertError> {
        let values = self.tensors.vector(name)?;
        Ok(self.floats(name, &values))
    }

    /// Adds weights from the source.
    fn weights(&mut self, name: &str) -> Result<String, ConvertError> {
        let (shape, values) = self.tensors.matrix(name)?;
        Ok(self.halves(name, &shape, &values))
    }

    fn instance_norm(&mut self, x: &str, name: &str) -> Result<String, ConvertError> {
        let weight = self.own(&format!("{name}.weight"))?;
        let bias = self.own(&format!("{name}.bias"))?;
        Ok(self.op("InstanceNormalization", &[x, &weight, &bias], &[float("epsilon", NORM_EPSILON)]))
    }

    fn convolution(&mut self, x: &str, name: &str) -> Result<String, ConvertError> {
        let weight = self.weights(&format!("{name}.weight"))?;
        let bias = self.own(&format!("{name}.bias"))?;
        Ok(self.op("Conv", &[x, &weight, &bias], &[]))
    }

    /// Adds a linear layer: `[frames, n, inputs]` -> `[frames, n, outputs]`.
    fn linear(&mut self, x: &str, name: &str) -> Result<String, ConvertError> {
        let weight = self.weights(&format!("{name}.weight"))?;
        let bias = self.own(&format!("{name}.bias"))?;
        let transposed = self.op("Transpose", &[&weight], &[ints("perm", &[1, 0])]);
        let product = self.op("MatMul", &[x, &transposed], &[]);
        Ok(self.op("Add", &[&product, &bias], &[]))
    }

    /// Adds an LSTM layer: `[frames, n, inputs]` -> `[frames, n, 256]`, forward, then backward.
    fn lstm(&mut self, x: &str, layer: usize, joined_shape: &str) -> Result<String, ConvertError> {
        let [input, recurrent, bias] = self.tensors.lstm(layer)?;
        let n_gates = 4 * HIDDEN_UNITS;
        let input_shape = [2, n_gates, input.len() / (2 * n_gates)];
        let recurrent_shape = [2, n_gates, HIDDEN_UNITS];
        let [input_name, recurrent_name, bias_name] = lstm_names(layer);
        let input = self.halves(&input_name, &input_shape, &input);
        let recurrent = self.halves(&recurrent_name, &recurrent_shape, &recurrent);
        let bias = self.tensor(&bias_name, &[2, 2 * n_gates], &bias);
        let attributes = [text("direction", "bidirectional"), int("hidden_size", HIDDEN_UNITS as u64)];
        let states = self.op("LSTM", &[x, &input, &recurrent, &bias], &attributes);
        let side_by_side = self.op("Transpose", &[&states], &[ints("perm", &[0, 2, 1, 3])]);
        Ok(self.op_named("Reshape", &[&side_by_side, joined_shape], &format!("lstm{layer}"), &[]))
    }
}

/// Returns the names of an LSTM layer's weights in the file.
pub(super) fn lstm_names(layer: usize) -> [String; 3] {
    ["w", "r", "b"].map(|kind| format!("lstm{layer}_{kind}"))
}

/// Name of the fixed filters in the file.
pub(super) const FILTERS: &str = "sincnet.filters";

impl SegmentationSource for Tensors<'_> {
    fn vector(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        Ok(self.read(name)?.1)
    }

    fn matrix(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ConvertError> {
        let (shape, values) = self.read(name)?;
        Ok((shape.to_vec(), values))
    }

    fn filters(&self) -> Result<Vec<f32>, ConvertError> {
        sinc_filters(self)
    }

    fn lstm(&self, layer: usize) -> Result<[Vec<f32>; 3], ConvertError> {
        let directions = [format!("_l{layer}"), format!("_l{layer}_reverse")];
        let gates = |kind: &str, direction: &String| self.read_gates(&format!("lstm.{kind}{direction}"));
        let both = |kinds: &[&str]| -> Result<Vec<f32>, ConvertError> {
            let parts =
                directions.iter().flat_map(|direction| kinds.iter().map(|kind| gates(kind, direction)));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
        };
        Ok([both(&["weight_ih"])?, both(&["weight_hh"])?, both(&["bias_ih", "bias_hh"])?])
    }
}

/// Samples of a fixed filter.
pub(super) const FILTER_SAMPLES: usize = 251;

/// Computes the fixed filters, `[80, 251]`: band passes of height 1, the even ones first, then the odd ones.
fn sinc_filters(tensors: &Tensors<'_>) -> Result<Vec<f32>, ConvertError> {
    let read = |name: &str| -> Result<Vec<f64>, ConvertError> {
        let values = tensors.read(&format!("sincnet.conv1d.0.filterbank.{name}"))?.1;
        Ok(values.into_iter().map(f64::from).collect())
    };
    let (low_hz, band_hz, window, n) = (read("low_hz_")?, read("band_hz_")?, read("window_")?, read("n_")?);
    let highest_hz = f64::from(SAMPLE_RATE_HZ) / 2.0;
    let mut filters = Vec::with_capacity(2 * low_hz.len() * FILTER_SAMPLES);
    for is_odd in [false, true] {
        for (low, band) in low_hz.iter().zip(&band_hz) {
            let low = LEAST_HZ + low.abs();
            let high = (low + LEAST_HZ + band.abs()).clamp(LEAST_HZ, highest_hz);
            let twice_band = 2.0 * (high - low);
            let left = n.iter().zip(&window).map(|(n, window)| {
                let (low, high) = (low * n, high * n);
                let difference = if is_odd { low.cos() - high.cos() } else { high.sin() - low.sin() };
                difference / (n / 2.0) * window / twice_band
            });
            let left: Vec<f64> = left.collect();
            let sign = if is_odd { -1.0 } else { 1.0 };
            let right = left.iter().rev().map(|value| sign * value);
            let centre = if is_odd { 0.0 } else { 1.0 };
            let filter = left.iter().copied().chain([centre]).chain(right);
            filters.extend(filter.map(|value| value as f32));
        }
    }
    Ok(filters)
}
