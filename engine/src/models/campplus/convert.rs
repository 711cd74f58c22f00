//! Converts CAM++'s checkpoint to the ONNX file.

use super::network::network;
use crate::models::error::ConvertError;
use crate::models::manifest::Manifest;
use crate::models::onnx;

/// Converts the checkpoint that the manifest describes. The same input bytes always give the same output bytes.
pub fn convert(checkpoint: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let manifest = Manifest::campplus();
    let graph = network(&manifest.checkpoint.open(checkpoint)?)?;
    Ok(onnx::file(&graph, &manifest.checkpoint.metadata("Apache-2.0")))
}
