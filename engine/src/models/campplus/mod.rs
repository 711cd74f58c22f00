//! CAM++ of 3D-Speaker: its constants, and its checkpoint as an ONNX file.

mod convert;
mod hparams;
mod network;
mod onnx;
mod spec;

pub use convert::convert;
pub use hparams::{FBANK, PARTIALS, PIECES};
pub use spec::{ID, spec};
