//! Converts errors of the engine to exceptions of `voice_embedding.errors`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use voice_embedding_engine::audio::AudioError;
use voice_embedding_engine::embedder::{EmbedError, WorkerPanicked};
use voice_embedding_engine::encoder::EncoderError;
use voice_embedding_engine::pipeline::PipelineError;

/// The reason why a recording has no embedding.
pub(crate) enum RecordingFailure {
    /// The file cannot be read.
    Unreadable(std::io::Error),
    Pipeline(PipelineError),
    Bug(String),
}

impl From<PipelineError> for RecordingFailure {
    fn from(error: PipelineError) -> Self {
        Self::Pipeline(error)
    }
}

impl From<AudioError> for RecordingFailure {
    fn from(error: AudioError) -> Self {
        Self::Pipeline(error.into())
    }
}

impl From<EncoderError> for RecordingFailure {
    fn from(error: EncoderError) -> Self {
        Self::Pipeline(error.into())
    }
}

impl From<std::io::Error> for RecordingFailure {
    fn from(error: std::io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<EmbedError> for RecordingFailure {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Pipeline(error) => Self::Pipeline(error),
            EmbedError::Full(error) => Self::Bug(error.to_string()),
        }
    }
}

impl From<WorkerPanicked> for RecordingFailure {
    fn from(error: WorkerPanicked) -> Self {
        Self::Bug(error.to_string())
    }
}

impl RecordingFailure {
    /// Returns the exception. `path` is the file, if the recording is a file.
    pub(crate) fn exception(self, py: Python<'_>, path: Option<&Path>) -> PyErr {
        match self {
            Self::Unreadable(error) => unreadable(&error, path),
            Self::Pipeline(error) => from_code(py, error.code(), &error.to_string()),
            Self::Bug(reason) => PyRuntimeError::new_err(reason),
        }
    }
}

/// Returns `FileNotFoundError`, `PermissionError` or another `OSError`, with the path.
fn unreadable(error: &std::io::Error, path: Option<&Path>) -> PyErr {
    match (error.raw_os_error(), path) {
        (Some(number), Some(path)) => {
            let reason = error.to_string();
            let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((number, reason, path.as_os_str().to_owned()))
        }
        _ => PyOSError::new_err(error.to_string()),
    }
}

/// Returns the exception for an error code of the service.
fn from_code(py: Python<'_>, code: &str, message: &str) -> PyErr {
    let made = py
        .import("voice_embedding.errors")
        .and_then(|errors| errors.call_method1("from_code", (code, message)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// Runs work without Python's lock. A panic is a bug and becomes a `RuntimeError`, because pyo3's own exception is not a
/// subclass of Python's `Exception`.
pub(crate) fn unpanicked<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| PyRuntimeError::new_err("a bug: the engine panicked; standard error says where"))
}

/// Returns a `ValueError` that explains the problem with an argument.
pub(crate) fn value_error(reason: impl ToString) -> PyErr {
    PyValueError::new_err(reason.to_string())
}

/// Returns the exception for an engine that cannot run.
pub(crate) fn cannot_run(error: EncoderError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
