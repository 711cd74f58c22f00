//! JSON responses whose size grows with the request.

use std::io::{self, Write};
use std::time::Duration;

use axum::Extension;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use super::layers::observe::AudioSeconds;
use crate::embedder::{Embedded, Timings};
use crate::pace::Pace;

/// Bytes of a large response between two pauses.
const PIECE_BYTES: usize = 64 << 10;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Returns the time of each stage in milliseconds, in the format that browsers show (W3C Server Timing).
pub(super) fn server_timing(timings: &Timings) -> (HeaderName, String) {
    let entry =
        |(stage, duration): (&str, Duration)| format!("{stage};dur={:.3}", duration.as_secs_f64() * 1e3);
    (SERVER_TIMING, timings.stages().map(entry).join(", "))
}

/// Returns the total time of each stage and the total seconds of audio of several recordings.
pub(super) fn totals<'a>(all: impl Iterator<Item = &'a Embedded>) -> (Timings, f64) {
    let (mut timings, mut seconds) = (Timings::default(), 0.0);
    for embedded in all {
        timings.add(&embedded.timings);
        seconds += embedded.voices.iter().flatten().map(|voice| voice.audio.duration_seconds).sum::<f64>();
    }
    (timings, seconds)
}

/// Returns 201 with the location of a new resource, or 200 for an existing one, which has no `location`.
pub(super) fn created(location: Option<String>, body: impl IntoResponse) -> Response {
    match location {
        Some(location) => (StatusCode::CREATED, [(LOCATION, location)], body).into_response(),
        None => body.into_response(),
    }
}

/// Returns the response to a request that succeeded without a result.
pub(super) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Returns a JSON response with the time of each stage. The log shows its seconds of audio.
pub(super) fn json_text(body: Vec<u8>, timings: &Timings, audio_seconds: f64) -> Response {
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), server_timing(timings)];
    (headers, Extension(AudioSeconds(audio_seconds)), body).into_response()
}

/// Like [`json_text`], for a small response.
pub(super) fn json(
    answer: &impl Serialize,
    timings: &Timings,
    audio_seconds: f64,
) -> Result<Response, ApiError> {
    Ok(json_text(to_json(answer, Pace::UNBROKEN)?, timings, audio_seconds))
}

/// Serialises a response as JSON, in slices.
pub(super) fn to_json(answer: &impl Serialize, pace: Pace<'_>) -> Result<Vec<u8>, ApiError> {
    let mut text = PacedText { bytes: Vec::new(), pace };
    serde_json::to_writer(&mut text, answer).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(text.bytes)
}

/// Text that pauses for other work while it grows.
struct PacedText<'a> {
    bytes: Vec<u8>,
    pace: Pace<'a>,
}

impl Write for PacedText<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pieces = |n: usize| n / PIECE_BYTES;
        if pieces(self.bytes.len() + bytes.len()) > pieces(self.bytes.len()) {
            self.pace.pause().map_err(io::Error::other)?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
