//! Every error that a client can see, and the only place where statuses are chosen.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::audio::AudioError;
use crate::embedder::EmbedError;
use crate::pipeline::PipelineError;
use crate::queue::QueueFull;

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// `audio_base64` does not decode.
    #[error("audio_base64 is not valid base64: {0}")]
    InvalidBase64(base64::DecodeError),
    /// An embedding of the wrong length.
    #[error("{field} must be {expected}-dimensional, got {got}")]
    WrongDimension {
        /// Which one.
        field: &'static str,
        /// The length of the model's embeddings.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// A key was sent, but no valid one.
    #[error("Invalid API key")]
    InvalidApiKey,
    /// No such path.
    #[error("Not Found")]
    NotFound,
    /// No such method on this path.
    #[error("Method Not Allowed")]
    MethodNotAllowed,
    /// The body is larger than the limit.
    #[error("The request body is larger than the limit of {max_bytes} bytes")]
    PayloadTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The body cannot be understood.
    #[error("The request is not valid")]
    Validation(Vec<FieldError>),
    /// The recording has no embedding.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The key has made all the requests that its rate allows.
    #[error("The limit of {limit} requests a minute is reached; try again in {wait_seconds} seconds")]
    RateLimited {
        /// The limit.
        limit: u32,
        /// Until the next request is let in.
        wait_seconds: u64,
    },
    /// The queue is full.
    #[error("The service is at capacity; try again shortly")]
    Overloaded,
    /// The encoder is still loading.
    #[error("The model is still loading; try again shortly")]
    ModelNotReady,
    /// The process is about to end.
    #[error("The service is shutting down")]
    ShuttingDown,
    /// The answer took too long.
    #[error("The request took longer than the limit of {seconds} seconds")]
    Timeout {
        /// The limit.
        seconds: f64,
    },
    /// A bug, and what is known of it, for the log alone.
    #[error("Internal Server Error")]
    Internal(String),
    /// A bug that was logged where it panicked.
    #[error("Internal Server Error")]
    Panicked,
}

/// The code of an error, as an extension of its answer.
#[derive(Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// An error as clients get it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// One sentence for a person or, for validation errors, one entry for each bad field.
    detail: ErrorDetail,
    /// The kind of error, for programs.
    #[schema(example = "no_speech")]
    code: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum ErrorDetail {
    Sentence(String),
    Fields(Vec<FieldError>),
}

impl From<EmbedError> for ApiError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Full(full) => full.into(),
            EmbedError::Pipeline(PipelineError::Audio(error @ AudioError::NoSuchChannel { channel, .. })) => {
                FieldError::value("channel", &error.to_string(), channel.into()).into()
            }
            EmbedError::Pipeline(error) => Self::Pipeline(error),
        }
    }
}

impl From<QueueFull> for ApiError {
    fn from(_: QueueFull) -> Self {
        Self::Overloaded
    }
}

/// What is wrong with one field.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// The kind of error, as pydantic names it.
    #[serde(rename = "type")]
    #[schema(example = "missing")]
    pub(super) kind: &'static str,
    /// Where: `body`, `header` or `query`, then names and indices.
    #[schema(value_type = Vec<Value>, example = json!(["body", "audio_base64"]))]
    pub(super) loc: Vec<Value>,
    /// What should be there.
    #[schema(example = "Field required")]
    pub(super) msg: String,
    /// What is there; long values are cut short.
    pub(super) input: Value,
}

impl FieldError {
    /// A required field, part or header is missing.
    pub(super) fn missing(loc: &[&str], input: Value) -> Self {
        let loc = loc.iter().map(|name| Value::from(*name)).collect();
        Self { kind: "missing", loc, msg: "Field required".into(), input }
    }

    /// An option of the body, form or query has a value that cannot be used.
    pub(super) fn value(name: &str, msg: &str, input: Value) -> Self {
        Self { kind: "value_error", loc: vec!["body".into(), name.into()], msg: msg.to_owned(), input }
    }

    /// A header has a value that cannot be used.
    pub(super) fn header(name: &str, msg: &str, input: Value) -> Self {
        Self { kind: "value_error", loc: vec!["header".into(), name.into()], msg: msg.to_owned(), input }
    }

    /// The body does not match its content type.
    pub(super) fn malformed(kind: &'static str, msg: String) -> Self {
        Self { kind, loc: vec!["body".into()], msg, input: Value::Null }
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::Validation(vec![error])
    }
}

impl ApiError {
    /// The status and the code of each error.
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidBase64(_) => (StatusCode::BAD_REQUEST, "invalid_base64"),
            Self::WrongDimension { .. } => (StatusCode::BAD_REQUEST, "wrong_dimension"),
            Self::InvalidApiKey => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::Validation(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
            Self::Pipeline(error) => match error {
                PipelineError::Audio(AudioError::Unsupported(_)) => {
                    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_audio")
                }
                PipelineError::Audio(AudioError::Corrupt(_)) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "corrupt_audio")
                }
                PipelineError::Audio(AudioError::NoSuchChannel { .. }) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "validation_error")
                }
                PipelineError::Audio(AudioError::TooLong { .. }) => {
                    (StatusCode::PAYLOAD_TOO_LARGE, "audio_too_long")
                }
                PipelineError::NoSpeech { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no_speech"),
                PipelineError::TooShort { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "audio_too_short"),
                PipelineError::Encoder(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            },
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::ModelNotReady => (StatusCode::SERVICE_UNAVAILABLE, "model_not_ready"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::Timeout { .. } => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Self::Internal(_) | Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// When to try again, for what passes by itself.
    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited { wait_seconds, .. } => Some(*wait_seconds),
            Self::Overloaded | Self::ModelNotReady | Self::ShuttingDown | Self::Timeout { .. } => Some(1),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let mut headers = HeaderMap::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let detail = match self {
            Self::Validation(fields) => ErrorDetail::Fields(fields),
            Self::Panicked => ErrorDetail::Sentence(self.to_string()),
            error if status == StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(?error, "a request failed");
                ErrorDetail::Sentence(Self::Internal(String::new()).to_string())
            }
            error => ErrorDetail::Sentence(error.to_string()),
        };
        (status, headers, Extension(ErrorCode(code)), Json(ErrorBody { detail, code })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_bug_is_answered_without_its_reason() {
        let of_the_encoder = PipelineError::Encoder(crate::encoder::EncoderError::Run("a secret".into()));
        let answers = [
            ApiError::Internal("a secret".into()).into_response(),
            ApiError::Pipeline(of_the_encoder).into_response(),
            ApiError::Panicked.into_response(),
        ];
        for answer in answers {
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, r#"{"detail":"Internal Server Error","code":"internal"}"#);
        }
    }
}
