//! The only file that names `ort`: ONNX Runtime, loaded at run time, and sessions that run the encoder's graph.

use std::error::Error;
use std::path::Path;
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::ep;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::session::{EncoderError, INPUT_NAME, OUTPUT_NAME, WindowEmbedding};
use crate::hparams::{EMBEDDING_DIM, N_MELS, WINDOW_FRAMES};

/// ONNX Runtime, loaded. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Environment);

/// ONNX Runtime allows one environment a process, and a dropped one cannot be made again.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

impl Runtime {
    /// Loads the library (a path, or a bare name for the system's loader to find). A process loads one: later calls
    /// return what the first one loaded.
    pub fn load(library: &Path) -> Result<Self, EncoderError> {
        if let Some(environment) = ENVIRONMENT.get() {
            return Ok(Self(environment.clone()));
        }
        let failed = |reason: String| EncoderError::Library {
            path: library.to_owned(),
            reason: reason.lines().collect::<Vec<_>>().join("; "),
        };
        let environment = ort::init_from(library)
            .map_err(|e| failed(load_failure(&e)))?
            .with_name(env!("CARGO_PKG_NAME"))
            .with_telemetry(false)
            .build()
            .map_err(|e| failed(e.to_string()))?;
        Ok(Self(ENVIRONMENT.get_or_init(|| environment).clone()))
    }

    /// What sessions are made from, for benchmarks to make their own.
    #[cfg(feature = "internals")]
    pub fn environment(&self) -> &Environment {
        &self.0
    }
}

/// What the system's loader said, if it is to blame; `ort` keeps that one level down.
fn load_failure(error: &ort::LoadDynamicError) -> String {
    match error {
        ort::LoadDynamicError::Dlopen { error, .. } => {
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        }
        error => error.to_string(),
    }
}

/// The encoder's graph, ready to run on the calling thread alone.
pub(super) struct OrtSession(ort::session::Session);

impl OrtSession {
    /// Loads an ONNX file's bytes and checks that input and output are the encoder's.
    pub(super) fn new(runtime: &Runtime, onnx: &[u8]) -> Result<Self, EncoderError> {
        let session = load(&runtime.0, onnx).map_err(|e| EncoderError::Model(e.to_string()))?;
        check_outlets("input", session.inputs(), INPUT_NAME, &[-1, WINDOW_FRAMES as i64, N_MELS as i64])?;
        check_outlets("output", session.outputs(), OUTPUT_NAME, &[-1, EMBEDDING_DIM as i64])?;
        Ok(Self(session))
    }

    /// As [`Session::embed`](super::Session::embed).
    pub(super) fn embed(&mut self, mels: &[f32]) -> Result<Vec<WindowEmbedding>, EncoderError> {
        const WINDOW_LEN: usize = WINDOW_FRAMES * N_MELS;
        assert_eq!(mels.len() % WINDOW_LEN, 0, "a window is {WINDOW_LEN} numbers");
        let shape = [mels.len() / WINDOW_LEN, WINDOW_FRAMES, N_MELS];
        let mut run = || {
            let input = TensorRef::from_array_view((shape, mels))?;
            let outputs = self.0.run(ort::inputs![INPUT_NAME => input])?;
            Ok(outputs[OUTPUT_NAME].try_extract_tensor()?.1.to_vec())
        };
        let output: Vec<f32> = run().map_err(|e: ort::Error| EncoderError::Run(e.to_string()))?;
        let (embeddings, rest) = output.as_chunks();
        if embeddings.len() != shape[0] || !rest.is_empty() {
            return Err(EncoderError::Run(format!("{} numbers came for {} windows", output.len(), shape[0])));
        }
        Ok(embeddings.to_vec())
    }
}

/// One thread a session, since the queue runs a session a core. Memory pattern and arena are off: with them, memory
/// grows with every new number of windows.
fn load(environment: &Environment, onnx: &[u8]) -> ort::Result<ort::session::Session> {
    ort::session::Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_memory_pattern(false)?
        .with_execution_providers([ep::CPU::default().with_arena_allocator(false).build()])?
        .commit_from_memory(onnx)
}

/// Checks that the graph has one input (or output) of the given name and shape, -1 standing for any size.
fn check_outlets(kind: &str, outlets: &[Outlet], name: &str, shape: &[i64]) -> Result<(), EncoderError> {
    let matches = |outlet: &Outlet| match outlet.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape: actual, .. } => {
            outlet.name() == name && actual[..] == *shape
        }
        _ => false,
    };
    if let [outlet] = outlets
        && matches(outlet)
    {
        return Ok(());
    }
    let found: Vec<String> =
        outlets.iter().map(|outlet| format!("{} {:?}", outlet.name(), outlet.dtype())).collect();
    Err(EncoderError::OtherModel(format!("its {kind} is not {name} {shape:?} but {}", found.join(", "))))
}
