//! All errors that clients can receive. `error_table.rs` lists the status of each.

use axum::http::header::{CONNECTION, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error_table::{codes_schema, kind_of, openai_type};
use crate::audio::AudioError;
use crate::config::Right;
use crate::embedder::EmbedError;
use crate::pipeline::PipelineError;
use crate::queue::QueueFull;
use crate::speakers::{Identifier, Unfit};
use crate::store::{ImportError, StoreError};

/// An error of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// `audio_base64` does not decode.
    #[error("audio_base64 is not valid base64: {0}")]
    InvalidBase64(base64::DecodeError),
    /// The field contains prose instead of a recording in base64.
    #[error("This service embeds recordings, not text: send an audio file in base64")]
    Text,
    /// An embedding has the wrong length.
    #[error("{field} must be {expected}-dimensional, got {got}")]
    WrongDimension {
        /// The field of the embedding.
        field: String,
        /// The length of the model's embeddings.
        expected: usize,
        /// The length of the embedding.
        got: usize,
    },
    /// The API key is not valid.
    #[error("Invalid API key")]
    InvalidApiKey,
    /// The key lacks a right.
    #[error("The key lacks the right {right}")]
    Forbidden {
        /// The missing right.
        right: Right,
    },
    /// The key may not use the collection.
    #[error("The key may not use the collection {collection:?}", collection = .collection.as_str())]
    ForbiddenCollection {
        /// The collection.
        collection: Identifier,
    },
    /// The service uses the default key, and the request does not come from this machine.
    #[error(
        "While API_KEY is not set, only this machine may ask: Host should be localhost, 127.0.0.1 or [::1], and Origin, if there is one, local or in CORS_ORIGINS"
    )]
    NotLocal,
    /// A page of another origin tries to open a live session.
    #[error("Pages of {origin} may not open live sessions; CORS_ORIGINS lists those that may")]
    ForeignOrigin {
        /// The origin.
        origin: String,
    },
    /// The request is not a WebSocket handshake.
    #[error("A live session is a WebSocket: send Upgrade: websocket")]
    UpgradeRequired,
    /// The path does not exist.
    #[error("Not Found")]
    NotFound,
    /// The path does not support the method.
    #[error("Method Not Allowed")]
    MethodNotAllowed,
    /// The body is larger than the limit.
    #[error("The request body is larger than the limit of {max_bytes} bytes")]
    PayloadTooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// The request is malformed, or has missing or invalid fields.
    #[error("The request is not valid")]
    Validation(Vec<FieldError>),
    /// The recording cannot be processed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The key has reached its rate limit.
    #[error("The limit of {limit} requests a minute is reached; try again in {wait_seconds} seconds")]
    RateLimited {
        /// The limit in requests per minute.
        limit: u32,
        /// Seconds until the next request is allowed.
        wait_seconds: u64,
    },
    /// The error of one of several recordings or voices.
    #[error("{param}: {error}")]
    At {
        /// The recording or voice.
        param: String,
        /// The error.
        error: Box<ApiError>,
    },
    /// No recording or segment of the request has an embedding.
    #[error("None of the {n} recordings or segments has an embedding; the first: {first}")]
    NothingEmbedded {
        /// The number of recordings or segments.
        n: usize,
        /// The error of the first.
        first: String,
    },
    /// The request has more recordings than allowed.
    #[error("A request may have {max} recordings")]
    TooManyRecordings {
        /// The limit.
        max: usize,
    },
    /// The request asks for a different number of dimensions than the model has.
    #[error("The model's embeddings have {dimension} dimensions; no other number is supported")]
    Dimensions {
        /// The dimension of the model's embeddings.
        dimension: usize,
    },
    /// No loaded model has the requested name.
    #[error("There is no model {model:?}; loaded: {loaded}")]
    ModelNotFound {
        /// The requested name.
        model: String,
        /// The ids of the loaded models.
        loaded: String,
    },
    /// The embeddings come from models that cannot be compared.
    #[error("{one} and {other} are different models; their embeddings are not comparable")]
    ModelMismatch {
        /// The fingerprint of one model.
        one: String,
        /// The fingerprint of the other model.
        other: String,
    },
    /// The model has no calibration.
    #[error("There is no calibration for the model {model}")]
    NoCalibration {
        /// The model's fingerprint.
        model: String,
    },
    /// The id is not valid, so no speaker has it.
    #[error("There is no speaker {speaker:?}")]
    SpeakerNotFound {
        /// The requested id.
        speaker: String,
    },
    /// The speaker has not been enrolled with the request's model.
    #[error("The speaker {speaker:?} has no profile of {model}; enrol a recording with that model", speaker = .speaker.as_str())]
    NoProfile {
        /// The speaker's id.
        speaker: Identifier,
        /// The model's fingerprint.
        model: String,
    },
    /// The service stores no speakers.
    #[error("This service stores no speakers; its startup log says why (DATABASE_URL)")]
    NoStore,
    /// An error of the speaker store.
    #[error(transparent)]
    Store(StoreError),
    /// The export cannot be imported.
    #[error(transparent)]
    Import(ImportError),
    /// The route does not accept the content type.
    #[error("The content type {found:?} is not accepted here; send {expected}")]
    UnsupportedMediaType {
        /// The content type of the request.
        found: String,
        /// The accepted content types.
        expected: &'static str,
    },
    /// The body has a content encoding. The service decodes none.
    #[error("The content encoding {found:?} is not supported; send the body uncompressed")]
    ContentEncoding {
        /// The content encoding of the request.
        found: String,
    },
    /// The content type of a form has no boundary.
    #[error("Missing boundary in multipart.")]
    MissingBoundary,
    /// The request has too many headers.
    #[error("The request has more than {max} headers")]
    TooManyHeaders {
        /// The limit.
        max: usize,
    },
    /// The body did not arrive in time.
    #[error("The request body did not arrive within the limit of {seconds} seconds")]
    BodyTooSlow {
        /// The limit in seconds.
        seconds: f64,
    },
    /// The request has no API key.
    #[error("An API key is required: X-API-Key: KEY or Authorization: Bearer KEY")]
    MissingApiKey,
    /// The queue is full.
    #[error("The service is at capacity; try again shortly")]
    Overloaded,
    /// The model is still loading.
    #[error("The model is still loading; try again shortly")]
    ModelNotReady,
    /// The process is shutting down.
    #[error("The service is shutting down")]
    ShuttingDown,
    /// The response took too long.
    #[error("The request took longer than the limit of {seconds} seconds")]
    Timeout {
        /// The limit in seconds.
        seconds: f64,
    },
    /// A bug. The details go to the log only.
    #[error("Internal Server Error")]
    Internal(String),
    /// A bug that caused a panic, which has been logged already.
    #[error("Internal Server Error")]
    Panicked,
}

