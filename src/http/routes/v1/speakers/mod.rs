//! Enrolled speakers.

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
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::config::Right;
use crate::embedder::EmbedderModel;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::layers::auth::KeyHolder;
use crate::http::request::parts::query;
use crate::http::state::AppState;
use crate::speakers::{Address, EnrolmentRules, Identifier, Speaker};

/// A speaker, as the OpenAPI document describes it.
#[derive(ToSchema)]
#[schema(as = Speaker)]
#[allow(dead_code, reason = "it describes the store's speakers to OpenAPI")]
struct SpeakerAnswer {
    /// Unique in the collection.
    #[schema(example = "anna")]
    id: String,
    /// What people call them; empty if nothing was sent. For keys with `read`.
    #[schema(example = "Anna", required = false)]
    name: String,
    #[schema(example = "default")]
    collection: String,
    /// What the client keeps with them. For keys with `read`.
    #[schema(required = false, value_type = Object, example = json!({"team": "blue"}))]
    metadata: Value,
    /// The number of their enrolments.
    #[schema(example = 2)]
    enrolments: usize,
    /// One for each model that they are enrolled with.
    profiles: Vec<ProfileAnswer>,
    /// RFC 3339.
    #[schema(example = "2026-11-26T09:30:00.123Z")]
    created_at: String,
    /// RFC 3339.
    #[schema(example = "2026-11-26T09:30:00.123Z")]
    updated_at: String,
}

/// The mean of a speaker's enrolments of one model, weighted by their seconds of speech.
#[derive(ToSchema)]
#[schema(as = Profile)]
#[allow(dead_code, reason = "it describes the store's profiles to OpenAPI")]
struct ProfileAnswer {
    /// Names weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    /// Seconds of speech that are known to be in it.
    #[schema(example = 12.34)]
    seconds: f64,
    /// The number of enrolments in it.
    #[schema(example = 2)]
    enrolments: usize,
}

/// An enrolment, without its embedding.
#[derive(ToSchema)]
#[schema(as = Enrolment)]
#[allow(dead_code, reason = "it describes the store's enrolments to OpenAPI")]
struct EnrolmentAnswer {
    /// Unique.
    #[schema(example = "019aa7f3-5c1e-7f00-8000-3f0d6a2b9c11")]
    id: String,
    /// Names weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    /// Seconds of speech; null if it was an embedding that did not tell.
    #[schema(example = 6.17)]
    speech_seconds: Option<f64>,
    /// Cosine similarity to the speaker's profile as it was before; null for the first.
    #[schema(example = 0.91)]
    similarity_to_profile: Option<f64>,
    /// Warnings that the recording came with.
    warnings: Vec<String>,
    /// RFC 3339.
    #[schema(example = "2026-11-26T09:30:00.123Z")]
    created_at: String,
}

/// In which collection.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CollectionQuery {
    /// The collection.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default", nullable = false)]
    collection: Option<Identifier>,
}

/// What every route of speakers may be answered.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it describes errors to OpenAPI")]
enum StoreErrors {
    /// `invalid_api_key`
    #[response(status = 401)]
    Key(ErrorBody),
    /// `forbidden`: the right or the collection
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// `speaker_not_found`, `enrolment_not_found` or `collection_not_found`
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// `too_many_enrolments` or `payload_too_large`
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// `unsupported_media_type`
    #[response(status = 415)]
    Unsupported(ErrorBody),
    /// `validation_error`
    #[response(status = 422)]
    NotValid(ErrorBody),
    /// `rate_limited`
    #[response(status = 429)]
    TooOften(ErrorBody),
    /// `no_store`: speakers are not kept here
    #[response(status = 501)]
    NoStore(ErrorBody),
    /// `store_unavailable`, `model_not_ready`, `overloaded`, `shutting_down` or `timeout`
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// What every route that enrols may be answered.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it describes errors to OpenAPI")]
enum EnrolErrors {
    /// `invalid_base64`, `invalid_form` or `wrong_dimension`
    #[response(status = 400)]
    NotDecodable(ErrorBody),
    /// `invalid_api_key`
    #[response(status = 401)]
    Key(ErrorBody),
    /// `forbidden`: the right or the collection
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// `speaker_not_found` or `model_not_found`
    #[response(status = 404)]
    Unknown(ErrorBody),
    /// `speaker_exists`, `not_this_speaker`, `duplicate_enrolment` or `model_mismatch`
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// `too_many_speakers`, `too_many_enrolments`, `payload_too_large` or `audio_too_long`
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// `unsupported_audio` or `unsupported_media_type`
    #[response(status = 415)]
    Unsupported(ErrorBody),
    /// `too_little_speech`, `unfit_recording`, `validation_error`, `too_many_recordings`, `corrupt_audio`, `no_speech` or `audio_too_short`
    #[response(status = 422)]
    Unusable(ErrorBody),
    /// `rate_limited`
    #[response(status = 429)]
    TooOften(ErrorBody),
    /// `no_store`: speakers are not kept here
    #[response(status = 501)]
    NoStore(ErrorBody),
    /// `store_unavailable`, `model_not_ready`, `overloaded`, `shutting_down` or `timeout`
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The collection that a request names, which its key may use.
fn collection(key: &KeyHolder, named: Option<Identifier>) -> Result<Identifier, ApiError> {
    let collection = named.unwrap_or_else(Identifier::default_collection);
    key.require_collection(&collection)?;
    Ok(collection)
}

/// The speaker of a path, in a collection that the key may use.
fn address(key: &KeyHolder, id: &str, named: Option<Identifier>) -> Result<Address, ApiError> {
    let collection = collection(key, named)?;
    let id = id.parse().map_err(|_| ApiError::SpeakerNotFound { speaker: id.to_owned() })?;
    Ok(Address { collection, id })
}

/// The speaker of a path, in the collection that the query names.
fn address_by_query(key: &KeyHolder, id: &str, uri: &Uri) -> Result<Address, ApiError> {
    let CollectionQuery { collection } = query(uri)?;
    address(key, id, collection)
}

/// A speaker, as a key may see it: without `read` there are no name and no metadata.
fn shown(speaker: Speaker, key: &KeyHolder) -> Response {
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

/// A location with the query that the collection needs.
fn location(path: &str, collection: &Identifier) -> String {
    match collection {
        collection if *collection == Identifier::default_collection() => path.to_owned(),
        collection => format!("{path}?collection={collection}"),
    }
}

/// What an enrolment must fulfil.
fn rules(state: &AppState, model: &EmbedderModel, force: Option<bool>) -> EnrolmentRules {
    EnrolmentRules {
        min_seconds: state.config.min_enrolment_seconds,
        threshold: model.spec().threshold,
        force: force == Some(true),
    }
}
