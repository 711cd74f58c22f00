//! Runs the pipeline on the queue's workers. Callbacks return the embeddings.

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

/// Seconds of audio that a live session segments, and seconds that it embeds, for each second of audio. The regular windows
/// overlap by half, each update adds a window of five seconds, and pieces that are not settled are embedded again.
const LIVE_SEGMENTED_SECONDS: f64 = 7.0;
const LIVE_ENCODED_SECONDS: f64 = 3.0;

/// The limits of the embedder.
#[derive(Clone, Copy, Debug)]
pub struct EmbedderLimits {
    /// The limits of a recording.
    pub pipeline: PipelineLimits,
    /// The limits of the queue.
    pub queue: QueueLimits,
}

/// The pipelines of all models, on one queue.
pub struct Embedder {
    models: Vec<Arc<EmbedderModel>>,
    segmentation: Option<SegmentationNetwork>,
    queue: Queue,
}

/// The network that finds the speakers in windows of a recording.
#[derive(Clone, Copy, Debug)]
pub struct SegmentationNetwork {
    pub(super) place: usize,
    /// The time to segment a sample on one core.
    pub(super) sample_cost_ns: u32,
}

/// A model as the embedder runs it.
pub struct EmbedderModel {
    pub(super) place: usize,
    pub(super) pipeline: Pipeline,
    encoder: String,
    /// The time to encode a frame on one core.
    pub(super) frame_cost_ns: u32,
    pub(super) spec: Arc<ModelSpec>,
    calibration: Option<Calibration>,
}

/// A recording with this many bytes counts as long before it is measured, because measuring it may take longer than a slice.
const UNMEASURED_BYTES: usize = 40 << 20;

/// The number of feature frames in a second.
const FRAMES_A_SECOND: f64 = 100.0;

/// The length of a window in seconds.
const WINDOW_SECONDS: f64 = 1.6;

/// Frames in all windows for each frame of the recording, because windows overlap by half.
const WINDOW_OVERLAP: f64 = 2.1;

/// The maximum number of samples, over all channels, that one slice decodes and analyses: half a minute of stereo at 48
/// kHz, which takes up to 50 ms.
const SHORT_SAMPLES: f64 = 30.0 * 2.0 * 48_000.0;

/// The outcome of a recording.
pub struct Embedded {
    /// The voice of the recording or, if segments were wanted, the voice of each segment.
    pub voices: Vec<Result<EmbeddedVoice, PipelineError>>,
    /// The time that each stage took.
    pub timings: Timings,
}

/// The embedding of a recording or of a segment.
pub struct EmbeddedVoice {
    /// The embedding of all windows or pieces.
    pub embedding: Embedding,
    /// The report on the recording.
    pub audio: AudioReport,
    /// The windows, if they were wanted.
    pub partials: Vec<Partial>,
}

/// One window.
pub struct Partial {
    /// The start and the end, in seconds of the recording. The window may span pauses that were cut out.
    pub seconds: Range<f64>,
    /// The embedding of the window, with an L2 norm of 1.
    pub embedding: Vec<f32>,
}

/// The time that a recording spent in each stage.
#[derive(Clone, Copy, Default)]
pub struct Timings {
    /// The time until a worker took the recording.
    pub(super) queue: Duration,
    /// The time from the received bytes to samples at 16 kHz.
    pub(super) decode: Duration,
    /// The time from samples to windows.
    pub(super) preprocess: Duration,
    /// The time from windows to an embedding, including the turns of other recordings.
    pub(super) encode: Duration,
}

