//! `POST /extract-embedding/upload`: a recording as a multipart file.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use utoipa::ToSchema;

use super::extract_answer::{ExtractErrors, ExtractResponse};
use crate::http::embed::embed;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::layers::time_limit::TimeLimit;
use crate::http::request::recording::Recording;
use crate::http::state::AppState;

/// A recording to embed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct UploadForm {
    /// The audio file; its name may say what it is, its content decides.
    #[schema(value_type = String, format = Binary)]
    file: Bytes,
}

/// Embed a recording sent as a file.
#[utoipa::path(post, path = "/extract-embedding/upload", tag = "Embeddings",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = ExtractResponse, description = "The embedding, and what it was made from",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        (status = 400, body = ErrorBody, description = "`invalid_form`"),
        ExtractErrors,
    ),
)]
pub(in crate::http) async fn upload(
    State(state): State<AppState>,
    Extension(time_limit): Extension<TimeLimit>,
    request: Request,
) -> Result<Response, ApiError> {
    let recording = Recording::in_form(&state, request).await?;
    let (voice, timings) = embed(&state, recording, &time_limit).await?;
    Ok(ExtractResponse::answer(&voice, &timings))
}
