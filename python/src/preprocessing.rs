//! The stages before the encoder, as in Resemblyzer.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use voice_embedding_engine::audio::{DecodeOptions, Waveform};
use voice_embedding_engine::front_end::{MelExtractor, WindowParameters, window_starts as starts};
use voice_embedding_engine::models::resemblyzer::{HOP_SAMPLES, MEL, N_FRAMES};
use voice_embedding_engine::pace::Pace;
use voice_embedding_engine::speech::{Pauses, Utterance, detector, level, trim};

use crate::errors::value_error;
use crate::source::{Source, finite, options};

/// Why unbroken work always returns a result.
pub(crate) const NOT_CANCELLED: &str = "unbroken work is not cancelled";

type Samples<'py> = Bound<'py, PyArray1<f32>>;

/// Decodes a recording to 16 kHz. Returns the samples and the properties of the recording.
#[pyfunction]
#[pyo3(signature = (source, number, max_seconds))]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    source: Source<'py>,
    number: Option<u16>,
    max_seconds: f64,
) -> PyResult<(Samples<'py>, Bound<'py, PyDict>)> {
    let readable = source.readable()?;
    let recording = py.detach(|| readable.decode::<Vec<f32>>(options(number, max_seconds)));
    let recording = recording.map_err(|error| error.exception(py, source.path()))?;
    let noticed = PyDict::new(py);
    noticed.set_item("duration_seconds", recording.duration_seconds)?;
    noticed.set_item("sample_rate_hz", recording.sample_rate_hz)?;
    noticed.set_item("channels", recording.channels)?;
    noticed.set_item("level_dbfs", level::level_dbfs(recording.waveform.samples()))?;
    noticed.set_item("clipped", recording.clipped)?;
    noticed.set_item("truncated", recording.truncated)?;
    Ok((recording.waveform.into_samples().into_pyarray(py), noticed))
}

/// Extracts the speech of a recording at 16 kHz, raised to -30 dBFS. The result is empty if there is no speech.
#[pyfunction]
pub(crate) fn preprocess<'py>(py: Python<'py>, source: Source<'py>) -> PyResult<Samples<'py>> {
    let readable = source.readable()?;
    let options = DecodeOptions::with_max_seconds(f64::INFINITY);
    let speech =
        py.detach(|| readable.decode::<Vec<f32>>(options).map(|recording| speech_of(recording.waveform)));
    Ok(speech.map_err(|error| error.exception(py, source.path()))?.into_pyarray(py))
}

fn speech_of(waveform: Waveform) -> Vec<f32> {
    let utterance = Utterance::detect(waveform, Pauses::Cut, Pace::UNBROKEN);
    utterance.expect(NOT_CANCELLED).map_or_else(Vec::new, Utterance::into_samples)
}

/// Removes long pauses from samples at 16 kHz. Keeps speech and short pauses.
#[pyfunction]
pub(crate) fn trim_long_silences<'py>(
    py: Python<'py>,
    wav: PyReadonlyArray1<'py, f32>,
) -> PyResult<Samples<'py>> {
    let samples = finite(&wav)?;
    let kept = py.detach(|| {
        let flags = detector::voice_flags(samples, 1.0, Pace::UNBROKEN).expect(NOT_CANCELLED);
        let stretches = trim::stretches(&trim::keep_mask(&flags));
        stretches.into_iter().flat_map(|stretch| &samples[stretch]).copied().collect::<Vec<f32>>()
    });
    Ok(kept.into_pyarray(py))
}

/// Computes the mel spectrogram of samples at 16 kHz, `[frames, 40]`.
#[pyfunction]
pub(crate) fn mel_spectrogram<'py>(
    py: Python<'py>,
    wav: PyReadonlyArray1<'py, f32>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let samples = finite(&wav)?;
    let mels = py.detach(|| {
        MelExtractor::new(MEL).spectrogram(samples, samples.len() / HOP_SAMPLES + 1, Pace::UNBROKEN)
    });
    let mels = mels.expect(NOT_CANCELLED);
    Ok(mels.into_pyarray(py))
}

/// Returns the first frame of each window of a recording with `n_samples` samples.
#[pyfunction]
pub(crate) fn window_starts(n_samples: u32, step_frames: usize, min_coverage: f64) -> PyResult<Vec<usize>> {
    let n_samples = n_samples as usize;
    Ok(starts(n_samples, HOP_SAMPLES, windows(step_frames, min_coverage)?))
}

/// Returns Resemblyzer's windows at another rate.
pub(crate) fn windows(step_frames: usize, min_coverage: f64) -> PyResult<WindowParameters> {
    if step_frames == 0 {
        return Err(value_error("windows begin at least a frame apart"));
    }
    Ok(WindowParameters { n_frames: N_FRAMES, step_frames, min_coverage })
}
