//! API keys: which are valid, and how often each may be used.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::error::ApiError;
use crate::config::NamedKey;

/// Wrong keys that an address may send in a minute before it is slowed down.
const WRONG_KEYS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Addresses that are remembered for their wrong keys, before those are forgotten that were quiet for a while.
const MAX_REMEMBERED_ADDRESSES: usize = 10_000;

type Buckets = RateLimiter<usize, DashMapStateStore<usize>, DefaultClock, StateInformationMiddleware>;

/// The valid keys, and the rate of each.
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

/// What is left of a key's rate.
pub(super) struct Allowance {
    /// Requests a minute.
    pub(super) limit: u32,
    /// Of which so many are left.
    pub(super) remaining: u32,
}

impl ApiKeys {
    pub(super) fn new(keys: &[NamedKey], rate_limit_per_minute: Option<NonZeroU32>) -> Self {
        let hashed =
            |key: &NamedKey| HashedKey { digest: Sha256::digest(&key.key).into(), name: key.name.clone() };
        let limit = rate_limit_per_minute.map(|limit| {
            (
                limit,
                RateLimiter::keyed(Quota::per_minute(limit)).with_middleware::<StateInformationMiddleware>(),
            )
        });
        Self {
            keys: keys.iter().map(hashed).collect(),
            limit,
            wrong_keys: RateLimiter::keyed(Quota::per_minute(WRONG_KEYS_PER_MINUTE)),
        }
    }

    /// The place of a key in the list, in a time that does not depend on it.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        const NONE: u32 = u32::MAX;
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut found = NONE;
        for (place, known) in (0..).zip(&self.keys) {
            found.conditional_assign(&place, known.digest.ct_eq(&digest));
        }
        (found != NONE).then_some(found as usize)
    }

    /// The name of the key at a place.
    pub(super) fn name(&self, place: usize) -> &str {
        &self.keys[place].name
    }

    /// Takes a token from a key's bucket; `None` if rates are not limited.
    pub(super) fn take_token(&self, place: usize) -> Result<Option<Allowance>, ApiError> {
        let Some((limit, buckets)) = &self.limit else { return Ok(None) };
        let state = buckets.check_key(&place).map_err(|empty| {
            let wait = empty.wait_time_from(buckets.clock().now());
            ApiError::RateLimited { limit: limit.get(), wait_seconds: wait.as_secs_f64().ceil() as u64 }
        })?;
        Ok(Some(Allowance { limit: limit.get(), remaining: state.remaining_burst_capacity() }))
    }

    /// Takes more tokens for the further recordings of a request.
    pub(super) fn take_more_tokens(&self, place: usize, n: usize) -> Result<(), ApiError> {
        let Some((limit, buckets)) = &self.limit else { return Ok(()) };
        let Some(n) = NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)) else { return Ok(()) };
        let limit = limit.get();
        match buckets.check_key_n(&place, n) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(empty)) => {
                let wait = empty.wait_time_from(buckets.clock().now());
                Err(ApiError::RateLimited { limit, wait_seconds: wait.as_secs_f64().ceil() as u64 })
            }
            // More than a minute's worth: such a request never passes.
            Err(_) => Err(ApiError::TooManyRecordings { max: limit as usize }),
        }
    }

    /// Whether an address has recently sent too many wrong keys.
    pub(super) fn is_guessing(&self, address: IpAddr) -> bool {
        if self.wrong_keys.len() > MAX_REMEMBERED_ADDRESSES {
            self.wrong_keys.retain_recent();
        }
        self.wrong_keys.check_key(&network(address)).is_err()
    }
}

/// The network of an address: whoever has an IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}
