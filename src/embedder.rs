//! The pipeline on the queue's workers: recordings in, embeddings out by callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{Span, info_span};

use crate::embedding::{Embedding, ModelId};
use crate::encoder::mean_embedding;
use crate::engine::Engine;
use crate::pipeline::{Analysis, AudioReport, Pipeline, PipelineError, PipelineLimits, RecordingOptions};
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
    unit_cost_us: u32,
}

/// What became of a recording.
pub struct Embedded {
    /// The recording's embedding.
    pub embedding: Embedding,
    /// What is known of the recording.
    pub audio: AudioReport,
    /// How long each stage took.
    pub timings: Timings,
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

impl EmbedderModel {
    /// The model's name, weights and preprocessing.
    pub fn id(&self) -> &ModelId {
        self.pipeline.model()
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
                unit_cost_us: loaded.model.spec.unit_cost_us,
            })
        };
        Self {
            models: engine.models.into_iter().enumerate().map(model).collect(),
            queue: Queue::start(engine.workers, limits.queue, on_batch),
        }
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

    /// Queues the next recording of an admission. `unpack` makes the audio file of what was received, and tells how to read it; it
    /// runs on a worker, as everything else does. `done` is called there with the outcome; it is dropped uncalled if the recording is cancelled or
    /// a worker panics.
    ///
    /// # Panics
    /// If the admission has no place left.
    pub fn embed<R: AsRef<[u8]>, E: From<EmbedError> + Send + 'static>(
        &self,
        model: &Arc<EmbedderModel>,
        admission: &mut Admission,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E> + Send + 'static,
        done: impl FnOnce(Result<Embedded, E>) + Send + 'static,
    ) {
        let place = admission.places.pop().expect("a place was taken for each recording");
        let (model, request, submitted) = (Arc::clone(model), Span::current(), Instant::now());
        let start = move || {
            let queue = submitted.elapsed();
            match model.analyse(&request, unpack) {
                Ok((analysis, decode, preprocess)) => {
                    let timings = Timings { queue, decode, preprocess, encode: Duration::ZERO };
                    model.encode(analysis, &request, timings, done)
                }
                Err(error) => Started::Finished(Box::new(move || done(Err(error)))),
            }
        };
        let job = Job { start: Box::new(start), cancelled: Arc::clone(&admission.cancelled) };
        self.queue.submit(admission.group, place, job);
    }
}

impl EmbedderModel {
    /// The stages before the encoder, each a span of its request, and how long decoding and the rest took.
    fn analyse<R: AsRef<[u8]>, E: From<EmbedError>>(
        &self,
        request: &Span,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E>,
    ) -> Result<(Analysis, Duration, Duration), E> {
        let _request = request.enter();
        let begun = Instant::now();
        let recording = info_span!("decode").in_scope(|| {
            let (bytes, options) = unpack()?;
            Ok::<_, E>(self.pipeline.decode(bytes.as_ref(), options).map_err(EmbedError::from)?)
        })?;
        let decode = begun.elapsed();
        let begun = Instant::now();
        let analysis = info_span!("preprocess")
            .in_scope(|| self.pipeline.analyse(recording))
            .map_err(EmbedError::from)?;
        Ok((analysis, decode, begun.elapsed()))
    }

    /// What is to be encoded, and the embedding that is made of it.
    fn encode<E: From<EmbedError>>(
        self: Arc<Self>,
        analysis: Analysis,
        request: &Span,
        timings: Timings,
        done: impl FnOnce(Result<Embedded, E>) + Send + 'static,
    ) -> Started {
        let Analysis { features, report: audio, .. } = analysis;
        let span = info_span!(parent: request, "encode", windows = audio.windows);
        let begun = Instant::now();
        let (model, unit_cost_us) = (self.place, self.unit_cost_us);
        let finish = move |units: Result<Vec<Vec<f32>>, _>| {
            drop(span);
            let embedding = units.and_then(|units| mean_embedding(self.id(), &units));
            let timings = Timings { encode: begun.elapsed(), ..timings };
            let embedded = embedding.map(|embedding| Embedded { embedding, audio, timings });
            done(embedded.map_err(|error| EmbedError::from(PipelineError::from(error)).into()));
        };
        Started::Units { model, unit_cost_us, features, finish: Box::new(finish) }
    }
}
