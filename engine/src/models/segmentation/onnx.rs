//! Reads the weights of the ONNX file. If they reproduce the file's bytes, the file holds this graph and no other.

use super::hparams::CLASSES;
use super::network::{
    FILTER_SAMPLES, FILTERS, HIDDEN_UNITS, LSTM_LAYERS, SegmentationSource, lstm_names, network,
};
use crate::encoder::EncoderError;
use crate::encoder::native::{
    BidirectionalWeights, ConvolutionWeights, NetworkWeights, NormWeights, SegmentationWeights,
};
use crate::models::error::ConvertError;
use crate::models::onnx::Stored;

/// Channels after the filters and after each convolution, and values between the linear layers.
const FILTERED: usize = 80;
const CHANNELS: usize = 60;
const LINEAR: usize = 128;

/// Reads a file that `model convert` has written. Rejects any other graph, even one with the same weights.
pub(super) fn read(onnx: &[u8]) -> Result<NetworkWeights, EncoderError> {
    let stored = Stored::from_file(onnx);
    let weights = stored.read(weights)?;
    stored.check_graph(&stored.read(network)?, &weights.metadata)?;
    Ok(NetworkWeights::Segmentation(Box::new(weights)))
}

impl SegmentationSource for Stored<'_> {
    fn vector(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        self.floats(name)
    }

    fn matrix(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ConvertError> {
        self.halves(name)
    }

    fn filters(&self) -> Result<Vec<f32>, ConvertError> {
        self.floats(FILTERS)
    }

    fn lstm(&self, layer: usize) -> Result<[Vec<f32>; 3], ConvertError> {
        let [input, recurrent, bias] = lstm_names(layer);
        Ok([self.halves(&input)?.1, self.halves(&recurrent)?.1, self.floats(&bias)?])
    }
}

/// Finds the weights by their names and checks that they have the network's shapes.
fn weights(stored: &Stored<'_>) -> Result<SegmentationWeights, ConvertError> {
    let of_length = |name: &str, values: Vec<f32>, length: usize| {
        if values.len() == length { Ok(values) } else { Err(ConvertError::Tensor(name.to_owned())) }
    };
    let norm = |name: &str, n_channels: usize| {
        let part = |part: &str| {
            let name = format!("{name}.{part}");
            of_length(&name, stored.vector(&name)?, n_channels)
        };
        Ok::<_, ConvertError>(NormWeights { scale: part("weight")?, shift: part("bias")? })
    };
    let layer = |name: &str, shape: &[usize]| {
        let weight = format!("{name}.weight");
        let (found, values) = stored.matrix(&weight)?;
        let values = of_length(&weight, values, shape.iter().product())?;
        if found != shape {
            return Err(ConvertError::Tensor(weight));
        }
        let bias = format!("{name}.bias");
        let bias = of_length(&bias, stored.vector(&bias)?, shape[0])?;
        Ok(ConvolutionWeights { shape: found, values, bias: Some(bias) })
    };
    let n_gates = 4 * HIDDEN_UNITS;
    let lstm = |number: usize| {
        let n_inputs = if number == 0 { CHANNELS } else { 2 * HIDDEN_UNITS };
        let [input, recurrent, bias] = stored.lstm(number)?;
        let name = format!("lstm{number}");
        Ok(BidirectionalWeights {
            input: of_length(&name, input, 2 * n_gates * n_inputs)?,
            recurrent: of_length(&name, recurrent, 2 * n_gates * HIDDEN_UNITS)?,
            bias: of_length(&name, bias, 4 * n_gates)?,
        })
    };
    Ok(SegmentationWeights {
        wav_norm: norm("sincnet.wav_norm1d", 1)?,
        filters: of_length(FILTERS, stored.filters()?, FILTERED * FILTER_SAMPLES)?,
        norms: [
            norm("sincnet.norm1d.0", FILTERED)?,
            norm("sincnet.norm1d.1", CHANNELS)?,
            norm("sincnet.norm1d.2", CHANNELS)?,
        ],
        convolutions: [
            layer("sincnet.conv1d.1", &[CHANNELS, FILTERED, 5])?,
            layer("sincnet.conv1d.2", &[CHANNELS, CHANNELS, 5])?,
        ],
        lstms: (0..LSTM_LAYERS).map(lstm).collect::<Result<_, ConvertError>>()?,
        linear: [layer("linear.0", &[LINEAR, 2 * HIDDEN_UNITS])?, layer("linear.1", &[LINEAR, LINEAR])?],
        classifier: layer("classifier", &[CLASSES, LINEAR])?,
        metadata: stored.metadata()?,
    })
}
