//! Decodes base64 in the variants that clients send.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::http::error::ApiError;

/// Decodes base64 with or without padding. If this fails, tries again without line breaks and a `data:` prefix, and with
/// URL-safe characters replaced.
pub(in crate::http) fn decode(text: &str) -> Result<Vec<u8>, ApiError> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    if let Ok(bytes) = LENIENT.decode(text) {
        return Ok(bytes);
    }
    let payload = without_data_prefix(text);
    let plain: Vec<u8> = payload
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        })
        .collect();
    LENIENT.decode(plain).map_err(ApiError::InvalidBase64)
}

/// Returns a text without the leading `data:...;base64,`, whose parameters may contain commas in quotation marks.
fn without_data_prefix(text: &str) -> &str {
    let text = text.trim_start();
    let Some((scheme, rest)) = text.split_at_checked("data:".len()) else { return text };
    if !scheme.eq_ignore_ascii_case("data:") {
        return text;
    }
    let mut is_quoted = false;
    let comma = rest.find(|character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    });
    comma.map_or(text, |comma| &rest[comma + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_base64_decodes() {
        let cases = [
            ("standard", "+/+/AA==", Some(&[0xfb, 0xff, 0xbf, 0x00][..])),
            ("no padding", "+/+/AA", Some(&[0xfb, 0xff, 0xbf, 0x00])),
            ("URL-safe", "-_-_AA", Some(&[0xfb, 0xff, 0xbf, 0x00])),
            ("line breaks", "+/+/\r\nAA==\n", Some(&[0xfb, 0xff, 0xbf, 0x00])),
            ("data URL", "data:audio/wav;base64,+/+/AA==", Some(&[0xfb, 0xff, 0xbf, 0x00])),
            ("empty", "", Some(&[])),
            ("one character", "A", None),
            ("not base64", "not base64!", None),
            ("padding within", "AA==AA==", None),
            ("not ASCII", "käse", None),
        ];
        for (name, text, expected) in cases {
            assert_eq!(decode(text).ok().as_deref(), expected, "{name}");
        }
    }
}