/// The code of an error, as an extension of its response.
#[derive(Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// The body of an error response.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// A sentence for people. For validation errors, a list with one entry per invalid field.
    detail: ErrorDetail,
    /// A machine-readable error code.
    #[schema(schema_with = codes_schema)]
    code: &'static str,
    /// The same error in OpenAI's format, under /v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<OpenAiError>,
}

/// An error in OpenAI's format.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OpenAiError {
    message: String,
    /// `invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The part of the request that is wrong.
    param: Option<String>,
    #[schema(schema_with = codes_schema)]
    code: &'static str,
}

/// The body of an error under /v1, as an extension of its response.
#[derive(Clone)]
pub(super) struct ErrorUnderV1(pub(super) ErrorBody);

impl ErrorBody {
    fn in_v1(&self, status: StatusCode, param: Option<String>) -> ErrorUnderV1 {
        let message = match &self.detail {
            ErrorDetail::Sentence(sentence) => sentence.clone(),
            ErrorDetail::Fields(fields) => {
                let messages = fields.iter().map(|field| match param.as_deref() {
                    Some(param) => format!("{param}: {}", field.msg),
                    None => field.msg.clone(),
                });
                messages.collect::<Vec<_>>().join("; ")
            }
        };
        let kind = openai_type(status.as_u16());
        let error = OpenAiError { message, kind, param, code: self.code };
        ErrorUnderV1(Self { error: Some(error), ..self.clone() })
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
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

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OfVoice { index, error } => Self::from(*error).with_param(format!("voices[{index}]")),
            StoreError::OfLine { line, error } => Self::from(*error).with_param(format!("line {line}")),
            StoreError::Internal(reason) => Self::Internal(reason),
            error => Self::Store(error),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Malformed { line, .. } => {
                FieldError::new(&["body", &line.to_string()], "value_error", &error.to_string()).into()
            }
            ImportError::Read(error) => Self::Store(StoreError::Unavailable { reason: error.to_string() }),
            error => Self::Import(error),
        }
    }
}

fn import_code(error: &ImportError) -> &'static str {
    match error {
        ImportError::Incomplete { .. } => "incomplete",
        ImportError::UnknownModel { .. } => "model_mismatch",
        ImportError::TooManySpeakers { .. } => "too_many_speakers",
        ImportError::Forbidden { .. } => "forbidden",
        ImportError::Malformed { .. } => "validation_error",
        ImportError::Read(_) => "store_unavailable",
    }
}

impl From<QueueFull> for ApiError {
    fn from(_: QueueFull) -> Self {
        Self::Overloaded
    }
}

