//! Why an encoder cannot run.

use std::path::PathBuf;

/// Why the encoder cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// ONNX Runtime's library is missing, is another library or is too old.
    #[error("cannot load ONNX Runtime from {}: {reason} (set ORT_DYLIB_PATH to libonnxruntime 1.24 or newer)", path.display())]
    Library {
        /// The library that was asked for.
        path: PathBuf,
        /// The loader's reason, on one line.
        reason: String,
    },
    /// The file is not an ONNX graph that ONNX Runtime can run.
    #[error("the model cannot be loaded: {0}")]
    Model(String),
    /// The graph runs, but it is not the encoder that the model should have.
    #[error("the model file holds another encoder: {0}")]
    OtherModel(String),
    /// This CPU does not have the instructions.
    #[error("this CPU does not have the instructions {0}; the encoder ort does not need them")]
    NoInstructions(&'static str),
    /// The native encoder's result on this machine differs from the known one.
    #[error("the native encoder's check fails on this machine ({0}); the encoder ort does not use it")]
    SelfCheck(&'static str),
    /// The computation failed.
    #[error("the encoder failed: {0}")]
    Run(String),
}

impl EncoderError {
    /// About a file that the native encoder does not take.
    pub(crate) fn other_graph(reason: &str) -> Self {
        Self::OtherModel(format!("{reason}; the encoder ort runs other graphs"))
    }

    /// The same, saying which model's file is meant.
    pub(crate) fn of_model(self, id: &str) -> Self {
        match self {
            Self::Model(reason) => Self::Model(format!("{id}: {reason}")),
            Self::OtherModel(reason) => Self::OtherModel(format!("{id}: {reason}")),
            other => other,
        }
    }
}
