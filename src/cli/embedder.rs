//! Recordings on the embedder's workers, for commands: many at once, with the outcomes in their order.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::files::{ReadError, Source};
use crate::audio::Channel;
use crate::config::{EngineArgs, Environment, LogConfig, not_negative, positive};
use crate::embedder::{
    EmbedError, Embedded, Embedder, EmbedderLimits, EmbedderModel, InOrder, Submitted, WorkerPanicked,
    queue_capacity,
};
use crate::encoder::MAX_BATCH;
use crate::engine::Engine;
use crate::logging::{self, Logging};
use crate::pipeline::{PipelineLimits, RecordingOptions, Wanted};
use crate::queue::QueueLimits;

/// Between two looks at whether the command is stopped.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How recordings are embedded.
#[derive(Args, Clone, Debug)]
pub(super) struct EmbeddingArgs {
    /// The model, by id or fingerprint: resemblyzer or campplus [default: the first of MODELS].
    #[arg(long)]
    model: Option<String>,
    /// Which channel to embed: `mix` for the mean of all, or its number, counted from 0.
    #[arg(long, default_value = "mix", value_parser = Channel::from_str)]
    channel: Channel,
    /// Longest recording, in seconds.
    #[arg(long, env, default_value = "7200", value_parser = positive)]
    max_audio_seconds: f64,
    /// Least speech in a recording, in seconds; 0 accepts any, with a warning below 1.6.
    #[arg(long, env, default_value = "0", value_parser = not_negative)]
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
    #[error(transparent)]
    Panicked(#[from] WorkerPanicked),
}

impl RecordingError {
    /// The kind of error, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Read(error) => error.code(),
            Self::Embed(EmbedError::Pipeline(error)) => error.code(),
            Self::Embed(EmbedError::Full(_)) | Self::Panicked(_) => "internal",
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
    embedder: Arc<Embedder>,
    model: Arc<EmbedderModel>,
    options: RecordingOptions,
    workers: NonZeroUsize,
    _logging: Logging,
}

impl EmbeddingArgs {
    /// The model that is asked for, if one is.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// How recordings are read.
    pub(super) fn options(&self) -> RecordingOptions {
        RecordingOptions { channel: self.channel, raw: None }
    }

    /// Loads what embeds.
    pub(super) fn start(self) -> anyhow::Result<Embedding> {
        let logging = logging::init(&LogConfig {
            environment: Environment::Development,
            filter: Some("warn,voice_embedding_service::model_files=info".into()),
            traces: None,
        })?;
        let options = self.options();
        // A command works with one model.
        let (config, source) = self.engine.checked_one(self.model.as_deref())?;
        let engine = Engine::load(&config, |_| Ok::<_, anyhow::Error>(source.obtain()?.0))?;
        let capacity = queue_capacity(config.workers);
        let limits = EmbedderLimits {
            pipeline: PipelineLimits {
                max_audio_seconds: self.max_audio_seconds,
                min_speech_seconds: self.min_speech_seconds,
                max_turns_seconds: self.max_audio_seconds,
            },
            queue: QueueLimits { capacity, max_batch: MAX_BATCH },
        };
        let embedder = Arc::new(Embedder::start(engine, limits, Box::new(|_| {})));
        Ok(Embedding {
            model: Arc::clone(embedder.default_model()),
            embedder,
            options,
            workers: config.workers,
            _logging: logging,
        })
    }
}

type Outcome = Result<Embedded, RecordingError>;

impl Embedding {
    /// The model that embeds.
    pub(super) fn model(&self) -> &Arc<EmbedderModel> {
        &self.model
    }

    /// Embeds recordings, and gives each outcome, in their order. Once `is_stopped` is set, what is left is dropped.
    pub(super) fn all<T>(
        &self,
        tasks: impl Iterator<Item = Task<T>>,
        is_stopped: &AtomicBool,
        mut each: impl FnMut(T, Outcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut in_order = InOrder::new(Arc::clone(&self.embedder), Arc::clone(&self.model), self.workers);
        for task in tasks {
            let admission = loop {
                if let Some(admission) = in_order.admit() {
                    break admission;
                }
                if !advance(&mut in_order, is_stopped, &mut each)? {
                    return Ok(());
                }
            };
            let (source, options) = (task.source, self.options);
            let recording = Submitted { tag: task.tag, wanted: task.wanted, n_bytes: source.len() };
            in_order.submit(admission, recording, move || Ok((source.read()?, options)));
            while let Some((tag, outcome)) = in_order.take_next() {
                each(tag, outcome)?;
            }
        }
        while !in_order.is_empty() {
            if !advance(&mut in_order, is_stopped, &mut each)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Waits a while for outcomes, and passes on those whose turn it is; false if the command is stopped.
fn advance<T>(
    in_order: &mut InOrder<T, RecordingError>,
    is_stopped: &AtomicBool,
    each: &mut impl FnMut(T, Outcome) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    in_order.wait(LOOK_EVERY);
    if is_stopped.load(Ordering::Relaxed) {
        return Ok(false);
    }
    while let Some((tag, outcome)) = in_order.take_next() {
        each(tag, outcome)?;
    }
    Ok(true)
}
