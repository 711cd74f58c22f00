//! The log line, the trace span and the metrics of each request.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, Level, Span};

use super::request_id;
use crate::http::error::ErrorCode;
use crate::http::state::AppState;
use crate::logging;
use crate::notation::round_to;

/// The name of a request's key, as an extension of the request and of its response.
#[derive(Clone)]
pub(in crate::http) struct KeyName(pub(in crate::http) String);

/// The seconds of audio that were embedded, as an extension of a response.
#[derive(Clone, Copy)]
pub(in crate::http) struct AudioSeconds(pub(in crate::http) f64);

/// Routes that probes call every few seconds. They are logged at level `debug`.
const PROBES: [&str; 3] = ["/health", "/ready", "/metrics"];

/// Logs, traces and counts a request.
pub(in crate::http) async fn observe(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let mut observed = Observed::new(state, &request);
    let response = next.run(request).instrument(observed.span.clone()).await;
    observed.record_response(&response);
    response
}

/// A request in progress.
struct Observed {
    state: AppState,
    begun: Instant,
    route: String,
    method: Method,
    span: Span,
    is_answered: bool,
}

impl Observed {
    fn new(state: AppState, request: &Request) -> Self {
        let matched = request.extensions().get::<MatchedPath>();
        let route = matched.map_or("unmatched", MatchedPath::as_str).to_owned();
        let method = request.method().clone();
        let bytes: Option<u64> =
            header(request.headers(), CONTENT_LENGTH.as_str()).and_then(|v| v.parse().ok());
        let span =
            tracing::info_span!("request", %method, route, request_id = request_id::id_of(request), bytes);
        logging::continue_trace(&span, |name| header(request.headers(), name));
        Self { state, begun: Instant::now(), route, method, span, is_answered: false }
    }

    fn record_response(&mut self, response: &Response) {
        self.is_answered = true;
        let status = response.status().as_u16();
        let extensions = response.extensions();
        let key = extensions.get::<KeyName>().map(|KeyName(name)| name.as_str());
        let audio_seconds = extensions.get::<AudioSeconds>().map(|AudioSeconds(seconds)| *seconds);
        let code = extensions.get::<ErrorCode>().map(|ErrorCode(code)| *code);
        let duration_ms = milliseconds(self.count(status));
        if let Some(code) = code {
            self.state.metrics.http.errors.with_label_values(&[code]).inc();
        }
        if let Some(key) = key {
            self.state.metrics.http.key_requests.with_label_values(&[key]).inc();
        }
        let _entered = self.span.enter();
        if PROBES.contains(&self.route.as_str()) {
            tracing::event!(Level::DEBUG, status, duration_ms, "answered");
        } else {
            tracing::event!(Level::INFO, status, duration_ms, code, key, audio_seconds, "answered");
        }
    }

    /// Counts a response, and returns the time it took.
    fn count(&self, status: u16) -> Duration {
        let metrics = &self.state.metrics;
        let duration = self.begun.elapsed();
        let method = match self.method {
            Method::GET | Method::POST | Method::HEAD | Method::OPTIONS | Method::PATCH | Method::DELETE => {
                self.method.as_str()
            }
            // Clients can invent any number of methods.
            _ => "other",
        };
        metrics.http.requests.with_label_values(&[&self.route, method, &status.to_string()]).inc();
        metrics.http.request_seconds.with_label_values(&[&self.route]).observe(duration.as_secs_f64());
        duration
    }
}

/// A request is dropped if its client disconnects.
impl Drop for Observed {
    fn drop(&mut self) {
        if !self.is_answered {
            // nginx logs the same status for "client closed request".
            let duration_ms = milliseconds(self.count(499));
            self.span.in_scope(|| tracing::info!(status = 499, duration_ms, "the client has gone"));
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    round_to(duration.as_secs_f64() * 1e3, 3)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
