//! The request of `/v1/embeddings`.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use super::bounded::bounded;
use super::call::Parse;
use super::channel::channel_schema;
use super::parts::{Received, Takes};
use super::vector::EncodingFormat;
use super::voice::{ChannelName, Segments, VoiceRecording, VoiceSource, check_segments};
use super::{json, raw_format};
use crate::audio::{Channel, RawFormat};
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::example_recording;
use crate::pipeline::{RecordingOptions, Wanted, WantedPartials};

/// Maximum number of recordings that are read from a list. `MAX_BATCH_RECORDINGS` cannot be higher.
const MAX_INPUTS: usize = 2_000;

/// Maximum number of partials in a request.
const MAX_PARTIALS: usize = 20_000;

/// Recordings to embed. If the body is a recording itself, the other fields are query parameters.
#[derive(Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[schema(example = json!({"input": [example_recording()], "model": "resemblyzer"}))]
pub(in crate::http) struct EmbeddingsRequest {
    /// A recording or a list of recordings, in base64 or as data URIs.
    #[schema(value_type = Vec<String>, min_items = 1)]
    #[param(ignore)]
    input: Option<EmbeddingsInput>,
    /// The model, by id or fingerprint; the default model if missing.
    model: Option<String>,
    /// The format of the embeddings.
    encoding_format: Option<EncodingFormat>,
    /// Whether to return the embedding of each window, with its times in the recording.
    partials: Option<bool>,
    /// Windows per second, for the partials only; the model's default if missing.
    rate: Option<f64>,
    /// Whether to return the start and end of each stretch of speech, as `audio.speech_segments`.
    speech: Option<bool>,
    /// What to do with a recording that cannot be embedded.
    on_error: Option<OnError>,
    /// The channel: `mix` for the mean of all channels, or the number of one channel.
    #[schema(schema_with = channel_schema, required = false)]
    #[param(value_type = Option<String>)]
    channel: Option<ChannelName>,
    /// Segments of one recording: start and end in seconds. The response has a result for each.
    #[schema(value_type = Option<Vec<Vec<f64>>>)]
    #[param(value_type = Option<String>, example = "[[0.0, 1.0]]")]
    segments: Option<Segments>,
    /// The format of samples without a header, such as `pcm_s16le`.
    format: Option<String>,
    /// The sample rate of samples without a header, in Hz.
    sample_rate: Option<f64>,
    /// The number of interleaved channels of samples without a header.
    channels: Option<f64>,
    /// The dimension of the embeddings. Only the model's dimension is accepted.
    dimensions: Option<usize>,
    /// Ignored.
    #[schema(value_type = Option<String>)]
    #[param(ignore)]
    #[allow(dead_code, reason = "SDKs send it")]
    user: Option<IgnoredAny>,
}

/// What to do with a recording that cannot be embedded.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum OnError {
    /// The request fails.
    #[default]
    Fail,
    /// The response contains the other embeddings, and lists the recording in `errors`.
    Report,
}

/// One or several recordings in base64.
struct EmbeddingsInput(Vec<String>);

impl<'de> Deserialize<'de> for EmbeddingsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;

        const EXPECTED: &str = "a recording in base64, or a list of them";

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = EmbeddingsInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EmbeddingsInput, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: Error>(self, text: String) -> Result<EmbeddingsInput, E> {
                check_recording(&text)?;
                Ok(EmbeddingsInput(vec![text]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<EmbeddingsInput, A::Error> {
                let recordings: Vec<InputItem> = bounded(items, MAX_INPUTS)?;
                Ok(EmbeddingsInput(recordings.into_iter().map(|InputItem(text)| text).collect()))
            }
        }

        deserializer.deserialize_any(InputVisitor)
    }
}

/// A recording in a list.
struct InputItem(String);

impl<'de> Deserialize<'de> for InputItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;

        const TOKENS: &str =
            "tokens are no recordings: send strings (LangChain: check_embedding_ctx_length=False)";

        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = InputItem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a recording in base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<InputItem, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: Error>(self, text: String) -> Result<InputItem, E> {
                check_recording(&text)?;
                Ok(InputItem(text))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<InputItem, E> {
                Err(E::custom(TOKENS))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<InputItem, A::Error> {
                Err(A::Error::custom(TOKENS))
            }
        }

        deserializer.deserialize_any(ItemVisitor)
    }
}

