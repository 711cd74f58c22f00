//! The pipeline on the queue's workers: recordings in, embeddings out by callback.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{Span, info_span};

use crate::calibration::Calibration;
use crate::claims::Judge;
use crate::diarization::Heard;
use crate::embedding::{Embedding, ModelId};
use crate::encoder::{EncoderError, normalized};
use crate::engine::Engine;
use crate::front_end::Features;
use crate::models::ModelSpec;
use crate::pipeline::{
    Analysis, AudioReport, Pipeline, PipelineError, PipelineLimits, RecordingOptions, Wanted, Warning,
};
use crate::queue::plan::GroupId;
use crate::queue::{Job, OnBatch, Place, Queue, QueueFull, QueueLimits, Started};

/// How much is taken.
#[derive(Clone, Copy, Debug)]
pub struct EmbedderLimits {
    /// Of a recording.
    pub pipeline: PipelineLimits,
    /// Of the queue.
    pub queue: QueueLimits,
}

/// The pipelines of all models, on one queue.
pub struct Embedder {
    models: Vec<Arc<EmbedderModel>>,
    queue: Queue,
}

/// A model as the embedder runs it.
pub struct EmbedderModel {
    place: usize,
    pipeline: Pipeline,
    encoder: String,
    spec: Arc<ModelSpec>,
    calibration: Option<Calibration>,
}

/// Bytes of a recording from which on it may be minutes long: decoded, it takes four bytes a sample.
const LARGE_BYTES: usize = 4 << 20;

/// What became of a recording.
pub struct Embedded {
    /// The recording or, if segments were wanted, each of them.
    pub voices: Vec<Result<EmbeddedVoice, PipelineError>>,
    /// How long each stage took.
    pub timings: Timings,
}

/// A recording's embedding, or that of a segment.
pub struct EmbeddedVoice {
    /// That of all windows or pieces.
    pub embedding: Embedding,
    /// What is known of the recording.
    pub audio: AudioReport,
    /// The windows, if they were wanted.
    pub partials: Vec<Partial>,
    /// Where speech is, in seconds of the recording, if windows for telling speakers apart were wanted.
    pub speech: Vec<Range<f64>>,
}

/// One window.
pub struct Partial {
    /// When it begins and ends, in seconds of the recording; it may span pauses that were cut out.
    pub seconds: Range<f64>,
    /// Its embedding, L2 norm 1.
    pub embedding: Vec<f32>,
}

/// How long a recording was in each stage.
#[derive(Clone, Copy, Default)]
pub struct Timings {
    /// Until a worker took it.
    queue: Duration,
    /// What was received -> samples at 16 kHz.
    decode: Duration,
    /// Samples -> windows.
    preprocess: Duration,
    /// Windows -> embedding, the turns of others included.
    encode: Duration,
}

/// Why a recording has no embedding.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// There is no place in the queue.
    #[error(transparent)]
    Full(#[from] QueueFull),
    /// The recording has none, or the encoder failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

/// Admitted recordings: the places of one request.
pub struct Admission {
    group: GroupId,
    places: Vec<Place>,
    cancelled: Arc<AtomicBool>,
}

/// Cancels the recordings of an admission when it is dropped; what is left of them is not computed.
pub struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Admission {
    /// What cancels the recordings.
    pub fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(Arc::clone(&self.cancelled))
    }
}

impl Timings {
    /// Adds those of another recording.
    pub fn add(&mut self, other: &Self) {
        self.queue += other.queue;
        self.decode += other.decode;
        self.preprocess += other.preprocess;
        self.encode += other.encode;
    }

    /// Each stage by its name in metrics and headers.
    pub fn stages(&self) -> [(&'static str, Duration); 4] {
        [
            ("queue", self.queue),
            ("decode", self.decode),
            ("preprocess", self.preprocess),
            ("encode", self.encode),
        ]
    }
}

impl EmbeddedVoice {
    /// What was heard of a recording whose turns were wanted, and the report on it.
    pub fn into_heard(self) -> (Heard, AudioReport) {
        let (windows, units) = self.partials.into_iter().map(|one| (one.seconds, one.embedding)).unzip();
        (Heard { speech: self.speech, windows, units }, self.audio)
    }
}

impl Embedded {
    /// The recording's own embedding, of a request for no segments.
    pub fn into_whole(self) -> Result<(EmbeddedVoice, Timings), PipelineError> {
        let voice = self.voices.into_iter().next().unwrap_or(Err(NO_SPEECH));
        Ok((voice?, self.timings))
    }
}

impl EmbedderModel {
    /// The model's name, weights and preprocessing.
    pub fn id(&self) -> &ModelId {
        self.pipeline.model()
    }

