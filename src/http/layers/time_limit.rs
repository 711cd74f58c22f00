//! The time limit of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::Response;
use http_body::Body as _;

use super::watched::{PolledFrame, Watch, watched};
use crate::http::error::ApiError;
use crate::http::state::AppState;
use crate::pipeline::Deadline;

/// Each recording after the first extends the limit by the limit divided by this.
const RECORDINGS_PER_LIMIT: f64 = 8.0;

/// Minimum speed at which a large body must arrive, in bytes per millisecond: 8 Mbit/s.
const BODY_BYTES_PER_MS: usize = 1_000;

/// Seconds that each second of a long recording adds to the limit.
const MORE_FOR_EACH_SECOND: f64 = 0.5;

/// Upper bound for the length of a body. No accepted body is longer.
const MAX_BODY_BYTES: usize = 4 << 30;

/// The time limit of a request, which grows with its recordings. It is stored in the extensions of the request.
#[derive(Clone)]
pub(in crate::http) struct TimeLimit {
    begun: Instant,
    /// The limit of a request with one recording.
    limit: Duration,
    n_recordings: Arc<AtomicUsize>,
    /// Milliseconds that large bodies and long recordings add to the limit.
    more_ms: Arc<AtomicUsize>,
}

impl TimeLimit {
    pub(in crate::http) fn new(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, n_recordings: Arc::default(), more_ms: Arc::default() }
    }

    /// Returns the deadline for the recordings that are known so far.
    pub(in crate::http) fn deadline(&self) -> Deadline {
        Deadline { at: self.begun + self.of(self.limit), for_each_second: 0.0 }
    }

    /// Like [`TimeLimit::deadline`], extended by the length of a recording.
    pub(in crate::http) fn deadline_by_length(&self) -> Deadline {
        Deadline { for_each_second: MORE_FOR_EACH_SECOND, ..self.deadline() }
    }

    /// Sets the number of recordings in the request.
    pub(in crate::http) fn extend(&self, n_recordings: usize) {
        self.n_recordings.store(n_recordings, Ordering::Relaxed);
    }

    /// Extends the limit by the time that a large body needs to arrive.
    pub(in crate::http) fn extend_for_body(&self, headers: &HeaderMap) {
        let length =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        self.extend_for_bytes(length.unwrap_or(0).min(MAX_BODY_BYTES));
    }

    /// Extends the limit for `n` bytes of a large body.
    pub(in crate::http) fn extend_for_bytes(&self, n: usize) {
        self.more_ms.fetch_add(n / BODY_BYTES_PER_MS, Ordering::Relaxed);
    }

    /// Returns a callback that extends the limit by half of a recording's length, once the length is known.
    pub(in crate::http) fn for_length(&self) -> Arc<dyn Fn(f64) + Send + Sync> {
        let more_ms = Arc::clone(&self.more_ms);
        Arc::new(move |seconds: f64| {
            more_ms.fetch_add((seconds * MORE_FOR_EACH_SECOND * 1e3) as usize, Ordering::Relaxed);
        })
    }

    /// Returns the limit plus an eighth of it for each recording after the first, and the added time.
    fn of(&self, limit: Duration) -> Duration {
        let further = self.n_recordings.load(Ordering::Relaxed).saturating_sub(1) as f64;
        let more = Duration::from_millis(self.more_ms.load(Ordering::Relaxed) as u64);
        limit.mul_f64(1.0 + further / RECORDINGS_PER_LIMIT) + more
    }
}

/// Records whether the whole body has been received.
struct Receiving {
    is_received: Arc<AtomicBool>,
}

impl Watch for Receiving {
    fn see(&mut self, frame: PolledFrame, has_ended: bool) -> PolledFrame {
        if matches!(frame, Poll::Ready(None)) || has_ended {
            self.is_received.store(true, Ordering::Relaxed);
        }
        frame
    }
}

/// A reader may stop before the last byte. The reader of a form stops at the end of the form.
impl Drop for Receiving {
    fn drop(&mut self) {
        self.is_received.store(true, Ordering::Relaxed);
    }
}

/// Enforces the time limit, which starts with the request's head.
pub(in crate::http) async fn answer_in_time(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let limit = state.config.request_timeout;
    let time_limit = TimeLimit::new(limit);
    request.extensions_mut().insert(time_limit.clone());
    let is_received = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let receiving = Receiving { is_received: Arc::clone(&is_received) };
    let request = request.map(|body| watched(body, receiving));
    let begun = tokio::time::Instant::now();
    let mut answer = std::pin::pin!(next.run(request));
    loop {
        let allowed = time_limit.of(limit);
        match tokio::time::timeout_at(begun + allowed, &mut answer).await {
            Ok(answer) => return Ok(answer),
            // The recordings were counted in the meantime, and have extended the limit.
            Err(_) if time_limit.of(limit) > allowed => {}
            Err(_) if is_received.load(Ordering::Relaxed) => {
                return Err(ApiError::Timeout { seconds: allowed.as_secs_f64() });
            }
            Err(_) => return Err(ApiError::BodyTooSlow { seconds: allowed.as_secs_f64() }),
        }
    }
}
