//! The details of a speaker, apart from the voice.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use super::identifier::Identifier;

/// The maximum number of characters of a name.
const MAX_NAME_CHARACTERS: usize = 200;

/// The maximum number of bytes of metadata, as JSON.
const MAX_METADATA_BYTES: usize = 4 << 10;

/// The name of a speaker: up to 200 characters, possibly none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SpeakerName(String);

/// A JSON object of up to 4 KiB, kept exactly as it was sent.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Metadata(Box<RawValue>);

/// The reason why a name or metadata is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetailsError {
    /// The name is too long.
    #[error("should have at most {MAX_NAME_CHARACTERS} characters")]
    LongName,
    /// The name has a character that breaks lines of other formats, or that makes a name look like another.
    #[error("should not have control characters or ones that turn the direction of text (here U+{code:04X})", code = *.0 as u32)]
    Invisible(char),
    /// Some databases cannot store this character.
    #[error("should not have the character U+0000")]
    Nul,
    /// The metadata is too large.
    #[error("should be at most {MAX_METADATA_BYTES} bytes of JSON")]
    LargeMetadata,
    /// The metadata is not an object, or many readers of JSON cannot read it.
    #[error("should be a JSON object, nested less than 128 deep and with numbers that a double holds")]
    NoObject,
}

/// A speaker's name and metadata.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// The name.
    pub name: SpeakerName,
    /// The metadata.
    pub metadata: Metadata,
}

/// An enrolled speaker.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Speaker {
    /// The speaker's id, unique in the collection.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "anna"))]
    pub id: Identifier,
    /// The speaker's name. Empty if none was sent. Only for keys with the right `read`.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "Anna", required = false))]
    pub name: SpeakerName,
    /// The collection of the speaker.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "default"))]
    pub collection: Identifier,
    /// Metadata that the client stores with the speaker. Only for keys with the right `read`.
    #[cfg_attr(feature = "schema", schema(required = false, value_type = Object, example = json!({"team": "blue"})))]
    pub metadata: Metadata,
    /// The number of the speaker's enrolments.
    #[cfg_attr(feature = "schema", schema(example = 2))]
    pub enrolments: usize,
    /// One profile for each model that the speaker is enrolled with.
    pub profiles: Vec<ModelSummary>,
    /// The time of creation, in RFC 3339 format.
    #[cfg_attr(feature = "schema", schema(example = "2026-11-26T09:30:00.123Z"))]
    pub created_at: String,
    /// The time of the last update, in RFC 3339 format.
    #[cfg_attr(feature = "schema", schema(example = "2026-11-26T09:30:00.123Z"))]
    pub updated_at: String,
}

/// The mean of a speaker's enrolments of one model, weighted by their seconds of speech.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Profile))]
pub struct ModelSummary {
    /// The fingerprint of the model, which identifies its weights and preprocessing.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// The total of the known seconds of speech.
    #[cfg_attr(feature = "schema", schema(example = 12.34))]
    pub seconds: f64,
    /// The number of enrolments with the model.
    #[cfg_attr(feature = "schema", schema(example = 2))]
    pub enrolments: usize,
}

/// An enrolment, without its embedding.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Enrolment {
    /// The unique id of the enrolment.
    #[cfg_attr(feature = "schema", schema(example = "019aa7f3-5c1e-7f00-8000-3f0d6a2b9c11"))]
    pub id: String,
    /// The fingerprint of the model, which identifies its weights and preprocessing.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// The seconds of speech. Null if an embedding was enrolled without them.
    #[cfg_attr(feature = "schema", schema(example = 6.17))]
    pub speech_seconds: Option<f64>,
    /// The cosine similarity to the speaker's profile before this enrolment. Null for the first enrolment.
    #[cfg_attr(feature = "schema", schema(example = 0.91))]
    pub similarity_to_profile: Option<f64>,
    /// The warnings about the recording.
    pub warnings: Vec<String>,
    /// The time of creation, in RFC 3339 format.
    #[cfg_attr(feature = "schema", schema(example = "2026-11-26T09:30:00.123Z"))]
    pub created_at: String,
}

