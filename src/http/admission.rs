//! The place of a request in the queue, from its first step on a worker to the response.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::oneshot;

use super::error::ApiError;
use super::layers::auth::KeyHolder;
use super::layers::time_limit::TimeLimit;
use super::metrics::EmbeddingMetrics;
use super::request::model::segmentation;
use super::request::voice::VoiceRecording;
use super::state::AppState;
use super::store::follow_store;
use crate::calibration::Criterion;
use crate::decisions::{Names, name_speakers, naming_search, voices_of};
use crate::diarization::Diarization;
use crate::embedder::{
    self, EmbedError, Embedded, EmbeddedVoice, EmbedderModel, Hearing, LiveStep, SegmentationNetwork,
    Timings, WantedTurns,
};
use crate::live::{LiveSession, Purpose};
use crate::pace::Pace;
use crate::pipeline::Wanted;
use crate::speakers::Identifier;

/// Windows per second that one token of a recording pays for: the number that its embedding needs.
const RATE_OF_A_TOKEN: f64 = 1.3;

/// The holder of the request's key, and the request's time limit.
pub(super) struct Caller {
    pub(super) key: KeyHolder,
    pub(super) time_limit: TimeLimit,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing = || ApiError::Internal("a layer is missing".into());
        Ok(Self {
            key: head.extensions.get::<KeyHolder>().cloned().ok_or_else(missing)?,
            time_limit: head.extensions.get::<TimeLimit>().cloned().ok_or_else(missing)?,
        })
    }
}

/// An admitted request. It runs as many steps on the workers as it needs, and none of them is rejected. All steps count
/// towards the request's share of the workers' time. Dropping it cancels the remaining steps.
pub(super) struct RequestAdmission {
    state: AppState,
    admission: embedder::Admission,
}

impl RequestAdmission {
    /// Takes a place in the queue. This also works during shutdown, because shutdown waits for requests in progress.
    pub(super) fn new(state: &AppState) -> Result<Self, ApiError> {
        Ok(Self { state: state.clone(), admission: state.embedder_in_hand()?.admit()? })
    }

    /// Admits a live session, which takes no place in the queue.
    pub(super) fn live(state: &AppState) -> Result<Self, ApiError> {
        Ok(Self { state: state.clone(), admission: state.embedder_in_hand()?.admit_live() })
    }