/// The reason why a recording has no embedding.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The queue is full.
    #[error(transparent)]
    Full(#[from] QueueFull),
    /// The recording yields no embedding, or the encoder failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

/// An admitted request: its place in the queue and its share of the workers' time. Dropping it cancels the remaining work.
pub struct Admission {
    group: Group,
    /// `None` for a live session.
    _place: Option<Place>,
}

impl Timings {
    /// Adds the times of another recording.
    pub fn add(&mut self, other: &Self) {
        self.queue += other.queue;
        self.decode += other.decode;
        self.preprocess += other.preprocess;
        self.encode += other.encode;
    }

    /// Returns the name of each stage in metrics and headers, and its time.
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
    /// Returns the embedding of the whole recording, for a request without segments.
    pub fn into_whole(self) -> Result<(EmbeddedVoice, Timings), PipelineError> {
        let voice = self.voices.into_iter().next().unwrap_or(Err(NO_SPEECH));
        Ok((voice?, self.timings))
    }
}

impl EmbedderModel {
    /// Returns the model's id: its name, weights and preprocessing.
    pub fn id(&self) -> &ModelId {
        self.pipeline.model()
    }

    /// Returns the stages before the encoder.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Returns the specification of the model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Returns the calibration of the model, if there is one.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Returns the default judge for the model's embeddings.
    pub fn judge(&self) -> Judge<'_> {
        Judge { calibration: self.calibration(), threshold: self.spec.threshold }
    }

    /// Returns the time to encode this many seconds of audio on one core, in microseconds.
    pub(super) fn frame_us(&self, seconds: f64) -> f64 {
        seconds * FRAMES_A_SECOND * f64::from(self.frame_cost_ns) / 1e3
    }

    /// Returns the name of the encoder: `ort`, or `native-` and the instruction set.
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

    /// Returns all models.
    pub fn models(&self) -> &[Arc<EmbedderModel>] {
        &self.models
    }

    /// Returns the segmentation network that diarization needs, if it is loaded.
    pub fn segmentation(&self) -> Option<SegmentationNetwork> {
        self.segmentation
    }

    /// Returns the model for requests that name none: the most accurate one, if it is loaded.
    pub fn default_model(&self) -> &Arc<EmbedderModel> {
        self.model(PREFERRED).unwrap_or(&self.models[0])
    }

    /// Returns a model by its name.
    pub fn model(&self, id: &str) -> Option<&Arc<EmbedderModel>> {
        self.models.iter().find(|model| model.spec.id == id)
    }

    /// Returns the number of recordings that wait or are in progress.
    pub fn queue_depth(&self) -> usize {
        self.queue.depth()
    }

    /// Returns the number of recordings that may wait or be in progress.
    pub fn queue_capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Returns an error if the queue would reject a recording at the moment.
    pub fn check_capacity(&self) -> Result<(), QueueFull> {
        if self.queue.is_full() { Err(QueueFull) } else { Ok(()) }
    }

    /// Takes a place in the queue for a request.
    pub fn admit(&self) -> Result<Admission, QueueFull> {
        Ok(Admission { _place: Some(self.queue.admit()?), group: self.queue.group() })
    }

    /// Admits a live session. It takes no place in the queue, because its steps are short. Its share is that of a request.
    pub fn admit_live(&self) -> Admission {
        Admission { _place: None, group: self.queue.group() }
    }

    /// Returns how many live sessions take half of the workers' time, with the default model and updates every second.
    pub fn live_capacity(&self) -> usize {
        let model = self.default_model();
        // The mel front end computes whole windows, however brief a piece is.
        let has_windows = matches!(model.spec.front_end, FrontEndParameters::Mel { .. });
        let encoded_seconds = LIVE_ENCODED_SECONDS * if has_windows { 2.0 } else { 1.0 };
        let encode_us = model.frame_us(encoded_seconds);
        let sample_cost_ns = self.segmentation.map_or(0, |network| network.sample_cost_ns);
        let segment_us = LIVE_SEGMENTED_SECONDS * f64::from(SAMPLE_RATE_HZ) * f64::from(sample_cost_ns) / 1e3;
        let n_workers = self.queue.n_workers() as f64;
        ((n_workers * 1e6 / 2.0 / (encode_us + segment_us)) as usize).max(1)
    }

    /// Takes a place for a further recording of an admitted request, even if the queue is full.
    pub fn further_place(&self) -> Place {
        self.queue.further_place()
    }
}