/// The error of one field.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// The type of error, as pydantic names it.
    #[serde(rename = "type")]
    #[schema(example = "missing")]
    pub(super) kind: &'static str,
    /// The location: `body`, `header` or `query`, followed by names and indices.
    #[schema(value_type = Vec<Value>, example = json!(["body", "audio_base64"]))]
    pub(super) loc: Vec<Value>,
    /// The message, which describes the expected input.
    #[schema(example = "Field required")]
    pub(super) msg: String,
    /// The received input. Long values are truncated.
    pub(super) input: Value,
}

impl FieldError {
    /// Creates the error for a missing field, part or header.
    pub(super) fn missing(loc: &[&str], input: Value) -> Self {
        let loc = loc.iter().map(|name| Value::from(*name)).collect();
        Self { kind: "missing", loc, msg: "Field required".into(), input }
    }

    /// Creates an error for a location in the request.
    pub(super) fn new(loc: &[&str], kind: &'static str, msg: &str) -> Self {
        let part = |part: &&str| part.parse::<usize>().map_or_else(|_| Value::from(*part), Value::from);
        Self { kind, loc: loc.iter().map(part).collect(), msg: msg.to_owned(), input: Value::Null }
    }

    /// Creates the error for an invalid option of the body, form or query.
    pub(super) fn value(name: &str, msg: &str, input: Value) -> Self {
        Self { kind: "value_error", loc: vec!["body".into(), name.into()], msg: msg.to_owned(), input }
    }

    /// Creates the error for an invalid header.
    pub(super) fn header(name: &str, msg: &str, input: Value) -> Self {
        Self { kind: "value_error", loc: vec!["header".into(), name.into()], msg: msg.to_owned(), input }
    }

    /// Creates the error for a body that does not match its content type.
    pub(super) fn malformed(kind: &'static str, msg: String) -> Self {
        Self { kind, loc: vec!["body".into()], msg, input: Value::Null }
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::Validation(vec![error])
    }
}

fn store_code(error: &StoreError) -> &'static str {
    match error {
        StoreError::SpeakerNotFound { .. } => "speaker_not_found",
        StoreError::EnrolmentNotFound { .. } => "enrolment_not_found",
        StoreError::CollectionNotFound { .. } => "collection_not_found",
        StoreError::SpeakerExists { .. } => "speaker_exists",
        StoreError::DuplicateEnrolment { .. } => "duplicate_enrolment",
        StoreError::Unfit(Unfit::NotThisSpeaker { .. }) => "not_this_speaker",
        StoreError::Unfit(Unfit::TooLittleSpeech { .. }) => "too_little_speech",
        StoreError::Unfit(Unfit::Recording { .. }) => "unfit_recording",
        StoreError::TooManySpeakers { .. } => "too_many_speakers",
        StoreError::TooManyEnrolments { .. } => "too_many_enrolments",
        StoreError::OtherDimension { .. } => "model_mismatch",
        StoreError::OfVoice { error, .. } | StoreError::OfLine { error, .. } => store_code(error),
        StoreError::Unavailable { .. } => "store_unavailable",
        StoreError::Internal(_) => "internal",
    }
}

