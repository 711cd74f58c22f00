//! An encoder that is ready to run, either in ONNX Runtime or as the native encoder.

use std::sync::Arc;

use super::error::EncoderError;
use super::graph::Graph;
use super::native::NativeSession;
use super::onnx_file::OnnxFile;
use super::onnxruntime::{OrtSession, Runtime};

/// An encoder that is ready to run on the calling thread.
pub struct Session(Program);

enum Program {
    OnnxRuntime(OrtSession),
    Native(NativeSession),
}

impl Session {
    /// Loads an ONNX file into ONNX Runtime and checks that its input and output match the graph.
    pub fn new(runtime: &Runtime, onnx: &OnnxFile, graph: Graph) -> Result<Self, EncoderError> {
        OrtSession::new(runtime, &onnx.bytes()?, graph).map(|session| Self(Program::OnnxRuntime(session)))
    }

    /// Embeds units of equal length and returns one embedding per unit. A unit consists of the values of its frames,
    /// one frame after the other. A unit's result does not depend on the other units in the call.
    ///
    /// # Panics
    /// If there are no units, if their lengths differ, or if the graph does not accept their length.
    pub fn embed(&mut self, units: &[&[f32]]) -> Result<Vec<Vec<f32>>, EncoderError> {
        match &mut self.0 {
            Program::OnnxRuntime(session) => session.embed(units),
            Program::Native(session) => session.embed(units),
        }
    }
}

/// A function that loads a session.
type Load = Arc<dyn Fn() -> Result<Session, EncoderError> + Send + Sync>;

/// A session that is loaded on first use.
pub struct LazySession {
    load: Load,
    session: Option<Session>,
}

impl LazySession {
    /// Creates a session that is not loaded yet.
    pub fn new(load: impl Fn() -> Result<Session, EncoderError> + Send + Sync + 'static) -> Self {
        Self { load: Arc::new(load), session: None }
    }

    /// Returns whether the session is loaded.
    pub fn is_loaded(&self) -> bool {
        self.session.is_some()
    }

    /// Returns the session and loads it if necessary.
    pub fn get(&mut self) -> Result<&mut Session, EncoderError> {
        match &mut self.session {
            Some(session) => Ok(session),
            none => Ok(none.insert((self.load)()?)),
        }
    }
}

/// A clone loads a session of the same encoder when it is first used.
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
