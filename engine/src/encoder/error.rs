//! Errors of encoders.

use std::path::PathBuf;

/// The reason why an encoder cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// ONNX Runtime's library is missing, too old or a different library.
    #[error("cannot load ONNX Runtime from {}: {reason} (set ORT_DYLIB_PATH to libonnxruntime 1.24 or newer)", path.display())]
    Library {
        /// The requested library.
        path: PathBuf,
        /// The loader's reason, on one line.
        reason: String,
    },
    /// The file is not an ONNX graph that ONNX Runtime can run.
    #[error("the model cannot be loaded: {0}")]
    Model(String),
    /// The graph runs, but it is not the model's encoder.
    #[error("the model file holds another encoder: {0}")]
    OtherModel(String),
    /// This CPU lacks the required instructions.
    #[error("this CPU does not have the instructions {0}; the encoder ort does not need them")]
    NoInstructions(&'static str),
    /// On this machine, the native encoder's result differs from the known result.
    #[error("the native encoder's check fails on this machine ({0}); the encoder ort does not use it")]
    SelfCheck(&'static str),
    /// The computation failed.
    #[error("the encoder failed: {0}")]
    Run(String),
}

impl EncoderError {
    /// Returns the error for a file that the native encoder does not support.
    pub(crate) fn other_graph(reason: &str) -> Self {
        Self::OtherModel(format!("{reason}; the encoder ort runs other graphs"))
    }

    /// Adds the model's ID to an error about its file.
    pub(crate) fn of_model(self, id: &str) -> Self {
        match self {
            Self::Model(reason) => Self::Model(format!("{id}: {reason}")),
            Self::OtherModel(reason) => Self::OtherModel(format!("{id}: {reason}")),
            other => other,
        }
    }
}
