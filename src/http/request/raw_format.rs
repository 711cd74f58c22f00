//! Samples without a header, described by a content type or by JSON fields.
//!
//! Sources: RFC 2586 (`audio/L16`), RFC 2046, section 4.3 (`audio/basic`).

use axum::http::HeaderValue;
use serde_json::Value;

use crate::audio::{Endian, RawFormat, SampleFormat};
use crate::http::error::{ApiError, FieldError};

/// The rate of `audio/basic`, in Hz.
const BASIC_RATE_HZ: u32 = 8_000;

/// Returns the format of samples without a header, if a content type names them:
/// `audio/pcm;rate=16000;channels=1;encoding=s16le`, `audio/L16;rate=16000` or `audio/basic`.
pub(in crate::http) fn from_content_type(value: &HeaderValue) -> Result<Option<RawFormat>, ApiError> {
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let mut words = text.split(';').map(str::trim);
    let parameters: Vec<(&str, &str)> = {
        let name = words.next().unwrap_or_default();
        if !["audio/pcm", "audio/l16", "audio/basic"].contains(&name) {
            return Ok(None);
        }
        words
            .filter_map(|word| word.split_once('='))
            .map(|(name, v)| (name.trim(), v.trim().trim_matches('"')))
            .collect()
    };
    let parameter =
        |wanted: &str| parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let wrong = |msg: String| ApiError::from(FieldError::header("Content-Type", &msg, text.as_str().into()));
    let number = |name: &str, default: Option<u32>| match (parameter(name), default) {
        (Some(value), _) => value.parse().map_err(|_| wrong(format!("{name} should be a whole number"))),
        (None, Some(default)) => Ok(default),
        (None, None) => {
            Err(wrong(format!("{name} is required for samples without a header: audio/pcm;rate=16000")))
        }
    };
    let format = if text.starts_with("audio/basic") {
        SampleFormat::MuLaw
    } else if text.starts_with("audio/l16") {
        let is_little = parameter("endianness") == Some("little-endian");
        SampleFormat::S16(if is_little { Endian::Little } else { Endian::Big })
    } else {
        let encoding = parameter("encoding").unwrap_or("s16le");
        sample_format(encoding).ok_or_else(|| wrong(format!("encoding should be one of {ENCODINGS}")))?
    };
    let rate = number("rate", text.starts_with("audio/basic").then_some(BASIC_RATE_HZ))?;
    let channels = number("channels", Some(1))?;
    let channels = u16::try_from(channels).map_err(|_| wrong("channels should be 1 to 8".into()))?;
    Ok(Some(RawFormat { format, sample_rate_hz: rate, channels }))
}

pub(in crate::http) const ENCODINGS: &str = "s16le, s16be, f32le, mulaw, alaw";

pub(in crate::http) fn sample_format(encoding: &str) -> Option<SampleFormat> {
    Some(match encoding {
        "s16le" => SampleFormat::S16(Endian::Little),
        "s16be" => SampleFormat::S16(Endian::Big),
        "f32le" => SampleFormat::F32(Endian::Little),
        "mulaw" => SampleFormat::MuLaw,
        "alaw" => SampleFormat::ALaw,
        _ => return None,
    })
}

/// Returns the format of samples from the fields `format`, `sample_rate` and `channels`, if `format` begins with `pcm_`.
pub(in crate::http) fn from_fields(
    format: Option<&str>,
    sample_rate: Option<f64>,
    channels: Option<f64>,
) -> Result<Option<RawFormat>, ApiError> {
    let Some(encoding) = format.and_then(|format| format.strip_prefix("pcm_")) else { return Ok(None) };
    let whole = |name: &str, value: f64, max: u32| {
        let is_whole = value.fract() == 0.0 && (1.0..=f64::from(max)).contains(&value);
        let msg = format!("Input should be a whole number from 1 to {max}");
        is_whole.then_some(value as u32).ok_or_else(|| FieldError::value(name, &msg, value.into()))
    };
    let format = sample_format(encoding).ok_or_else(|| {
        let msg = format!("Input should be pcm_ and one of {ENCODINGS}");
        FieldError::value("format", &msg, format!("pcm_{encoding}").into())
    })?;
    let rate = sample_rate.ok_or_else(|| FieldError::missing(&["body", "sample_rate"], Value::Null))?;
    let sample_rate_hz = whole("sample_rate", rate, *crate::audio::SAMPLE_RATES_HZ.end())?;
    let channels = whole("channels", channels.unwrap_or(1.0), crate::audio::MAX_CHANNELS.into())? as u16;
    Ok(Some(RawFormat { format, sample_rate_hz, channels }))
}
