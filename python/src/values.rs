//! Converts results of the engine to Python values.

use std::num::NonZeroUsize;

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use voice_embedding_engine::report::AudioReport;

/// Returns an embedding, `[dimension]`, as an array of its components.
pub(crate) fn embedding<'py>(py: Python<'py>, components: &[f64]) -> Bound<'py, PyArray1<f32>> {
    let components: Vec<f32> = components.iter().map(|component| *component as f32).collect();
    components.into_pyarray(py)
}

/// Returns the fields of `AudioReport`.
pub(crate) fn report<'py>(py: Python<'py>, report: &AudioReport) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("duration_seconds", report.duration_seconds)?;
    fields.set_item("speech_seconds", report.speech_seconds)?;
    fields.set_item("sample_rate_hz", report.sample_rate_hz)?;
    fields.set_item("channels", report.channels)?;
    fields.set_item("level_dbfs", report.level_dbfs)?;
    fields.set_item("windows", report.windows)?;
    let warnings = report.warnings.iter().map(|warning| warning.code());
    fields.set_item("warnings", PyTuple::new(py, warnings.collect::<Vec<_>>())?)?;
    Ok(fields)
}

/// Returns the number of computing threads: the given number or, without one, all that are available to the process.
pub(crate) fn n_threads(threads: Option<NonZeroUsize>) -> NonZeroUsize {
    threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}
