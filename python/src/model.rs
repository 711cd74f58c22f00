//! A model that is ready to run.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray3};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use voice_embedding_engine::embedding::{Embedding, UnitEmbedding};
use voice_embedding_engine::encoder::{
    EncoderError, InstructionSet, Runtime, Session, embed_units, mean_embedding,
};
use voice_embedding_engine::engine::Encoder;
use voice_embedding_engine::front_end::{Features, MelWindows, Unit};
use voice_embedding_engine::models::resemblyzer::{self, MEL, WINDOWS};
use voice_embedding_engine::models::{self, ModelFiles, ModelSpec, OnnxFile, segmentation};
use voice_embedding_engine::pace::Pace;
use voice_embedding_engine::pipeline::{Pipeline, PipelineLimits};

use crate::errors::{RecordingFailure, cannot_run, unpanicked, value_error};
use crate::preprocessing::{NOT_CANCELLED, windows};
use crate::source::{Source, finite, options};
use crate::values;

/// Resemblyzer's weights. The weights of other models are files.
const RESEMBLYZER: &[u8] = include_bytes!("../../models/resemblyzer.onnx");

/// The segmentation network, which finds turns.
const SEGMENTATION: &[u8] = include_bytes!("../../models/segmentation.onnx");

/// The most free sessions that are kept for later callers, because each session has its own memory.
const MAX_FREE_SESSIONS: usize = 16;

/// A model and its encoder. Threads may share it.
#[pyclass(frozen, module = "voice_embedding._core")]
pub(crate) struct Model {
    pub(crate) loaded: models::Model,
    pub(crate) encoder: Encoder,
    pub(crate) limits: PipelineLimits,
    pub(crate) pipeline: Pipeline,
    mel: MelWindows,
    sessions: Pool,
    /// The requested encoder, which also applies to the segmentation network.
    wanted: WantedEncoder,
    segmentation_encoder: OnceLock<Encoder>,
    segmentation: Pool,
}

/// The requested encoder, and the path of ONNX Runtime.
struct WantedEncoder {
    encoder: Option<String>,
    library: Option<PathBuf>,
}

/// Free sessions. The mutex is locked only while Python's lock is held, so that no fork finds it locked.
#[derive(Default)]
struct Pool(Mutex<Vec<Session>>);

impl Pool {
    /// Takes `n` sessions for one caller, and creates missing ones.
    fn take(
        &self,
        n: usize,
        make: impl Fn() -> Result<Session, EncoderError>,
    ) -> Result<Vec<Session>, EncoderError> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n_free = free.len().min(n);
        let kept = free.len() - n_free;
        let mut sessions = free.split_off(kept);
        drop(free);
        for _ in n_free..n {
            sessions.push(make()?);
        }
        Ok(sessions)
    }

    fn give_back(&self, sessions: Vec<Session>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(sessions);
        free.truncate(MAX_FREE_SESSIONS);
    }
}