fn check_recording<E: Error>(text: &str) -> Result<(), E> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(E::custom("recordings are not fetched from URLs: send the file in base64"));
    }
    Ok(())
}

/// Recordings to embed, as files.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct EmbeddingsForm {
    /// The audio files. The part may be repeated.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<u8>,
    /// Same as in the JSON request.
    #[schema(example = "resemblyzer")]
    model: Option<String>,
    /// Same as in the JSON request.
    #[schema(value_type = Option<String>, example = "float")]
    encoding_format: Option<EncodingFormat>,
    /// Same as in the JSON request.
    #[schema(example = false)]
    partials: Option<bool>,
    /// Same as in the JSON request.
    #[schema(example = false)]
    speech: Option<bool>,
    /// Same as in the JSON request.
    #[schema(value_type = Option<String>, example = "fail")]
    on_error: Option<OnError>,
}

impl EmbeddingsRequest {
    fn read(received: Received) -> Result<(EmbeddingsOptions, Vec<VoiceRecording>), ApiError> {
        match received {
            Received::Json(body) => {
                let mut request: Self = json::from_json(body)?;
                let Some(EmbeddingsInput(input)) = request.input.take() else {
                    return Err(FieldError::missing(&["body", "input"], serde_json::Value::Null).into());
                };
                request.check(input.into_iter().map(|text| (VoiceSource::Base64(text), None)).collect())
            }
            Received::Parts { files, options } => {
                let request: Self = json::from_options(options)?;
                request
                    .check(files.into_iter().map(|part| (VoiceSource::File(part.bytes), part.raw)).collect())
            }
        }
    }

    /// Returns the checked options, and the recordings with theirs. For samples without a header, a part's content type
    /// takes precedence over the options.
    fn check(
        self,
        sources: Vec<(VoiceSource, Option<RawFormat>)>,
    ) -> Result<(EmbeddingsOptions, Vec<VoiceRecording>), ApiError> {
        if self.input.is_some() {
            return Err(ApiError::field("input", "Only JSON has this field; a form has parts named file"));
        }
        if sources.is_empty() {
            return Err(ApiError::field(
                "input",
                "There should be at least one recording: a part named file, or `input` in JSON",
            ));
        }
        if self.rate.is_some() && self.partials != Some(true) {
            return Err(ApiError::field("rate", "Only partials have a rate"));
        }
        let rates = WantedPartials::RATES;
        if self.rate.is_some_and(|rate| !rates.contains(&rate)) {
            return Err(ApiError::field(
                "rate",
                &format!("Input should be from {} to {}", rates.start(), rates.end()),
            ));
        }
        let raw = raw_format::from_fields(self.format.as_deref(), self.sample_rate, self.channels)?;
        let segments = self.segments.map(|segments| check_segments(&[], &segments.0)).transpose()?;
        if segments.is_some() && sources.len() > 1 {
            return Err(ApiError::field("segments", "Only one recording can have segments"));
        }
        let channel = self.channel.map_or(Channel::Mix, |ChannelName(channel)| channel);
        let partials = (self.partials == Some(true))
            .then(|| WantedPartials { rate: self.rate, left: Arc::new(MAX_PARTIALS.into()) });
        let options = EmbeddingsOptions {
            model: self.model,
            format: self.encoding_format.unwrap_or_default(),
            wanted: Wanted { partials, speech: self.speech == Some(true), ..Wanted::default() },
            on_error: self.on_error.unwrap_or_default(),
            has_segments: segments.is_some(),
            dimensions: self.dimensions,
        };
        let recording = |(source, own_raw): (VoiceSource, Option<RawFormat>)| VoiceRecording {
            source,
            options: RecordingOptions { channel, raw: own_raw.or(raw) },
            segments: segments.clone(),
        };
        Ok((options, sources.into_iter().map(recording).collect()))
    }
}

/// The checked options of a request.
pub(in crate::http) struct EmbeddingsOptions {
    pub(in crate::http) model: Option<String>,
    pub(in crate::http) format: EncodingFormat,
    pub(in crate::http) wanted: Wanted,
    pub(in crate::http) on_error: OnError,
    pub(in crate::http) has_segments: bool,
    pub(in crate::http) dimensions: Option<usize>,
}

impl Parse for (EmbeddingsOptions, Vec<VoiceRecording>) {
    const TAKES: Takes = Takes::voices(&["file"]);

    fn parse(received: Received) -> Result<Self, ApiError> {
        EmbeddingsRequest::read(received)
    }
}
