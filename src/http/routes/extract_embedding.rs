//! `POST /extract-embedding`: a recording as base64 in JSON, or as the body itself.

use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::extract_answer::{ExtractErrors, ExtractResponse};
use crate::http::error::ApiError;
use crate::http::request::call::{Call, Parse};
use crate::http::request::parts::{Received, Takes};
use crate::http::request::recording::{ExtractRequest, IN_BODY};
use crate::http::request::voice::VoiceRecording;
use crate::http::state::AppState;
use crate::pipeline::Wanted;

/// A recording in JSON, or as the body itself.
pub(in crate::http) struct RecordingInBody(VoiceRecording);

impl Parse for RecordingInBody {
    const TAKES: Takes = IN_BODY;

    fn parse(received: Received) -> Result<Self, ApiError> {
        VoiceRecording::lenient(received).map(Self)
    }
}

/// The recording itself.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "it describes a body to OpenAPI")]
pub(in crate::http) struct RawRecording(Vec<u8>);

/// Embed a recording, sent as base64 or as the body itself.
///
/// If the body is the recording itself, its content type may also be any `audio/*`, and the query parameter `channel`
/// selects a channel. The content type describes samples without a header:
/// `audio/pcm;rate=16000;channels=1;encoding=s16le`.
#[utoipa::path(post, path = "/extract-embedding", tag = "Embeddings",
    params(("channel" = Option<String>, Query, description = "For a recording that is the body itself: `mix` for the mean of all channels, or the number of one channel.")),
    request_body(content(
        (ExtractRequest = "application/json"),
        (RawRecording = "application/octet-stream"),
    )),
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = ExtractResponse, description = "The embedding, and the properties of its recording",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        ExtractErrors,
    ),
)]
pub(in crate::http) async fn extract_embedding(
    State(state): State<AppState>,
    Call { caller, admission, request }: Call<RecordingInBody>,
) -> Result<Response, ApiError> {
    let RecordingInBody(recording) = request;
    let model = state.root_embedder_model()?;
    let (voice, timings) = admission.embed_one(&caller, model, &Wanted::default(), recording).await?;
    Ok(ExtractResponse::answer(&voice, &timings))
}
