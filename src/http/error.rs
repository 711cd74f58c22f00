//! Every error that a client can see, and the only place where statuses are chosen.

use std::collections::BTreeMap;

use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{Object, ObjectBuilder, Type};

use crate::audio::AudioError;
use crate::config::Right;
use crate::embedder::EmbedError;
use crate::pipeline::PipelineError;
use crate::queue::QueueFull;
use crate::speakers::{Identifier, Unfit};
use crate::store::{ImportError, StoreError};

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
        field: String,
        /// The length of the model's embeddings.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// A key was sent, but no valid one.
    #[error("Invalid API key")]
    InvalidApiKey,
    /// The key lacks a right.
    #[error("The key lacks the right {right}")]
    Forbidden {
        /// Which one.
        right: Right,
    },
    /// The key may not use the collection.
    #[error("The key may not use the collection {collection:?}", collection = .collection.as_str())]
    ForbiddenCollection {
        /// Which one.
        collection: Identifier,
    },
    /// The key is the well-known one, and the request is not of this machine.
    #[error(
        "While API_KEY is not set, only this machine may ask: Host should be localhost, 127.0.0.1 or [::1], and Origin, if there is one, local or in CORS_ORIGINS"
    )]
    NotLocal,
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
    /// Something about one of several recordings or voices.
    #[error("{param}: {error}")]
    At {
        /// Which one.
        param: String,
        /// What is wrong with it.
        error: Box<ApiError>,
    },
    /// Nothing of a batch has an embedding.
    #[error("None of the {n} recordings or segments has an embedding; the first: {first}")]
    NothingEmbedded {
        /// How many there are.
        n: usize,
        /// What is wrong with the first.
        first: String,
    },
    /// More recordings than a request may have.
    #[error("A request may have {max} recordings")]
    TooManyRecordings {
        /// The limit.
        max: usize,
    },
    /// Another number of dimensions than the model's.
    #[error("The model's embeddings have {dimension} dimensions; no other number can be asked for")]
    Dimensions {
        /// The model's.
        dimension: usize,
    },
    /// No such model is loaded.
    #[error("There is no model {model:?}; loaded: {loaded}")]
    ModelNotFound {
        /// The name asked for.
        model: String,
        /// Ids of those that are loaded.
        loaded: String,
    },
    /// Embeddings of models that do not compare.
    #[error("{one} and {other} are unlike models; their embeddings do not compare")]
    ModelMismatch {
        /// One fingerprint.
        one: String,
        /// The other.
        other: String,
    },
    /// Nothing is known of a model's errors.
    #[error("There is no calibration for the model {model}")]
    NoCalibration {
        /// The fingerprint.
        model: String,
    },
    /// No speaker can have that id.
    #[error("There is no speaker {speaker:?}")]
    SpeakerNotFound {
        /// The id.
        speaker: String,
    },
    /// A speaker has not been enrolled with the request's model.
    #[error("The speaker {speaker:?} has no profile of {model}; enrol a recording with that model", speaker = .speaker.as_str())]
    NoProfile {
        /// The id.
        speaker: Identifier,
        /// The model's fingerprint.
        model: String,
    },
    /// No speakers are kept here.
    #[error("No speakers are kept here; the service's log tells why at its start (DATABASE_URL)")]
    NoStore,
    /// Something about kept speakers.
    #[error(transparent)]
    Store(StoreError),
    /// What was sent cannot be imported.
    #[error(transparent)]
    Import(ImportError),
    /// A content type that the route does not take.
    #[error("The content type {found:?} is not taken here; send {expected}")]
    UnsupportedMediaType {
        /// What was sent.
        found: String,
        /// What is taken.
        expected: &'static str,
    },
    /// A content encoding, of which none is decoded.
    #[error("The content encoding {found:?} is not decoded here; send the body as it is")]
    ContentEncoding {
        /// What was sent.
        found: String,
    },
    /// A form whose content type names no boundary.
    #[error("Missing boundary in multipart.")]
    MissingBoundary,
    /// More headers than are read.
    #[error("The request has more than {max} headers")]
    TooManyHeaders {
        /// The limit.
        max: usize,
    },
    /// The body was not there in time.
    #[error("The request body did not arrive within the limit of {seconds} seconds")]
    BodyTooSlow {
        /// The limit.
        seconds: f64,
    },
    /// No key was sent.
    #[error("An API key is required: X-API-Key: KEY or Authorization: Bearer KEY")]
    MissingApiKey,
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
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// One sentence for a person or, for validation errors, one entry for each bad field.
    detail: ErrorDetail,
    /// The kind of error, for programs.
    #[schema(schema_with = codes_schema)]
    code: &'static str,
    /// The same in OpenAI's shape, under /v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<OpenAiError>,
}

