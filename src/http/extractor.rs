//! The service behind the extract endpoints: requests wait here, worker threads compute.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::error::ApiError;
use crate::config::Config;
use crate::embedding::Embedding;
use crate::encoder::queue::{EncodeQueue, Instead, Job, Place, QueueFull, Utterance};
use crate::encoder::{EncoderError, Runtime, Session};
use crate::model::ModelError;
use crate::pipeline::{AudioReport, Pipeline, PipelineError, Prepared};

/// The pipeline on its worker threads.
pub(super) struct Extractor {
    pipeline: Arc<Pipeline>,
    queue: EncodeQueue,
    fingerprint: String,
}

/// Why the service cannot work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It cannot be run.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
}

/// What became of a recording.
pub(super) struct Extraction {
    pub(super) embedding: Embedding,
    pub(super) audio: AudioReport,
}

impl Extractor {
    /// Loads ONNX Runtime and the model and starts the workers; takes a while. `native_code` is held while ONNX Runtime is at
    /// work.
    pub(super) fn load(config: &Config, native_code: &Mutex<()>) -> Result<Self, LoadError> {
        // The library first: a model that cannot be run need not be fetched.
        let at_work = native_code.lock();
        let runtime = Runtime::load(&config.onnx_runtime)?;
        drop(at_work);
        let model = config.model.obtain()?;
        let _at_work = native_code.lock();
        let sessions = (0..config.workers.get()).map(|_| Session::new(&runtime, &model.onnx));
        let sessions = sessions.collect::<Result<Vec<_>, _>>()?;
        tracing::info!(model = model.fingerprint, origin = %model.origin, workers = config.workers, "model loaded");
        Ok(Self {
            pipeline: Arc::new(Pipeline::new(config.pipeline)),
            queue: EncodeQueue::start(sessions, config.queue_capacity),
            fingerprint: model.fingerprint,
        })
    }

    /// Names weights and preprocessing.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Takes a place in the queue, before the body is read.
    pub(super) fn reserve(&self) -> Result<Place, ApiError> {
        self.queue.reserve().map_err(|QueueFull| ApiError::Overloaded)
    }

    /// Queues a recording in its place and waits for its embedding. `unpack` makes the recording of what was received; it
    /// runs on a worker too. Dropping the future cancels the work.
    pub(super) async fn extract<R: AsRef<[u8]>>(
        &self,
        place: Place,
        unpack: impl FnOnce() -> Result<R, ApiError> + Send + 'static,
    ) -> Result<Extraction, ApiError> {
        let (answer, answered) = oneshot::channel();
        let pipeline = Arc::clone(&self.pipeline);
        // A client that has gone does not mind that an answer cannot be sent.
        let prepare = move || -> Result<Utterance, Instead> {
            match unpack().and_then(|recording| Ok(pipeline.prepare(recording.as_ref())?)) {
                Ok(Prepared { windows, report: audio }) => {
                    let done = move |embedding: Result<Embedding, EncoderError>| {
                        let extraction = embedding.map(|embedding| Extraction { embedding, audio });
                        let _ = answer.send(extraction.map_err(|e| PipelineError::from(e).into()));
                    };
                    Ok(Utterance { windows, done: Box::new(done) })
                }
                Err(error) => Err(Box::new(move || {
                    let _ = answer.send(Err(error));
                })),
            }
        };
        let cancel = CancelOnDrop::default();
        self.queue.submit(place, Job { prepare: Box::new(prepare), cancelled: Arc::clone(&cancel.0) });
        answered.await.map_err(|_| ApiError::Internal("a worker dropped its job".into()))?
    }
}

/// Sets its flag when it is dropped.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
