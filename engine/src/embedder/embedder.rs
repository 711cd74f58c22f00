//! The pipeline on the queue's workers: recordings in, embeddings out by callback.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Span, info_span};

use crate::audio::{self, Length, SAMPLE_RATE_HZ};
use crate::calibration::{Calibration, Judge};
use crate::embedding::{Embedding, ModelId};
use crate::encoder::{EncoderError, normalized};
use crate::engine::{Engine, EngineModel, ORT_NAME};
use crate::front_end::{Features, FrontEndParameters};
use crate::models::segmentation::SAMPLE_COST_NS;
use crate::models::{ModelSpec, PREFERRED};
use crate::pace::Pace;
use crate::pipeline::{Analysis, Pipeline, PipelineError, PipelineLimits, RecordingOptions, Wanted};
use crate::queue::{
    Estimate, Group, LongStart, OnBatch, Place, Queue, QueueFull, QueueLimits, StartInSlices, Started,
};
use crate::report::AudioReport;

/// Seconds of audio that a live session has segmented, and embedded, for each second: the regular windows overlap by half, one of five seconds
/// comes with each update, and what is not settled is embedded again.
const LIVE_SEGMENTED_SECONDS: f64 = 7.0;
const LIVE_ENCODED_SECONDS: f64 = 3.0;

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
    segmentation: Option<SegmentationNetwork>,
    queue: Queue,
}

/// The network that tells who speaks in windows of a recording.
#[derive(Clone, Copy, Debug)]
pub struct SegmentationNetwork {
    pub(super) place: usize,
    /// What segmenting a sample takes on one core.
    pub(super) sample_cost_ns: u32,
}

/// A model as the embedder runs it.
pub struct EmbedderModel {
    pub(super) place: usize,
    pub(super) pipeline: Pipeline,
    encoder: String,
    /// What encoding a frame takes on one core.
    pub(super) frame_cost_ns: u32,
    pub(super) spec: Arc<ModelSpec>,
    calibration: Option<Calibration>,
}

/// Bytes of a recording from which on it counts as long before anything is known of it: measuring it may take longer than a slice.
const UNMEASURED_BYTES: usize = 40 << 20;

/// Frames of features in a second.
const FRAMES_A_SECOND: f64 = 100.0;

/// Seconds of a window.
const WINDOW_SECONDS: f64 = 1.6;

/// Frames that windows of a recording hold together, for each frame of it: they overlap by half.
const WINDOW_OVERLAP: f64 = 2.1;

/// Samples of all channels that are decoded and analysed in one slice at most: half a minute of stereo at 48 kHz, which takes up
/// to 50 ms.
const SHORT_SAMPLES: f64 = 30.0 * 2.0 * 48_000.0;

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
    pub(super) queue: Duration,
    /// What was received -> samples at 16 kHz.
    pub(super) decode: Duration,
    /// Samples -> windows.
    pub(super) preprocess: Duration,
    /// Windows -> embedding, the turns of others included.
    pub(super) encode: Duration,
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

/// An admitted request: its place in the queue, and its share of the workers' time. Dropping it cancels the work that is left.
pub struct Admission {
    group: Group,
    /// None of a live session.
    _place: Option<Place>,
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

    /// What comes before the encoder.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
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

    /// What encoding so many seconds of audio takes on one core, in microseconds.
    pub(super) fn frame_us(&self, seconds: f64) -> f64 {
        seconds * FRAMES_A_SECOND * f64::from(self.frame_cost_ns) / 1e3
    }

    /// What runs the encoder: `ort`, or `native-` and the instruction set.
    pub fn encoder(&self) -> &str {
        &self.encoder
    }
}

