//! `X-Request-Id`: the client's id if it is safe to log, otherwise a new one.

use axum::extract::Request;
use axum::http::HeaderValue;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

const HEADER: axum::http::HeaderName = axum::http::HeaderName::from_static("x-request-id");

/// Maximum length of a client's request id.
const MAX_LEN: usize = 128;

/// Assigns an id to every request.
pub(in crate::http) fn set() -> SetRequestIdLayer<MakeRequestUuid> {
    SetRequestIdLayer::new(HEADER, MakeRequestUuid)
}

/// Copies the request's id to the response.
pub(in crate::http) fn propagate() -> PropagateRequestIdLayer {
    PropagateRequestIdLayer::new(HEADER)
}

/// Removes an id that is too long, or has characters that could confuse a log or a proxy.
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

/// Returns the id of a request, for its log lines.
pub(in crate::http) fn id_of(request: &Request) -> &str {
    request.headers().get(HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default()
}
