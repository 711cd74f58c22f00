//! Bodies of the routes under /v1: JSON, a form of files and options, or a recording with its options in the query.

use axum::body::Bytes;
use axum::extract::Request;
use axum::extract::multipart::MultipartError;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::content_type::{self, BodyKind, check_unnamed, kind, unsupported};
use super::disposition::Disposition;
use super::json::Options;
use super::{body, json, raw_format};
use crate::audio::RawFormat;
use crate::http::error::{ApiError, FieldError};
use crate::http::state::AppState;

/// Bytes of a body of JSON without voices.
const MAX_JSON_BYTES: usize = 64 << 10;

/// What the routes that take voices take.
const EXPECTED: &str = "application/json, multipart/form-data, audio/* or application/octet-stream";

/// What a request holds.
pub(in crate::http) enum Received {
    /// A JSON body, not parsed yet.
    Json(Bytes),
    /// Files and options of a form or, where the body is a recording, that file and the options of the query.
    Parts { files: Vec<Part>, options: Options },
}

/// A part of a form that is no option.
pub(in crate::http) struct Part {
    pub(in crate::http) name: String,
    pub(in crate::http) bytes: Bytes,
    /// JSON that describes a voice, not a recording.
    pub(in crate::http) is_json: bool,
    /// What the samples are, if they have no header.
    pub(in crate::http) raw: Option<RawFormat>,
}

impl Received {
    /// Receives a body. Parts of a form with one of these names are voices, all others options. A full queue refuses the
    /// request before it is received.
    pub(in crate::http) async fn new(
        state: &AppState,
        request: Request,
        voices: &'static [&'static str],
    ) -> Result<Self, ApiError> {
        Self::up_to(state, request, voices, state.config.max_body_bytes).await
    }

    /// The same, with another limit on the body.
    pub(in crate::http) async fn up_to(
        state: &AppState,
        request: Request,
        voices: &'static [&'static str],
        max_bytes: usize,
    ) -> Result<Self, ApiError> {
        state.embedder()?.check_capacity()?;
        let options = query_options(request.uri())?;
        match kind(request.headers()) {
            BodyKind::Form => return Self::form(request, voices, max_bytes, options).await,
            BodyKind::Audio => {
                let raw =
                    request.headers().get(CONTENT_TYPE).map_or(Ok(None), raw_format::of_content_type)?;
                let bytes = body::read(request.into_body(), max_bytes).await?;
                let file = Part { name: "file".into(), bytes, is_json: false, raw };
                return Ok(Self::Parts { files: vec![file], options });
            }
            BodyKind::Other => return Err(unsupported(request.headers(), EXPECTED)),
            BodyKind::Json | BodyKind::Unnamed => {}
        }
        if let Some(name) = options.first() {
            let msg = "Options of a JSON body belong into the body";
            return Err(FieldError::at(&["query", name], "extra_forbidden", msg).into());
        }
        let (head, body) = request.into_parts();
        let body = body::read(body, max_bytes).await?;
        check_unnamed(&head.headers, &body, EXPECTED)?;
        Ok(Self::Json(body))
    }

    async fn form(
        request: Request,
        voices: &[&str],
        max_bytes: usize,
        mut options: Options,
    ) -> Result<Self, ApiError> {
        let mut form = body::form(request, max_bytes).await?;
        let bad_form = |error: MultipartError| body::form_error(&error, max_bytes);
        let (mut files, mut n_parts) = (Vec::new(), 0);
        while let Some(mut part) = form.next_field().await.map_err(bad_form)? {
            n_parts += 1;
            body::check_part_count(n_parts)?;
            let Disposition { name, has_file_name } = Disposition::of(part.headers());
            let content_type = content_type::text(part.headers());
            if voices.contains(&name.as_str()) {
                let is_json = content_type.starts_with("application/json")
                    || (content_type.is_empty() && !has_file_name);
                let raw = part.headers().get(CONTENT_TYPE).map_or(Ok(None), raw_format::of_content_type)?;
                files.push(Part { name, bytes: part.bytes().await.map_err(bad_form)?, is_json, raw });
                continue;
            }
            let Some(text) = body::option_text(&mut part).await.map_err(bad_form)? else {
                let msg = format!(
                    "An option may have {} bytes; are files in parts named {}?",
                    body::MAX_OPTION_BYTES,
                    voices.join(" or ")
                );
                return Err(FieldError::at(&["body", &name], "value_error", &msg).into());
            };
            options.add("body", &name, text)?;
        }
        Ok(Self::Parts { files, options })
    }
}

/// The options of a query, as text.
fn query_options(uri: &Uri) -> Result<Options, ApiError> {
    let mut options = Options::default();
    for (name, text) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        options.add("query", &name, text.into())?;
    }
    Ok(options)
}

/// The options of a request without a body.
pub(in crate::http) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    json::from_options(query_options(uri)?).map_err(ApiError::in_query)
}

/// Reads a small body of JSON.
pub(in crate::http) async fn json_body<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    const EXPECTED: &str = "application/json";
    let (head, body) = request.into_parts();
    match kind(&head.headers) {
        BodyKind::Json | BodyKind::Unnamed => {}
        BodyKind::Form | BodyKind::Audio | BodyKind::Other => {
            return Err(unsupported(&head.headers, EXPECTED));
        }
    }
    let body = body::read(body, MAX_JSON_BYTES).await?;
    check_unnamed(&head.headers, &body, EXPECTED)?;
    json::from_json(body)
}
