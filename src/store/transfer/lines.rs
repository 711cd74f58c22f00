//! The contents of an export's lines.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::notation::{bytes_of_hex, hex};
use crate::speakers::{Identifier, Metadata, SpeakerName};

/// The name of the format, with its version.
pub(super) const FORMAT: &str = "voice-embedding-service/speakers/1";

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) format: String,
    pub(super) models: Vec<ModelLine>,
    /// RFC 3339.
    pub(super) exported_at: String,
}

/// The model of some enrolments.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelLine {
    pub(super) fingerprint: String,
    pub(super) dimension: usize,
}

/// A speaker.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpeakerLine {
    pub(super) id: Identifier,
    pub(super) name: SpeakerName,
    pub(super) collection: Identifier,
    pub(super) metadata: Metadata,
    /// RFC 3339.
    pub(super) created_at: String,
    /// RFC 3339.
    pub(super) updated_at: String,
    /// In the order in which they were made.
    pub(super) enrolments: Vec<EnrolmentLine>,
}

/// An enrolment.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrolmentLine {
    pub(super) id: String,
    /// The model's fingerprint.
    pub(super) model: String,
    /// The SHA-256 of the enrolled input, in hexadecimal digits.
    pub(super) sha256: String,
    /// Base64 of little-endian `f32`, L2 norm 1.
    pub(super) embedding: String,
    #[serde(deserialize_with = "exact")]
    pub(super) speech_seconds: Option<f64>,
    #[serde(deserialize_with = "exact")]
    pub(super) similarity_to_profile: Option<f64>,
    pub(super) warnings: Vec<String>,
    /// RFC 3339.
    pub(super) created_at: String,
}

/// The last line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tail {
    /// Always true.
    pub(super) end: bool,
    pub(super) speakers: usize,
}

/// Parses to the nearest `f64`. serde_json's own parser may return a neighbour.
fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let number: Box<RawValue> = Deserialize::deserialize(deserializer)?;
    match number.get() {
        "null" => Ok(None),
        number => {
            number.parse().map(Some).map_err(|_| serde::de::Error::custom("should be a number or null"))
        }
    }
}

/// Parses a SHA-256 from digits as written by [`hex`]. Returns `None` if the text is no SHA-256.
pub(super) fn sha256_of_hex(text: &str) -> Option<[u8; 32]> {
    let bytes = bytes_of_hex(text).filter(|bytes| hex(bytes) == text)?;
    bytes.try_into().ok()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Decodes base64. Returns `None` if the text is no base64.
pub(super) fn bytes_of_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_to_the_last_bit() {
        // Without this, serde_json reads the first one as 9.999999999999998.
        for number in [9.999_999_999_999_999_f64, 0.1 + 0.2, 5e-324, 1.797_693_134_862_315_7e308] {
            let line = format!(
                r#"{{"id":"a","model":"m","sha256":"","embedding":"","speech_seconds":{number:?},"similarity_to_profile":null,"warnings":[],"created_at":""}}"#
            );
            let read: EnrolmentLine = serde_json::from_str(&line).unwrap();
            assert_eq!(read.speech_seconds.map(f64::to_bits), Some(number.to_bits()));
            assert_eq!(read.similarity_to_profile, None);
        }
        let texts = [
            "0f".repeat(32),
            "0F".repeat(32),
            "0g".repeat(32),
            "00".repeat(31),
            "+0".repeat(32),
            "0".repeat(65),
        ];
        let read = texts.map(|text| sha256_of_hex(&text).is_some());
        assert_eq!(read, [true, false, false, false, false, false]);
        assert_eq!(sha256_of_hex(&hex(&[0xab; 32])), Some([0xab; 32]));
    }
}
