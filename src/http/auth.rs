//! API keys: who may ask, and how often.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::AppState;
use super::error::ApiError;
use super::observe::KeyName;
use super::validation::FieldError;
use crate::config::{Config, NamedKey};

/// The header that carries the key.
pub(super) const API_KEY_HEADER: &str = "X-API-Key";

/// Wrong keys that an address may send in a minute before it is slowed down.
const WRONG_KEYS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How long the answer to a further wrong key takes.
const WRONG_KEY_DELAY: Duration = Duration::from_secs(1);

/// Addresses that are remembered for their wrong keys, before those are forgotten that were quiet for a while.
const MAX_REMEMBERED_ADDRESSES: usize = 10_000;

type Buckets = RateLimiter<usize, DashMapStateStore<usize>, DefaultClock, StateInformationMiddleware>;

/// The keys that are let in, and how often each may ask.
pub(super) struct ApiKeys {
    keys: Vec<HashedKey>,
    /// A bucket of tokens for each key, by its place in `keys`.
    limit: Option<(NonZeroU32, Buckets)>,
    wrong_keys: RateLimiter<IpAddr, DashMapStateStore<IpAddr>, DefaultClock, NoOpMiddleware>,
}

/// A key as its SHA-256: all are of one length, and none is in a memory dump.
struct HashedKey {
    digest: [u8; 32],
    name: String,
}

/// What is left of a key's rate, for the answer's headers.
struct Allowance {
    limit: u32,
    remaining: u32,
}

impl ApiKeys {
    pub(super) fn new(config: &Config) -> Self {
        let hashed =
            |key: &NamedKey| HashedKey { digest: Sha256::digest(&key.key).into(), name: key.name.clone() };
        let limit = config.rate_limit_per_minute.map(|limit| {
            (
                limit,
                RateLimiter::keyed(Quota::per_minute(limit)).with_middleware::<StateInformationMiddleware>(),
            )
        });
        Self {
            keys: config.api_keys.iter().map(hashed).collect(),
            limit,
            wrong_keys: RateLimiter::keyed(Quota::per_minute(WRONG_KEYS_PER_MINUTE)),
        }
    }

    /// The place of a key among ours, in a time that does not depend on it.
    fn find(&self, key: &[u8]) -> Option<usize> {
        const NONE: u32 = u32::MAX;
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut found = NONE;
        for (place, ours) in (0..).zip(&self.keys) {
            found.conditional_assign(&place, ours.digest.ct_eq(&digest));
        }
        (found != NONE).then_some(found as usize)
    }

    /// Takes a token from a key's bucket; `None` if rates are not limited.
    fn take_token(&self, place: usize) -> Result<Option<Allowance>, ApiError> {
        let Some((limit, buckets)) = &self.limit else { return Ok(None) };
        let state = buckets.check_key(&place).map_err(|empty| {
            let wait = empty.wait_time_from(buckets.clock().now());
            ApiError::RateLimited { limit: limit.get(), wait_seconds: wait.as_secs_f64().ceil() as u64 }
        })?;
        Ok(Some(Allowance { limit: limit.get(), remaining: state.remaining_burst_capacity() }))
    }

    /// Whether an address has sent too many wrong keys of late.
    fn is_guessing(&self, address: IpAddr) -> bool {
        if self.wrong_keys.len() > MAX_REMEMBERED_ADDRESSES {
            self.wrong_keys.retain_recent();
        }
        self.wrong_keys.check_key(&network(address)).is_err()
    }
}

/// One who has an IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Allowance {
    /// `RateLimit-*`, after the IETF's draft: limit and what is left of it, and the seconds until all of it is back.
    fn add_to(&self, headers: &mut HeaderMap) {
        let reset = (u64::from(self.limit - self.remaining) * 60).div_ceil(self.limit.into());
        for (name, value) in [
            ("ratelimit-limit", self.limit.into()),
            ("ratelimit-remaining", self.remaining.into()),
            ("ratelimit-reset", reset),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

/// Lets a request pass whose key is one of ours and within its rate; the body has not been read by then.
pub(super) async fn require_api_key(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(key) = sent_key(request.headers()) else {
        return Err(FieldError::missing(&["header", API_KEY_HEADER], Value::Null).into());
    };
    let Some(place) = state.api_keys.find(key) else {
        let address =
            request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        if address.is_some_and(|address| state.api_keys.is_guessing(address)) {
            tokio::time::sleep(WRONG_KEY_DELAY).await;
        }
        return Err(ApiError::InvalidApiKey);
    };
    let (mut response, allowance) = match state.api_keys.take_token(place) {
        Ok(allowance) => (next.run(request).await, allowance),
        Err(error @ ApiError::RateLimited { limit, .. }) => {
            (error.into_response(), Some(Allowance { limit, remaining: 0 }))
        }
        Err(error) => (error.into_response(), None),
    };
    if let Some(allowance) = allowance {
        allowance.add_to(response.headers_mut());
    }
    response.extensions_mut().insert(KeyName(state.api_keys.keys[place].name.clone()));
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
    scheme.trim_ascii_end().eq_ignore_ascii_case(b"Bearer").then_some(key)
}