/// What `code` of an error may be.
fn codes_schema() -> Object {
    let codes = ApiError::examples().into_iter().map(|error| Value::from(error.code()));
    let codes: BTreeMap<String, Value> = codes.map(|code| (code.to_string(), code)).collect();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("The kind of error, for programs."))
        .enum_values(Some(codes.into_values()))
        .build()
}

/// An error in OpenAI's shape.
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

/// The body of an error under /v1, as an extension of its answer.
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
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
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
            StoreError::OfVoice { index, error } => Self::from(*error).at(format!("voices[{index}]")),
            StoreError::OfLine { line, error } => Self::from(*error).at(format!("line {line}")),
            StoreError::Internal(reason) => Self::Internal(reason),
            error => Self::Store(error),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Malformed { line, .. } => {
                FieldError::at(&["body", &line.to_string()], "value_error", &error.to_string()).into()
            }
            ImportError::Read(error) => Self::Store(StoreError::Unavailable { reason: error.to_string() }),
            error => Self::Import(error),
        }
    }
}

fn import_status_and_code(error: &ImportError) -> (StatusCode, &'static str) {
    match error {
        ImportError::Incomplete { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "incomplete"),
        ImportError::UnknownModel { .. } => (StatusCode::CONFLICT, "model_mismatch"),
        ImportError::TooManySpeakers { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_speakers"),
        ImportError::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
        ImportError::Malformed { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
        ImportError::Read(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"),
    }
}

impl From<QueueFull> for ApiError {
    fn from(_: QueueFull) -> Self {
        Self::Overloaded
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, Serialize, ToSchema)]
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

    /// Something is wrong at a place of the request.
    pub(super) fn at(loc: &[&str], kind: &'static str, msg: &str) -> Self {
        let part = |part: &&str| part.parse::<usize>().map_or_else(|_| Value::from(*part), Value::from);
        Self { kind, loc: loc.iter().map(part).collect(), msg: msg.to_owned(), input: Value::Null }
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

fn pipeline_status(error: &PipelineError) -> StatusCode {
    match error {
        PipelineError::Audio(AudioError::Unsupported(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        PipelineError::Audio(AudioError::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        PipelineError::Encoder(_)
        | PipelineError::Cancelled(_)
        | PipelineError::Audio(AudioError::Cancelled) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn store_status_and_code(error: &StoreError) -> (StatusCode, &'static str) {
    match error {
        StoreError::SpeakerNotFound { .. } => (StatusCode::NOT_FOUND, "speaker_not_found"),
        StoreError::EnrolmentNotFound { .. } => (StatusCode::NOT_FOUND, "enrolment_not_found"),
        StoreError::CollectionNotFound { .. } => (StatusCode::NOT_FOUND, "collection_not_found"),
        StoreError::SpeakerExists { .. } => (StatusCode::CONFLICT, "speaker_exists"),
        StoreError::DuplicateEnrolment { .. } => (StatusCode::CONFLICT, "duplicate_enrolment"),
        StoreError::Unfit(Unfit::NotThisSpeaker { .. }) => (StatusCode::CONFLICT, "not_this_speaker"),
        StoreError::Unfit(Unfit::TooLittleSpeech { .. }) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "too_little_speech")
        }
        StoreError::Unfit(Unfit::Recording { .. }) => (StatusCode::UNPROCESSABLE_ENTITY, "unfit_recording"),
        StoreError::TooManySpeakers { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_speakers"),
        StoreError::TooManyEnrolments { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_enrolments"),
        StoreError::OtherDimension { .. } => (StatusCode::CONFLICT, "model_mismatch"),
        StoreError::OfVoice { error, .. } | StoreError::OfLine { error, .. } => store_status_and_code(error),
        StoreError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"),
        StoreError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl ApiError {
    /// The status and the code of each error.
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidBase64(_) => (StatusCode::BAD_REQUEST, "invalid_base64"),
            Self::WrongDimension { .. } | Self::Dimensions { .. } => {
                (StatusCode::BAD_REQUEST, "wrong_dimension")
            }
            Self::InvalidApiKey | Self::MissingApiKey => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Self::Forbidden { .. } | Self::ForbiddenCollection { .. } | Self::NotLocal => {
                (StatusCode::FORBIDDEN, "forbidden")
            }
            Self::At { error, .. } => error.status_and_code(),
            Self::NothingEmbedded { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "nothing_embedded"),
            Self::TooManyRecordings { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "too_many_recordings"),
            Self::ModelNotFound { .. } => (StatusCode::NOT_FOUND, "model_not_found"),
            Self::ModelMismatch { .. } | Self::NoProfile { .. } => (StatusCode::CONFLICT, "model_mismatch"),
            Self::NoCalibration { .. } => (StatusCode::NOT_FOUND, "no_calibration"),
            Self::SpeakerNotFound { .. } => (StatusCode::NOT_FOUND, "speaker_not_found"),
            Self::NoStore => (StatusCode::NOT_IMPLEMENTED, "no_store"),
            Self::Store(error) => store_status_and_code(error),
            Self::Import(error) => import_status_and_code(error),
            Self::UnsupportedMediaType { .. } | Self::ContentEncoding { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::MissingBoundary => (StatusCode::BAD_REQUEST, "invalid_form"),
            Self::TooManyHeaders { .. } => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers"),
            Self::BodyTooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::Validation(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
            Self::Pipeline(error) => (pipeline_status(error), error.code()),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::ModelNotReady => (StatusCode::SERVICE_UNAVAILABLE, "model_not_ready"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::Timeout { .. } => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Self::Internal(_) | Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// The error, with the place of the part of the body that it is about.
    pub(super) fn within(mut self, loc: &[&str]) -> Self {
        if let Self::Validation(fields) = &mut self {
            for field in fields {
                let place = FieldError::at(loc, "", "").loc;
                field.loc.splice(1..1, place);
            }
        }
        self
    }

    /// The error, of options in the query.
    pub(super) fn in_query(mut self) -> Self {
        if let Self::Validation(fields) = &mut self {
            fields
                .iter_mut()
                .filter_map(|field| field.loc.first_mut())
                .for_each(|place| *place = "query".into());
        }
        self
    }

    /// The error without the id of another speaker.
    pub(super) fn without_names(self) -> Self {
        match self {
            Self::At { param, error } => Self::At { param, error: Box::new(error.without_names()) },
            Self::Store(StoreError::DuplicateEnrolment { .. }) => {
                Self::Store(StoreError::DuplicateEnrolment { speaker: None })
            }
            error => error,
        }
    }

    /// The error without the similarity of a voice to a profile.
    pub(super) fn without_similarities(self) -> Self {
        match self {
            Self::At { param, error } => Self::At { param, error: Box::new(error.without_similarities()) },
            Self::Store(StoreError::Unfit(Unfit::NotThisSpeaker { threshold, .. })) => {
                Self::Store(Unfit::NotThisSpeaker { similarity: None, threshold }.into())
            }
            error => error,
        }
    }

    /// The error, of one of several recordings or voices.
    pub(super) fn at(self, param: String) -> Self {
        match self {
            // A bug, or a full queue, is no property of one of them.
            error if error.is_internal() || error.retry_after_seconds().is_some() => error,
            error => Self::At { param, error: Box::new(error) },
        }
    }

    /// The code of the error.
    pub(super) fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    /// Whether it is a bug of the service.
    pub(super) fn is_internal(&self) -> bool {
        self.status_and_code().0 == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// The part of the request that is wrong, for OpenAI's shape of errors.
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

    /// When to try again, for what passes by itself.
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
        let (status, code) = self.status_and_code();
        debug_assert!(Self::examples().iter().any(|error| error.code() == code), "{code} has no example");
        let mut headers = HeaderMap::new();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
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
    /// The body of the answer, and the one under /v1.
    fn bodies(self) -> (ErrorBody, ErrorUnderV1) {
        let (status, code) = self.status_and_code();
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

    /// The body of the answer as JSON.
    pub(super) fn body(self, is_v1: bool) -> Value {
        let (body, ErrorUnderV1(v1)) = self.bodies();
        serde_json::to_value(if is_v1 { v1 } else { body }).unwrap_or_default()
    }

    /// An error of every code, as the OpenAPI document shows them.
    pub(super) fn examples() -> Vec<Self> {
        let of_audio = |error: AudioError| Self::Pipeline(PipelineError::Audio(error));
        let anna: Identifier = "anna".parse().expect("it is one");
        vec![
            Self::InvalidBase64(base64::DecodeError::InvalidByte(7, b'!')),
            Self::WrongDimension { field: "embedding1".into(), expected: 256, got: 128 },
            Self::MissingBoundary,
            Self::InvalidApiKey,
            Self::Forbidden { right: Right::Verify },
            Self::NotFound,
            Self::ModelNotFound { model: "whisper".into(), loaded: "resemblyzer".into() },
            Self::NoCalibration { model: "custom/0123abcd".into() },
            Self::SpeakerNotFound { speaker: "anna".into() },
            Self::NoStore,
            Self::MethodNotAllowed,
            Self::BodyTooSlow { seconds: 30.0 },
            Self::ModelMismatch {
                one: "resemblyzer-0.1.4/00000000".into(),
                other: "resemblyzer-0.1.4/39373b86".into(),
            },
            Self::PayloadTooLarge { max_bytes: 33_554_432 },
            of_audio(AudioError::TooLong { max_seconds: 600.0 }),
            Self::UnsupportedMediaType { found: "image/png".into(), expected: "audio/*" },
            of_audio(AudioError::Unsupported("this is a PNG image".into())),
            FieldError::missing(&["body", "audio_base64"], Value::Null).into(),
            of_audio(AudioError::Corrupt("the WAV file has no samples".into())),
            Self::Pipeline(PipelineError::NoSpeech { channels_cancel: false }),
            Self::Pipeline(PipelineError::TooShort { speech_seconds: 0.42, min_seconds: 1.0 }),
            Self::Store(StoreError::EnrolmentNotFound {
                enrolment: "01920000-0000-7000-8000-000000000000".into(),
            }),
            Self::Store(StoreError::CollectionNotFound { collection: "family".into() }),
            Self::Store(StoreError::SpeakerExists { speaker: anna.clone() }),
            Self::Store(StoreError::DuplicateEnrolment { speaker: Some(anna) }),
            Self::Store(Unfit::NotThisSpeaker { similarity: Some(0.41), threshold: 0.75 }.into()),
            Self::Store(Unfit::TooLittleSpeech { speech_seconds: 1.2, min_seconds: 3.0 }.into()),
            Self::Store(Unfit::Recording { warning: "several_speakers".into() }.into()),
            Self::Store(StoreError::TooManySpeakers { max: 200_000 }),
            Self::Store(StoreError::TooManyEnrolments { max: 1_024 }),
            Self::Store(StoreError::Unavailable { reason: String::new() }),
            Self::Import(ImportError::Incomplete { line: 1_234 }),
            Self::NothingEmbedded { n: 2, first: "No speech was found in the audio".into() },
            Self::TooManyRecordings { max: 64 },
            Self::RateLimited { limit: 60, wait_seconds: 12 },
            Self::TooManyHeaders { max: 100 },
            Self::Panicked,
            Self::Overloaded,
            Self::ModelNotReady,
            Self::ShuttingDown,
            Self::Timeout { seconds: 30.0 },
        ]
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
