//! Runs recordings on the embedder's workers for commands: many at once, with outcomes in input order.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Args;

use super::files::{ReadError, RecordingSource};
use super::outcome::say;
use super::store;
use crate::audio::Channel;
use crate::config::{ConfiguredModel, EngineArgs, Environment, LogConfig, StoreArgs, not_negative, positive};
use crate::embedder::{
    Admission, Done, EmbedError, Embedded, Embedder, EmbedderLimits, EmbedderModel, Hearing, InOrder,
    LiveStep, SegmentationNetwork, WantedTurns, WorkerPanicked, queue_capacity,
};
use crate::embedding::ModelId;
use crate::encoder::MAX_BATCH;
use crate::engine::Engine;
use crate::listening::HeardRecording;
use crate::live::{LiveEvent, LiveOptions, LiveSession, Purpose};
use crate::logging::{self, Logging};
use crate::models::{self, Model};
use crate::pipeline::{PipelineError, PipelineLimits, RecordingOptions, Wanted};
use crate::queue::QueueLimits;
use crate::report::AudioReport;
use crate::speakers::Identifier;
use crate::transcript::Transcript;

/// How often a command checks whether it has been stopped.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Options for embedding recordings.
#[derive(Args, Clone, Debug)]
pub(super) struct EmbeddingArgs {
    /// Model, by id or fingerprint: resemblyzer or campplus [default: campplus, if MODELS has it].
    #[arg(long)]
    model: Option<String>,
    /// Channel to embed: `mix` for the mean of all channels, or a number, counted from 0.
    #[arg(long, default_value = "mix", value_parser = Channel::from_str)]
    channel: Channel,
    /// Longest accepted recording, in seconds.
    #[arg(long, env, default_value = "7200", value_parser = positive)]
    max_audio_seconds: f64,
    /// Minimum speech in a recording, in seconds. 0 accepts any amount, with a warning below 1.6.
    #[arg(long, env, default_value = "0", value_parser = not_negative)]
    min_speech_seconds: f64,
    #[command(flatten, next_help_heading = "Models and encoder")]
    engine: EngineArgs,
}

/// Options for starting a command's embedder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StartOptions {
    /// Whether to load the segmentation network as well.
    pub(super) finds_turns: bool,
    /// Whether to omit the message that names the model.
    pub(super) is_quiet: bool,
}

/// The reason why a recording has no embedding.
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
    /// Returns the error code, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Read(error) => error.code(),
            Self::Embed(EmbedError::Pipeline(error)) => error.code(),
            Self::Embed(EmbedError::Full(_)) | Self::Panicked(_) => "internal",
        }
    }
}

/// A recording to embed, and the requested results.
pub(super) struct RecordingTask<T> {
    pub(super) source: RecordingSource,
    pub(super) wanted: Wanted,
    /// Returned together with the outcome.
    pub(super) tag: T,
}

/// A command's embedder.
pub(super) struct CommandEmbedder {
    embedder: Arc<Embedder>,
    model: Arc<EmbedderModel>,
    options: RecordingOptions,
    workers: NonZeroUsize,
    _logging: Logging,
}

impl EmbeddingArgs {
    /// Returns the name of the requested model, if there is one.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Returns how recordings are read.
    pub(super) fn options(&self) -> RecordingOptions {
        RecordingOptions { channel: self.channel, raw: None }
    }

    /// Selects the collection's model if no model is named and all profiles of the collection are of one model.
    pub(super) fn for_collection(
        self,
        store: impl Into<StoreArgs>,
        collection: &Identifier,
    ) -> anyhow::Result<Self> {
        if self.model.is_some() {
            return Ok(self);
        }
        let known = models::all().map(|spec| ModelId::new(spec.id, spec.fingerprint(), spec.dimension));
        let only = store::open(store.into(), known.to_vec())?.only_model(collection);
        Ok(Self { model: only.map(|model| model.fingerprint().to_owned()), ..self })
    }

    /// Loads the model and starts the embedder with default options.
    pub(super) fn start(self) -> anyhow::Result<CommandEmbedder> {
        self.start_with(StartOptions::default())
    }

    /// Loads the model and starts the embedder.
    pub(super) fn start_with(self, options: StartOptions) -> anyhow::Result<CommandEmbedder> {
        let StartOptions { finds_turns, is_quiet } = options;
        let logging = logging::init(&LogConfig {
            environment: Environment::Development,
            filter: Some("warn,voice_embedding_service::model_files=info".into()),
            traces: None,
        })?;
        let options = self.options();
        // A command works with a single model.
        let wanted = self.engine.model(self.model.as_deref())?;
        let first = self.engine.first_model()?;
        let network = finds_turns.then(|| self.engine.segmentation()).transpose()?;
        let config = self.engine.config();
        let obtain = |ConfiguredModel { spec, source, .. }: ConfiguredModel| {
            config.check([&*spec])?;
            Ok::<_, anyhow::Error>(Model::new(spec, source.for_command().obtain()?.0))
        };
        // If the caller named the model, no message is needed.
        let is_default = wanted.is_optional;
        let model = match obtain(wanted) {
            Err(error) if is_default => {
                say(&format!("without CAM++, which is the default: {error:#}"));
                obtain(first)?
            }
            model => model?,
        };
        if is_default && !is_quiet {
            say(&format!("model: {}", model.id.fingerprint()));
        }
        let network = network.map(|network| network.for_command().obtain()).transpose()?;
        let engine = Engine::load(&config, vec![model], network.map(|(onnx, _)| onnx.into()))?;
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
        Ok(CommandEmbedder {
            model: Arc::clone(embedder.default_model()),
            embedder,
            options,
            workers: config.workers,
            _logging: logging,
        })
    }
}

