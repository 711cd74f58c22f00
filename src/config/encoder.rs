//! The names of the encoders.

use clap::ValueEnum;

use crate::engine::EncoderChoice;

/// An encoder that runs the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EncoderName {
    /// ONNX Runtime.
    Ort,
    /// The native encoder, which computes in 16-bit integers.
    Native,
    /// The native encoder if the CPU has instructions that make it fast, otherwise ONNX Runtime.
    Auto,
}

impl EncoderName {
    /// Returns the engine's choice for a name, or for no name.
    pub(super) fn choice(name: Option<Self>) -> EncoderChoice {
        match name {
            None => EncoderChoice::ByModel,
            Some(Self::Ort) => EncoderChoice::Ort,
            Some(Self::Native) => EncoderChoice::Native,
            Some(Self::Auto) => EncoderChoice::Auto,
        }
    }
}
