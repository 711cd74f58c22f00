//! Authentication, before the body is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::observe::KeyName;
use super::offered_key::offered_key;
use crate::config::Right;
use crate::http::error::{ApiError, FieldError};
use crate::http::keys::{Allowance, Holder};
use crate::http::state::AppState;
use crate::speakers::Identifier;

/// The header that carries the key.
pub(in crate::http) const API_KEY_HEADER: &str = "X-API-Key";

/// The holder of the request's key, as an extension of the request.
#[derive(Clone)]
pub(in crate::http) struct KeyHolder {
    pub(in crate::http) holder: Arc<Holder>,
    /// The requests that are left after the request's recordings are counted.
    remaining: Arc<AtomicU32>,
}

impl KeyHolder {
    /// Returns whether the key has a right.
    pub(in crate::http) fn may(&self, right: Right) -> bool {
        self.holder.key.may(right)
    }

    /// Fails if the key lacks a right that only some requests of a route need.
    pub(in crate::http) fn require(&self, right: Right) -> Result<(), ApiError> {
        if self.may(right) { Ok(()) } else { Err(ApiError::Forbidden { right }) }
    }

    /// Fails if the key may not use a collection.
    pub(in crate::http) fn require_collection(&self, collection: &Identifier) -> Result<(), ApiError> {
        if self.holder.key.may_use(collection.as_str()) {
            return Ok(());
        }
        Err(ApiError::ForbiddenCollection { collection: collection.clone() })
    }

    /// Takes the tokens of the request's recordings, except the first.
    pub(in crate::http) fn take_more_tokens(&self, n: usize) -> Result<(), ApiError> {
        if let Some(allowance) = self.holder.take_more_tokens(n)? {
            self.remaining.store(allowance.remaining, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Delay of the response to a further wrong key. It is shorter than the second that clients wait for `100 Continue`.
const WRONG_KEY_DELAY: Duration = Duration::from_millis(500);

/// Passes a request on if its key is valid, has the route's right (if the route needs one) and is within its rate limit.
/// The body has not been read at this point. The key's name becomes an extension of the request and of its response.
pub(in crate::http) async fn require_api_key(
    State((state, right)): State<(AppState, Option<Right>)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let offered = offered_key(&request);
    let Some(key) = sent_key(request.headers()).or(offered.as_deref()) else {
        if request.uri().path().starts_with("/v1/") {
            return Err(ApiError::MissingApiKey);
        }
        return Err(FieldError::missing(&["header", API_KEY_HEADER], Value::Null).into());
    };
    let Some(holder) = state.api_keys.find(key) else {
        let address =
            request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        if address.is_some_and(|address| state.api_keys.is_guessing(address)) {
            tokio::time::sleep(WRONG_KEY_DELAY).await;
        }
        return Err(ApiError::InvalidApiKey);
    };
    let name = KeyName(holder.key.name.clone());
    request.extensions_mut().insert(name.clone());
    let remaining = Arc::new(AtomicU32::new(u32::MAX));
    let key_holder = KeyHolder { holder: Arc::clone(&holder), remaining: Arc::clone(&remaining) };
    request.extensions_mut().insert(key_holder);
    let allowed = match right.filter(|right| !holder.key.may(*right)) {
        Some(right) => Err(ApiError::Forbidden { right }),
        None => holder.take_token(),
    };
    let (mut response, allowance) = match allowed {
        Ok(allowance) => (next.run(request).await, allowance),
        Err(error @ ApiError::RateLimited { limit, .. }) => {
            (error.into_response(), Some(Allowance { limit, remaining: 0 }))
        }
        Err(error) => (error.into_response(), None),
    };
    if let Some(mut allowance) = allowance {
        allowance.remaining = allowance.remaining.min(remaining.load(Ordering::Relaxed));
        add_headers(&allowance, response.headers_mut());
    }
    response.extensions_mut().insert(name);
    Ok(response)
}

/// Returns the key from `X-API-Key: KEY` or `Authorization: Bearer KEY`. The former takes precedence.
fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(API_KEY_HEADER) {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    // If the key is empty, the blank after the scheme may have been trimmed.
    let (scheme, key) = value.split_at_checked("Bearer ".len()).unwrap_or((value, b""));
    scheme.trim_ascii_end().eq_ignore_ascii_case(b"Bearer").then_some(key.trim_ascii_start())
}

/// Adds the headers `RateLimit-*` of the IETF's draft: the limit, the remaining requests, and the seconds until all are
/// available again.
fn add_headers(allowance: &Allowance, headers: &mut HeaderMap) {
    let reset = (u64::from(allowance.limit - allowance.remaining) * 60).div_ceil(allowance.limit.into());
    for (name, value) in [
        ("ratelimit-limit", allowance.limit.into()),
        ("ratelimit-remaining", allowance.remaining.into()),
        ("ratelimit-reset", reset),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}