    /// Runs a step of a live session.
    pub(super) async fn live_step(
        &self,
        model: &Arc<EmbedderModel>,
        network: SegmentationNetwork,
        session: Box<LiveSession>,
        work: (Vec<Vec<u8>>, Purpose),
    ) -> Result<LiveStep, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.admission.live_step(model, network, session, work, move |outcome| drop(answer.send(outcome)));
        let step = answered.await.map_err(|_| ApiError::Panicked)?;
        Ok(step.map_err(EmbedError::from)?)
    }

    /// Searches the collection for each speaker of a recording.
    pub(super) async fn name_speakers(
        &self,
        model: &Arc<EmbedderModel>,
        collection: &Identifier,
        found: &Diarization,
    ) -> Result<Names, ApiError> {
        let voices = voices_of(found, model.id()).map_err(|error| ApiError::Internal(error.to_string()))?;
        let wanted = naming_search(collection.clone());
        let store = follow_store(&self.state).await?;
        let searched = self.run(move || store.search_known(&voices, &wanted)).await?;
        Ok(name_speakers(found, searched, Criterion::Default, model.judge()))
    }

    /// Runs work that takes a few milliseconds on a worker.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.admission.compute(work, move |outcome| drop(answer.send(outcome)));
        // The sender is dropped without a result only if a worker panics.
        answered.await.map_err(|_| ApiError::Panicked)
    }

    /// Runs longer work on a worker. The work pauses for other requests.
    pub(super) async fn run_in_slices<T: Send + 'static>(
        &self,
        work: impl FnOnce(Pace<'_>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.admission.compute_in_slices(work, move |outcome| drop(answer.send(outcome)));
        answered.await.map_err(|_| ApiError::Panicked)
    }

    /// Runs work that is long if `is_long`.
    pub(super) async fn run_at_pace<T: Send + 'static>(
        &self,
        is_long: bool,
        work: impl FnOnce(Pace<'_>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if is_long { self.run_in_slices(work).await } else { self.run(|| work(Pace::UNBROKEN)).await }
    }

    /// Embeds recordings. Each recording costs one token of the key's rate limit, or more if it needs more windows per
    /// second. Each recording also extends the request's time limit.
    pub(super) fn embed(
        &self,
        caller: &Caller,
        model: &Arc<EmbedderModel>,
        wanted: &Wanted,
        recordings: Vec<VoiceRecording>,
    ) -> Result<Batch<'_>, ApiError> {
        let n = recordings.len();
        let max = self.state.config.max_batch_recordings;
        if n > max {
            return Err(ApiError::TooManyRecordings { max });
        }
        caller.time_limit.extend(n);
        let rate = wanted.partials.as_ref().and_then(|partials| partials.rate);
        let tokens_each = rate.map_or(1, |rate| (rate / RATE_OF_A_TOKEN).ceil() as usize).max(1);
        caller.key.take_more_tokens((n * tokens_each).saturating_sub(1))?;
        let deadline = caller.time_limit.deadline();
        let embedder = self.state.embedder_in_hand()?;
        let answers = recordings.into_iter().enumerate().map(|(i, recording)| {
            let VoiceRecording { source, options, segments } = recording;
            let place = (i > 0).then(|| embedder.further_place());
            let wanted = Wanted { segments, deadline: Some(deadline), ..wanted.clone() };
            let (answer, answered) = oneshot::channel();
            let n_bytes = source.len();
            self.admission.embed(
                model,
                place,
                wanted,
                n_bytes,
                move || Ok((source.unpack()?, options)),
                // Sending fails if the client has disconnected.
                move |outcome: Result<Embedded, ApiError>| drop(answer.send(outcome)),
            );
            answered
        });
        Ok(Batch { answers: answers.collect(), metrics: &self.state.metrics.embedding })
    }

    /// Embeds one recording as a whole.
    pub(super) async fn embed_one(
        &self,
        caller: &Caller,
        model: &Arc<EmbedderModel>,
        wanted: &Wanted,
        recording: VoiceRecording,
    ) -> Result<(EmbeddedVoice, Timings), ApiError> {
        let embedded = self.embed(caller, model, wanted, vec![recording])?.outcomes().await.swap_remove(0)?;
        Ok(embedded.into_whole().map_err(EmbedError::from)?)
    }

    /// Analyses a recording of several speakers. Its length extends the request's time limit.
    pub(super) async fn hear(
        &self,
        caller: &Caller,
        model: &Arc<EmbedderModel>,
        recording: VoiceRecording,
    ) -> Result<Hearing, ApiError> {
        let embedder = self.state.embedder_in_hand()?;
        let network = segmentation(embedder)?;
        let VoiceRecording { source, options, .. } = recording;
        let wanted = WantedTurns {
            on_length: Some(caller.time_limit.for_length()),
            deadline: Some(caller.time_limit.deadline_by_length()),
        };
        let n_bytes = source.len();
        let (answer, answered) = oneshot::channel();
        let unpack = move || Ok((source.unpack()?, options));
        let done = move |outcome: Result<Hearing, ApiError>| drop(answer.send(outcome));
        self.admission.hear(model, network, wanted, n_bytes, unpack, done);
        let heard = answered.await.map_err(|_| ApiError::Panicked)??;
        let metrics = &self.state.metrics.embedding;
        metrics.recordings.inc();
        metrics.audio_seconds.inc_by(heard.recording.duration_seconds());
        observe(metrics, &heard.timings);
        Ok(heard)
    }
}

