//! The contents of a request: JSON, a form of files and options, or a recording with its options in the query.

use axum::body::Bytes;
use axum::extract::Request;
use axum::extract::multipart::MultipartError;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::content_type::{self, BodyKind, check_unnamed, kind, unsupported};
use super::disposition::Disposition;
use super::json::Options;
use super::{body, json, raw_format};
use crate::audio::RawFormat;
use crate::http::error::{ApiError, FieldError};
use crate::http::layers::body_memory::MaxBodyBytes;

/// The bodies that a route accepts.
pub(in crate::http) struct Takes {
    /// The kinds of bodies.
    pub(in crate::http) kinds: &'static [BodyKind],
    /// The accepted bodies, for error messages.
    pub(in crate::http) expected: &'static str,
    /// Names of the form parts that are files. All other parts are options.
    pub(in crate::http) files: &'static [&'static str],
    /// Names of the files that are text.
    pub(in crate::http) texts: &'static [&'static str],
    /// The options of a lenient route, which accepts the same requests as the Python service. It ignores other options,
    /// and the last value of an option counts.
    pub(in crate::http) lenient: Option<&'static [&'static str]>,
}

/// All kinds of bodies that routes accept.
pub(in crate::http) const ALL_KINDS: &[BodyKind] =
    &[BodyKind::Json, BodyKind::Unnamed, BodyKind::Form, BodyKind::Audio];

/// Only JSON.
pub(in crate::http) const JSON: &[BodyKind] = &[BodyKind::Json, BodyKind::Unnamed];

impl Takes {
    /// Accepts voices under /v1: in JSON, in parts with these names, or as the body.
    pub(in crate::http) const fn voices(files: &'static [&'static str]) -> Self {
        let expected = "application/json, multipart/form-data, audio/* or application/octet-stream";
        Self { kinds: ALL_KINDS, expected, files, texts: &[], lenient: None }
    }
}

/// The contents of a request.
pub(in crate::http) enum Received {
    /// A JSON body that has not been parsed yet.
    Json(Bytes),
    /// The files and options of a form. If the body is a recording, that file and the options of the query.
    Parts { files: Vec<Part>, options: Options },
}

/// A part of a form that is not an option.
pub(in crate::http) struct Part {
    pub(in crate::http) name: String,
    /// The name of the file, if it has one.
    pub(in crate::http) file_name: Option<String>,
    pub(in crate::http) bytes: Bytes,
    /// Whether the part is JSON that describes a voice, instead of a recording.
    pub(in crate::http) is_json: bool,
    /// Whether the part is text of another kind.
    is_text: bool,
    /// The format of the samples, if they have no header.
    pub(in crate::http) raw: Option<RawFormat>,
}

impl Received {
    /// Receives a body.
    pub(in crate::http) async fn new(request: Request, takes: &Takes) -> Result<Self, ApiError> {
        let max_bytes = MaxBodyBytes::for_request(&request)?;
        let kind = kind(request.headers());
        if !takes.kinds.contains(&kind) {
            if takes.kinds == [BodyKind::Form] && !request.headers().contains_key(CONTENT_TYPE) {
                return Err(FieldError::missing(&["body", takes.files[0]], Value::Null).into());
            }
            return Err(unsupported(request.headers(), takes.expected));
        }
        let mut options = Options::default();
        match kind {
            BodyKind::Form => {
                if takes.lenient.is_none() {
                    options = query_options(request.uri())?;
                }
                return Self::form(request, takes, max_bytes, options).await;
            }
            BodyKind::Audio => {
                match takes.lenient {
                    None => options = query_options(request.uri())?,
                    Some(known) => {
                        for (name, text) in query(request.uri()).filter(|(name, _)| known.contains(&&**name))
                        {
                            options.put(&name, text.into());
                        }
                    }
                }
                let raw = raw_format_of(request.headers())?;
                let bytes = body::read(request.into_body(), max_bytes).await?;
                let file =
                    Part { name: "file".into(), file_name: None, bytes, is_json: false, is_text: false, raw };
                return Ok(Self::Parts { files: vec![file], options });
            }
            BodyKind::Json | BodyKind::Unnamed | BodyKind::Other => {}
        }
        if takes.lenient.is_none()
            && let Some(name) = query_options(request.uri())?.first()
        {
            let msg = "Options of a JSON body belong into the body";
            return Err(FieldError::new(&["query", name], "extra_forbidden", msg).into());
        }
        let (head, body) = request.into_parts();
        let body = body::read(body, max_bytes).await?;
        check_unnamed(&head.headers, &body, takes.expected)?;
        Ok(Self::Json(body))
    }

