//! Asynchronous access to the speaker store. Each change is logged on one line.

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

/// A change, for the log. It contains ids only, no names and no voices.
pub(super) struct Change {
    pub(super) action: &'static str,
    pub(super) collection: Option<Identifier>,
    pub(super) speaker: Option<Identifier>,
    pub(super) enrolment: Option<String>,
    /// The other speaker of a move or merge.
    pub(super) other: Option<Identifier>,
    /// The number of voices that were enrolled.
    pub(super) enrolled: usize,
    /// The number of speakers, if the change is not about a single one.
    pub(super) speakers: Option<usize>,
}

/// The voice of an enrolled speaker.
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
            ..Self::for_many(action, None, 0)
        }
    }

    /// Describes a change of many speakers, in one collection or more.
    pub(super) fn for_many(action: &'static str, collection: Option<Identifier>, speakers: usize) -> Self {
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

/// Runs work that waits for a file or database on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Panicked)
}

/// Reads from the store.
pub(super) async fn read<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = state.store()?;
    Ok(blocking(move || work(&store)).await??)
}

/// Brings the store's index up to date and returns the store, so that a search on a worker never waits for the database.
pub(super) async fn follow_store(state: &AppState) -> Result<Arc<Store>, ApiError> {
    read(state, Store::follow).await?;
    state.store()
}

/// Makes a change and waits until it is committed. The change is made and logged even if the client disconnects. `change`
/// describes the change, if there was one.
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
        // Sending fails if the client has disconnected.
        drop(answer.send(outcome));
    });
    // The sender is dropped without a result only if the change panics.
    Ok(answered.await.map_err(|_| ApiError::Panicked)??)
}

/// Returns the voice of an enrolled speaker for a model, if the key may use the collection.
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
