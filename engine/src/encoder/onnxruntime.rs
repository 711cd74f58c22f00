//! ONNX Runtime, loaded at run time, and sessions that run the encoder's graph. Only this file names `ort`.

use std::borrow::Cow;
use std::error::Error;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::ep;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::error::EncoderError;
use super::graph::Graph;

/// ONNX Runtime, loaded. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Environment);

/// ONNX Runtime allows one environment per process, and a dropped environment cannot be created again.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// Held while ONNX Runtime loads itself or a graph. A process that exits during such a load crashes.
static LOADING: Mutex<()> = Mutex::new(());

fn loading() -> MutexGuard<'static, ()> {
    LOADING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until ONNX Runtime has finished loading, and prevents any further load. Call this before the process exits if
/// another thread may still be loading.
pub fn prevent_loading() {
    std::mem::forget(loading());
}

impl Runtime {
    /// Loads the library from a path, or by a bare name that the system's loader resolves. A process loads only one
    /// library: later calls return the first one.
    pub fn load(library: &Path) -> Result<Self, EncoderError> {
        let _loading = loading();
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

    /// Returns the environment, from which benchmarks create sessions.
    #[cfg(any(test, feature = "internals"))]
    pub fn environment(&self) -> &Environment {
        &self.0
    }
}

/// Returns the reason why loading failed. `ort` keeps the reason of the system's loader one level down.
fn load_failure(error: &ort::LoadDynamicError) -> String {
    match error {
        ort::LoadDynamicError::Dlopen { error, .. } => {
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        }
        error => error.to_string(),
    }
}

/// An encoder's graph that is ready to run on the calling thread.
pub(super) struct OrtSession {
    session: ort::session::Session,
    graph: Graph,
}

impl OrtSession {
    /// Loads an ONNX file's bytes and checks that its input and output match the graph.
    pub(super) fn new(runtime: &Runtime, onnx: &[u8], graph: Graph) -> Result<Self, EncoderError> {
        let _loading = loading();
        let session = load(&runtime.0, onnx).map_err(|e| EncoderError::Model(e.to_string()))?;
        check_outlets("input", session.inputs(), graph.input, graph.input_shape)?;
        check_outlets("output", session.outputs(), graph.output, graph.output_shape)?;
        Ok(Self { session, graph })
    }

    /// Like [`Session::embed`](super::Session::embed).
    pub(super) fn embed(&mut self, units: &[&[f32]]) -> Result<Vec<Vec<f32>>, EncoderError> {
        let Graph { input, output, .. } = self.graph;
        let n_values = units[0].len();
        assert!(units.iter().all(|unit| unit.len() == n_values), "units are equally long");
        let shape: Vec<usize> = [units.len()].into_iter().chain(self.graph.sizes_of(n_values)).collect();
        // A single unit may be long, so it is not copied.
        let values = if let [unit] = units { Cow::Borrowed(*unit) } else { Cow::Owned(units.concat()) };
        let run = || {
            let values = TensorRef::from_array_view((shape, &*values))?;
            let outputs = self.session.run(ort::inputs![input => values])?;
            let (shape, results) = outputs[output].try_extract_tensor::<f32>()?;
            let n_results = shape.first().copied().unwrap_or(0) as usize;
            let length = results.len().checked_div(n_results).unwrap_or(0).max(1);
            Ok(results.chunks(length).map(<[f32]>::to_vec).collect())
        };
        let results: Vec<Vec<f32>> = run().map_err(|e: ort::Error| EncoderError::Run(e.to_string()))?;
        if results.len() != units.len() {
            return Err(EncoderError::Run(format!("{} results of {} units", results.len(), units.len())));
        }
        Ok(results)
    }
}

/// Creates a session with one thread, since the queue runs one session per core. Memory pattern and arena are off: with
/// them, memory grows with every new number of windows.
fn load(environment: &Environment, onnx: &[u8]) -> ort::Result<ort::session::Session> {
    ort::session::Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_memory_pattern(false)?
        .with_execution_providers([ep::CPU::default().with_arena_allocator(false).build()])?
        .commit_from_memory(onnx)
}

/// Checks that the graph has exactly one input (or output), with the given name and, after the number of units, the given sizes.
fn check_outlets(
    kind: &str,
    outlets: &[Outlet],
    name: &str,
    sizes: &[Option<usize>],
) -> Result<(), EncoderError> {
    let sizes = sizes.iter().map(|size| size.map_or(-1, |size| size as i64));
    let shape: Vec<i64> = [-1].into_iter().chain(sizes).collect();
    let matches = |outlet: &Outlet| match outlet.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape: actual, .. } => {
            outlet.name() == name && actual[..] == shape[..]
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
