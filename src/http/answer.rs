//! JSON answers that grow with what was asked for.

use std::time::Duration;

use axum::Extension;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::layers::observe::AudioSeconds;
use crate::embedder::{Embedded, Timings};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The stages in milliseconds, as browsers show them (W3C Server Timing).
pub(super) fn server_timing(timings: &Timings) -> (HeaderName, String) {
    let entry =
        |(stage, duration): (&str, Duration)| format!("{stage};dur={:.3}", duration.as_secs_f64() * 1e3);
    (SERVER_TIMING, timings.stages().map(entry).join(", "))
}

/// The times of recordings together, and their seconds of audio.
pub(super) fn totals<'a>(all: impl Iterator<Item = &'a Embedded>) -> (Timings, f64) {
    let (mut timings, mut seconds) = (Timings::default(), 0.0);
    for embedded in all {
        timings.add(&embedded.timings);
        seconds += embedded.voices.iter().flatten().map(|voice| voice.audio.duration_seconds).sum::<f64>();
    }
    (timings, seconds)
}

/// Writes a large answer on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Panicked)
}

/// What was made, and where it is; without that, what was there already.
pub(super) fn created(location: Option<String>, body: impl IntoResponse) -> Response {
    match location {
        Some(location) => (StatusCode::CREATED, [(LOCATION, location)], body).into_response(),
        None => body.into_response(),
    }
}

/// What was asked for is done, and there is nothing to say.
pub(super) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// A body of JSON with the time of each stage and the seconds of audio that the log shows.
pub(super) fn json(body: Vec<u8>, timings: &Timings, audio_seconds: f64) -> Response {
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), server_timing(timings)];
    (headers, Extension(AudioSeconds(audio_seconds)), body).into_response()
}
