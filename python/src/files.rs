//! An iterator that embeds many files on several threads.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use numpy::PyArray1;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator};

use voice_embedding_engine::embedder::{
    EmbedError, Embedded, Embedder, EmbedderLimits, EmbedderModel, InOrder, queue_capacity,
};
use voice_embedding_engine::encoder::{EncoderError, LazySession, MAX_BATCH};
use voice_embedding_engine::engine::{Engine, EngineModel};
use voice_embedding_engine::pipeline::{RecordingOptions, Wanted};
use voice_embedding_engine::queue::QueueLimits;

use crate::errors::{RecordingFailure, cannot_run};
use crate::model::Model;
use crate::source::channel;
use crate::values::{self, n_threads};

/// How often signals are checked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A path as Python passed it, and as a path in Rust.
type Tag = (Py<PyAny>, PathBuf);

/// A path, with its embedding and report, or with the reason why there is none.
type Outcome<'py> = (Py<PyAny>, Option<(Bound<'py, PyArray1<f32>>, Bound<'py, PyDict>)>, Option<PyErr>);

/// Embeds files while it is iterated over. Its threads end with it.
#[pyclass(module = "voice_embedding._core")]
pub(crate) struct Files {
    /// `None` after the end.
    in_order: Option<Mutex<InOrder<Tag, Embedded, RecordingFailure>>>,
    model: Arc<EmbedderModel>,
    /// The remaining paths; `None` if there are no more.
    paths: Option<Py<PyIterator>>,
    /// The error that ended the paths, if any. It is raised after all earlier files are answered.
    failure: Option<PyErr>,
    options: RecordingOptions,
    process: u32,
}

impl Files {
    pub(crate) fn start(
        model: &Model,
        paths: Py<PyIterator>,
        options: RecordingOptions,
        threads: NonZeroUsize,
    ) -> PyResult<Self> {
        let shared = model.encoder.clone();
        let (onnx, graph) = (model.loaded.onnx.clone(), model.loaded.spec.graph);
        let lazy = LazySession::new(move || shared.session(&onnx, graph));
        let loaded = || {
            let mut session = lazy.clone();
            session.get()?;
            Ok(vec![session])
        };
        let workers: Result<Vec<_>, EncoderError> = (0..threads.get()).map(|_| loaded()).collect();
        let engine = Engine {
            models: vec![EngineModel {
                model: model.loaded.clone(),
                encoder: model.encoder.name(),
                calibration: None,
            }],
            workers: workers.map_err(cannot_run)?,
            segmentation: None,
        };
        let queue = QueueLimits { capacity: queue_capacity(threads), max_batch: MAX_BATCH };
        let limits = EmbedderLimits { pipeline: model.limits, queue };
        let embedder = Arc::new(Embedder::start(engine, limits, Box::new(|_| {})));
        let model = Arc::clone(embedder.default_model());
        let in_order = InOrder::new(embedder, threads);
        Ok(Self {
            in_order: Some(Mutex::new(in_order)),
            model,
            paths: Some(paths),
            failure: None,
            options,
            process: std::process::id(),
        })
    }
}

/// Embeds many files on `threads` threads, and returns the results in the order of the files.
#[pyfunction]
#[pyo3(signature = (model, paths, number, threads))]
pub(crate) fn embed_files(
    model: PyRef<'_, Model>,
    paths: &Bound<'_, PyAny>,
    number: Option<u16>,
    threads: Option<NonZeroUsize>,
) -> PyResult<Files> {
    let options = RecordingOptions { channel: channel(number), raw: None };
    Files::start(&model, paths.try_iter()?.unbind(), options, n_threads(threads))
}

/// Submits the next file. Returns false if there is no room or no file left.
fn submit_next(
    py: Python<'_>,
    (in_order, model): (&mut InOrder<Tag, Embedded, RecordingFailure>, &Arc<EmbedderModel>),
    paths: &mut Option<Py<PyIterator>>,
    options: RecordingOptions,
) -> PyResult<bool> {
    let Some(left) = paths else { return Ok(false) };
    let Some(admission) = in_order.admit() else { return Ok(false) };
    let Some(given) = left.bind(py).clone().next() else {
        *paths = None;
        return Ok(false);
    };
    let given = given?;
    let path: PathBuf = given.extract()?;
    let n_bytes = py.detach(|| std::fs::metadata(&path).map_or(0, |metadata| metadata.len() as usize));
    let file = path.clone();
    in_order.submit(admission, (given.unbind(), path), |admission, done| {
        let unpack = move || Ok((std::fs::read(file)?, options));
        admission.embed(model, None, Wanted::default(), n_bytes, unpack, done);
    });
    Ok(true)
}

#[pymethods]
impl Files {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Outcome<'py>>> {
        if self.process != std::process::id() {
            return Err(PyRuntimeError::new_err(
                "the threads of embed_files are the parent's: begin anew after a fork",
            ));
        }
        loop {
            let Some(in_order) = &mut self.in_order else { return Ok(None) };
            let in_order = in_order.get_mut().unwrap_or_else(PoisonError::into_inner);
            // Submitting one file per answer keeps the threads busy, and a slow source of paths delays no answer.
            let has_submitted = submit_next(py, (in_order, &self.model), &mut self.paths, self.options);
            let has_submitted = match has_submitted {
                Ok(has_submitted) => has_submitted,
                Err(error) if error.is_instance_of::<PyException>(py) => {
                    (self.paths, self.failure) = (None, Some(error));
                    false
                }
                // An interrupt, or the end of the program.
                Err(error) => {
                    self.end(py);
                    return Err(error);
                }
            };
            if let Some((tag, outcome)) = in_order.take_next() {
                return answer(py, tag, outcome).map(Some);
            }
            if in_order.is_empty() && self.paths.is_none() {
                self.end(py);
                return self.failure.take().map_or(Ok(None), Err);
            }
            if !has_submitted {
                py.detach(|| in_order.wait(LOOK_EVERY));
            }
            py.check_signals()?;
        }
    }

    /// Ends the threads, and drops unfinished work.
    fn close(&mut self, py: Python<'_>) {
        self.end(py);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.paths.as_ref().map_or(Ok(()), |paths| visit.call(paths))
    }

    fn __clear__(&mut self) {
        self.paths = None;
    }
}

impl Files {
    fn end(&mut self, py: Python<'_>) {
        self.paths = None;
        let Some(in_order) = self.in_order.take() else { return };
        // Threads do not survive a fork, so the child process would wait for them for ever.
        if self.process != std::process::id() {
            return std::mem::forget(in_order);
        }
        let mut in_order = in_order.into_inner().unwrap_or_else(PoisonError::into_inner);
        // The paths are Python objects, so they are dropped while Python's lock is held.
        in_order.cancel();
        py.detach(|| drop(in_order));
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        Python::attach(|py| self.end(py));
    }
}

fn answer(
    py: Python<'_>,
    (given, path): Tag,
    outcome: Result<Embedded, RecordingFailure>,
) -> PyResult<Outcome<'_>> {
    let voice = outcome.and_then(|embedded| Ok(embedded.into_whole().map_err(EmbedError::from)?.0));
    Ok(match voice {
        Ok(voice) => {
            let report = values::report(py, &voice.audio)?;
            (given, Some((values::embedding(py, voice.embedding.components()), report)), None)
        }
        Err(error) => (given, None, Some(error.exception(py, Some(&path)))),
    })
}
