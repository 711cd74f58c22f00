//! Which model a request means.

use std::sync::Arc;

use crate::embedder::{Embedder, EmbedderModel};
use crate::http::error::ApiError;

/// The model that a request and its embeddings name, by id or fingerprint; the default one if none does.
pub(in crate::http) fn resolve<'a>(
    embedder: &'a Embedder,
    names: impl Iterator<Item = &'a str>,
) -> Result<&'a Arc<EmbedderModel>, ApiError> {
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
    Ok(chosen.unwrap_or_else(|| embedder.default_model()))
}

/// A loaded model by its id or fingerprint.
pub(in crate::http) fn find<'a>(
    embedder: &'a Embedder,
    name: &str,
) -> Result<&'a Arc<EmbedderModel>, ApiError> {
    let models = embedder.models();
    let is_named = |model: &&Arc<EmbedderModel>| model.id().id() == name || model.id().fingerprint() == name;
    if let Some(model) = models.iter().find(is_named) {
        return Ok(model);
    }
    // Other weights of a model that is loaded.
    let release = name.split('/').next().unwrap_or_default();
    let is_release = |model: &&Arc<EmbedderModel>| name.contains('/') && model.spec().release == release;
    if let Some(model) = models.iter().find(is_release) {
        return Err(ApiError::ModelMismatch {
            one: name.to_owned(),
            other: model.id().fingerprint().to_owned(),
        });
    }
    let loaded: Vec<&str> = models.iter().map(|model| model.id().id()).collect();
    Err(ApiError::ModelNotFound { model: name.to_owned(), loaded: loaded.join(", ") })
}