impl Admission {
    /// Queues a job.
    pub(super) fn start(&self, start: impl FnOnce() -> Started + Send + 'static) {
        self.group.submit(None, Box::new(start));
    }

    /// Queues work of a few milliseconds without an encoder. A worker calls `done` with the outcome. If the admission is
    /// dropped or a worker panics, `done` is dropped without a call.
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

    /// Does the same as [`Admission::compute`] for longer work, which pauses.
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

    /// Queues a recording that was received in `n_bytes` bytes. Each recording of a request after the first needs a
    /// further place. `unpack` extracts the audio file from the received data, and returns how to read it. `unpack`, like
    /// all other work, runs on a worker. A worker calls `done` with the outcome. If the admission is dropped or a worker
    /// panics, `done` is dropped without a call.
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
            // Either of the two closures ends the job, and takes the callback.
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
            // A recording over the limit is rejected before it is decoded.
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

/// Returns the cost for an encoder. The native encoder takes half as long as ONNX Runtime.
fn cost_ns(of_onnx_runtime: u32, encoder: &str) -> u32 {
    of_onnx_runtime / if encoder == ORT_NAME { 1 } else { 2 }
}

/// Returns the length of a recording. A recording that cannot be read has no length.
fn length_of(bytes: &[u8], options: RecordingOptions) -> Length {
    audio::measure(bytes, options.raw, Pace::UNBROKEN).unwrap_or_default()
}

/// Returns a job that ends with an error.
pub(super) fn failed<T: 'static, E: Send + 'static>(
    done: impl FnOnce(Result<T, E>) + Send + 'static,
    error: E,
) -> Started {
    Started::Finished(Box::new(move || done(Err(error))))
}

/// Takes a value that can be taken only once.
fn take<T>(once: &Mutex<Option<T>>) -> Option<T> {
    once.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The work on a recording.
pub(super) trait RecordingWork: Send + 'static {
    type Outcome: Send + 'static;

    /// Returns the length of the longest allowed recording, in seconds.
    fn max_seconds(&self) -> f64;

    /// Returns the cost of the whole work and its deadline, if the deadline is known.
    fn estimate(&self, length: Length) -> Option<Estimate>;

    /// Starts the work on a file, with the options for reading it.
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
    /// The time in the queue.
    queue: Duration,
}

impl RecordingWork for AnalysisWork {
    type Outcome = Embedded;

    fn max_seconds(&self) -> f64 {
        self.model.pipeline.limits().max_audio_seconds
    }

    fn estimate(&self, length: Length) -> Option<Estimate> {
        let deadline = self.wanted.deadline.as_ref()?.for_recording(length.seconds);
        let has_windows = matches!(self.model.spec.front_end, FrontEndParameters::Mel { .. });
        let overlap = if has_windows { WINDOW_OVERLAP } else { 1.0 };
        // Windows at another rate are computed in addition.
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

/// The analyses of a recording: one of the whole recording, or one of each segment.
type Analyses = Vec<Result<Analysis, PipelineError>>;

impl EmbedderModel {
    /// Performs the stages before the encoder, each in a span of the request. Also returns the time for decoding and the
    /// time for the rest.
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
        // The file is no longer needed, and the next stages need memory.
        drop(bytes);
        let decode = begun.elapsed();
        let begun = Instant::now();
        let analyses =
            info_span!("preprocess").in_scope(|| self.pipeline.analyse_wanted(recording, wanted, pace));
        Ok((analyses?, decode, begun.elapsed()))
    }

    /// Encodes the units of the analyses, and makes the outcome from their embeddings.
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
        let features = Features::concatenate(all);
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

    /// Takes the embeddings of an analysis's units, then those of its windows at another rate, and returns the voice.
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