impl Embedder {
    /// Starts the workers. `on_batch` is called with the number of units in each call of an encoder.
    pub fn start(engine: Engine, limits: EmbedderLimits, on_batch: OnBatch) -> Self {
        let model = |(place, loaded): (usize, EngineModel)| {
            Arc::new(EmbedderModel {
                place,
                pipeline: Pipeline::new(&loaded.model, limits.pipeline),
                frame_cost_ns: cost_ns(loaded.model.spec.frame_cost_ns, &loaded.encoder),
                encoder: loaded.encoder,
                calibration: loaded.calibration,
                spec: loaded.model.spec,
            })
        };
        let segmentation = engine.segmentation.as_ref().map(|encoder| SegmentationNetwork {
            place: engine.models.len(),
            sample_cost_ns: cost_ns(SAMPLE_COST_NS, encoder),
        });
        Self {
            models: engine.models.into_iter().enumerate().map(model).collect(),
            segmentation,
            queue: Queue::start(engine.workers, limits.queue, on_batch),
        }
    }

    /// All models.
    pub fn models(&self) -> &[Arc<EmbedderModel>] {
        &self.models
    }

    /// The network that turns take, if there is one.
    pub fn segmentation(&self) -> Option<SegmentationNetwork> {
        self.segmentation
    }

    /// The model of requests that name none: the one that errs least, if it is loaded.
    pub fn default_model(&self) -> &Arc<EmbedderModel> {
        self.model(PREFERRED).unwrap_or(&self.models[0])
    }

    /// A model by its name.
    pub fn model(&self, id: &str) -> Option<&Arc<EmbedderModel>> {
        self.models.iter().find(|model| model.spec.id == id)
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

    /// Takes a place for a request.
    pub fn admit(&self) -> Result<Admission, QueueFull> {
        Ok(Admission { _place: Some(self.queue.admit()?), group: self.queue.group() })
    }

    /// Admits a live session, which takes no place: its steps are short, and its share is that of a request.
    pub fn admit_live(&self) -> Admission {
        Admission { _place: None, group: self.queue.group() }
    }

    /// Live sessions of the default model, with updates every second, that take half of the workers' time.
    pub fn live_capacity(&self) -> usize {
        let model = self.default_model();
        // A window of the former has its length however brief the piece is.
        let has_windows = matches!(model.spec.front_end, FrontEndParameters::Mel { .. });
        let encoded_seconds = LIVE_ENCODED_SECONDS * if has_windows { 2.0 } else { 1.0 };
        let encode_us = model.frame_us(encoded_seconds);
        let sample_cost_ns = self.segmentation.map_or(0, |network| network.sample_cost_ns);
        let segment_us = LIVE_SEGMENTED_SECONDS * f64::from(SAMPLE_RATE_HZ) * f64::from(sample_cost_ns) / 1e3;
        let n_workers = self.queue.n_workers() as f64;
        ((n_workers * 1e6 / 2.0 / (encode_us + segment_us)) as usize).max(1)
    }

    /// A further place for each recording of an admitted request behind the first, whether it is free or not.
    pub fn further_place(&self) -> Place {
        self.queue.further_place()
    }
}

impl Admission {
    /// Queues a job.
    pub(super) fn start(&self, start: impl FnOnce() -> Started + Send + 'static) {
        self.group.submit(None, Box::new(start));
    }

    /// Queues work without an encoder, of a few milliseconds. `done` is called on a worker with its outcome; it is dropped uncalled if
    /// the admission is dropped or a worker panics.
    pub fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + Send + 'static,
    ) {
        self.start(move || {
            let outcome = work();
            Started::Finished(Box::new(move || done(outcome)))
        });
    }

    /// As [`Admission::compute`], for work that takes longer, and pauses.
    pub fn compute_in_slices<T: Send + 'static>(
        &self,
        work: impl FnOnce(Pace<'_>) -> T + Send + 'static,
        done: impl FnOnce(T) + Send + 'static,
    ) {
        let rest: StartInSlices = Box::new(move |pace| {
            let outcome = work(pace);
            Started::Finished(Box::new(move || done(outcome)))
        });
        let long = LongStart { rest, estimate: None, refuse: Box::new(|| {}) };
        self.start(move || Started::Long(long));
    }

