//! Recordings in requests: one parser for all routes and all ways to send one.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::Limited;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::Fields;
use super::{base64, body};
use crate::http::error::{ApiError, FieldError};
use crate::http::state::AppState;

/// A recording as it was received; [`Recording::unpack`] makes the audio file of it.
pub(in crate::http) enum Recording {
    /// The file itself.
    File(Bytes),
    /// A JSON body that holds it as base64.
    Json(Bytes),
}

/// A recording to embed.
#[derive(ToSchema)]
pub(in crate::http) struct ExtractRequest<'a> {
    /// The audio file in base64. Line breaks, missing padding, the URL-safe alphabet and a `data:` prefix are fine.
    #[schema(value_type = String, example = "UklGRi...")]
    audio_base64: Cow<'a, str>,
    /// What the file is. A hint only: its content decides.
    #[schema(value_type = Option<String>, default = "wav", example = "wav")]
    #[allow(dead_code, reason = "it is checked to be a string; the content alone decides")]
    format: Option<Cow<'a, str>>,
}

impl Recording {
    /// Receives a body that is the recording itself (by its content type) or a JSON object with it. A full queue refuses it
    /// before it is received.
    pub(in crate::http) async fn in_body(
        state: &AppState,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, ApiError> {
        state.embedder()?.check_capacity()?;
        let bytes = body::read(body, state.config.max_body_bytes).await?;
        Ok(if is_audio(headers) { Self::File(bytes) } else { Self::Json(bytes) })
    }

    /// Receives the first part named `file` of a multipart form. A full queue refuses it before it is received.
    pub(in crate::http) async fn in_form(state: &AppState, request: Request) -> Result<Self, ApiError> {
        state.embedder()?.check_capacity()?;
        Ok(Self::File(read_file_part(request, state.config.max_body_bytes).await?))
    }

    /// The audio file. It takes time that grows with the recording, so it belongs on a worker.
    pub(in crate::http) fn unpack(self) -> Result<Bytes, ApiError> {
        match self {
            Self::File(bytes) => Ok(bytes),
            Self::Json(body) => {
                ExtractRequest::parse(&without_line_breaks(body))?.decode_audio().map(Bytes::from)
            }
        }
    }
}

impl<'a> ExtractRequest<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let request =
            Self { audio_base64: fields.string("audio_base64"), format: fields.optional_string("format") };
        fields.finish()?;
        Ok(request)
    }

    fn decode_audio(&self) -> Result<Vec<u8>, ApiError> {
        base64::decode(&self.audio_base64)
    }
}

/// Whether the body is the recording itself, by its content type.
fn is_audio(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let begins = |prefix: &str| {
        content_type.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    begins("audio/") || begins("application/octet-stream")
}

/// Turns line breaks into blanks. Outside of strings they mean the same; within one they are not JSON, but a shell puts them
/// there with `"$(base64 FILE)"` where that command breaks its lines.
fn without_line_breaks(body: Bytes) -> Vec<u8> {
    // No copy: nobody else holds these bytes.
    let mut body = Vec::from(body);
    for byte in &mut body {
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
    body
}

/// The content of the form's first part named `file`.
pub(in crate::http) async fn read_file_part(request: Request, max_bytes: usize) -> Result<Bytes, ApiError> {
    let missing = || FieldError::missing(&["body", "file"], Value::Null);
    body::check_announced_length(request.body(), max_bytes)?;
    let request = request.map(|body| Body::new(Limited::new(body, max_bytes)));
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| missing())?;
    let bad_form = |error: axum::extract::multipart::MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { max_bytes },
        _ => FieldError::malformed("multipart_invalid", error.body_text()).into(),
    };
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        if part.name() == Some("file") {
            return part.bytes().await.map_err(bad_form);
        }
    }
    Err(missing().into())
}
