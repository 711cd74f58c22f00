//! The model that a request uses.

use std::sync::Arc;

use crate::embedder::{Embedder, EmbedderModel, SegmentationNetwork};
use crate::http::error::ApiError;
use crate::http::state::AppState;
use crate::http::store::follow_store;
use crate::models::segmentation;
use crate::speakers::Identifier;

/// Returns the model that a request and its embeddings name, by id or fingerprint. If they name none, returns the default
/// model.
pub(in crate::http) fn resolve<'a>(
    embedder: &'a Embedder,
    names: impl Iterator<Item = &'a str>,
) -> Result<&'a Arc<EmbedderModel>, ApiError> {
    Ok(named(embedder, names)?.unwrap_or_else(|| embedder.default_model()))
}

/// Like [`resolve`], for a request about a collection. If all profiles of the collection are of one model, that model is
/// the default.
pub(in crate::http) async fn resolve_in(
    state: &AppState,
    names: impl Iterator<Item = &str>,
    collection: Option<&Identifier>,
) -> Result<Arc<EmbedderModel>, ApiError> {
    let embedder = state.embedder_in_hand()?;
    if let Some(named) = named(embedder, names)? {
        return Ok(Arc::clone(named));
    }
    // With one model there is no choice, and without a store there is no collection.
    if let Some(collection) = collection.filter(|_| embedder.models().len() > 1 && state.store().is_ok()) {
        let only = follow_store(state).await?.only_model(collection);
        let only = embedder.models().iter().find(|model| Some(model.id()) == only.as_ref());
        if let Some(only) = only {
            return Ok(Arc::clone(only));
        }
    }
    Ok(Arc::clone(embedder.default_model()))
}

fn named<'a, 'n>(
    embedder: &'a Embedder,
    names: impl Iterator<Item = &'n str>,
) -> Result<Option<&'a Arc<EmbedderModel>>, ApiError> {
    let mut chosen: Option<&Arc<EmbedderModel>> = None;
    for name in names {
        let model = find(embedder, name)?;
        match chosen {
            Some(chosen) if chosen.id() != model.id() => {
                return Err(ApiError::ModelMismatch {
                    one: chosen.id().fingerprint().to_owned(),
                    other: model.id().fingerprint().to_owned(),
                });
            }
            _ => chosen = Some(model),
        }
    }
    Ok(chosen)
}

/// Returns a loaded model by its id or fingerprint.
pub(in crate::http) fn find<'a>(
    embedder: &'a Embedder,
    name: &str,
) -> Result<&'a Arc<EmbedderModel>, ApiError> {
    let models = embedder.models();
    let is_named = |model: &&Arc<EmbedderModel>| model.id().id() == name || model.id().fingerprint() == name;
    if let Some(model) = models.iter().find(is_named) {
        return Ok(model);
    }
    // The name means other weights of a loaded model.
    let release = name.split('/').next().unwrap_or_default();
    let is_release = |model: &&Arc<EmbedderModel>| name.contains('/') && model.spec().release == release;
    if let Some(model) = models.iter().find(is_release) {
        return Err(ApiError::ModelMismatch {
            one: name.to_owned(),
            other: model.id().fingerprint().to_owned(),
        });
    }
    Err(not_found(embedder, name))
}

/// Returns the segmentation network, which diarization needs.
pub(in crate::http) fn segmentation(embedder: &Embedder) -> Result<SegmentationNetwork, ApiError> {
    embedder.segmentation().ok_or_else(|| not_found(embedder, segmentation::files().id))
}

fn not_found(embedder: &Embedder, name: &str) -> ApiError {
    let loaded: Vec<&str> = embedder.models().iter().map(|model| model.id().id()).collect();
    ApiError::ModelNotFound { model: name.to_owned(), loaded: loaded.join(", ") }
}
