//! The routes under /v1.

use crate::http::error_table::error_responses;

pub(in crate::http) mod calibration;
pub(in crate::http) mod diarize;
pub(in crate::http) mod embeddings;
pub(in crate::http) mod identify;
pub(in crate::http) mod key;
pub(in crate::http) mod live;
pub(in crate::http) mod models;
pub(in crate::http) mod similarities;
pub(in crate::http) mod speakers;
pub(in crate::http) mod verify;

// The errors of every route that accepts voices.
error_responses!(
    VoiceErrors,
    "invalid_base64",
    "invalid_form",
    "wrong_dimension",
    "invalid_api_key",
    "forbidden",
    "model_not_found",
    "speaker_not_found",
    "model_mismatch",
    "payload_too_large",
    "audio_too_long",
    "unsupported_audio",
    "unsupported_media_type",
    "validation_error",
    "too_many_recordings",
    "corrupt_audio",
    "no_speech",
    "audio_too_short",
    "nothing_embedded",
    "rate_limited",
    "no_store",
    "overloaded",
    "model_not_ready",
    "shutting_down",
    "timeout",
    "store_unavailable"
);
