//! API keys: who may ask.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::AppState;
use super::error::ApiError;
use super::validation::FieldError;

/// The header that carries the key.
pub(super) const API_KEY_HEADER: &str = "X-API-Key";

/// The keys that are let in, hashed so that they have one length and stay out of memory dumps.
pub(super) struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    pub(super) fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| Sha256::digest(key).into()).collect())
    }

    /// Whether the key is one of ours, in a time that does not depend on either.
    fn contains(&self, key: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(key).into();
        self.0.iter().fold(Choice::from(0), |found, ours| found | ours.ct_eq(&digest)).into()
    }
}

/// Lets a request pass whose key is one of ours; the body has not been read by then.
pub(super) async fn require_api_key(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(key) = sent_key(request.headers()) else {
        return Err(FieldError::missing(&["header", API_KEY_HEADER], Value::Null).into());
    };
    if !state.api_keys.contains(key) {
        return Err(ApiError::InvalidApiKey);
    }
    Ok(next.run(request).await)
}

/// `X-API-Key: KEY` or `Authorization: Bearer KEY`; the former counts if both are there.
fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(API_KEY_HEADER) {
        return Some(key.as_bytes());
    }
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    // Without a key, the blank behind the scheme may have been trimmed.
    let (scheme, key) = value.split_at_checked("Bearer ".len()).unwrap_or((value, b""));
    scheme.trim_ascii_end().eq_ignore_ascii_case(b"Bearer").then_some(key)
}