/// Recordings in progress, in the order of the request.
pub(super) struct Batch<'a> {
    answers: Vec<oneshot::Receiver<Result<Embedded, ApiError>>>,
    metrics: &'a EmbeddingMetrics,
}

impl Batch<'_> {
    /// Waits for all outcomes, in order.
    pub(super) async fn outcomes(self) -> Vec<Result<Embedded, ApiError>> {
        let mut outcomes = Vec::with_capacity(self.answers.len());
        for answer in self.answers {
            outcomes.push(outcome(self.metrics, answer).await);
        }
        outcomes
    }

    /// Waits for all recordings, or for the first that fails. The error names the recording.
    pub(super) async fn all(self, name: impl Fn(usize) -> String) -> Result<Vec<Embedded>, ApiError> {
        let mut all = Vec::with_capacity(self.answers.len());
        for (i, answer) in self.answers.into_iter().enumerate() {
            all.push(outcome(self.metrics, answer).await.map_err(|error| error.with_param(name(i)))?);
        }
        Ok(all)
    }
}

async fn outcome(
    metrics: &EmbeddingMetrics,
    answer: oneshot::Receiver<Result<Embedded, ApiError>>,
) -> Result<Embedded, ApiError> {
    // The sender is dropped without a result only if a worker panics.
    let embedded = answer.await.map_err(|_| ApiError::Panicked)??;
    metrics.recordings.inc();
    for voice in embedded.voices.iter().flatten() {
        metrics.audio_seconds.inc_by(voice.audio.duration_seconds);
        metrics.speech_seconds.inc_by(voice.audio.speech_seconds);
    }
    observe(metrics, &embedded.timings);
    Ok(embedded)
}

fn observe(metrics: &EmbeddingMetrics, timings: &Timings) {
    for (stage, duration) in timings.stages() {
        metrics.stage_seconds.with_label_values(&[stage]).observe(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ServeArgs};
    use crate::loading::load;
    use crate::pipeline::RecordingOptions;
    use clap::Parser;
    use std::io::{self, Write};
    use std::sync::Mutex;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: ServeArgs,
    }

    /// The captured log.
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

    fn state() -> AppState {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/resemblyzer.onnx");
        let config =
            Config::try_from(Flags::parse_from(["program", "--workers=1", "--model-path", model]).args)
                .unwrap();
        let state = AppState::new(&config);
        assert!(state.embedder.set(load(&config, state.metrics.on_batch()).unwrap()).is_ok());
        state
    }

    #[tokio::test]
    async fn a_panic_of_a_worker_is_logged_once_and_the_worker_lives_on() {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
        // Panics of other tests must still be reported.
        let of_tests = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match std::thread::current().name() {
            Some("worker-0") => crate::logging::log_panic(panic),
            _ => of_tests(panic),
        }));

        let state = state();
        let admission = RequestAdmission::new(&state).unwrap();
        let embed = |unpack: fn() -> Vec<u8>| {
            let (answer, answered) = oneshot::channel();
            let unpack = move || Ok((unpack(), RecordingOptions::default()));
            let done = move |outcome: Result<Embedded, ApiError>| {
                let _ = answer.send(outcome.is_ok());
            };
            let model = state.embedder().unwrap().default_model();
            admission.admission.embed(model, None, Wanted::default(), 0, unpack, done);
            answered
        };
        assert!(embed(|| panic!("a bug of ours")).await.is_err(), "the callback is dropped");
        let voice = || include_bytes!("../../tests/fixtures/audio/alan-1.wav").to_vec();
        assert_eq!(embed(voice).await, Ok(true));
        drop(admission);
        assert_eq!(state.embedder().unwrap().queue_depth(), 0);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("a bug of ours").count(), 1, "{log}");
        // Other tests log to the same place.
        let errors = log.lines().filter(|line| line.contains("ERROR") && !line.contains("a request failed"));
        assert_eq!(errors.count(), 1, "{log}");
    }
}
