//! The recording of `/extract-embedding` and `/extract-embedding/upload`, in the forms that the Python service accepted.

use std::borrow::Cow;

use serde_json::Value;
use utoipa::ToSchema;

use super::channel::channel_schema;
use super::content_type::BodyKind;
use super::fields::Fields;
use super::json::without_line_breaks;
use super::parts::{Received, Takes};
use super::voice::{VoiceRecording, VoiceSource};
use super::{base64, raw_format};
use crate::audio::{Channel, RawFormat};
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::example_recording;
use crate::pipeline::RecordingOptions;

/// The bodies that `/extract-embedding` accepts.
pub(in crate::http) const IN_BODY: Takes = Takes {
    kinds: &[BodyKind::Json, BodyKind::Unnamed, BodyKind::Audio],
    expected: "application/json, audio/* or application/octet-stream, or a form to /extract-embedding/upload",
    files: &["file"],
    texts: &[],
    lenient: Some(&["channel"]),
};

/// The bodies that `/extract-embedding/upload` accepts.
pub(in crate::http) const IN_FORM: Takes = Takes {
    kinds: &[BodyKind::Form],
    expected: "multipart/form-data, or JSON or the recording itself to /extract-embedding",
    ..IN_BODY
};

/// A recording to embed.
#[derive(ToSchema)]
pub(in crate::http) struct ExtractRequest<'a> {
    /// The audio file in base64. Line breaks, missing padding, the URL-safe alphabet and a `data:` prefix are accepted.
    #[schema(value_type = String, example = json!(example_recording()), min_length = 1)]
    audio_base64: Cow<'a, str>,
    /// The format of the file. It is only a hint, because the content of the file decides. For samples without a header,
    /// it is required: `pcm_s16le`, `pcm_s16be`, `pcm_f32le`, `pcm_mulaw` or `pcm_alaw`.
    #[schema(value_type = Option<String>, default = "wav", example = "wav")]
    format: Option<Cow<'a, str>>,
    /// The sample rate of samples without a header, in Hz.
    sample_rate: Option<f64>,
    /// The number of interleaved channels of samples without a header.
    #[schema(value_type = Option<f64>, default = 1)]
    channels: Option<f64>,
    /// The channel to embed: `mix` for the mean of all channels, or a channel number, counted from 0.
    #[schema(schema_with = channel_schema, required = false)]
    channel: Channel,
}

impl VoiceRecording {
    /// Returns the received recording. A large JSON body takes time, so this belongs on a worker.
    pub(in crate::http) fn lenient(received: Received) -> Result<Self, ApiError> {
        match received {
            Received::Json(body) => {
                let body = without_line_breaks(body);
                let request = ExtractRequest::parse(&body)?;
                let options = RecordingOptions { channel: request.channel, raw: request.raw_format()? };
                let source = VoiceSource::File(base64::decode(&request.audio_base64)?.into());
                Ok(Self { source, options, segments: None })
            }
            Received::Parts { mut files, options } => {
                let channel = options.get("channel").map_or(Ok(Channel::Mix), channel_option)?;
                let file = files.pop().ok_or_else(|| FieldError::missing(&["body", "file"], Value::Null))?;
                let options = RecordingOptions { channel, raw: file.raw };
                Ok(Self { source: VoiceSource::File(file.bytes), options, segments: None })
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

    /// Returns the format of the samples, if `format` names samples without a header.
    fn raw_format(&self) -> Result<Option<RawFormat>, ApiError> {
        raw_format::from_fields(self.format.as_deref(), self.sample_rate, self.channels)
    }
}

/// Reads the option `channel`.
fn channel_option(text: &str) -> Result<Channel, ApiError> {
    text.parse().map_err(|msg: String| FieldError::value("channel", &msg, text.into()).into())
}
