//! Recordings in requests: one parser for all routes and all ways to send one.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::Request;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::header::CONTENT_TYPE;
use serde_json::Value;
use utoipa::ToSchema;

use super::channel::channel_schema;
use super::content_type::{BodyKind, check_unnamed, kind, unsupported};
use super::disposition::Disposition;
use super::fields::Fields;
use super::json::without_line_breaks;
use super::{base64, body, raw_format};
use crate::audio::{Channel, RawFormat};
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::example_recording;
use crate::http::state::AppState;
use crate::pipeline::RecordingOptions;

/// What `/extract-embedding` takes.
const EXPECTED_IN_BODY: &str =
    "application/json, audio/* or application/octet-stream, or a form to /extract-embedding/upload";

/// What `/extract-embedding/upload` takes.
const EXPECTED_IN_FORM: &str = "multipart/form-data, or JSON or the recording itself to /extract-embedding";

/// A recording as it was received; [`Recording::unpack`] makes the audio file of it.
pub(in crate::http) enum Recording {
    /// The file itself, or samples without a header.
    File { bytes: Bytes, options: RecordingOptions },
    /// A JSON body that holds it as base64.
    Json(Bytes),
}

/// A recording to embed.
#[derive(ToSchema)]
pub(in crate::http) struct ExtractRequest<'a> {
    /// The audio file in base64. Line breaks, missing padding, the URL-safe alphabet and a `data:` prefix are fine.
    #[schema(value_type = String, example = json!(example_recording()), min_length = 1)]
    audio_base64: Cow<'a, str>,
    /// What the file is. A hint only, since its content decides; but samples without a header are named here: `pcm_s16le`,
    /// `pcm_s16be`, `pcm_f32le`, `pcm_mulaw` or `pcm_alaw`.
    #[schema(value_type = Option<String>, default = "wav", example = "wav")]
    format: Option<Cow<'a, str>>,
    /// Sample rate of samples without a header, in Hz.
    sample_rate: Option<f64>,
    /// Interleaved channels of samples without a header.
    #[schema(value_type = Option<f64>, default = 1)]
    channels: Option<f64>,
    /// Which channel to embed: `mix` for the mean of all, or its number, counted from 0.
    #[schema(schema_with = channel_schema, required = false)]
    channel: Channel,
}

impl Recording {
    /// How many bytes it was received in.
    pub(in crate::http) fn len(&self) -> usize {
        match self {
            Self::File { bytes, .. } | Self::Json(bytes) => bytes.len(),
        }
    }

    /// Receives a body that is the recording itself (by its content type) or a JSON object with it. A full queue refuses it
    /// before it is received.
    pub(in crate::http) async fn in_body(state: &AppState, request: Request) -> Result<Self, ApiError> {
        state.embedder()?.check_capacity()?;
        let (parts, body) = request.into_parts();
        match kind(&parts.headers) {
            BodyKind::Json | BodyKind::Unnamed => {
                let body = body::read(body, state.config.max_body_bytes).await?;
                check_unnamed(&parts.headers, &body, EXPECTED_IN_BODY)?;
                return Ok(Self::Json(body));
            }
            BodyKind::Audio => {}
            BodyKind::Form | BodyKind::Other => return Err(unsupported(&parts.headers, EXPECTED_IN_BODY)),
        }
        let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let channel = query.filter(|(name, _)| name == "channel").last();
        let options = RecordingOptions {
            channel: channel.map_or(Ok(Channel::Mix), |(_, value)| channel_option(&value))?,
            raw: parts.headers.get(CONTENT_TYPE).map_or(Ok(None), raw_format::of_content_type)?,
        };
        Ok(Self::File { bytes: body::read(body, state.config.max_body_bytes).await?, options })
    }

    /// Receives the last part named `file` of a multipart form, and the option `channel`. A full queue refuses it before it is
    /// received.
    pub(in crate::http) async fn in_form(state: &AppState, request: Request) -> Result<Self, ApiError> {
        state.embedder()?.check_capacity()?;
        if !matches!(kind(request.headers()), BodyKind::Form) && request.headers().contains_key(CONTENT_TYPE)
        {
            return Err(unsupported(request.headers(), EXPECTED_IN_FORM));
        }
        let (bytes, options) = read_form(request, state.config.max_body_bytes).await?;
        Ok(Self::File { bytes, options })
    }

    /// The audio file and how to read it. It takes time that grows with the recording, so it belongs on a worker.
    pub(in crate::http) fn unpack(self) -> Result<(Bytes, RecordingOptions), ApiError> {
        match self {
            Self::File { bytes, options } => Ok((bytes, options)),
            Self::Json(body) => {
                let body = without_line_breaks(body);
                let request = ExtractRequest::parse(&body)?;
                let options = RecordingOptions { channel: request.channel, raw: request.raw_format()? };
                Ok((request.decode_audio()?.into(), options))
            }
        }
    }
}

impl<'a> ExtractRequest<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let request = Self {
            audio_base64: fields.string("audio_base64"),
            format: fields.optional_string("format"),
            sample_rate: fields.optional_number("sample_rate"),
            channels: fields.optional_number("channels"),
            channel: fields
                .optional_scalar("channel")
                .map_or(Ok(Channel::Mix), |text| channel_option(&text))?,
        };
        fields.finish()?;
        Ok(request)
    }

    fn decode_audio(&self) -> Result<Vec<u8>, ApiError> {
        base64::decode(&self.audio_base64)
    }

    /// What the samples are, if the format names samples without a header.
    fn raw_format(&self) -> Result<Option<RawFormat>, ApiError> {
        raw_format::of_fields(self.format.as_deref(), self.sample_rate, self.channels)
    }
}

/// A channel by its name, in the option `channel`.
fn channel_option(text: &str) -> Result<Channel, ApiError> {
    text.parse().map_err(|msg: String| FieldError::value("channel", &msg, text.into()).into())
}

/// The content of the form's last part named `file`, and how to read it.
pub(in crate::http) async fn read_form(
    request: Request,
    max_bytes: usize,
) -> Result<(Bytes, RecordingOptions), ApiError> {
    let missing = || FieldError::missing(&["body", "file"], Value::Null);
    if !request.headers().contains_key(CONTENT_TYPE) {
        return Err(missing().into());
    }
    let mut form = body::form(request, max_bytes).await?;
    let bad_form = |error: MultipartError| body::form_error(&error, max_bytes);
    let (mut file, mut options) = (None, RecordingOptions::default());
    let mut n_parts = 0;
    while let Some(mut part) = form.next_field().await.map_err(bad_form)? {
        n_parts += 1;
        body::check_part_count(n_parts)?;
        match Disposition::of(part.headers()).name.as_str() {
            "file" => {
                options.raw = raw_format_of(&part)?;
                file = Some(part.bytes().await.map_err(bad_form)?);
            }
            "channel" => {
                let text = body::option_text(&mut part).await.map_err(bad_form)?;
                options.channel = channel_option(&text.unwrap_or_default())?;
            }
            _ => {}
        }
    }
    Ok((file.ok_or_else(missing)?, options))
}

/// What the samples of a part are, if its content type names samples without a header.
fn raw_format_of(part: &Field<'_>) -> Result<Option<RawFormat>, ApiError> {
    part.headers().get(CONTENT_TYPE).map_or(Ok(None), raw_format::of_content_type)
}
