//! CAM++'s checkpoint -> the ONNX file.

use super::network::network;
use crate::models::error::ConvertError;
use crate::models::manifest::Manifest;
use crate::models::onnx;

/// Converts the checkpoint that the manifest describes. The same bytes in give the same bytes out.
pub fn convert(checkpoint: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let manifest = Manifest::campplus();
    let graph = network(&manifest.checkpoint.open(checkpoint)?)?;
    let metadata = [
        ("source", manifest.checkpoint.url.as_str()),
        ("source_sha256", manifest.checkpoint.digest.sha256.as_str()),
        ("license", "Apache-2.0"),
    ];
    Ok(onnx::file(&graph, &metadata.map(|(key, value)| (key.to_owned(), value.to_owned()))))
}
