//! Recordings on the embedder's workers, for commands: many at once, with the outcomes in their order.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clap::Args;

use super::files::{ReadError, Source};
use crate::audio::Channel;
use crate::config::{EngineArgs, Environment, LogConfig, not_negative, positive};
use crate::embedder::{CancelOnDrop, EmbedError, Embedded, Embedder, EmbedderLimits, EmbedderModel};
use crate::encoder::MAX_BATCH;
use crate::engine::Engine;
use crate::logging::{self, Logging};
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
        let capacity =
            config.workers.saturating_mul(const { NonZeroUsize::new(QUEUE_CAPACITY_PER_WORKER).unwrap() });
        let limits = EmbedderLimits {
            pipeline: PipelineLimits {
                max_audio_seconds: self.max_audio_seconds,
                min_speech_seconds: self.min_speech_seconds,
                max_turns_seconds: self.max_audio_seconds,
            },
            queue: QueueLimits { capacity, max_batch: MAX_BATCH },
        };
        let embedder = Embedder::start(engine, limits, Box::new(|_| {}));
        Ok(Embedding {
            model: Arc::clone(embedder.default_model()),
            embedder,
            options,
            max_ahead: config.workers.get() * AHEAD_PER_WORKER,
            _logging: logging,
        })
    }
}

type Outcome = Result<Embedded, RecordingError>;

/// A recording in work, or embedded while an earlier one is in work.
struct InWork<T> {
    tag: T,
    outcome: Option<Outcome>,
    _cancel: CancelOnDrop,
}

/// Sends the outcome of a recording with its number; if a worker panics, that.
struct Reply {
    number: usize,
    sender: Sender<(usize, Outcome)>,
    is_sent: bool,
}

impl Reply {
    fn send(mut self, outcome: Outcome) {
        self.is_sent = true;
        // Nobody waits for it once the command has stopped.
        let _ = self.sender.send((self.number, outcome));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_sent {
            let _ = self.sender.send((self.number, Err(RecordingError::Panicked)));
        }
    }
}

/// Recordings in work, and the outcomes in their order.
struct Line<'a, T, F> {
    in_work: VecDeque<InWork<T>>,
    /// The number of the first of them.
    first: usize,
    outcomes: Receiver<(usize, Outcome)>,
    is_stopped: &'a AtomicBool,
    each: F,
}

impl<T, F: FnMut(T, Outcome) -> anyhow::Result<()>> Line<'_, T, F> {
    /// Waits for any outcome, and passes on those whose turn it is; false if the command is stopped.
    fn advance(&mut self) -> anyhow::Result<bool> {
        loop {
            match self.outcomes.recv_timeout(LOOK_EVERY) {
                _ if self.is_stopped.load(Ordering::Relaxed) => return Ok(false),
                Ok((number, outcome)) => {
                    self.take(number, outcome)?;
                    return Ok(true);
                }
                // Each recording in work has a sender.
                Err(_) => {}
            }
        }
    }

    /// Passes on what is there without waiting.
    fn advance_if_ready(&mut self) -> anyhow::Result<()> {
        while let Ok((number, outcome)) = self.outcomes.try_recv() {
            self.take(number, outcome)?;
        }
        Ok(())
    }

    fn take(&mut self, number: usize, outcome: Outcome) -> anyhow::Result<()> {
        self.in_work[number - self.first].outcome = Some(outcome);
        while let Some(InWork { outcome: Some(_), .. }) = self.in_work.front() {
            let done = self.in_work.pop_front().and_then(|done| Some((done.tag, done.outcome?)));
            let Some((tag, outcome)) = done else { break };
            self.first += 1;
            (self.each)(tag, outcome)?;
        }
        Ok(())
    }
}

impl Embedding {
    /// The model that embeds.
    pub(super) fn model(&self) -> &Arc<EmbedderModel> {
        &self.model
    }

    /// Embeds recordings, and gives each outcome, in their order. Files are read on the workers, so that no more than are in
    /// work are in memory. Once `is_stopped` is set, what is left is dropped.
    pub(super) fn all<T>(
        &self,
        tasks: impl Iterator<Item = Task<T>>,
        is_stopped: &AtomicBool,
        each: impl FnMut(T, Outcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (sender, outcomes) = channel();
        let mut line = Line { in_work: VecDeque::new(), first: 0, outcomes, is_stopped, each };
        for task in tasks {
            let mut admission = loop {
                if line.in_work.len() < self.max_ahead
                    && let Ok(admission) = self.embedder.admit(1)
                {
                    break admission;
                }
                if !line.advance()? {
                    return Ok(());
                }
            };
            let number = line.first + line.in_work.len();
            let reply = Reply { number, sender: sender.clone(), is_sent: false };
            let (source, options) = (task.source, self.options);
            let cancel = admission.cancel_on_drop();
            line.in_work.push_back(InWork { tag: task.tag, outcome: None, _cancel: cancel });
            self.embedder.embed(
                &self.model,
                &mut admission,
                task.wanted,
                source.len(),
                move || Ok((source.read()?, options)),
                move |outcome| reply.send(outcome),
            );
            line.advance_if_ready()?;
        }
        while !line.in_work.is_empty() {
            if !line.advance()? {
                return Ok(());
            }
        }
        Ok(())
    }
}
