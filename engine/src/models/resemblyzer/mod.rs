//! Resemblyzer's voice encoder: its constants, and its checkpoint as an ONNX file.

mod convert;
mod hparams;
pub mod onnx;
mod spec;

pub use convert::convert;
pub use hparams::{HOP_SAMPLES, MEL, N_FRAMES, WINDOWS};
pub use spec::{ID, spec};
