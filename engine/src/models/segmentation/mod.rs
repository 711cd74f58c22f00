//! Pyannote's segmentation-3.0. For each frame of a window of ten seconds, it detects which of up to three speakers
//! speak. It does not match speakers across windows.

mod convert;
mod hparams;
mod network;
mod onnx;
mod spec;

pub use convert::convert;
pub use hparams::*;
pub use spec::{GRAPH, SAMPLE_COST_NS, files};