    /// What is known of the model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// What is known of its errors, if anything is.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// What decides on its embeddings, unless told otherwise.
    pub fn judge(&self) -> Judge<'_> {
        Judge { calibration: self.calibration(), threshold: self.spec.threshold }
    }

    /// What runs the encoder: `ort`, or `native-` and the instruction set.
    pub fn encoder(&self) -> &str {
        &self.encoder
    }
}

impl Embedder {
    /// Starts the workers. `on_batch` is called with the number of units in each call of an encoder.
    pub fn start(engine: Engine, limits: EmbedderLimits, on_batch: OnBatch) -> Self {
        let model = |(place, loaded): (usize, crate::engine::EngineModel)| {
            Arc::new(EmbedderModel {
                place,
                pipeline: Pipeline::new(&loaded.model, limits.pipeline),
                encoder: loaded.encoder,
                calibration: loaded.calibration,
                spec: loaded.model.spec,
            })
        };
        Self {
            models: engine.models.into_iter().enumerate().map(model).collect(),
            queue: Queue::start(engine.workers, limits.queue, on_batch),
        }
    }

    /// All models.
    pub fn models(&self) -> &[Arc<EmbedderModel>] {
        &self.models
    }

    /// The model of requests that name none: the first.
    pub fn default_model(&self) -> &Arc<EmbedderModel> {
        &self.models[0]
    }

    /// Recordings that wait or are in work.
    pub fn queue_depth(&self) -> usize {
        self.queue.depth()
    }

    /// Recordings that may wait or be in work.
    pub fn queue_capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Whether a recording would be refused at the moment.
    pub fn check_capacity(&self) -> Result<(), QueueFull> {
        if self.queue.is_full() { Err(QueueFull) } else { Ok(()) }
    }

    /// Takes places for the recordings of one request.
    pub fn admit(&self, n_recordings: usize) -> Result<Admission, QueueFull> {
        let places = self.queue.admit(n_recordings)?;
        Ok(Admission { group: self.queue.group(), places, cancelled: Arc::default() })
    }

    /// Queues work without an encoder. `done` is called on a worker with its outcome; it is dropped uncalled if the admission is
    /// cancelled or a worker panics.
    ///
    /// # Panics
    /// If the admission has no place left.
    pub fn compute<T: Send + 'static>(
        &self,
        admission: &mut Admission,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + Send + 'static,
    ) {
        let start = move || {
            let outcome = work();
            Started::Finished(Box::new(move || done(outcome)))
        };
        self.submit(admission, Box::new(start), false);
    }

    /// Queues the next recording of an admission, received in so many bytes. `unpack` makes the audio file of what was received, and
    /// tells how to read it; it runs on a worker, as everything else does. `done` is called there with the outcome; it is dropped
    /// uncalled if the recording is cancelled or a worker panics.
    ///
    /// # Panics
    /// If the admission has no place left.
    pub fn embed<R: AsRef<[u8]>, E: From<EmbedError> + Send + 'static>(
        &self,
        model: &Arc<EmbedderModel>,
        admission: &mut Admission,
        wanted: Wanted,
        n_bytes: usize,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E> + Send + 'static,
        done: impl FnOnce(Result<Embedded, E>) + Send + 'static,
    ) {
        let (model, request, submitted) = (Arc::clone(model), Span::current(), Instant::now());
        let start = move || {
            let queue = submitted.elapsed();
            match model.analyse(&request, &wanted, unpack) {
                Ok((analyses, decode, preprocess)) => {
                    let timings = Timings { queue, decode, preprocess, encode: Duration::ZERO };
                    model.encode(
                        analyses,
                        wanted.partials.is_some() || wanted.turns.is_some(),
                        &request,
                        timings,
                        done,
                    )
                }
                Err(error) => Started::Finished(Box::new(move || done(Err(error)))),
            }
        };
        self.submit(admission, Box::new(start), n_bytes >= LARGE_BYTES);
    }

    fn submit(&self, admission: &mut Admission, start: Box<dyn FnOnce() -> Started + Send>, is_large: bool) {
        let place = admission.places.pop().expect("a place was taken for each recording");
        let job = Job { start, is_large, cancelled: Arc::clone(&admission.cancelled) };
        self.queue.submit(admission.group, place, job);
    }
}

