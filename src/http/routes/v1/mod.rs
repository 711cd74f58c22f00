//! The routes under /v1.

use utoipa::IntoResponses;

use crate::http::error::ErrorBody;

pub(in crate::http) mod calibration;
pub(in crate::http) mod diarize;
pub(in crate::http) mod embeddings;
pub(in crate::http) mod identify;
pub(in crate::http) mod key;
pub(in crate::http) mod models;
pub(in crate::http) mod similarities;
pub(in crate::http) mod speakers;
mod vector;
pub(in crate::http) mod verify;

/// What every route that takes voices may be answered.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it describes errors to OpenAPI")]
pub(in crate::http) enum VoiceErrors {
    /// `invalid_base64`, `invalid_form` or `wrong_dimension`
    #[response(status = 400)]
    NotDecodable(ErrorBody),
    /// `invalid_api_key`
    #[response(status = 401)]
    Key(ErrorBody),
    /// `forbidden`: the right or, of an enrolled speaker, the collection
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// `model_not_found` or `speaker_not_found`
    #[response(status = 404)]
    Unknown(ErrorBody),
    /// `model_mismatch`
    #[response(status = 409)]
    UnlikeModels(ErrorBody),
    /// `payload_too_large` or `audio_too_long`
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// `unsupported_audio` or `unsupported_media_type`
    #[response(status = 415)]
    Unsupported(ErrorBody),
    /// `validation_error`, `too_many_recordings`, `corrupt_audio`, `no_speech`, `audio_too_short` or `nothing_embedded`
    #[response(status = 422)]
    Unusable(ErrorBody),
    /// `rate_limited`
    #[response(status = 429)]
    TooOften(ErrorBody),
    /// `no_store`: an enrolled speaker, and none are kept here
    #[response(status = 501)]
    NoStore(ErrorBody),
    /// `overloaded`, `model_not_ready`, `shutting_down`, `timeout` or, of an enrolled speaker, `store_unavailable`
    #[response(status = 503)]
    Unavailable(ErrorBody),
}
