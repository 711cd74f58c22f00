//! A voice: a recording, an embedding or an enrolled speaker.

use std::fmt;
use std::ops::Range;

use axum::body::Bytes;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::bounded::{Bounded, bounded};
use super::channel::channel_schema;
use super::parts::Part;
use super::{base64 as lenient, json, raw_format};
use crate::audio::Channel;
use crate::http::error::{ApiError, FieldError};
use crate::notation::numbers_of_base64;
use crate::pipeline::RecordingOptions;
use crate::speakers::{Address, Identifier, MAX_SPEECH_SECONDS};

/// Maximum number of segments of a recording.
const MAX_SEGMENTS: usize = 500;

/// Maximum number of warnings of an embedding. Fewer kinds exist.
const MAX_WARNINGS: usize = 16;

/// Maximum number of components of an embedding. No model has as many.
const MAX_COMPONENTS: usize = 4_096;

/// Maximum length of an embedding in base64, in characters.
const MAX_COMPONENTS_BASE64: usize = (MAX_COMPONENTS * 4).div_ceil(3) * 4;

/// Maximum number of values that are read of a segment. A valid segment has two.
const MAX_SEGMENT_NUMBERS: usize = 16;

/// Segments as they were received.
pub(in crate::http) type Segments = Bounded<Bounded<f64, MAX_SEGMENT_NUMBERS>, MAX_SEGMENTS>;

/// A voice as JSON: either a recording (`audio_base64`), an embedding with its model, or an enrolled speaker.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct VoiceFields {
    /// A recording in base64 or as a data URI.
    audio_base64: Option<String>,
    /// Same as for `/extract-embedding`.
    format: Option<String>,
    /// Same as for `/extract-embedding`.
    sample_rate: Option<f64>,
    /// Same as for `/extract-embedding`.
    channels: Option<f64>,
    /// The channel: `mix` for the mean of all channels, or the number of one channel.
    #[schema(schema_with = channel_schema, required = false)]
    channel: Option<VoiceChannel>,
    /// Segments of the recording: start and end in seconds. Each segment is a separate voice.
    #[schema(value_type = Option<Vec<Vec<f64>>>)]
    segments: Option<Segments>,
    /// An embedding: numbers, or base64 of little-endian `f32`.
    #[schema(value_type = Option<Vec<f32>>)]
    embedding: Option<Components>,
    /// The embedding's model, by id or fingerprint.
    model: Option<String>,
    /// The seconds of speech from which the embedding was computed.
    speech_seconds: Option<f64>,
    /// The warnings that came with the embedding.
    #[schema(value_type = Option<Vec<String>>)]
    warnings: Option<Bounded<String, MAX_WARNINGS>>,
    /// The id of an enrolled speaker.
    speaker: Option<String>,
    /// The speaker's collection.
    collection: Option<String>,
    /// This field and those below occur in responses that clients send back. They are ignored.
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    object: Option<IgnoredAny>,
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    index: Option<IgnoredAny>,
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    audio: Option<IgnoredAny>,
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    partials: Option<IgnoredAny>,
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    segment: Option<IgnoredAny>,
    #[schema(ignore)]
    label: Option<IgnoredAny>,
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    seconds: Option<IgnoredAny>,
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    name: Option<IgnoredAny>,
    #[schema(ignore)]
    #[allow(dead_code, reason = "answers may be sent back as they are")]
    similarity: Option<IgnoredAny>,
}

/// A checked voice.
pub(in crate::http) enum Voice {
    Recording(VoiceRecording),
    Embedding(SentEmbedding),
    Speaker(Address),
}

/// A recording as it was received.
#[derive(Clone)]
pub(in crate::http) struct VoiceRecording {
    pub(in crate::http) source: VoiceSource,
    pub(in crate::http) options: RecordingOptions,
    pub(in crate::http) segments: Option<Vec<Range<f64>>>,
}

#[derive(Clone)]
pub(in crate::http) enum VoiceSource {
    File(Bytes),
    Base64(String),
}

/// An embedding as it was received.
pub(in crate::http) struct SentEmbedding {
    pub(in crate::http) components: Vec<f64>,
    pub(in crate::http) model: String,
    pub(in crate::http) speech_seconds: Option<f64>,
    pub(in crate::http) warnings: Vec<String>,
}

impl VoiceSource {
    /// Returns the size of the recording as it was received, in bytes.
    pub(in crate::http) fn len(&self) -> usize {
        match self {
            Self::File(bytes) => bytes.len(),
            Self::Base64(text) => text.len(),
        }
    }

