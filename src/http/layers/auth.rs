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

/// Who holds the request's key: an extension of the request.
#[derive(Clone)]
pub(in crate::http) struct KeyHolder {
    pub(in crate::http) holder: Arc<Holder>,
    /// What is left of its rate once the request's recordings are counted.
    remaining: Arc<AtomicU32>,
}

impl KeyHolder {
    /// Whether the key has a right.
    pub(in crate::http) fn may(&self, right: Right) -> bool {
        self.holder.key.may(right)
    }

    /// Whether the key has a right that only some requests of a route need.
    pub(in crate::http) fn require(&self, right: Right) -> Result<(), ApiError> {
        if self.may(right) { Ok(()) } else { Err(ApiError::Forbidden { right }) }
    }

    /// Whether the key may use a collection.
    pub(in crate::http) fn require_collection(&self, collection: &Identifier) -> Result<(), ApiError> {
        if self.holder.key.may_use(collection.as_str()) {
            return Ok(());
        }
        Err(ApiError::ForbiddenCollection { collection: collection.clone() })
    }

    /// Takes the tokens of the request's recordings but the first.
    pub(in crate::http) fn take_more_tokens(&self, n: usize) -> Result<(), ApiError> {
        if let Some(allowance) = self.holder.take_more_tokens(n)? {
            self.remaining.store(allowance.remaining, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// How long the answer to a further wrong key takes: less than the second that clients wait for `100 Continue`.
const WRONG_KEY_DELAY: Duration = Duration::from_millis(500);

/// Lets a request pass if its key is valid, has the route's right (if the route asks for one) and is within its rate; the body
/// has not been read by then. The key's name is an extension of the request and of its answer.
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

/// `X-API-Key: KEY` or `Authorization: Bearer KEY`; the former counts if both are there.
fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(API_KEY_HEADER) {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    // Without a key, the blank behind the scheme may have been trimmed.
    let (scheme, key) = value.split_at_checked("Bearer ".len()).unwrap_or((value, b""));
    scheme.trim_ascii_end().eq_ignore_ascii_case(b"Bearer").then_some(key.trim_ascii_start())
}

/// `RateLimit-*`, after the IETF's draft: limit and what is left of it, and the seconds until all of it is back.
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