impl ApiError {
    /// Returns the code of the error.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::InvalidBase64(_) | Self::Text => "invalid_base64",
            Self::WrongDimension { .. } | Self::Dimensions { .. } => "wrong_dimension",
            Self::InvalidApiKey | Self::MissingApiKey => "invalid_api_key",
            Self::Forbidden { .. }
            | Self::ForbiddenCollection { .. }
            | Self::NotLocal
            | Self::ForeignOrigin { .. } => "forbidden",
            Self::UpgradeRequired => "upgrade_required",
            Self::At { error, .. } => error.code(),
            Self::NothingEmbedded { .. } => "nothing_embedded",
            Self::TooManyRecordings { .. } => "too_many_recordings",
            Self::ModelNotFound { .. } => "model_not_found",
            Self::ModelMismatch { .. } | Self::NoProfile { .. } => "model_mismatch",
            Self::NoCalibration { .. } => "no_calibration",
            Self::SpeakerNotFound { .. } => "speaker_not_found",
            Self::NoStore => "no_store",
            Self::Store(error) => store_code(error),
            Self::Import(error) => import_code(error),
            Self::UnsupportedMediaType { .. } | Self::ContentEncoding { .. } => "unsupported_media_type",
            Self::MissingBoundary => "invalid_form",
            Self::TooManyHeaders { .. } => "too_many_headers",
            Self::BodyTooSlow { .. } => "request_timeout",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::Validation(_) => "validation_error",
            Self::Pipeline(error) => error.code(),
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::ModelNotReady => "model_not_ready",
            Self::ShuttingDown => "shutting_down",
            Self::Timeout { .. } => "timeout",
            Self::Internal(_) | Self::Panicked => "internal",
        }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(kind_of(self.code()).status).expect("the table holds statuses")
    }

    /// Creates the error for an invalid field of the body.
    pub(super) fn field(name: &str, msg: &str) -> Self {
        FieldError::value(name, msg, Value::Null).into()
    }

    /// Adds the location of a part of the body to the error's fields.
    pub(super) fn with_location(mut self, loc: &[&str]) -> Self {
        if let Self::Validation(fields) = &mut self {
            for field in fields {
                let place = FieldError::new(loc, "", "").loc;
                field.loc.splice(1..1, place);
            }
        }
        self
    }

    /// Marks the error's fields as parameters of the query.
    pub(super) fn in_query(mut self) -> Self {
        if let Self::Validation(fields) = &mut self {
            fields
                .iter_mut()
                .filter_map(|field| field.loc.first_mut())
                .for_each(|place| *place = "query".into());
        }
        self
    }

    /// Removes the id of another speaker from the error.
    pub(super) fn without_names(self) -> Self {
        match self {
            Self::At { param, error } => Self::At { param, error: Box::new(error.without_names()) },
            Self::Store(StoreError::DuplicateEnrolment { .. }) => {
                Self::Store(StoreError::DuplicateEnrolment { speaker: None })
            }
            error => error,
        }
    }

    /// Removes the similarity of a voice to a profile from the error.
    pub(super) fn without_similarities(self) -> Self {
        match self {
            Self::At { param, error } => Self::At { param, error: Box::new(error.without_similarities()) },
            Self::Store(StoreError::Unfit(Unfit::NotThisSpeaker { threshold, .. })) => {
                Self::Store(Unfit::NotThisSpeaker { similarity: None, threshold }.into())
            }
            error => error,
        }
    }

    /// Attributes the error to one of several recordings or voices.
    pub(super) fn with_param(self, param: String) -> Self {
        match self {
            // A bug or a full queue does not belong to a single recording or voice.
            error if error.is_internal() || error.retry_after_seconds().is_some() => error,
            error => Self::At { param, error: Box::new(error) },
        }
    }

    /// Removes the attribution, for a request with a single recording or voice.
    pub(super) fn without_param(self) -> Self {
        match self {
            Self::At { error, .. } => *error,
            error => error,
        }
    }

    /// Returns whether the error is a bug of the service.
    pub(super) fn is_internal(&self) -> bool {
        self.code() == "internal"
    }

    /// Returns the part of the request that is wrong, for OpenAI's error format.
    fn param(&self) -> Option<String> {
        match self {
            Self::At { param, .. } => Some(param.clone()),
            Self::NothingEmbedded { .. } => Some("input".into()),
            Self::Dimensions { .. } => Some("dimensions".into()),
            Self::ForbiddenCollection { .. } => Some("collection".into()),
            Self::ModelNotFound { .. } | Self::ModelMismatch { .. } => Some("model".into()),
            Self::WrongDimension { field, .. } => Some(field.clone()),
            Self::Pipeline(PipelineError::SegmentPastEnd { index, .. }) => Some(format!("segments[{index}]")),
            Self::Validation(fields) => {
                let path = fields.first()?.loc.iter().skip(1);
                let mut param = String::new();
                for part in path {
                    match part {
                        Value::String(name) if param.is_empty() => param.push_str(name),
                        Value::String(name) => param.extend([".", name]),
                        index => param.extend(["[", &index.to_string(), "]"]),
                    }
                }
                (!param.is_empty()).then_some(param)
            }
            _ => None,
        }
    }

    /// Returns the seconds to wait before a retry, for temporary errors.
    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited { wait_seconds, .. } => Some(*wait_seconds),
            Self::Overloaded | Self::ModelNotReady | Self::ShuttingDown | Self::Timeout { .. } => Some(1),
            Self::Store(StoreError::Unavailable { .. }) => Some(2),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = (self.status(), self.code());
        let mut headers = HeaderMap::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::INTERNAL_SERVER_ERROR && !matches!(self, Self::Panicked) {
            tracing::error!(error = ?self, "a request failed");
        }
        let (body, v1) = self.bodies();
        (status, headers, Extension(ErrorCode(code)), Extension(v1), Json(body)).into_response()
    }
}

impl ApiError {
    /// Returns the body of the response, and its body under /v1.
    fn bodies(self) -> (ErrorBody, ErrorUnderV1) {
        let (status, code) = (self.status(), self.code());
        let param = self.param();
        let detail = match self {
            Self::At { error, param } => match *error {
                Self::Validation(fields) => ErrorDetail::Fields(fields),
                error => ErrorDetail::Sentence(format!("{param}: {error}")),
            },
            Self::Validation(fields) => ErrorDetail::Fields(fields),
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => {
                ErrorDetail::Sentence(Self::Panicked.to_string())
            }
            error => ErrorDetail::Sentence(error.to_string()),
        };
        let body = ErrorBody { detail, code, error: None };
        let v1 = body.in_v1(status, param);
        (body, v1)
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
