//! The names of the encoders.

use clap::ValueEnum;

use crate::engine::EncoderChoice;

/// What runs the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EncoderName {
    /// ONNX Runtime.
    Ort,
    /// The native encoder, in integers of 16 bits.
    Native,
    /// The native encoder where the CPU has instructions that make it fast, else ONNX Runtime.
    Auto,
}

impl From<EncoderName> for EncoderChoice {
    fn from(name: EncoderName) -> Self {
        match name {
            EncoderName::Ort => Self::Ort,
            EncoderName::Native => Self::Native,
            EncoderName::Auto => Self::Auto,
        }
    }
}
