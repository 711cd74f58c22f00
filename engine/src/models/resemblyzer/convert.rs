//! Resemblyzer's checkpoint -> the ONNX file.

use super::onnx;
use crate::encoder::native::{EncoderWeights, HIDDEN_UNITS, LSTM_LAYERS, LinearWeights, LstmWeights};
use crate::models::error::ConvertError;
use crate::models::manifest::Manifest;

/// Converts the checkpoint that the manifest describes. The same bytes in give the same bytes out.
pub fn convert(checkpoint: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let manifest = Manifest::resemblyzer();
    let tensors = manifest.checkpoint.open(checkpoint)?;
    let tensor = |name: &str| tensors.read(name).map(|(_, values)| values);
    let layers = (0..LSTM_LAYERS)
        .map(|i| {
            let mut bias = reorder_gates(&tensor(&format!("lstm.bias_ih_l{i}"))?);
            bias.extend(reorder_gates(&tensor(&format!("lstm.bias_hh_l{i}"))?));
            Ok(LstmWeights {
                input: reorder_gates(&tensor(&format!("lstm.weight_ih_l{i}"))?),
                recurrent: reorder_gates(&tensor(&format!("lstm.weight_hh_l{i}"))?),
                bias,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let linear = LinearWeights { weight: tensor("linear.weight")?, bias: tensor("linear.bias")? };
    let metadata = [
        ("source", manifest.checkpoint.url.as_str()),
        ("source_sha256", manifest.checkpoint.digest.sha256.as_str()),
        ("license", "Apache-2.0"),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Ok(onnx::write(&EncoderWeights { layers, linear, metadata }))
}

/// Rows of four gates: PyTorch's order input, forget, cell, output -> ONNX's input, output, forget, cell.
fn reorder_gates(rows: &[f32]) -> Vec<f32> {
    debug_assert_eq!(rows.len() % (4 * HIDDEN_UNITS), 0);
    let gate = |i: usize| &rows[i * rows.len() / 4..(i + 1) * rows.len() / 4];
    [gate(0), gate(3), gate(1), gate(2)].concat()
}