/// Embedding, partials `[windows, 256]`, and the first frame of each window.
type Utterance<'py> = (Bound<'py, PyArray1<f32>>, Bound<'py, PyArray2<f32>>, Vec<usize>);

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (name, weights, encoder, library, max_audio_seconds, min_speech_seconds))]
    fn new(
        name: &str,
        weights: Option<Vec<u8>>,
        encoder: Option<&str>,
        library: Option<PathBuf>,
        max_audio_seconds: f64,
        min_speech_seconds: f64,
    ) -> PyResult<Self> {
        let limits =
            PipelineLimits { max_audio_seconds, min_speech_seconds, max_turns_seconds: max_audio_seconds };
        let known = models::all();
        let ids: Vec<&str> = known.iter().map(|spec| spec.id).collect();
        let unknown = || value_error(format!("there is no model {name:?}, only {}", ids.join(" and ")));
        let spec = known.iter().find(|spec| spec.is_named(name)).cloned().ok_or_else(unknown)?;
        let onnx = onnx_of(&spec, weights)?;
        // ONNX Runtime is loaded under a process-wide lock. Python's lock is kept meanwhile, so that no fork finds it locked.
        let model = models::Model::new(Arc::new(spec), onnx);
        let wanted = WantedEncoder { encoder: encoder.map(str::to_owned), library };
        let encoder = wanted.encoder_of(&model.spec.files, &model.onnx)?;
        let model = Self {
            pipeline: Pipeline::new(&model, limits),
            loaded: model,
            encoder,
            limits,
            mel: MelWindows::new(MEL, WINDOWS),
            sessions: Pool::default(),
            wanted,
            segmentation_encoder: OnceLock::new(),
            segmentation: Pool::default(),
        };
        // Fails early if the model cannot run.
        model.give_back(model.sessions(1).map_err(cannot_run)?);
        Ok(model)
    }

    #[getter]
    fn id(&self) -> &str {
        self.loaded.id.id()
    }

    #[getter]
    fn fingerprint(&self) -> &str {
        self.loaded.id.fingerprint()
    }

    #[getter]
    fn dimension(&self) -> usize {
        self.loaded.id.dimension()
    }

    #[getter]
    fn threshold(&self) -> f64 {
        self.loaded.spec.threshold.similarity
    }

    #[getter]
    fn encoder(&self) -> String {
        self.encoder.name()
    }

    /// Embeds mel spectrograms of windows, `[windows, frames, 40]`. Returns embeddings, `[windows, 256]`.
    fn embed_windows<'py>(
        &self,
        py: Python<'py>,
        mels: PyReadonlyArray3<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let mels = mels.as_array();
        let (n_windows, n_frames) = (mels.dim().0, mels.dim().1);
        let needed =
            self.loaded.spec.graph.input_shape[0].filter(|_| matches!(self.encoder, Encoder::Ort(_)));
        if let Some(needed) = needed.filter(|needed| *needed != n_frames) {
            return Err(value_error(format!("in ONNX Runtime a window has {needed} frames, not {n_frames}")));
        }
        if n_windows == 0 {
            return Ok(PyArray2::zeros(py, [0, self.dimension()], false));
        }
        let frames = mels.to_shape((n_windows * n_frames, mels.dim().2)).map_err(value_error)?.into_owned();
        let unit = |window: usize| Unit {
            frames: window * n_frames..(window + 1) * n_frames,
            samples: 0..0,
            is_centred: false,
        };
        let features = Features::new(frames, (0..n_windows).map(unit).collect());
        let units = self.with_session(py, |session| embed_units(session, &features))?;
        PyArray2::from_vec2(py, &units.map_err(cannot_run)?).map_err(value_error)
    }

    /// Embeds a preprocessed waveform and its windows, like Resemblyzer's `embed_utterance`.
    fn embed_utterance<'py>(
        &self,
        py: Python<'py>,
        wav: PyReadonlyArray1<'py, f32>,
        step_frames: usize,
        min_coverage: f64,
    ) -> PyResult<Utterance<'py>> {
        let samples = finite(&wav)?;
        let windows = windows(step_frames, min_coverage)?;
        let embedded = self.with_session(py, |session| {
            let features = self.mel.features_of(samples, windows, Pace::UNBROKEN).expect(NOT_CANCELLED);
            let partials = embed_units(session, &features)?;
            let starts = features.units().iter().map(|unit| unit.frames.start).collect();
            Ok::<_, EncoderError>((mean_embedding(&self.loaded.id, &partials)?, partials, starts))
        })?;
        let (embedding, partials, starts) = embedded.map_err(cannot_run)?;
        let partials = PyArray2::from_vec2(py, &partials).map_err(value_error)?;
        Ok((values::embedding(py, embedding.components()), partials, starts))
    }

    /// Embeds a recording. Returns the embedding and the audio report.
    #[pyo3(signature = (source, number))]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        source: Source<'py>,
        number: Option<u16>,
    ) -> PyResult<(Bound<'py, PyArray1<f32>>, Bound<'py, PyDict>)> {
        let readable = source.readable()?;
        let embedded = self.with_session(py, |session| {
            let recording = readable.decode::<Vec<f32>>(options(number, self.limits.max_audio_seconds))?;
            Ok::<_, RecordingFailure>(self.pipeline.embed_recording(session, recording)?)
        })?;
        let (embedding, report) = embedded.map_err(|error| error.exception(py, source.path()))?;
        Ok((values::embedding(py, embedding.components()), values::report(py, &report)?))
    }
}