    /// Queues a recording, received in so many bytes; each behind the first takes a further place. `unpack` makes the audio file of what was
    /// received, and tells how to read it; it runs on a worker, as everything else does. `done` is called there with the outcome; it is
    /// dropped uncalled if the admission is dropped or a worker panics.
    pub fn embed<R: AsRef<[u8]> + Send + 'static, E: From<EmbedError> + Send + 'static>(
        &self,
        model: &Arc<EmbedderModel>,
        place: Option<Place>,
        wanted: Wanted,
        n_bytes: usize,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E> + Send + 'static,
        done: impl FnOnce(Result<Embedded, E>) + Send + 'static,
    ) {
        let (model, request, submitted) = (Arc::clone(model), Span::current(), Instant::now());
        let work = move || AnalysisWork { model, request, wanted, queue: submitted.elapsed() };
        self.submit(place, n_bytes, work, unpack, done);
    }

    pub(super) fn submit<R, E, W>(
        &self,
        place: Option<Place>,
        n_bytes: usize,
        work: impl FnOnce() -> W + Send + 'static,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E> + Send + 'static,
        done: impl FnOnce(Result<W::Outcome, E>) + Send + 'static,
    ) where
        R: AsRef<[u8]> + Send + 'static,
        E: From<EmbedError> + Send + 'static,
        W: RecordingWork,
    {
        let start = move || {
            let work = work();
            // Whichever of the two ends it takes the callback.
            let done = Arc::new(Mutex::new(Some(done)));
            let refused = Arc::clone(&done);
            let refuse = Box::new(move || {
                if let Some(done) = take(&refused) {
                    done(Err(EmbedError::from(QueueFull).into()));
                }
            });
            let done = move |outcome| {
                if let Some(done) = take(&done) {
                    done(outcome);
                }
            };
            if n_bytes >= UNMEASURED_BYTES {
                let rest: StartInSlices = Box::new(move |pace| work.start(unpack(), done, pace));
                return Started::Long(LongStart { rest, estimate: None, refuse });
            }
            let unpacked = unpack();
            let length = unpacked.as_ref().ok().map(|(bytes, options)| length_of(bytes.as_ref(), *options));
            // One over the limit is refused before it is decoded.
            let is_long =
                |length: &Length| length.samples > SHORT_SAMPLES && length.seconds <= work.max_seconds();
            match length.filter(is_long) {
                Some(length) => {
                    let estimate = work.estimate(length);
                    let rest: StartInSlices = Box::new(move |pace| work.start(unpacked, done, pace));
                    Started::Long(LongStart { rest, estimate, refuse })
                }
                None => work.start(unpacked, done, Pace::UNBROKEN),
            }
        };
        self.group.submit(place, Box::new(start));
    }
}

/// The native encoder takes half as long as ONNX Runtime.
fn cost_ns(of_onnx_runtime: u32, encoder: &str) -> u32 {
    of_onnx_runtime / if encoder == ORT_NAME { 1 } else { 2 }
}

/// How long a recording is. One that cannot be read has no length.
fn length_of(bytes: &[u8], options: RecordingOptions) -> Length {
    audio::measure(bytes, options.raw, Pace::UNBROKEN).unwrap_or_default()
}

/// A job that ends with an error.
pub(super) fn failed<T: 'static, E: Send + 'static>(
    done: impl FnOnce(Result<T, E>) + Send + 'static,
    error: E,
) -> Started {
    Started::Finished(Box::new(move || done(Err(error))))
}

/// Takes what can be taken once.
fn take<T>(once: &Mutex<Option<T>>) -> Option<T> {
    once.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What is done with a recording.
pub(super) trait RecordingWork: Send + 'static {
    type Outcome: Send + 'static;

    /// The longest recording, in seconds.
    fn max_seconds(&self) -> f64;

    /// What all of it takes, and by when it is to be done, if that is known.
    fn estimate(&self, length: Length) -> Option<Estimate>;

    /// Starts with a file and how to read it.
    fn start<R: AsRef<[u8]>, E: From<EmbedError> + Send + 'static>(
        self,
        unpacked: Result<(R, RecordingOptions), E>,
        done: impl FnOnce(Result<Self::Outcome, E>) + Send + 'static,
        pace: Pace<'_>,
    ) -> Started;
}

/// The work on a recording before the encoder.
struct AnalysisWork {
    model: Arc<EmbedderModel>,
    request: Span,
    wanted: Wanted,
    /// How long it waited.
    queue: Duration,
}

impl RecordingWork for AnalysisWork {
    type Outcome = Embedded;

