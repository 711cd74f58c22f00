//! An encoder that is ready to run, whether ONNX Runtime or the native encoder computes it.

use super::error::EncoderError;
use super::graph::Graph;
use super::native::NativeSession;
use super::onnxruntime::{OrtSession, Runtime};

/// The encoder, ready to run on the calling thread alone.
pub struct Session(Program);

enum Program {
    OnnxRuntime(OrtSession),
    Native(NativeSession),
}

impl Session {
    /// In ONNX Runtime: loads an ONNX file's bytes and checks that input and output are the graph's.
    pub fn new(runtime: &Runtime, onnx: &[u8], graph: Graph) -> Result<Self, EncoderError> {
        OrtSession::new(runtime, onnx, graph).map(|session| Self(Program::OnnxRuntime(session)))
    }

    /// Embeds units of equal length: each is its frames' values, one frame after the other; the result has one embedding
    /// a unit. A unit's result does not depend on the others in the call.
    ///
    /// # Panics
    /// If there is no unit, or one is not as long as the others or the graph's.
    pub fn embed(&mut self, units: &[&[f32]]) -> Result<Vec<Vec<f32>>, EncoderError> {
        match &mut self.0 {
            Program::OnnxRuntime(session) => session.embed(units),
            Program::Native(session) => session.embed(units),
        }
    }
}

impl From<NativeSession> for Session {
    fn from(session: NativeSession) -> Self {
        Self(Program::Native(session))
    }
}