impl Model {
    /// Runs work with a session, without Python's lock.
    fn with_session<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Session) -> T + Send,
    ) -> PyResult<T> {
        let mut sessions = self.sessions(1).map_err(cannot_run)?;
        let result = unpanicked(py, || work(&mut sessions[0]))?;
        self.give_back(sessions);
        Ok(result)
    }

    /// Creates a session of the model.
    pub(crate) fn session(&self) -> Result<Session, EncoderError> {
        self.encoder.session(&self.loaded.onnx, self.loaded.spec.graph)
    }

    /// Takes `n` sessions of the model for one caller.
    pub(crate) fn sessions(&self, n: usize) -> Result<Vec<Session>, EncoderError> {
        self.sessions.take(n, || self.session())
    }

    pub(crate) fn give_back(&self, sessions: Vec<Session>) {
        self.sessions.give_back(sessions);
    }

    /// Takes `n` sessions of the segmentation network for one caller.
    pub(crate) fn segmentation_sessions(&self, n: usize) -> PyResult<Vec<Session>> {
        let onnx = OnnxFile::from(SEGMENTATION.to_vec());
        let encoder = if let Some(encoder) = self.segmentation_encoder.get() {
            encoder
        } else {
            let encoder = self.wanted.encoder_of(&segmentation::files(), &onnx)?;
            self.segmentation_encoder.get_or_init(|| encoder)
        };
        self.segmentation.take(n, || encoder.session(&onnx, segmentation::GRAPH)).map_err(cannot_run)
    }

    pub(crate) fn give_back_segmentation(&self, sessions: Vec<Session>) {
        self.segmentation.give_back(sessions);
    }

    pub(crate) fn unit(&self, components: &[f64]) -> PyResult<UnitEmbedding> {
        let embedding = Embedding::new(&self.loaded.id, components.to_vec());
        embedding
            .and_then(UnitEmbedding::try_from)
            .map_err(|error| value_error(format!("an embedding {error}")))
    }
}

/// Returns the ONNX file: the one in the package, or the bytes of a file, which may be a PyTorch checkpoint.
fn onnx_of(spec: &ModelSpec, weights: Option<Vec<u8>>) -> PyResult<Vec<u8>> {
    let Some(weights) = weights else {
        return if spec.id == resemblyzer::ID {
            Ok(RESEMBLYZER.to_vec())
        } else {
            Err(value_error(format!("the weights of {} are a file", spec.id)))
        };
    };
    // A checkpoint is a zip archive or a pickle.
    let is_checkpoint = weights.starts_with(b"PK") || weights.starts_with(&[0x80]);
    if is_checkpoint { (spec.files.convert)(&weights).map_err(value_error) } else { Ok(weights) }
}

impl WantedEncoder {
    /// Returns the requested encoder. Without a request, returns the one that suits the network and the CPU.
    fn encoder_of(&self, files: &ModelFiles, onnx: &OnnxFile) -> PyResult<Encoder> {
        let library = self.library.as_ref();
        let has_native = files.native.is_some();
        let any_set = || InstructionSet::available().next().unwrap_or(InstructionSet::Portable);
        let native = |set| Encoder::native(files, onnx, set).map_err(cannot_run);
        match self.encoder.as_deref() {
            Some("native") if !has_native => {
                Err(value_error(format!("{} runs in ONNX Runtime alone: encoder=\"ort\"", files.id)))
            }
            Some("native") => native(any_set()),
            None if has_native && (InstructionSet::fast().is_some() || library.is_none()) => {
                native(any_set())
            }
            Some("ort") | None => runtime_of(library).map(Encoder::Ort),
            Some(other) => Err(value_error(format!("the encoder is \"native\" or \"ort\", not {other:?}"))),
        }
    }
}

fn runtime_of(library: Option<&PathBuf>) -> PyResult<Runtime> {
    let library = library.ok_or_else(|| {
        PyRuntimeError::new_err(
            "ONNX Runtime is not found: pip install onnxruntime, or set ORT_DYLIB_PATH to its library",
        )
    })?;
    Runtime::load(library).map_err(cannot_run)
}
