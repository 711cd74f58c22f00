//! Converts Resemblyzer's checkpoint to the ONNX file.

use super::onnx;
use crate::encoder::native::{EncoderWeights, LSTM_LAYERS, LinearWeights, LstmWeights};
use crate::models::error::ConvertError;
use crate::models::manifest::Manifest;

/// Converts the checkpoint that the manifest describes. The same input bytes always give the same output bytes.
pub fn convert(checkpoint: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let manifest = Manifest::resemblyzer();
    let tensors = manifest.checkpoint.open(checkpoint)?;
    let tensor = |name: &str| tensors.read(name).map(|(_, values)| values);
    let layers = (0..LSTM_LAYERS)
        .map(|i| {
            let gates = |kind: &str| tensors.read_gates(&format!("lstm.{kind}_l{i}"));
            Ok(LstmWeights {
                input: gates("weight_ih")?,
                recurrent: gates("weight_hh")?,
                bias: [gates("bias_ih")?, gates("bias_hh")?].concat(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let linear = LinearWeights { weight: tensor("linear.weight")?, bias: tensor("linear.bias")? };
    let metadata = manifest.checkpoint.metadata("Apache-2.0");
    Ok(onnx::write(&EncoderWeights { layers, linear, metadata }))
}
