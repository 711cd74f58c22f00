//! API keys: validity and rate limits.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use governor::clock::{Clock, DefaultClock, QuantaInstant};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::error::ApiError;
use crate::config::Key;

/// Number of wrong keys that an address may send per minute before the responses to further ones are delayed.
const WRONG_KEYS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Number of buckets that networks are hashed into. The wrong keys of two networks in one bucket count together. This
/// only delays the response to further wrong keys, and the fixed number of buckets needs no cleanup.
const WRONG_KEY_BUCKETS: u64 = 1 << 14;

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// The valid keys with their rate limits.
pub(super) struct ApiKeys {
    holders: RwLock<Arc<Vec<Arc<Holder>>>>,
    /// The rate limit of keys without their own.
    rate_limit_per_minute: Option<NonZeroU32>,
    wrong_keys: RateLimiter<u64, DashMapStateStore<u64>, DefaultClock, NoOpMiddleware>,
    /// Assigns networks to buckets. The hash is random, so that clients cannot predict the bucket.
    bucket_hasher: RandomState,
}

/// The holder of a key.
pub(super) struct Holder {
    /// The key as a SHA-256 digest. All digests have the same length, and a memory dump does not reveal the key.
    pub(super) key: Key,
    bucket: Option<(NonZeroU32, Arc<Bucket>)>,
}

/// The remaining part of a key's rate limit.
pub(super) struct Allowance {
    /// Requests per minute.
    pub(super) limit: u32,
    /// Requests that are left.
    pub(super) remaining: u32,
}

impl ApiKeys {
    pub(super) fn new(keys: Vec<Key>, rate_limit_per_minute: Option<NonZeroU32>) -> Self {
        let keys_now = Self {
            holders: RwLock::default(),
            rate_limit_per_minute,
            wrong_keys: RateLimiter::keyed(Quota::per_minute(WRONG_KEYS_PER_MINUTE)),
            bucket_hasher: RandomState::new(),
        };
        keys_now.replace(keys);
        keys_now
    }

    /// Replaces the valid keys, from the next request on. A key that was valid before with the same limit keeps its
    /// remaining allowance.
    pub(super) fn replace(&self, keys: Vec<Key>) {
        let before = self.holders();
        let holder = |key: Key| {
            let mut holder = Holder::new(key, self.rate_limit_per_minute);
            let same = before.iter().find(|other| other.key.digest == holder.key.digest);
            if let Some(same) =
                same.filter(|same| same.rate_limit_per_minute() == holder.rate_limit_per_minute())
            {
                holder.bucket.clone_from(&same.bucket);
            }
            Arc::new(holder)
        };
        let holders = Arc::new(keys.into_iter().map(holder).collect());
        *self.holders.write().unwrap_or_else(PoisonError::into_inner) = holders;
    }

    fn holders(&self) -> Arc<Vec<Arc<Holder>>> {
        Arc::clone(&self.holders.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the holder of a key, in a time that does not depend on the key.
    pub(super) fn find(&self, secret: &[u8]) -> Option<Arc<Holder>> {
        const NONE: u32 = u32::MAX;
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut found = NONE;
        let holders = self.holders();
        for (place, holder) in (0..).zip(holders.iter()) {
            found.conditional_assign(&place, holder.key.digest.ct_eq(&digest));
        }
        (found != NONE).then(|| Arc::clone(&holders[found as usize]))
    }

    /// Returns whether the key of a holder is still valid.
    pub(super) fn is_valid(&self, holder: &Holder) -> bool {
        self.holders().iter().any(|known| known.key.digest == holder.key.digest)
    }

    /// Counts a wrong key from an address. Returns whether the address has recently sent too many.
    pub(super) fn is_guessing(&self, address: IpAddr) -> bool {
        let bucket = self.bucket_hasher.hash_one(network(address)) % WRONG_KEY_BUCKETS;
        self.wrong_keys.check_key(&bucket).is_err()
    }
}

impl Holder {
    fn new(key: Key, rate_limit_per_minute: Option<NonZeroU32>) -> Self {
        let limit = key.rate_limit_per_minute.map_or(rate_limit_per_minute, NonZeroU32::new);
        let bucket = |limit| {
            let bucket = RateLimiter::direct(Quota::per_minute(limit));
            (limit, Arc::new(bucket.with_middleware::<StateInformationMiddleware>()))
        };
        Self { key, bucket: limit.map(bucket) }
    }

    /// Returns the limit in requests per minute, if there is one.
    pub(super) fn rate_limit_per_minute(&self) -> Option<u32> {
        self.bucket.as_ref().map(|(limit, _)| limit.get())
    }

    /// Takes a token from the bucket. Returns `None` if the rate is not limited.
    pub(super) fn take_token(&self) -> Result<Option<Allowance>, ApiError> {
        let Some((limit, bucket)) = &self.bucket else { return Ok(None) };
        let limit = limit.get();
        match bucket.check() {
            Ok(state) => Ok(Some(Allowance { limit, remaining: state.remaining_burst_capacity() })),
            Err(empty) => Err(ApiError::RateLimited { limit, wait_seconds: seconds_until(bucket, &empty) }),
        }
    }

    /// Takes tokens for the further recordings of a request, and returns the remaining allowance.
    pub(super) fn take_more_tokens(&self, n: usize) -> Result<Option<Allowance>, ApiError> {
        let Some((limit, bucket)) = &self.bucket else { return Ok(None) };
        let Some(n) = NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)) else { return Ok(None) };
        // The request has already taken its first token.
        if n >= *limit {
            return Err(ApiError::TooManyRecordings { max: limit.get() as usize });
        }
        let limit = limit.get();
        match bucket.check_n(n) {
            Ok(Ok(state)) => Ok(Some(Allowance { limit, remaining: state.remaining_burst_capacity() })),
            Ok(Err(empty)) => {
                Err(ApiError::RateLimited { limit, wait_seconds: seconds_until(bucket, &empty) })
            }
            Err(_) => Err(ApiError::TooManyRecordings { max: limit as usize }),
        }
    }
}

fn seconds_until(bucket: &Bucket, empty: &NotUntil<QuantaInstant>) -> u64 {
    empty.wait_time_from(bucket.clock().now()).as_secs_f64().ceil() as u64
}

/// Returns the network of an address. The owner of an IPv6 address has its whole /64 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}