impl SpeakerName {
    /// Checks a name.
    pub fn new(name: String) -> Result<Self, DetailsError> {
        if name.chars().nth(MAX_NAME_CHARACTERS).is_some() {
            return Err(DetailsError::LongName);
        }
        if name.contains('\0') {
            return Err(DetailsError::Nul);
        }
        // These are the embeddings, overrides and isolates of Unicode's bidirectional algorithm (UAX #9, section 2).
        let is_invisible =
            |c: &char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match name.chars().find(is_invisible) {
            Some(c) => Err(DetailsError::Invisible(c)),
            None => Ok(Self(name)),
        }
    }

    /// Creates a name that was checked before it was stored.
    pub fn from_store(name: String) -> Self {
        Self(name)
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a text is part of the name, in any case and normalization form (Unicode's simple mappings, NFC).
    pub fn contains(&self, text: &str) -> bool {
        folded(&self.0).contains(&folded(text))
    }
}

/// Returns the text in NFC without case. Upper case comes first, so that `ß` equals `SS`, and both forms of a small sigma
/// are equal.
fn folded(text: &str) -> String {
    text.nfc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

impl Metadata {
    /// Checks a JSON text.
    pub fn new(json: Box<RawValue>) -> Result<Self, DetailsError> {
        if json.get().len() > MAX_METADATA_BYTES {
            return Err(DetailsError::LargeMetadata);
        }
        let object: Map<String, Value> =
            serde_json::from_str(json.get()).map_err(|_| DetailsError::NoObject)?;
        if object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)) {
            return Err(DetailsError::Nul);
        }
        Ok(Self(json))
    }

    /// Creates metadata that was checked before it was stored. Returns an error if it is not JSON.
    pub fn from_store(json: String) -> serde_json::Result<Self> {
        RawValue::from_string(json).map(Self)
    }

    /// Returns the JSON text, as it was sent.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self(RawValue::from_string("{}".into()).expect("it is JSON"))
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<'de> Deserialize<'de> for SpeakerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Box::<RawValue>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_a_part_in_any_case() {
        for (name, part, expected) in [
            ("Anna Müller", "MÜLL", true),
            ("Straße", "STRASSE", true),
            ("Andr\u{e9}", "ANDRE\u{301}", true),
            ("Andre\u{301}", "dr\u{e9}", true),
            ("Andre\u{301}", "Andre", false),
            ("ΣΊΣΥΦΟΣ", "σίσυφος", true),
            ("Anna", "", true),
            ("Anna", "Hanna", false),
            ("100%", "%", true),
            ("Anna", "_", false),
        ] {
            assert_eq!(SpeakerName::new(name.into()).unwrap().contains(part), expected, "{name} {part}");
        }
    }

    #[test]
    fn names_hold_nothing_invisible_that_misleads() {
        for (name, expected) in [
            ("Zoë 张伟 🙂", Ok(())),
            ("محمد", Ok(())),
            ("a\u{200d}b", Ok(())),
            ("a\nb", Err(DetailsError::Invisible('\n'))),
            ("a\u{1b}[2Jb", Err(DetailsError::Invisible('\u{1b}'))),
            ("anna\u{202e}gnp", Err(DetailsError::Invisible('\u{202e}'))),
            ("a\u{2066}b", Err(DetailsError::Invisible('\u{2066}'))),
            ("a\0b", Err(DetailsError::Nul)),
        ] {
            assert_eq!(SpeakerName::new(name.into()).map(drop), expected, "{name:?}");
        }
    }

    #[test]
    fn metadata_is_an_object_kept_as_it_was_sent() {
        let deep = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 10));
        for (json, expected) in [
            ("{\"b\": 1.50, \"a\":1e2 }", Ok(())),
            ("{}", Ok(())),
            (&deep(100), Ok(())),
            (&deep(200), Err(DetailsError::NoObject)),
            ("[1]", Err(DetailsError::NoObject)),
            (&large, Err(DetailsError::LargeMetadata)),
            ("{\"a\":[{\"b\":\"\\u0000\"}]}", Err(DetailsError::Nul)),
            ("{\"\\u0000\":1}", Err(DetailsError::Nul)),
        ] {
            let metadata = Metadata::new(RawValue::from_string(json.into()).unwrap());
            assert_eq!(metadata.as_ref().map(|_| ()).map_err(|error| *error), expected, "{json}");
            if let Ok(metadata) = metadata {
                assert_eq!(metadata.as_str(), json);
            }
        }
    }
}