    /// Returns the audio file. The time grows with the recording, so this belongs on a worker.
    pub(in crate::http) fn unpack(self) -> Result<Bytes, ApiError> {
        match self {
            Self::File(bytes) => Ok(bytes),
            Self::Base64(text) if is_words(&text) => Err(ApiError::Text),
            Self::Base64(text) => lenient::decode(&text).map(Bytes::from),
        }
    }
}

/// Number of base64 characters that the header of a recording takes.
const MIN_RECORDING_CHARACTERS: usize = 56;

/// Returns whether a text is prose. Base64 has no blanks among its first characters, and a recording has at least
/// [`MIN_RECORDING_CHARACTERS`].
fn is_words(text: &str) -> bool {
    let mut begin = text.trim_start().bytes().take(MIN_RECORDING_CHARACTERS);
    let has_data_prefix =
        text.trim_start().get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("data:"));
    let is_short = text.len() < MIN_RECORDING_CHARACTERS && lenient::decode(text).is_err();
    !has_data_prefix && (is_short || begin.any(|byte| byte == b' '))
}

impl Voice {
    /// Returns the number of embeddings: one, or one for each segment.
    pub(in crate::http) fn count(&self) -> usize {
        match self {
            Self::Recording(VoiceRecording { segments: Some(segments), .. }) => segments.len(),
            Self::Recording(_) | Self::Embedding(_) | Self::Speaker(_) => 1,
        }
    }

    /// Returns whether the voice has segments, each of which is a separate voice.
    pub(in crate::http) fn has_segments(&self) -> bool {
        matches!(self, Self::Recording(VoiceRecording { segments: Some(_), .. }))
    }

    /// Returns the voice in a part of a form. `channel` applies to all recordings of the form.
    pub(in crate::http) fn from_part(part: Part, loc: &[&str], channel: Channel) -> Result<Self, ApiError> {
        if part.is_json {
            let fields: VoiceFields =
                json::from_json(part.bytes).map_err(|error| error.with_location(loc))?;
            return fields.check(loc);
        }
        Ok(Self::Recording(VoiceRecording {
            source: VoiceSource::File(part.bytes),
            options: RecordingOptions { channel, raw: part.raw },
            segments: None,
        }))
    }
}

impl VoiceFields {
    /// Returns whether each channel is to be analysed separately, and removes this setting.
    pub(in crate::http) fn take_split(&mut self) -> bool {
        let is_split = matches!(self.channel, Some(VoiceChannel::Split));
        if is_split {
            self.channel = None;
        }
        is_split
    }

    /// Removes the name of a speaker from a response of `/v1/diarize` that a client sends back. Only the voice counts,
    /// not the earlier identification.
    fn without_name(mut self) -> Self {
        if self.label.take().is_some() && self.embedding.is_some() {
            self.speaker = None;
        }
        self
    }

    /// Checks that the fields describe one kind of voice. `loc` is the location of the voice in the request.
    pub(in crate::http) fn check(self, loc: &[&str]) -> Result<Voice, ApiError> {
        self.without_name().checked(loc)
    }

