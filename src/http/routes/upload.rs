//! `POST /extract-embedding/upload`: a recording as a multipart file.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::extract_answer::{ExtractErrors, ExtractResponse};
use crate::http::error::ApiError;
use crate::http::request::call::{Call, Parse};
use crate::http::request::parts::{Received, Takes};
use crate::http::request::recording::IN_FORM;
use crate::http::request::voice::VoiceRecording;
use crate::http::state::AppState;
use crate::pipeline::Wanted;

/// A recording in a form.
pub(in crate::http) struct RecordingInForm(VoiceRecording);

impl Parse for RecordingInForm {
    const TAKES: Takes = IN_FORM;

    fn parse(received: Received) -> Result<Self, ApiError> {
        VoiceRecording::lenient(received).map(Self)
    }
}

/// A recording to embed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct UploadForm {
    /// The audio file. Its name may be a hint at the format, but its content decides.
    #[schema(value_type = String, format = Binary)]
    file: Bytes,
}

/// Embed a recording sent as a file.
#[utoipa::path(post, path = "/extract-embedding/upload", tag = "Embeddings",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = ExtractResponse, description = "The embedding, and the properties of its recording",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        ExtractErrors,
    ),
)]
pub(in crate::http) async fn upload(
    State(state): State<AppState>,
    Call { caller, admission, request }: Call<RecordingInForm>,
) -> Result<Response, ApiError> {
    let RecordingInForm(recording) = request;
    let model = state.root_embedder_model()?;
    let (voice, timings) = admission.embed_one(&caller, model, &Wanted::default(), recording).await?;
    Ok(ExtractResponse::answer(&voice, &timings))
}
