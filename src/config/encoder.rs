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

impl EncoderName {
    /// The engine's choice for a name, or for none.
    pub(super) fn choice(name: Option<Self>) -> EncoderChoice {
        match name {
            None => EncoderChoice::ByModel,
            Some(Self::Ort) => EncoderChoice::Ort,
            Some(Self::Native) => EncoderChoice::Native,
            Some(Self::Auto) => EncoderChoice::Auto,
        }
    }
}
