//! An encoder that is ready to run, whether ONNX Runtime or the native encoder computes it.

use std::sync::Arc;

use super::error::EncoderError;
use super::graph::Graph;
use super::native::NativeSession;
use super::onnx_file::OnnxFile;
use super::onnxruntime::{OrtSession, Runtime};

/// The encoder, ready to run on the calling thread alone.
pub struct Session(Program);

enum Program {
    OnnxRuntime(OrtSession),
    Native(NativeSession),
}

impl Session {
    /// In ONNX Runtime: loads an ONNX file and checks that input and output are the graph's.
    pub fn new(runtime: &Runtime, onnx: &OnnxFile, graph: Graph) -> Result<Self, EncoderError> {
        OrtSession::new(runtime, &onnx.bytes()?, graph).map(|session| Self(Program::OnnxRuntime(session)))
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

/// Loads a session.
type Load = Arc<dyn Fn() -> Result<Session, EncoderError> + Send + Sync>;

/// A session that is loaded when it is first used.
pub struct LazySession {
    load: Load,
    session: Option<Session>,
}

impl LazySession {
    /// A session that is not loaded.
    pub fn new(load: impl Fn() -> Result<Session, EncoderError> + Send + Sync + 'static) -> Self {
        Self { load: Arc::new(load), session: None }
    }

    /// Whether it is loaded.
    pub fn is_loaded(&self) -> bool {
        self.session.is_some()
    }

    /// The session.
    pub fn get(&mut self) -> Result<&mut Session, EncoderError> {
        match &mut self.session {
            Some(session) => Ok(session),
            none => Ok(none.insert((self.load)()?)),
        }
    }
}

/// The same session, not loaded.
impl Clone for LazySession {
    fn clone(&self) -> Self {
        Self { load: Arc::clone(&self.load), session: None }
    }
}

impl From<NativeSession> for Session {
    fn from(session: NativeSession) -> Self {
        Self(Program::Native(session))
    }
}
