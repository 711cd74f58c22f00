//! `voice_embedding._core`: the engine as a Python module. `voice_embedding/_core.pyi` contains its signatures. The
//! public interface is written in Python, beside that file.
//!
//! Python's lock is released during long work, and arrays are read in place. One recording is computed on the calling
//! thread, with a session from the model's pool. That pool is locked, and ONNX Runtime loaded, only while Python's lock is
//! held, so a fork never finds either locked. `embed_files` starts a queue whose threads end with the iterator. A child
//! process rejects an iterator that it inherited and drops it without waiting for its threads. Exceptions are Python classes
//! chosen by error code, the same for the engine and the service.

#![allow(clippy::needless_pass_by_value, reason = "PyO3 passes arguments by value")]

mod decisions;
mod diarization;
mod errors;
mod files;
mod model;
mod preprocessing;
mod source;
mod values;

use pyo3::prelude::*;

use voice_embedding_engine::audio::{MAX_CHANNELS, SAMPLE_RATES_HZ};
use voice_embedding_engine::diarization::MAX_SPEAKERS;

/// The maximum number of threads.
const MAX_THREADS: usize = 1_024;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    // Python checks arguments against these ranges; each is the first and the last valid value.
    module.add("SAMPLE_RATES_HZ", (SAMPLE_RATES_HZ.start(), SAMPLE_RATES_HZ.end()))?;
    module.add("CHANNELS", (0, MAX_CHANNELS - 1))?;
    module.add("THREADS", (1, MAX_THREADS))?;
    module.add("SPEAKERS", (1, MAX_SPEAKERS))?;
    module.add_class::<model::Model>()?;
    module.add_class::<files::Files>()?;
    module.add_function(wrap_pyfunction!(decisions::verify, module)?)?;
    module.add_function(wrap_pyfunction!(decisions::similarities, module)?)?;
    module.add_function(wrap_pyfunction!(diarization::diarize, module)?)?;
    module.add_function(wrap_pyfunction!(files::embed_files, module)?)?;
    module.add_function(wrap_pyfunction!(preprocessing::decode, module)?)?;
    module.add_function(wrap_pyfunction!(preprocessing::preprocess, module)?)?;
    module.add_function(wrap_pyfunction!(preprocessing::trim_long_silences, module)?)?;
    module.add_function(wrap_pyfunction!(preprocessing::mel_spectrogram, module)?)?;
    module.add_function(wrap_pyfunction!(preprocessing::window_starts, module)?)?;
    Ok(())
}
