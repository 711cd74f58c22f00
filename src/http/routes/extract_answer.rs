//! The answer of both routes that embed a recording.

use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::embedder::{EmbeddedVoice, Timings};
use crate::embedding::Embedding;
use crate::http::answer::server_timing;
use crate::http::error_table::error_responses;
use crate::http::layers::observe::AudioSeconds;
use crate::report::AudioReport;

/// An embedding, and what it was made from.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExtractResponse<'a> {
    /// Resemblyzer's 256 numbers, none negative, L2 norm 1; CAM++'s 192 where it is loaded alone.
    #[schema(value_type = Vec<f32>, example = json!([0.085, 0.0, 0.0694]))]
    #[serde(serialize_with = "in_single_precision")]
    embedding: &'a Embedding,
    /// How many numbers.
    #[schema(example = 256)]
    dimension: usize,
    /// Names weights and preprocessing; embeddings can be compared if this is equal.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: &'a str,
    /// What was heard.
    audio: &'a AudioReport,
}

// What either way of sending a recording may be answered.
error_responses!(
    ExtractErrors,
    "invalid_base64",
    "invalid_form",
    "invalid_api_key",
    "forbidden",
    "payload_too_large",
    "audio_too_long",
    "unsupported_audio",
    "unsupported_media_type",
    "validation_error",
    "corrupt_audio",
    "no_speech",
    "audio_too_short",
    "rate_limited",
    "overloaded",
    "model_not_ready",
    "shutting_down",
    "timeout"
);

impl ExtractResponse<'_> {
    /// The answer, with the time of each stage in its `Server-Timing` header.
    pub(in crate::http) fn answer(voice: &EmbeddedVoice, timings: &Timings) -> Response {
        let EmbeddedVoice { embedding, audio, .. } = voice;
        let body = ExtractResponse {
            embedding,
            dimension: embedding.components().len(),
            model: embedding.model().fingerprint(),
            audio,
        };
        let seconds = AudioSeconds(audio.duration_seconds);
        ([server_timing(timings)], Extension(seconds), Json(body)).into_response()
    }
}

/// What the encoder makes are `f32`, whose shortest digits are fewer.
fn in_single_precision<S: Serializer>(embedding: &Embedding, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(embedding.components().iter().map(|component| *component as f32))
}
