//! The recording of `/extract-embedding` and `/extract-embedding/upload`, as the Python service took it.

use std::borrow::Cow;

use serde_json::Value;
use utoipa::ToSchema;

use super::channel::channel_schema;
use super::content_type::BodyKind;
use super::fields::Fields;
use super::json::without_line_breaks;
use super::parts::{Received, Takes};
use super::voice::{Source, VoiceRecording};
use super::{base64, raw_format};
use crate::audio::{Channel, RawFormat};
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::example_recording;
use crate::pipeline::RecordingOptions;

/// What `/extract-embedding` takes.
pub(in crate::http) const IN_BODY: Takes = Takes {
    kinds: &[BodyKind::Json, BodyKind::Unnamed, BodyKind::Audio],
    expected: "application/json, audio/* or application/octet-stream, or a form to /extract-embedding/upload",
    files: &["file"],
    texts: &[],
    lenient: Some(&["channel"]),
};

/// What `/extract-embedding/upload` takes.
pub(in crate::http) const IN_FORM: Takes = Takes {
    kinds: &[BodyKind::Form],
    expected: "multipart/form-data, or JSON or the recording itself to /extract-embedding",
    ..IN_BODY
};

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

impl VoiceRecording {
    /// The recording that was received. Of a large body of JSON it takes time, so it belongs on a worker.
    pub(in crate::http) fn lenient(received: Received) -> Result<Self, ApiError> {
        match received {
            Received::Json(body) => {
                let body = without_line_breaks(body);
                let request = ExtractRequest::parse(&body)?;
                let options = RecordingOptions { channel: request.channel, raw: request.raw_format()? };
                let source = Source::File(base64::decode(&request.audio_base64)?.into());
                Ok(Self { source, options, segments: None })
            }
            Received::Parts { mut files, options } => {
                let channel = options.get("channel").map_or(Ok(Channel::Mix), channel_option)?;
                let file = files.pop().ok_or_else(|| FieldError::missing(&["body", "file"], Value::Null))?;
                let options = RecordingOptions { channel, raw: file.raw };
                Ok(Self { source: Source::File(file.bytes), options, segments: None })
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

    /// What the samples are, if the format names samples without a header.
    fn raw_format(&self) -> Result<Option<RawFormat>, ApiError> {
        raw_format::of_fields(self.format.as_deref(), self.sample_rate, self.channels)
    }
}

/// A channel by its name, in the option `channel`.
fn channel_option(text: &str) -> Result<Channel, ApiError> {
    text.parse().map_err(|msg: String| FieldError::value("channel", &msg, text.into()).into())
}