    fn checked(self, loc: &[&str]) -> Result<Voice, ApiError> {
        let wrong = |field: &str, msg: &str| {
            let loc: Vec<&str> =
                ["body"].iter().chain(loc).copied().chain((!field.is_empty()).then_some(field)).collect();
            ApiError::from(FieldError::new(&loc, "value_error", msg))
        };
        let kinds = [
            ("audio_base64", self.audio_base64.is_some()),
            ("embedding", self.embedding.is_some()),
            ("speaker", self.speaker.is_some()),
        ];
        let kinds: Vec<&str> =
            kinds.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect();
        match kinds[..] {
            [] => return Err(wrong("", "A voice should have audio_base64, embedding or speaker")),
            [_] => {}
            _ => {
                return Err(wrong(
                    "",
                    &format!("A voice should be of one kind, not {}", kinds.join(" and ")),
                ));
            }
        }
        let kind = kinds[0];
        let of_kinds = [
            ("format", "audio_base64", self.format.is_some()),
            ("sample_rate", "audio_base64", self.sample_rate.is_some()),
            ("channels", "audio_base64", self.channels.is_some()),
            ("channel", "audio_base64", self.channel.is_some()),
            ("segments", "audio_base64", self.segments.is_some()),
            ("model", "embedding", self.model.is_some()),
            ("speech_seconds", "embedding", self.speech_seconds.is_some()),
            ("warnings", "embedding", self.warnings.is_some()),
            ("collection", "speaker", self.collection.is_some()),
        ];
        if let Some((name, of, _)) = of_kinds.into_iter().find(|(_, of, is_there)| *is_there && *of != kind) {
            return Err(wrong(name, &format!("It belongs to {of}, not to {kind}")));
        }
        if let Some(audio) = self.audio_base64 {
            let raw = raw_format::from_fields(self.format.as_deref(), self.sample_rate, self.channels);
            let raw = raw.map_err(|error| error.with_location(loc))?;
            let channel = match self.channel {
                None => Channel::Mix,
                Some(VoiceChannel::One(ChannelName(channel))) => channel,
                Some(VoiceChannel::Split) => {
                    return Err(wrong("channel", "Only /v1/diarize takes channels one by one"));
                }
            };
            let options = RecordingOptions { channel, raw };
            let segments = self.segments.map(|segments| check_segments(loc, &segments.0)).transpose()?;
            return Ok(Voice::Recording(VoiceRecording {
                source: VoiceSource::Base64(audio),
                options,
                segments,
            }));
        }
        if let Some(Components(components)) = self.embedding {
            let model = self.model.ok_or_else(|| wrong("model", "An embedding should name its model"))?;
            if self.speech_seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds <= MAX_SPEECH_SECONDS)) {
                let msg = format!("Input should be greater than 0 and at most {MAX_SPEECH_SECONDS}");
                return Err(wrong("speech_seconds", &msg));
            }
            return Ok(Voice::Embedding(SentEmbedding {
                components,
                model,
                speech_seconds: self.speech_seconds,
                warnings: self.warnings.map_or_else(Vec::new, |Bounded(warnings)| warnings),
            }));
        }
        let identifier = |field: &str, text: &str| {
            text.parse::<Identifier>().map_err(|error| wrong(field, &error.to_string()))
        };
        let id = identifier("speaker", self.speaker.as_deref().unwrap_or_default())?;
        let collection = self.collection.map(|name| identifier("collection", &name)).transpose()?;
        Ok(Voice::Speaker(Address {
            collection: collection.unwrap_or_else(Identifier::default_collection),
            id,
        }))
    }
}

/// Checks that the values of segments are valid, and that each segment starts before it ends. Segments may overlap. `loc`
/// is the location of their recording in the request.
pub(in crate::http) fn check_segments(
    loc: &[&str],
    segments: &[Bounded<f64, MAX_SEGMENT_NUMBERS>],
) -> Result<Vec<Range<f64>>, ApiError> {
    let wrong = |index: Option<usize>, msg: &str| {
        let loc: Vec<&str> = ["body"].iter().chain(loc).copied().chain(["segments"]).collect();
        let mut error = FieldError::new(&loc, "value_error", msg);
        error.loc.extend(index.map(Value::from));
        ApiError::from(error)
    };
    if segments.is_empty() {
        return Err(wrong(None, "Input should have at least one segment"));
    }
    let checked = |(index, Bounded(segment)): (usize, &Bounded<f64, _>)| match segment[..] {
        [start, end] if start >= 0.0 && start < end && end.is_finite() => Ok(start..end),
        _ => Err(wrong(Some(index), "A segment should be [start, end] in seconds, with 0 <= start < end")),
    };
    segments.iter().enumerate().map(checked).collect()
}

/// One channel, or each channel separately.
enum VoiceChannel {
    One(ChannelName),
    Split,
}

impl<'de> Deserialize<'de> for VoiceChannel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar(text) if text == "split" => Ok(Self::Split),
            Scalar(text) => {
                text.parse().map(|channel| Self::One(ChannelName(channel))).map_err(D::Error::custom)
            }
        }
    }
}

/// A channel: `mix` or a number, which may be in a string.
pub(in crate::http) struct ChannelName(pub(in crate::http) Channel);

impl<'de> Deserialize<'de> for ChannelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(text) = Scalar::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// The text of a short string, number or boolean. Any other value is skipped and leaves the text empty.
struct Scalar(String);

/// Maximum number of characters that are kept of a [`Scalar`]. No valid value has as many.
const MAX_SCALAR_CHARS: usize = 32;

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.chars().take(MAX_SCALAR_CHARS).collect()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar(String::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar(String::new()))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// The components of an embedding.
struct Components(Vec<f64>);

impl<'de> Deserialize<'de> for Components {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ComponentsVisitor;

        impl<'de> Visitor<'de> for ComponentsVisitor {
            type Value = Components;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or base64 of little-endian f32")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Components, A::Error> {
                bounded(items, MAX_COMPONENTS).map(Components)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Components, E> {
                if text.len() > MAX_COMPONENTS_BASE64 {
                    return Err(E::custom(format!("the list is longer than {MAX_COMPONENTS}")));
                }
                let numbers = numbers_of_base64(text).map_err(E::custom)?;
                Ok(Components(numbers.into_iter().map(f64::from).collect()))
            }
        }

        deserializer.deserialize_any(ComponentsVisitor)
    }
}
