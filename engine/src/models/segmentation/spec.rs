//! The network's files and graph.

use super::convert::convert;
use super::hparams::{CLASSES, INPUT_NAME, OUTPUT_NAME};
use crate::encoder::Graph;
use crate::models::manifest::Manifest;
use crate::models::spec::{ModelFiles, NativeFiles};

/// The cost of encoding a sample on one core, in nanoseconds, like
/// [`frame_cost_ns`](crate::models::ModelSpec::frame_cost_ns).
pub const SAMPLE_COST_NS: u32 = 160;

/// Input and output of the network's graph.
pub const GRAPH: Graph = Graph {
    input: INPUT_NAME,
    input_shape: &[None],
    output: OUTPUT_NAME,
    output_shape: &[None, Some(CLASSES)],
};

/// Returns the network's files and where they come from.
pub fn files() -> ModelFiles {
    let manifest = Manifest::segmentation();
    ModelFiles {
        id: "segmentation",
        variables: "SEGMENTATION_MODEL",
        local: "segmentation.onnx",
        onnx: manifest.onnx,
        checkpoint_url: manifest.checkpoint.url,
        checkpoint: manifest.checkpoint.digest,
        convert,
        native: manifest.native_check_sha256.map(|check_sha256| NativeFiles {
            read: super::onnx::read,
            check_sha256,
            is_default: true,
        }),
    }
}
