//! `POST /extract-embedding`: a recording as base64 in JSON, or as the body itself.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use utoipa::ToSchema;

use super::extract_answer::{ExtractErrors, ExtractResponse};
use crate::http::embed::embed;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::layers::time_limit::TimeLimit;
use crate::http::request::recording::{ExtractRequest, Recording};
use crate::http::state::AppState;

/// The recording itself.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "it describes a body to OpenAPI")]
pub(in crate::http) struct RawRecording(Vec<u8>);

/// Embed a recording sent as base64, or as the body itself.
///
/// The body may have any type `audio/*` too; samples without a header are described by it
/// (`audio/pcm;rate=16000;channels=1;encoding=s16le`), and the query takes `channel`.
#[utoipa::path(post, path = "/extract-embedding", tag = "Embeddings",
    request_body(content(
        (ExtractRequest = "application/json"),
        (RawRecording = "application/octet-stream"),
    )),
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = ExtractResponse, description = "The embedding, and what it was made from",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        (status = 400, body = ErrorBody, description = "`invalid_base64`"),
        ExtractErrors,
    ),
)]
pub(in crate::http) async fn extract_embedding(
    State(state): State<AppState>,
    Extension(time_limit): Extension<TimeLimit>,
    request: Request,
) -> Result<Response, ApiError> {
    let recording = Recording::in_body(&state, request).await?;
    let (voice, timings) = embed(&state, recording, &time_limit).await?;
    Ok(ExtractResponse::answer(&voice, &timings))
}
