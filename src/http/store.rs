//! The store of speakers, awaited; each change is a line of the log.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tracing::Span;

use super::error::ApiError;
use super::layers::auth::KeyHolder;
use super::state::AppState;
use crate::embedding::{ModelId, UnitEmbedding};
use crate::speakers::{Address, Identifier, Profile, SpeakerKey};
use crate::store::{Store, StoreError, Transaction};

/// What was changed, for the log: ids alone, no names and no voices.
pub(super) struct Change {
    pub(super) action: &'static str,
    pub(super) collection: Option<Identifier>,
    pub(super) speaker: Option<Identifier>,
    pub(super) enrolment: Option<String>,
    /// The other speaker of a move or merge.
    pub(super) other: Option<Identifier>,
    /// How many voices were enrolled.
    pub(super) enrolled: usize,
    /// How many speakers it is about, where that is no single one.
    pub(super) speakers: Option<usize>,
}

/// An enrolled speaker's voice.
pub(super) struct SpeakerProbe {
    pub(super) key: SpeakerKey,
    pub(super) embedding: UnitEmbedding,
    pub(super) profile: Profile,
}

impl Change {
    pub(super) fn new(action: &'static str, address: &Address) -> Self {
        let Address { collection, id } = address.clone();
        Self {
            collection: Some(collection),
            speaker: Some(id),
            speakers: None,
            ..Self::of_many(action, None, 0)
        }
    }

    /// About many speakers, of one collection or more.
    pub(super) fn of_many(action: &'static str, collection: Option<Identifier>, speakers: usize) -> Self {
        let speakers = Some(speakers);
        Self { action, collection, speaker: None, enrolment: None, other: None, enrolled: 0, speakers }
    }

    pub(super) fn log(&self, key: &str) {
        tracing::info!(
            action = self.action,
            key,
            collection = self.collection.as_ref().map(Identifier::as_str),
            speaker = self.speaker.as_ref().map(Identifier::as_str),
            enrolment = self.enrolment,
            other = self.other.as_ref().map(Identifier::as_str),
            speakers = self.speakers,
            "audit"
        );
    }
}

/// Does work that waits for a file or database on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Panicked)
}

/// Reads.
pub(super) async fn read<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = state.store()?;
    Ok(blocking(move || work(&store)).await??)
}

/// The store, once what it searches is as of now: whoever searches on a worker waits for no database.
pub(super) async fn follow_store(state: &AppState) -> Result<Arc<Store>, ApiError> {
    read(state, Store::follow).await?;
    state.store()
}

/// Makes a change and waits until it is committed. It is made, and logged, even if nobody waits any more. `change` tells what was
/// changed, if anything was.
pub(super) async fn write<T: Send + 'static>(
    state: &AppState,
    key: &KeyHolder,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    change: impl FnOnce(&T) -> Option<Change> + Send + 'static,
) -> Result<T, ApiError> {
    let store = state.store()?;
    let (answer, answered) = oneshot::channel();
    let (span, key) = (Span::current(), key.holder.key.name.clone());
    let (metrics, begun) = (Arc::clone(&state.metrics), Instant::now());
    store.write(work, move |outcome| {
        metrics.speakers.write_seconds.observe(begun.elapsed().as_secs_f64());
        if let Some(change) = outcome.as_ref().ok().and_then(change) {
            metrics.speakers.enrolments.inc_by(change.enrolled as u64);
            span.in_scope(|| change.log(&key));
        }
        // If the client has gone, the answer cannot be sent.
        drop(answer.send(outcome));
    });
    // The answer is dropped unsent only if the change panics.
    Ok(answered.await.map_err(|_| ApiError::Panicked)??)
}

/// An enrolled speaker's voice as a model knows it, if the key may use the collection.
pub(super) async fn voice_of(
    state: &AppState,
    key: &KeyHolder,
    address: Address,
    model: &ModelId,
) -> Result<SpeakerProbe, ApiError> {
    key.require_collection(&address.collection)?;
    let (id, model) = (address.id.clone(), model.clone());
    let fingerprint = model.fingerprint().to_owned();
    let voice = read(state, move |store| {
        let voice = store.voice(&address, &model)?;
        let known = voice.profile.and_then(|profile| Some((profile.embedding(&model)?, profile)));
        Ok((voice.key, known))
    });
    let (key, known) = voice.await?;
    match known {
        Some((embedding, profile)) => Ok(SpeakerProbe { key, embedding, profile }),
        None => Err(ApiError::NoProfile { speaker: id, model: fingerprint }),
    }
}
