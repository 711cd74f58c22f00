//! Many recordings of one request, embedded together.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use tokio::sync::oneshot;

use super::embed::count;
use super::error::ApiError;
use super::layers::auth::KeyHolder;
use super::layers::time_limit::TimeLimit;
use super::request::voice::VoiceRecording;
use super::state::AppState;
use crate::embedder::{Admission, Embedded, Embedder, EmbedderModel};
use crate::pipeline::{Wanted, WantedTurns};
use crate::queue::{CancelOnDrop, QueueFull};

/// Between two tries for a place in a full queue.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Whose request it is, and how long it may take.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) key: KeyHolder,
    pub(super) time_limit: TimeLimit,
}

impl Caller {
    pub(super) fn new(
        Extension(key): Extension<KeyHolder>,
        Extension(time_limit): Extension<TimeLimit>,
    ) -> Self {
        Self { key, time_limit }
    }
}

/// What becomes of a recording in work.
type Answer = oneshot::Receiver<Result<Embedded, ApiError>>;

/// Recordings in work, in their order. Dropping it cancels what is left.
pub(super) struct Batch {
    answers: Vec<Answer>,
    _cancel: CancelOnDrop,
}

/// Windows a second that a recording's token pays for: those of its embedding.
const RATE_OF_A_TOKEN: f64 = 1.3;

/// Admits recordings as one group. They cost their number in the key's rate, times that of their windows, and each adds to the request's
/// time.
pub(super) fn submit(
    state: &AppState,
    caller: &Caller,
    model: &Arc<EmbedderModel>,
    wanted: &Wanted,
    recordings: Vec<VoiceRecording>,
) -> Result<Batch, ApiError> {
    let n = recordings.len();
    let max = state.config.max_batch_recordings;
    if n > max {
        return Err(ApiError::TooManyRecordings { max });
    }
    caller.time_limit.extend(n);
    let embedder = state.embedder_in_hand()?;
    let mut admission = embedder.admit(n)?;
    let rate = wanted.partials.as_ref().and_then(|partials| partials.rate);
    let tokens_each = rate.map_or(1, |rate| (rate / RATE_OF_A_TOKEN).ceil() as usize).max(1);
    caller.key.take_more_tokens((n * tokens_each).saturating_sub(1))?;
    let cancel = embedder.cancel_on_drop(&admission);
    let answers = recordings.into_iter().map(|mut recording| {
        let segments = recording.segments.take();
        let deadline = Some(caller.time_limit.deadline());
        let wanted = Wanted { segments, deadline, ..wanted.clone() };
        queue(embedder, model, &mut admission, recording, wanted)
    });
    Ok(Batch { answers: answers.collect(), _cancel: cancel })
}

/// Queues a recording whose turns are wanted. Its length adds to the request's time.
pub(super) fn submit_turns(
    state: &AppState,
    caller: &Caller,
    model: &Arc<EmbedderModel>,
    mut admission: Admission,
    recording: VoiceRecording,
) -> Result<Batch, ApiError> {
    let embedder = state.embedder_in_hand()?;
    let cancel = embedder.cancel_on_drop(&admission);
    let turns = Some(WantedTurns { on_length: Some(caller.time_limit.for_length()) });
    let wanted =
        Wanted { turns, deadline: Some(caller.time_limit.deadline_by_length()), ..Wanted::default() };
    let answer = queue(embedder, model, &mut admission, recording, wanted);
    Ok(Batch { answers: vec![answer], _cancel: cancel })
}

/// Queues the next recording of an admission.
fn queue(
    embedder: &Embedder,
    model: &Arc<EmbedderModel>,
    admission: &mut Admission,
    recording: VoiceRecording,
    wanted: Wanted,
) -> Answer {
    let (answer, answered) = oneshot::channel();
    let VoiceRecording { source, options, .. } = recording;
    let n_bytes = source.len();
    embedder.embed(
        model,
        admission,
        wanted,
        n_bytes,
        move || Ok((source.unpack()?, options)),
        // If the client has gone, the answer cannot be sent.
        move |outcome: Result<Embedded, ApiError>| drop(answer.send(outcome)),
    );
    answered
}

impl Batch {
    /// Waits for the outcomes, one by one.
    pub(super) async fn outcomes(self, state: &AppState) -> Vec<Result<Embedded, ApiError>> {
        let mut outcomes = Vec::with_capacity(self.answers.len());
        for answer in self.answers {
            outcomes.push(outcome(state, answer).await);
        }
        outcomes
    }

    /// Waits for the outcome of the only one.
    pub(super) async fn one(self, state: &AppState) -> Result<Embedded, ApiError> {
        let [answer] = <[_; 1]>::try_from(self.answers)
            .map_err(|answers| ApiError::Internal(format!("{} recordings", answers.len())))?;
        outcome(state, answer).await
    }

    /// Waits for all, or for the first that fails: the others are cancelled then. The error names the recording.
    pub(super) async fn all(
        self,
        state: &AppState,
        name: impl Fn(usize) -> String,
    ) -> Result<Vec<Embedded>, ApiError> {
        let mut all = Vec::with_capacity(self.answers.len());
        for (i, answer) in self.answers.into_iter().enumerate() {
            all.push(outcome(state, answer).await.map_err(|error| error.at(name(i)))?);
        }
        Ok(all)
    }
}

async fn outcome(state: &AppState, answer: Answer) -> Result<Embedded, ApiError> {
    // The answer is dropped unsent only if a worker panics.
    let embedded = answer.await.map_err(|_| ApiError::Panicked)??;
    count(&state.metrics.embedding, &embedded);
    Ok(embedded)
}

/// Does work that grows with a body on a worker.
pub(super) async fn on_worker<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let admission = state.embedder()?.admit(1)?;
    computed(state, admission, work).await
}

/// The same for work that goes on with what was computed: it waits for a place rather than lose that.
pub(super) async fn on_worker_in_turn<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let admission = admitted_in_turn(state).await?;
    computed(state, admission, work).await
}

/// A place in the queue, once there is one.
pub(super) async fn admitted_in_turn(state: &AppState) -> Result<Admission, ApiError> {
    let embedder = state.embedder_in_hand()?;
    loop {
        match embedder.admit(1) {
            Ok(admission) => return Ok(admission),
            Err(QueueFull) => tokio::time::sleep(BETWEEN_TRIES).await,
        }
    }
}

async fn computed<T: Send + 'static>(
    state: &AppState,
    mut admission: Admission,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let embedder = state.embedder_in_hand()?;
    let _cancel = embedder.cancel_on_drop(&admission);
    let (answer, answered) = oneshot::channel();
    embedder.compute(&mut admission, work, move |outcome| drop(answer.send(outcome)));
    answered.await.map_err(|_| ApiError::Panicked)
}