    async fn form(
        request: Request,
        takes: &Takes,
        max_bytes: usize,
        mut options: Options,
    ) -> Result<Self, ApiError> {
        let mut form = body::form(request, max_bytes).await?;
        let bad_form = |error: MultipartError| body::form_error(&error, max_bytes);
        let (mut files, mut n_parts) = (Vec::new(), 0);
        while let Some(mut part) = form.next_field().await.map_err(bad_form)? {
            n_parts += 1;
            body::check_part_count(n_parts)?;
            let Disposition { name, file_name } = Disposition::from_headers(part.headers());
            if takes.files.contains(&name.as_str()) {
                let content_type = content_type::text(part.headers());
                let is_json = takes.lenient.is_none()
                    && (content_type.starts_with("application/json")
                        || (content_type.is_empty() && file_name.is_none()));
                let raw = raw_format_of(part.headers())?;
                if takes.lenient.is_some() {
                    files.clear();
                }
                let is_text = takes.texts.contains(&name.as_str());
                let bytes = part.bytes().await.map_err(bad_form)?;
                files.push(Part { name, file_name, bytes, is_json, is_text, raw });
                continue;
            }
            if takes.lenient.is_some_and(|known| !known.contains(&name.as_str())) {
                continue;
            }
            let text = body::option_text(&mut part).await.map_err(bad_form)?;
            match (takes.lenient, text) {
                (Some(_), text) => options.put(&name, text.unwrap_or_default()),
                (None, Some(text)) if !text.contains('\0') => options.add("body", &name, text)?,
                (None, _) => return Err(misplaced_file(&name, takes).into()),
            }
        }
        Ok(Self::Parts { files, options })
    }

    /// Returns the number of bytes to parse: those of JSON and of options, not those of recordings.
    pub(in crate::http) fn text_bytes(&self) -> usize {
        match self {
            Self::Json(body) => body.len(),
            Self::Parts { files, options } => {
                let texts = files.iter().filter(|part| part.is_json || part.is_text);
                texts.map(|part| part.bytes.len()).sum::<usize>() + options.text_bytes()
            }
        }
    }
}

/// Returns the error for a file, or a text that is too long for an option, in a part whose name is not one for files.
fn misplaced_file(name: &str, takes: &Takes) -> FieldError {
    let msg = format!(
        "Files are in parts named {}; other parts are options, of at most {} bytes",
        takes.files.join(" or "),
        body::MAX_OPTION_BYTES
    );
    FieldError::new(&["body", name], "value_error", &msg)
}

/// Returns the format of a body's or part's samples, if its content type names samples without a header.
fn raw_format_of(headers: &HeaderMap) -> Result<Option<RawFormat>, ApiError> {
    headers.get(CONTENT_TYPE).map_or(Ok(None), raw_format::from_content_type)
}

/// Returns the names and values of a query.
fn query(uri: &Uri) -> url::form_urlencoded::Parse<'_> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
}

/// Returns the options of a query, as text.
fn query_options(uri: &Uri) -> Result<Options, ApiError> {
    let mut options = Options::default();
    for (name, text) in query(uri) {
        options.add("query", &name, text.into())?;
    }
    Ok(options)
}

/// Reads the options of a request without a body.
pub(in crate::http) fn options_of_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    json::from_options(query_options(uri)?).map_err(ApiError::in_query)
}

/// Reads a small JSON body.
pub(in crate::http) async fn json_body<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    const TAKES: Takes =
        Takes { kinds: JSON, expected: "application/json", files: &[], texts: &[], lenient: Some(&[]) };
    match Received::new(request, &TAKES).await? {
        Received::Json(body) => json::from_json(body),
        Received::Parts { .. } => Err(ApiError::Internal("JSON has no parts".into())),
    }
}
