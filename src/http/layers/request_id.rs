//! `X-Request-Id`: the client's own if it is safe to log, else a new one.

use axum::extract::Request;
use axum::http::HeaderValue;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

const HEADER: axum::http::HeaderName = axum::http::HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client.
const MAX_LEN: usize = 128;

/// Gives every request an id.
pub(in crate::http) fn set() -> SetRequestIdLayer<MakeRequestUuid> {
    SetRequestIdLayer::new(HEADER, MakeRequestUuid)
}

/// Gives every answer its request's id.
pub(in crate::http) fn propagate() -> PropagateRequestIdLayer {
    PropagateRequestIdLayer::new(HEADER)
}

/// Removes an id with characters that could confuse a log or a proxy.
pub(in crate::http) fn remove_unsafe(mut request: Request) -> Request {
    let is_safe = |id: &HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
        (1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    if request.headers().get(HEADER).is_some_and(|id| !is_safe(id)) {
        request.headers_mut().remove(HEADER);
    }
    request
}

/// The id of a request, for its log lines.
pub(in crate::http) fn of(request: &Request) -> &str {
    request.headers().get(HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default()
}
