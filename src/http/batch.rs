//! Many recordings of one request, embedded together.

use std::sync::Arc;

use axum::Extension;
use tokio::sync::oneshot;

use super::embed::count;
use super::error::ApiError;
use super::layers::auth::KeyHolder;
use super::layers::time_limit::TimeLimit;
use super::request::voice::VoiceRecording;
use super::state::AppState;
use crate::embedder::{CancelOnDrop, Embedded, EmbedderModel};
use crate::pipeline::{Wanted, WantedPartials};

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

/// Recordings in work, in their order. Dropping it cancels what is left.
pub(super) struct Batch {
    answers: Vec<oneshot::Receiver<Result<Embedded, ApiError>>>,
    _cancel: CancelOnDrop,
}

/// Admits recordings as one group. They cost their number in the key's rate, and each adds to the request's time.
pub(super) fn submit(
    state: &AppState,
    caller: &Caller,
    model: &Arc<EmbedderModel>,
    partials: Option<&WantedPartials>,
    recordings: Vec<VoiceRecording>,
) -> Result<Batch, ApiError> {
    let n = recordings.len();
    let max = state.config.max_batch_recordings;
    if n > max {
        return Err(ApiError::TooManyRecordings { max });
    }
    caller.time_limit.extend(n);
    let embedder = state.embedder.get().ok_or(ApiError::ModelNotReady)?;
    let mut admission = embedder.admit(n)?;
    caller.key.take_more_tokens(n.saturating_sub(1))?;
    let cancel = admission.cancel_on_drop();
    let answers = recordings.into_iter().map(|recording| {
        let (answer, answered) = oneshot::channel();
        let VoiceRecording { source, options, segments } = recording;
        let n_bytes = source.len();
        embedder.embed(
            model,
            &mut admission,
            Wanted { partials: partials.cloned(), segments },
            n_bytes,
            move || Ok((source.unpack()?, options)),
            // If the client has gone, the answer cannot be sent.
            move |outcome: Result<Embedded, ApiError>| drop(answer.send(outcome)),
        );
        answered
    });
    Ok(Batch { answers: answers.collect(), _cancel: cancel })
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

async fn outcome(
    state: &AppState,
    answer: oneshot::Receiver<Result<Embedded, ApiError>>,
) -> Result<Embedded, ApiError> {
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
    let embedder = state.embedder()?;
    let mut admission = embedder.admit(1)?;
    let _cancel = admission.cancel_on_drop();
    let (answer, answered) = oneshot::channel();
    embedder.compute(&mut admission, work, move |outcome| drop(answer.send(outcome)));
    answered.await.map_err(|_| ApiError::Panicked)
}
