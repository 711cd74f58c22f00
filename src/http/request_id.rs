//! `X-Request-Id`: the client's own if it is sane, else one of ours.

use axum::extract::Request;
use axum::http::HeaderValue;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

const HEADER: axum::http::HeaderName = axum::http::HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client.
const MAX_LEN: usize = 128;

/// Gives every request an id.
pub(super) fn set() -> SetRequestIdLayer<MakeRequestUuid> {
    SetRequestIdLayer::new(HEADER, MakeRequestUuid)
}

/// Gives every answer its request's id.
pub(super) fn propagate() -> PropagateRequestIdLayer {
    PropagateRequestIdLayer::new(HEADER)
}

/// Removes an id that could confuse a log or a proxy.
pub(super) fn drop_insane(mut request: Request) -> Request {
    let is_sane = |id: &HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
        (1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    if request.headers().get(HEADER).is_some_and(|id| !is_sane(id)) {
        request.headers_mut().remove(HEADER);
    }
    request
}

/// The id of a request, for its log lines.
pub(super) fn of(request: &Request) -> &str {
    request.headers().get(HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default()
}
