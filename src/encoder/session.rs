//! The encoder behind one door, whoever runs it: ONNX Runtime or our own kernels.

use std::path::PathBuf;

use super::native::NativeSession;
use super::onnxruntime::{OrtSession, Runtime};
use crate::hparams::EMBEDDING_DIM;

/// Name of the graph's input, `[windows, 160, 40]`.
pub const INPUT_NAME: &str = "mels";

/// Name of the graph's output, `[windows, 256]`.
pub const OUTPUT_NAME: &str = "embeds";

/// The embedding of one window: 256 components, L2 norm 1.
pub type WindowEmbedding = [f32; EMBEDDING_DIM];

/// Why the encoder cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// ONNX Runtime's library is missing, is no such library or is too old.
    #[error("cannot load ONNX Runtime from {}: {reason} (set ORT_DYLIB_PATH to libonnxruntime 1.24 or newer)", path.display())]
    Library {
        /// The library that was asked for.
        path: PathBuf,
        /// What the loader said, on one line.
        reason: String,
    },
    /// The file is no ONNX graph that ONNX Runtime can run.
    #[error("the model cannot be loaded: {0}")]
    Model(String),
    /// The graph runs, but is no speaker encoder of the expected shapes.
    #[error("the model is not a Resemblyzer encoder: {0}")]
    OtherModel(String),
    /// This CPU does not have the instructions.
    #[error("this CPU does not have the instructions {0}; ENCODER=ort does without")]
    NoInstructions(&'static str),
    /// What this machine computes is not what it should be.
    #[error("the native encoder's check fails on this machine ({0}): ENCODER=ort does without it")]
    SelfCheck(&'static str),
    /// The computation failed.
    #[error("the encoder failed: {0}")]
    Run(String),
}

/// The encoder, ready to run on the calling thread alone.
pub struct Session(Program);

/// Who runs it.
enum Program {
    OnnxRuntime(OrtSession),
    Native(NativeSession),
}

impl Session {
    /// In ONNX Runtime: loads an ONNX file's bytes and checks that input and output are the encoder's.
    pub fn new(runtime: &Runtime, onnx: &[u8]) -> Result<Self, EncoderError> {
        OrtSession::new(runtime, onnx).map(|session| Self(Program::OnnxRuntime(session)))
    }

    /// In our own kernels.
    pub(super) fn native(session: NativeSession) -> Self {
        Self(Program::Native(session))
    }

    /// Embeds windows: `mels` is `[windows, 160, 40]` flattened, the result has one embedding a window. A window's
    /// result does not depend on the others in the call.
    ///
    /// # Panics
    /// If `mels` is not a whole number of windows.
    pub fn embed(&mut self, mels: &[f32]) -> Result<Vec<WindowEmbedding>, EncoderError> {
        match &mut self.0 {
            Program::OnnxRuntime(session) => session.embed(mels),
            Program::Native(session) => session.embed(mels),
        }
    }
}
