//! Recordings to embeddings, on the worker threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{Span, info_span};

use super::engine::{Engine, LoadError};
use super::error::ApiError;
use super::metrics::Metrics;
use crate::config::Config;
use crate::embedding::Embedding;
use crate::encoder::EncoderError;
use crate::encoder::queue::{EncodeQueue, Instead, Job, QueueFull, Utterance};
use crate::pipeline::{AudioReport, Pipeline, PipelineError, Prepared};

/// The pipeline on its worker threads.
pub(super) struct Extractor {
    pipeline: Arc<Pipeline>,
    queue: EncodeQueue,
    fingerprint: String,
    encoder: String,
    metrics: Arc<Metrics>,
}

/// What became of a recording.
pub(super) struct Extraction {
    pub(super) embedding: Embedding,
    pub(super) audio: AudioReport,
    pub(super) timings: Timings,
}

/// How long a recording was in each stage.
#[derive(Clone, Copy, Default)]
pub(super) struct Timings {
    /// Until a worker took it.
    queue: Duration,
    /// Base64 and audio file -> samples at 16 kHz.
    decode: Duration,
    /// Samples -> windows.
    preprocess: Duration,
    /// Windows -> embedding, the turns of others included.
    encode: Duration,
}

impl Timings {
    /// Each stage by its name in metrics and headers.
    pub(super) fn stages(&self) -> [(&'static str, Duration); 4] {
        [
            ("queue", self.queue),
            ("decode", self.decode),
            ("preprocess", self.preprocess),
            ("encode", self.encode),
        ]
    }
}

impl Extractor {
    /// Loads the model and what runs it, and starts the workers; takes a while. `native_code` is held while ONNX Runtime is at
    /// work.
    pub(super) fn load(
        config: &Config,
        native_code: &Mutex<()>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LoadError> {
        let Engine { model, sessions, encoder } = Engine::load(config, native_code)?;
        tracing::info!(
            model = model.fingerprint, origin = %model.origin, encoder, workers = config.workers, "model loaded"
        );
        let counted = Arc::clone(&metrics);
        let on_batch = move |n_windows: usize| {
            counted.batch_windows.observe(n_windows as f64);
            counted.windows.inc_by(n_windows as u64);
        };
        Ok(Self {
            pipeline: Arc::new(Pipeline::new(config.pipeline)),
            queue: EncodeQueue::start(sessions, config.queue, Box::new(on_batch)),
            fingerprint: model.fingerprint,
            encoder,
            metrics,
        })
    }

    /// Names weights and preprocessing.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What runs the encoder.
    pub(super) fn encoder(&self) -> &str {
        &self.encoder
    }

    /// Recordings that wait or are in work.
    pub(super) fn queue_depth(&self) -> usize {
        self.queue.depth()
    }

    /// Recordings that may wait or be in work.
    pub(super) fn queue_capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Refuses a recording for which there is no place just now, before it is received.
    pub(super) fn check_capacity(&self) -> Result<(), ApiError> {
        if self.queue.is_full() { Err(ApiError::Overloaded) } else { Ok(()) }
    }

    /// Queues a recording and waits for its embedding. `unpack` makes the recording of what was received; it runs on a worker
    /// too. Dropping the future cancels the work.
    pub(super) async fn extract<R: AsRef<[u8]>>(
        &self,
        unpack: impl FnOnce() -> Result<R, ApiError> + Send + 'static,
    ) -> Result<Extraction, ApiError> {
        let place = self.queue.reserve().map_err(|QueueFull| ApiError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        let stages = Stages { pipeline: Arc::clone(&self.pipeline), request: Span::current() };
        let submitted = Instant::now();
        // A client that has gone does not mind that an answer cannot be sent.
        let prepare = move || -> Result<Utterance, Instead> {
            let queue = submitted.elapsed();
            match stages.prepare(unpack) {
                Ok((Prepared { windows, report: audio }, decode, preprocess)) => {
                    let span = info_span!(parent: &stages.request, "encode", windows = audio.windows);
                    let begun = Instant::now();
                    let done = move |embedding: Result<Embedding, EncoderError>| {
                        drop(span);
                        let timings = Timings { queue, decode, preprocess, encode: begun.elapsed() };
                        let extraction = embedding.map(|embedding| Extraction { embedding, audio, timings });
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
        // Nobody else drops a job that is wanted.
        let extraction = answered.await.map_err(|_| ApiError::Panicked)??;
        self.count(&extraction);
        Ok(extraction)
    }

    fn count(&self, Extraction { audio, timings, .. }: &Extraction) {
        self.metrics.audio_seconds.inc_by(audio.duration_seconds);
        self.metrics.speech_seconds.inc_by(audio.speech_seconds);
        for (stage, duration) in timings.stages() {
            self.metrics.stage_seconds.with_label_values(&[stage]).observe(duration.as_secs_f64());
        }
    }
}

/// The stages before the encoder, each a span of its request.
struct Stages {
    pipeline: Arc<Pipeline>,
    request: Span,
}

impl Stages {
    /// What the encoder takes, and how long decoding and preprocessing took.
    fn prepare<R: AsRef<[u8]>>(
        &self,
        unpack: impl FnOnce() -> Result<R, ApiError>,
    ) -> Result<(Prepared, Duration, Duration), ApiError> {
        let _request = self.request.enter();
        let begun = Instant::now();
        let recording =
            info_span!("decode").in_scope(|| Ok::<_, ApiError>(self.pipeline.decode(unpack()?.as_ref())?))?;
        let decode = begun.elapsed();
        let begun = Instant::now();
        let prepared = info_span!("preprocess").in_scope(|| self.pipeline.prepare(recording))?;
        Ok((prepared, decode, begun.elapsed()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cli, Command};
    use clap::Parser;
    use std::io::{self, Write};

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn extractor() -> Extractor {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/resemblyzer.onnx");
        let flags = ["program", "serve", "--workers=1", "--model-path", model];
        let Some(Command::Serve(args)) = Cli::parse_from(flags).command else { panic!("not serve") };
        let config = Config::try_from(*args).unwrap();
        Extractor::load(&config, &Mutex::default(), Arc::new(Metrics::new())).unwrap()
    }

    #[tokio::test]
    async fn a_panic_of_a_worker_is_logged_once_and_the_worker_lives_on() {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
        // Tests that fail meanwhile must still say so.
        let of_tests = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match std::thread::current().name() {
            Some("worker-0") => crate::logging::log_panic(panic),
            _ => of_tests(panic),
        }));

        let extractor = extractor();
        let panicked = extractor.extract::<Vec<u8>>(|| panic!("a bug of ours")).await;
        assert!(matches!(panicked, Err(ApiError::Panicked)));
        let voice = include_bytes!("../../tests/fixtures/audio/alan-1.wav");
        assert!(extractor.extract(move || Ok(voice)).await.is_ok());
        assert_eq!(extractor.queue_depth(), 0);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("a bug of ours").count(), 1, "{log}");
        assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    }
}