    fn max_seconds(&self) -> f64 {
        self.model.pipeline.limits().max_audio_seconds
    }

    fn estimate(&self, length: Length) -> Option<Estimate> {
        let deadline = self.wanted.deadline.as_ref()?.of(length.seconds);
        let has_windows = matches!(self.model.spec.front_end, FrontEndParameters::Mel { .. });
        let overlap = if has_windows { WINDOW_OVERLAP } else { 1.0 };
        // Windows at another rate come on top.
        let rate = self.wanted.partials.as_ref().and_then(|partials| partials.rate).unwrap_or(0.0);
        let overlap = overlap + rate * WINDOW_SECONDS;
        let encode_us = self.model.frame_us(length.seconds) * overlap;
        Some(Estimate { cost_us: (length.decode_us + encode_us) as u64, deadline })
    }

    fn start<R: AsRef<[u8]>, E: From<EmbedError> + Send + 'static>(
        self,
        unpacked: Result<(R, RecordingOptions), E>,
        done: impl FnOnce(Result<Embedded, E>) + Send + 'static,
        pace: Pace<'_>,
    ) -> Started {
        let Self { model, request, wanted, queue } = self;
        let outcome = unpacked.and_then(|(bytes, options)| {
            Ok(model.analyse(&request, &wanted, (bytes, options), pace).map_err(EmbedError::from)?)
        });
        match outcome {
            Ok((analyses, decode, preprocess)) => {
                let timings = Timings { queue, decode, preprocess, encode: Duration::ZERO };
                model.encode(analyses, wanted.partials.is_some(), &request, timings, done)
            }
            Err(error) => failed(done, error),
        }
    }
}

/// What a recording was analysed to: itself, or its segments.
type Analyses = Vec<Result<Analysis, PipelineError>>;

impl EmbedderModel {
    /// The stages before the encoder, each a span of its request, and how long decoding and the rest took.
    fn analyse<R: AsRef<[u8]>>(
        &self,
        request: &Span,
        wanted: &Wanted,
        (bytes, options): (R, RecordingOptions),
        pace: Pace<'_>,
    ) -> Result<(Analyses, Duration, Duration), PipelineError> {
        let _request = request.enter();
        let begun = Instant::now();
        let recording = info_span!("decode")
            .in_scope(|| self.pipeline.decode_in_slices(bytes.as_ref(), options, pace))?;
        // The file is not needed any more, and what follows takes memory.
        drop(bytes);
        let decode = begun.elapsed();
        let begun = Instant::now();
        let analyses =
            info_span!("preprocess").in_scope(|| self.pipeline.analyse_wanted(recording, wanted, pace));
        Ok((analyses?, decode, begun.elapsed()))
    }

    /// What is to be encoded, and what is made of the units' embeddings.
    fn encode<E: From<EmbedError> + Send + 'static>(
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
        let (model, frame_cost_ns) = (self.place, self.frame_cost_ns);
        let next = move |units: Result<Vec<Vec<f32>>, EncoderError>| {
            drop(span);
            let timings = Timings { encode: begun.elapsed(), ..timings };
            let failed = |error| E::from(EmbedError::from(PipelineError::from(error)));
            let embedded = units.map_err(failed).map(|units| {
                let mut units = units.into_iter();
                let voice = |analysis: Result<Analysis, PipelineError>| {
                    self.voice(analysis?, wants_partials, &mut units)
                };
                Embedded { voices: analyses.into_iter().map(voice).collect(), timings }
            });
            Started::Finished(Box::new(move || done(embedded)))
        };
        Started::Units {
            model,
            frame_cost_ns,
            units: Box::new(features),
            is_continued: false,
            next: Box::new(next),
        }
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
        let (embedding, audio) = self.pipeline.conclude(&own, analysis.report)?;
        let partials = match others {
            Some(others) => others,
            None if wants_partials => analysis.unit_seconds.into_iter().zip(own).map(partial).collect(),
            None => Vec::new(),
        };
        Ok(EmbeddedVoice { embedding, audio, partials })
    }
}

const NO_SPEECH: PipelineError = PipelineError::NoSpeech { found: None, channels_cancel: false };
