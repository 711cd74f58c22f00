//! The response of both routes that embed a recording.

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

/// An embedding, and the properties of its recording.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExtractResponse<'a> {
    /// The embedding: 256 non-negative numbers with L2 norm 1 for Resemblyzer, or 192 numbers for CAM++ if only CAM++ is
    /// loaded.
    #[schema(value_type = Vec<f32>, example = json!([0.085, 0.0, 0.0694]))]
    #[serde(serialize_with = "in_single_precision")]
    embedding: &'a Embedding,
    /// The number of components.
    #[schema(example = 256)]
    dimension: usize,
    /// The fingerprint of weights and preprocessing. Embeddings can be compared if their fingerprints are equal.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: &'a str,
    /// The properties of the recording.
    audio: &'a AudioReport,
}

// The errors of both routes that embed a recording.
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
    /// Returns the response, with the time of each stage in its `Server-Timing` header.
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

/// Writes components as `f32`, as the encoder computes them. They need fewer digits than `f64`.
fn in_single_precision<S: Serializer>(embedding: &Embedding, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(embedding.components().iter().map(|component| *component as f32))
}