/// What a recording was analysed to: itself, or its segments.
type Analyses = Vec<Result<Analysis, PipelineError>>;

impl EmbedderModel {
    /// The stages before the encoder, each a span of its request, and how long decoding and the rest took.
    fn analyse<R: AsRef<[u8]>, E: From<EmbedError>>(
        &self,
        request: &Span,
        wanted: &Wanted,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E>,
    ) -> Result<(Analyses, Duration, Duration), E> {
        let _request = request.enter();
        let begun = Instant::now();
        let recording = info_span!("decode").in_scope(|| {
            let (bytes, options) = unpack()?;
            Ok::<_, E>(
                self.pipeline.decode_wanted(bytes.as_ref(), options, wanted).map_err(EmbedError::from)?,
            )
        })?;
        let decode = begun.elapsed();
        let begun = Instant::now();
        let analyses = info_span!("preprocess").in_scope(|| self.pipeline.analyse_wanted(recording, wanted));
        Ok((analyses.map_err(EmbedError::from)?, decode, begun.elapsed()))
    }

    /// What is to be encoded, and what is made of the units' embeddings.
    fn encode<E: From<EmbedError>>(
        self: Arc<Self>,
        mut analyses: Analyses,
        wants_partials: bool,
        request: &Span,
        timings: Timings,
        done: impl FnOnce(Result<Embedded, E>) + Send + 'static,
    ) -> Started {
        let all: Vec<Features> = analyses.iter_mut().flatten().flat_map(Analysis::take_features).collect();
        if all.is_empty() {
            let voices =
                analyses.into_iter().map(|analysis| Err(analysis.err().unwrap_or(NO_SPEECH))).collect();
            return Started::Finished(Box::new(move || done(Ok(Embedded { voices, timings }))));
        }
        let features = Features::joined(all);
        let span = info_span!(parent: request, "encode", windows = features.units().len());
        let begun = Instant::now();
        let (model, frame_cost_ns) = (self.place, self.spec.frame_cost_ns);
        let finish = move |units: Result<Vec<Vec<f32>>, EncoderError>| {
            drop(span);
            let timings = Timings { encode: begun.elapsed(), ..timings };
            let failed = |error| E::from(EmbedError::from(PipelineError::from(error)));
            done(units.map_err(failed).map(|units| {
                let mut units = units.into_iter();
                let voice = |analysis: Result<Analysis, PipelineError>| {
                    self.voice(analysis?, wants_partials, &mut units)
                };
                Embedded { voices: analyses.into_iter().map(voice).collect(), timings }
            }));
        };
        Started::Units { model, frame_cost_ns, features, finish: Box::new(finish) }
    }

    /// Takes the embeddings of an analysis' units, then those of its windows at another rate.
    fn voice(
        &self,
        analysis: Analysis,
        wants_partials: bool,
        units: &mut impl Iterator<Item = Vec<f32>>,
    ) -> Result<EmbeddedVoice, PipelineError> {
        let own: Vec<Vec<f32>> = units.by_ref().take(analysis.unit_seconds.len()).collect();
        let partial = |(seconds, embedding)| Partial { seconds, embedding: normalized(embedding) };
        let others: Option<Vec<Partial>> =
            analysis.other_windows.map(|(_, times)| times.into_iter().zip(units).map(partial).collect());
        let speech = analysis.speech;
        let (embedding, mut audio) = self.pipeline.conclude(&own, analysis.report)?;
        if !speech.is_empty() {
            // That is what turns are asked for.
            audio.warnings.retain(|warning| *warning != Warning::SeveralSpeakers);
        }
        let partials = match others {
            Some(others) => others,
            None if wants_partials => analysis.unit_seconds.into_iter().zip(own).map(partial).collect(),
            None => Vec::new(),
        };
        Ok(EmbeddedVoice { embedding, audio, partials, speech })
    }
}

const NO_SPEECH: PipelineError = PipelineError::NoSpeech { channels_cancel: false };