/// A live session on the embedder's workers, for a blocking caller.
pub(super) struct Live {
    admission: Admission,
    model: Arc<EmbedderModel>,
    network: SegmentationNetwork,
    /// `None` after an error.
    session: Option<Box<LiveSession>>,
}

impl Live {
    /// Returns the session. Call it between two steps.
    pub(super) fn session(&mut self) -> &mut LiveSession {
        self.session.as_mut().expect("no step has failed")
    }

    /// Runs a step, and blocks until it is done.
    pub(super) fn step(
        &mut self,
        audio: Vec<u8>,
        purpose: Purpose,
    ) -> Result<Vec<LiveEvent>, RecordingError> {
        let session = self.session.take().expect("no step has failed");
        let (sender, stepped) = channel();
        self.admission.live_step(
            &self.model,
            self.network,
            session,
            (vec![audio], purpose),
            move |outcome| {
                // The caller blocks on the receiver, so the receiver still exists.
                let _ = sender.send(outcome);
            },
        );
        let LiveStep { session, events } =
            stepped.recv().map_err(|_| WorkerPanicked)?.map_err(EmbedError::from)?;
        self.session = Some(session);
        Ok(events)
    }

    /// Returns the results of the session after its last step.
    pub(super) fn conclude(self) -> (Result<HeardRecording, AudioReport>, Option<Transcript>) {
        self.session.expect("no step has failed").conclude()
    }
}

type Outcome<O> = Result<O, RecordingError>;

impl CommandEmbedder {
    /// Returns the embedder's model.
    pub(super) fn model(&self) -> &Arc<EmbedderModel> {
        &self.model
    }

    /// Embeds recordings, and passes each outcome to `each` in input order. Once `is_stopped` is set, drops the remaining ones.
    pub(super) fn all<T>(
        &self,
        tasks: impl Iterator<Item = RecordingTask<T>>,
        is_stopped: &AtomicBool,
        each: impl FnMut(T, Outcome<Embedded>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (model, options) = (&self.model, self.options);
        let tasks = tasks.map(|RecordingTask { source, wanted, tag }| (tag, (source, wanted)));
        let submit = |admission: &Admission, (source, wanted): (RecordingSource, Wanted), done| {
            let n_bytes = source.len();
            admission.embed(model, None, wanted, n_bytes, move || Ok((source.read()?, options)), done);
        };
        self.in_order(tasks, is_stopped, submit, each)
    }

    /// Finds the turns of recordings of several speakers, otherwise like [`Self::all`].
    ///
    /// # Panics
    /// If the embedder was started without `finds_turns`.
    pub(super) fn hear_all(
        &self,
        sources: impl Iterator<Item = RecordingSource>,
        is_stopped: &AtomicBool,
        each: impl FnMut(String, Outcome<Hearing>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let network = self.embedder.segmentation().expect("it was started for turns");
        let (model, options) = (&self.model, self.options);
        let submit = |admission: &Admission, source: RecordingSource, done| {
            let (wanted, n_bytes) = (WantedTurns::default(), source.len());
            admission.hear(model, network, wanted, n_bytes, move || Ok((source.read()?, options)), done);
        };
        self.in_order(sources.map(|source| (source.name(), source)), is_stopped, submit, each)
    }

    /// Opens a live session.
    ///
    /// # Panics
    /// If the embedder was started without `finds_turns`.
    pub(super) fn live(&self, options: LiveOptions) -> Result<Live, PipelineError> {
        let session = LiveSession::new(self.model.pipeline(), self.model.spec(), options)?;
        Ok(Live {
            admission: self.embedder.admit_live(),
            model: Arc::clone(&self.model),
            network: self.embedder.segmentation().expect("it was started for turns"),
            session: Some(Box::new(session)),
        })
    }

    fn in_order<T, S, O: Send + 'static>(
        &self,
        tasks: impl Iterator<Item = (T, S)>,
        is_stopped: &AtomicBool,
        submit: impl Fn(&Admission, S, Done<O, RecordingError>),
        mut each: impl FnMut(T, Outcome<O>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut in_order = InOrder::new(Arc::clone(&self.embedder), self.workers);
        for (tag, task) in tasks {
            let admission = loop {
                if let Some(admission) = in_order.admit() {
                    break admission;
                }
                if !advance(&mut in_order, is_stopped, &mut each)? {
                    return Ok(());
                }
            };
            in_order.submit(admission, tag, |admission, done| submit(admission, task, done));
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

/// Waits briefly for outcomes, and passes on those that are next in order. Returns false if the command has been stopped.
fn advance<T, O: Send + 'static>(
    in_order: &mut InOrder<T, O, RecordingError>,
    is_stopped: &AtomicBool,
    each: &mut impl FnMut(T, Outcome<O>) -> anyhow::Result<()>,
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
