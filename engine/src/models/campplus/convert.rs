//! CAM++'s checkpoint -> the ONNX file.

use super::network::network;
use crate::models::error::ConvertError;
use crate::models::manifest::Manifest;
use crate::models::onnx;

/// Converts the checkpoint that the manifest describes. The same bytes in give the same bytes out.
pub fn convert(checkpoint: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let manifest = Manifest::campplus();
    let graph = network(&manifest.checkpoint.open(checkpoint)?)?;
    Ok(onnx::file(&graph, &manifest.checkpoint.metadata("Apache-2.0")))
}
