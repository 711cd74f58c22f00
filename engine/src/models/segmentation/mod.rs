//! Pyannote's segmentation-3.0: which of up to three speakers speak, for each frame of a window of ten seconds. It tells no voice from another
//! across windows.

mod convert;
mod hparams;
mod network;
mod onnx;
mod spec;

pub use convert::convert;
pub use hparams::*;
pub use spec::{GRAPH, SAMPLE_COST_NS, files};
