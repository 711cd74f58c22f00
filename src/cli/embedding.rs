//! Recordings on the embedder's workers, for commands: many at once, with the outcomes in their order.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::files::{ReadError, Source};
use crate::audio::Channel;
use crate::config::{EngineArgs, Environment, LogConfig};
use crate::embedder::{CancelOnDrop, EmbedError, Embedded, Embedder, EmbedderLimits, EmbedderModel};
use crate::encoder::MAX_BATCH;
use crate::engine::Engine;
use crate::logging::{self, Logging};
use crate::models::ModelSpec;
use crate::pipeline::{PipelineLimits, RecordingOptions, Wanted};
use crate::queue::QueueLimits;

/// Recordings in the queue for each worker: enough for full batches of short ones.
const QUEUE_CAPACITY_PER_WORKER: usize = 16;

/// Outcomes for each worker that may wait for one of an earlier recording.
const AHEAD_PER_WORKER: usize = 128;

/// Between two looks at whether the command is stopped.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How recordings are embedded.
#[derive(Args, Clone, Debug)]
pub(super) struct EmbeddingArgs {
    /// The model, by id or fingerprint [default: resemblyzer].
    #[arg(long)]
    model: Option<String>,
    /// Which channel to embed: `mix` for the mean of all, or its number, counted from 0.
    #[arg(long, default_value = "mix", value_parser = Channel::from_str)]
    channel: Channel,
    /// Longest recording, in seconds.
    #[arg(long, env, default_value = "7200")]
    max_audio_seconds: f64,
    /// Least speech in a recording, in seconds; 0 accepts any, with a warning below 1.6.
    #[arg(long, env, default_value = "0")]
    min_speech_seconds: f64,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Why a recording has no embedding.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordingError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error("a bug: the worker panicked")]
    Panicked,
}

impl RecordingError {
    /// The kind of error, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Read(error) => error.code(),
            Self::Embed(EmbedError::Pipeline(error)) => error.code(),
            Self::Embed(EmbedError::Full(_)) | Self::Panicked => "internal",
        }
    }
}

/// A recording to embed, and what is asked of it.
pub(super) struct Task<T> {
    pub(super) source: Source,
    pub(super) wanted: Wanted,
    /// What comes back with its outcome.
    pub(super) tag: T,
}

/// The embedder of a command.
pub(super) struct Embedding {
    embedder: Embedder,
    model: Arc<EmbedderModel>,
    options: RecordingOptions,
    /// Outcomes that may wait.
    max_ahead: usize,
    _logging: Logging,
}

impl EmbeddingArgs {
    /// Loads what embeds.
    pub(super) fn start(self) -> anyhow::Result<Embedding> {
        let logging = logging::init(&LogConfig {
            environment: Environment::Development,
            filter: Some("warn,voice_embedding_service::model_files=info".into()),
            traces: None,
        })?;
        let (config, source) = self.engine.checked()?;
        if let Some(name) = &self.model {
            check_model(&source.spec, name)?;
        }
        let engine = Engine::load(&config, |_| Ok::<_, anyhow::Error>(source.obtain()?.0))?;
        let capacity =
            config.workers.saturating_mul(const { NonZeroUsize::new(QUEUE_CAPACITY_PER_WORKER).unwrap() });
        let limits = EmbedderLimits {
            pipeline: PipelineLimits {
                max_audio_seconds: self.max_audio_seconds,
                min_speech_seconds: self.min_speech_seconds,
            },
            queue: QueueLimits { capacity, max_batch: MAX_BATCH },
        };
        let embedder = Embedder::start(engine, limits, Box::new(|_| {}));
        Ok(Embedding {
            model: Arc::clone(embedder.default_model()),
            embedder,
            options: RecordingOptions { channel: self.channel, raw: None },
            max_ahead: config.workers.get() * AHEAD_PER_WORKER,
            _logging: logging,
        })
    }
}

/// Checks that a name is the model's.
pub(super) fn check_model(spec: &ModelSpec, name: &str) -> anyhow::Result<()> {
    let is_release =
        name.strip_prefix(&spec.release).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    anyhow::ensure!(name == spec.id || is_release, "there is no model {name:?}; there is {}", spec.id);
    Ok(())
}

type Outcome = Result<Embedded, RecordingError>;

/// A recording in work.
struct InWork<T> {
    tag: T,
    outcome: Receiver<Outcome>,
    _cancel: CancelOnDrop,
}

impl<T> InWork<T> {
    /// Waits for the outcome; `None` if the command is stopped.
    fn wait(self, is_stopped: &AtomicBool) -> Option<(T, Outcome)> {
        loop {
            match self.outcome.recv_timeout(LOOK_EVERY) {
                _ if is_stopped.load(Ordering::Relaxed) => return None,
                Ok(outcome) => return Some((self.tag, outcome)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Some((self.tag, Err(RecordingError::Panicked)));
                }
            }
        }
    }
}

impl Embedding {
    /// The model that embeds.
    pub(super) fn model(&self) -> &EmbedderModel {
        &self.model
    }

    /// Embeds recordings, and gives each outcome, in their order. Files are read on the workers, so that no more than are in
    /// work are in memory. Once `is_stopped` is set, what is left is dropped.
    pub(super) fn all<T>(
        &self,
        tasks: impl Iterator<Item = Task<T>>,
        is_stopped: &AtomicBool,
        mut each: impl FnMut(T, Outcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut in_work: VecDeque<InWork<T>> = VecDeque::new();
        for task in tasks {
            let mut admission = loop {
                if in_work.len() < self.max_ahead
                    && let Ok(admission) = self.embedder.admit(1)
                {
                    break admission;
                }
                let first = in_work.pop_front().context("the queue is full of nothing")?;
                let Some((tag, outcome)) = first.wait(is_stopped) else { return Ok(()) };
                each(tag, outcome)?;
            };
            let (sender, outcome) = channel();
            let (source, options) = (task.source, self.options);
            let cancel = admission.cancel_on_drop();
            self.embedder.embed(
                &self.model,
                &mut admission,
                task.wanted,
                move || Ok((source.read()?, options)),
                // Nobody waits for it once the command has stopped.
                move |outcome| drop(sender.send(outcome)),
            );
            in_work.push_back(InWork { tag: task.tag, outcome, _cancel: cancel });
        }
        for recording in in_work {
            let Some((tag, outcome)) = recording.wait(is_stopped) else { return Ok(()) };
            each(tag, outcome)?;
        }
        Ok(())
    }
}
