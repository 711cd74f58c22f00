//! `POST /extract-embedding/upload`: a recording as a multipart file.

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::response::Response;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract_embedding::{ExtractErrors, ExtractResponse};
use super::validation::FieldError;
use super::{AppState, body};

/// A recording to embed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(super) struct UploadForm {
    /// The audio file; its name may say what it is, its content decides.
    #[schema(value_type = String, format = Binary)]
    file: Bytes,
}

/// Embed a recording sent as a file.
#[utoipa::path(post, path = "/extract-embedding/upload", tag = "Embeddings",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = ExtractResponse),
        ExtractErrors,
    ),
)]
pub(super) async fn upload(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let extractor = state.extractor()?;
    extractor.check_capacity()?;
    let recording = read_file_part(request, state.config.max_body_bytes).await?;
    let extraction = extractor.extract(|| Ok(recording)).await?;
    Ok(ExtractResponse::answer(&extraction, extractor.fingerprint()))
}

/// The content of the form's first part named `file`.
pub(super) async fn read_file_part(request: Request, max_bytes: usize) -> Result<Bytes, ApiError> {
    let missing = || FieldError::missing(&["body", "file"], Value::Null);
    body::check_announced_length(request.body(), max_bytes)?;
    let request = request.map(|body| axum::body::Body::new(http_body_util::Limited::new(body, max_bytes)));
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| missing())?;
    let bad_form = |error: axum::extract::multipart::MultipartError| match error.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { max_bytes },
        _ => FieldError::malformed("multipart_invalid", error.body_text()).into(),
    };
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        if part.name() == Some("file") {
            return part.bytes().await.map_err(bad_form);
        }
    }
    Err(missing().into())
}
