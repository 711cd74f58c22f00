//! The routes for enrolled speakers.

pub(in crate::http) mod collections;
pub(in crate::http) mod create;
pub(in crate::http) mod enrol;
pub(in crate::http) mod enrolments;
pub(in crate::http) mod export;
pub(in crate::http) mod import;
pub(in crate::http) mod list;
pub(in crate::http) mod one;
pub(in crate::http) mod transfer;

use axum::Json;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::config::Right;
use crate::embedder::EmbedderModel;
use crate::http::error::ApiError;
use crate::http::error_table::error_responses;
use crate::http::layers::auth::KeyHolder;
use crate::http::request::parts::options_of_query;
use crate::http::state::AppState;
use crate::speakers::{Address, EnrolmentRules, Identifier, Speaker};

/// The query for a collection.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CollectionQuery {
    /// The collection.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default", nullable = false)]
    collection: Option<Identifier>,
}

// The errors of every route for speakers.
error_responses!(
    StoreErrors,
    "invalid_api_key",
    "forbidden",
    "speaker_not_found",
    "enrolment_not_found",
    "collection_not_found",
    "too_many_enrolments",
    "payload_too_large",
    "unsupported_media_type",
    "validation_error",
    "rate_limited",
    "no_store",
    "store_unavailable",
    "model_not_ready",
    "overloaded",
    "shutting_down",
    "timeout"
);

// The errors of every route that enrols.
error_responses!(
    EnrolErrors,
    "invalid_base64",
    "invalid_form",
    "wrong_dimension",
    "invalid_api_key",
    "forbidden",
    "speaker_not_found",
    "model_not_found",
    "speaker_exists",
    "not_this_speaker",
    "duplicate_enrolment",
    "model_mismatch",
    "too_many_speakers",
    "too_many_enrolments",
    "payload_too_large",
    "audio_too_long",
    "unsupported_audio",
    "unsupported_media_type",
    "too_little_speech",
    "unfit_recording",
    "validation_error",
    "too_many_recordings",
    "corrupt_audio",
    "no_speech",
    "audio_too_short",
    "rate_limited",
    "no_store",
    "store_unavailable",
    "model_not_ready",
    "overloaded",
    "shutting_down",
    "timeout"
);

/// Returns the collection that a request names, if its key may use it.
fn collection(key: &KeyHolder, named: Option<Identifier>) -> Result<Identifier, ApiError> {
    let collection = named.unwrap_or_else(Identifier::default_collection);
    key.require_collection(&collection)?;
    Ok(collection)
}

/// Returns the speaker of a path, in a collection that the key may use.
fn address(key: &KeyHolder, id: &str, named: Option<Identifier>) -> Result<Address, ApiError> {
    let collection = collection(key, named)?;
    let id = id.parse().map_err(|_| ApiError::SpeakerNotFound { speaker: id.to_owned() })?;
    Ok(Address { collection, id })
}

/// Returns the speaker of a path, in the collection that the query names.
fn address_by_query(key: &KeyHolder, id: &str, uri: &Uri) -> Result<Address, ApiError> {
    let CollectionQuery { collection } = options_of_query(uri)?;
    address(key, id, collection)
}

/// Returns a speaker as a key may see it. Without the right `read`, the name and the metadata are missing.
fn show(speaker: Speaker, key: &KeyHolder) -> Response {
    if key.may(Right::Read) {
        return Json(speaker).into_response();
    }
    let mut shown = json!(speaker);
    if let Value::Object(fields) = &mut shown {
        fields.remove("name");
        fields.remove("metadata");
    }
    Json(shown).into_response()
}

/// Returns a location with the query that the collection needs.
fn location(path: &str, collection: &Identifier) -> String {
    match collection {
        collection if *collection == Identifier::default_collection() => path.to_owned(),
        collection => format!("{path}?collection={collection}"),
    }
}

/// Returns the rules for enrolments.
fn rules(state: &AppState, model: &EmbedderModel, force: Option<bool>) -> EnrolmentRules {
    EnrolmentRules {
        min_seconds: state.config.min_enrolment_seconds,
        threshold: model.spec().threshold.similarity,
        force: force == Some(true),
    }
}
