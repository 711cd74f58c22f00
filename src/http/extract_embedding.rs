//! `POST /extract-embedding`: a recording as base64 in JSON.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Serialize, Serializer};
use utoipa::{IntoResponses, ToSchema};

use super::error::{ApiError, ErrorBody};
use super::extractor::{Extraction, Timings};
use super::observe::AudioSeconds;
use super::validation::Fields;
use super::{AppState, body};
use crate::embedding::Embedding;

/// A recording to embed.
#[derive(ToSchema)]
pub(super) struct ExtractRequest<'a> {
    /// The audio file in base64. Line breaks, missing padding, the URL-safe alphabet and a `data:` prefix are fine.
    #[schema(value_type = String, example = "UklGRi...")]
    audio_base64: Cow<'a, str>,
    /// What the file is. A hint only: its content decides.
    #[schema(value_type = Option<String>, default = "wav", example = "wav")]
    #[allow(dead_code, reason = "it is checked to be a string; the content alone decides")]
    format: Option<Cow<'a, str>>,
}

/// An embedding, and what it was made from.
#[derive(Serialize, ToSchema)]
pub(super) struct ExtractResponse<'a> {
    /// 256 numbers, none negative, L2 norm 1.
    #[schema(value_type = Vec<f32>, min_items = 256, max_items = 256)]
    #[serde(serialize_with = "in_single_precision")]
    embedding: &'a Embedding,
    /// How many numbers.
    #[schema(example = 256)]
    dimension: usize,
    /// Names weights and preprocessing; embeddings can be compared if this is equal.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: &'a str,
    /// What was heard.
    audio: AudioReport,
}

/// What was heard in a recording.
#[derive(Serialize, ToSchema)]
struct AudioReport {
    /// Length of the recording.
    #[schema(example = 15.0)]
    duration_seconds: f64,
    /// Length of the speech in it, which is all that the encoder takes.
    #[schema(example = 11.34)]
    speech_seconds: f64,
    /// Sample rate of the file.
    #[schema(example = 16_000)]
    sample_rate_hz: u32,
    /// Channels of the file.
    #[schema(example = 1)]
    channels: u16,
    /// Windows of 1.6 seconds that the encoder took.
    #[schema(example = 14)]
    windows: usize,
    /// Reasons to trust the embedding less: `short_speech`, `narrowband`, `clipped`, `low_level`, `truncated`.
    warnings: Vec<&'static str>,
}

/// What either way of sending a recording may be answered.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it describes errors to OpenAPI")]
pub(super) enum ExtractErrors {
    /// `invalid_api_key`
    #[response(status = 401)]
    Key(ErrorBody),
    /// `payload_too_large` or `audio_too_long`
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// `unsupported_audio`
    #[response(status = 415)]
    Unsupported(ErrorBody),
    /// `validation_error`, `corrupt_audio`, `no_speech` or `audio_too_short`
    #[response(status = 422)]
    Unusable(ErrorBody),
    /// `rate_limited`, with `Retry-After`
    #[response(status = 429)]
    TooOften(ErrorBody),
    /// `overloaded`, `model_not_ready`, `shutting_down` or `timeout`, with `Retry-After`
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The recording itself.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "it describes a body to OpenAPI")]
pub(super) struct RawRecording(Vec<u8>);

/// Embed a recording sent as base64, or as the body itself.
#[utoipa::path(post, path = "/extract-embedding", tag = "Embeddings",
    request_body(content(
        (ExtractRequest = "application/json"),
        (RawRecording = "audio/*"),
        (RawRecording = "application/octet-stream"),
    )),
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = ExtractResponse),
        (status = 400, body = ErrorBody, description = "`invalid_base64`"),
        ExtractErrors,
    ),
)]
pub(super) async fn extract_embedding(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let extractor = state.extractor()?;
    extractor.check_capacity()?;
    let bytes = body::read(body, state.config.max_body_bytes).await?;
    let is_raw = is_audio(&headers);
    let unpack = move || {
        if is_raw {
            return Ok(Vec::from(bytes));
        }
        ExtractRequest::parse(&without_line_breaks(bytes))?.decode_audio()
    };
    let extraction = extractor.extract(unpack).await?;
    Ok(ExtractResponse::answer(&extraction, extractor.fingerprint()))
}

/// Whether the body is the recording itself, by its content type.
fn is_audio(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let begins = |prefix: &str| {
        content_type.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    begins("audio/") || begins("application/octet-stream")
}

impl<'a> ExtractRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let request =
            Self { audio_base64: fields.string("audio_base64"), format: fields.optional_string("format") };
        fields.finish()?;
        Ok(request)
    }

    pub(super) fn decode_audio(&self) -> Result<Vec<u8>, ApiError> {
        decode_base64(&self.audio_base64)
    }
}

/// Turns line breaks into blanks. Outside of strings they mean the same; within one they are not JSON, but they are what
/// a shell makes of `"$(base64 FILE)"` where that command breaks its lines.
pub(super) fn without_line_breaks(body: Bytes) -> Vec<u8> {
    // No copy: nobody else holds these bytes.
    let mut body = Vec::from(body);
    for byte in &mut body {
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
    body
}

impl ExtractResponse<'_> {
    /// The answer, with the time of each stage in its `Server-Timing` header.
    pub(super) fn answer(extraction: &Extraction, fingerprint: &str) -> Response {
        let Extraction { embedding, audio, timings } = extraction;
        let body = ExtractResponse {
            embedding,
            dimension: embedding.components().len(),
            model: fingerprint,
            audio: AudioReport {
                duration_seconds: audio.duration_seconds,
                speech_seconds: audio.speech_seconds,
                sample_rate_hz: audio.sample_rate_hz,
                channels: audio.channels,
                windows: audio.windows,
                warnings: audio.warnings.iter().map(|warning| warning.code()).collect(),
            },
        };
        let seconds = AudioSeconds(audio.duration_seconds);
        ([(SERVER_TIMING, server_timing(timings))], Extension(seconds), Json(body)).into_response()
    }
}

/// What the encoder makes are `f32`, whose shortest digits are fewer.
fn in_single_precision<S: Serializer>(embedding: &Embedding, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(embedding.components().iter().map(|component| *component as f32))
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The stages in milliseconds, as browsers show them (W3C Server Timing).
fn server_timing(timings: &Timings) -> String {
    let entry =
        |(stage, duration): (&str, Duration)| format!("{stage};dur={:.3}", duration.as_secs_f64() * 1e3);
    timings.stages().map(entry).join(", ")
}

/// Decodes base64 with or without padding. What is not plain base64 is tried again without line breaks and a `data:`
/// prefix and with the URL-safe characters replaced.
fn decode_base64(text: &str) -> Result<Vec<u8>, ApiError> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    if let Ok(bytes) = LENIENT.decode(text) {
        return Ok(bytes);
    }
    let payload = match text.split_once(',') {
        Some((prefix, payload)) if prefix.trim_start().starts_with("data:") => payload,
        _ => text,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_all_its_dresses() {
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
            assert_eq!(decode_base64(text).ok().as_deref(), expected, "{name}");
        }
    }
}
