//! The service behind the extract endpoints: requests wait here, worker threads compute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::error::ApiError;
use crate::config::Config;
use crate::embedding::Embedding;
use crate::encoder::queue::{EncodeQueue, Job, QueueFull, Utterance};
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
    /// Loads ONNX Runtime and the model and starts the workers; takes a while.
    pub(super) fn load(config: &Config) -> Result<Self, LoadError> {
        let model = config.model.obtain()?;
        let runtime = Runtime::load(&config.onnx_runtime)?;
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

    /// Refuses work that would be refused later, before its body is read.
    pub(super) fn check_capacity(&self) -> Result<(), ApiError> {
        if self.queue.is_full() { Err(ApiError::Overloaded) } else { Ok(()) }
    }

    /// Queues a recording and waits for its embedding. Dropping the future cancels the work.
    pub(super) async fn extract(
        &self,
        recording: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Extraction, ApiError> {
        let (answer, answered) = oneshot::channel();
        let pipeline = Arc::clone(&self.pipeline);
        let prepare = move || match pipeline.prepare(recording.as_ref()) {
            Ok(Prepared { windows, report: audio }) => {
                let done = move |embedding: Result<Embedding, EncoderError>| {
                    let extraction = embedding.map(|embedding| Extraction { embedding, audio });
                    // A client that has gone does not mind.
                    let _ = answer.send(extraction.map_err(PipelineError::from));
                };
                Some(Utterance { windows, done: Box::new(done) })
            }
            Err(error) => {
                let _ = answer.send(Err(error));
                None
            }
        };
        let cancel = CancelOnDrop::default();
        let job = Job { prepare: Box::new(prepare), cancelled: Arc::clone(&cancel.0) };
        self.queue.submit(job).map_err(|QueueFull| ApiError::Overloaded)?;
        let answer = answered.await.map_err(|_| ApiError::Internal("a worker dropped its job".into()))?;
        Ok(answer?)
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
