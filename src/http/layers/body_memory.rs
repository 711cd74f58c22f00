//! The memory for request bodies and large responses, which share one limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::Body as _;

use super::watched::{PolledFrame, Watch, watched};
use crate::config::HttpConfig;
use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Number of bodies of the largest size that fit into memory at once. A slow sender counts with the bytes that it has
/// sent so far, so it does not block others.
const MAX_LARGEST_BODIES: usize = 8;

/// Size in bytes from which a response counts.
const LARGE_ANSWER_BYTES: usize = 64 << 10;

/// The size limit of a route's bodies, and the memory that they share.
#[derive(Clone, Copy)]
pub(in crate::http) enum BodyLimit {
    /// Options, 64 KiB.
    Options,
    /// Embeddings to compare, 1 MiB.
    Embeddings,
    /// Voices, `MAX_BODY_BYTES`.
    Voices,
    /// A long recording, `MAX_DIARIZE_BODY_BYTES`. Such bodies have separate memory, so that they leave enough for the others.
    LongRecording,
    /// An import, `MAX_IMPORT_BYTES`, which is stored in a file.
    File,
}

impl BodyLimit {
    fn max_bytes(self, config: &HttpConfig) -> usize {
        match self {
            Self::Options => 64 << 10,
            Self::Embeddings => config.max_body_bytes.min(1 << 20),
            Self::Voices => config.max_body_bytes,
            Self::LongRecording => config.max_diarize_body_bytes,
            Self::File => config.max_import_bytes,
        }
    }
}

/// The maximum size of a body in bytes, as an extension of the request.
#[derive(Clone, Copy)]
pub(in crate::http) struct MaxBodyBytes(usize);

impl MaxBodyBytes {
    pub(in crate::http) const fn new(max_bytes: usize) -> Self {
        Self(max_bytes)
    }

    /// Returns the maximum for a request.
    pub(in crate::http) fn for_request(request: &Request) -> Result<usize, ApiError> {
        let max_bytes = request.extensions().get::<Self>();
        max_bytes
            .map(|Self(max_bytes)| *max_bytes)
            .ok_or_else(|| ApiError::Internal("a body has no limit".into()))
    }
}

/// Limits the memory of all bodies that are being received or processed. A request that would exceed the limit is
/// answered with `overloaded`.
pub(in crate::http) async fn bound_memory(
    State((state, limit)): State<(AppState, BodyLimit)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    request.extensions_mut().insert(MaxBodyBytes::new(limit.max_bytes(&state.config)));
    let max_bytes = state.config.max_body_bytes.saturating_mul(MAX_LARGEST_BODIES);
    let (all, max_request_bytes) = match limit {
        BodyLimit::File => return Ok(next.run(request).await),
        BodyLimit::LongRecording => (&state.diarize_body_bytes, state.config.max_diarize_body_bytes),
        BodyLimit::Options | BodyLimit::Embeddings | BodyLimit::Voices => (&state.body_bytes, max_bytes),
    };
    let share = Arc::new(Share::new(all, max_request_bytes));
    let request = request.map(|body| watched(body, CountBytes(Arc::clone(&share))));
    let response = next.run(request).await;
    if share.is_over.load(Ordering::Relaxed) {
        return Err(ApiError::Overloaded);
    }
    // A large response stays in memory until its client reads it, and the client may never do so.
    let n_bytes = response.body().size_hint().exact().unwrap_or(0) as usize;
    if n_bytes < LARGE_ANSWER_BYTES {
        return Ok(response);
    }
    let share = Share::new(&state.body_bytes, max_bytes);
    if !share.take(n_bytes) {
        return Err(ApiError::Overloaded);
    }
    Ok(response.map(|body| watched(body, share)))
}

/// The share of one request in the memory for bodies.
struct Share {
    max_bytes: usize,
    all: Arc<AtomicUsize>,
    bytes: AtomicUsize,
    is_over: AtomicBool,
}

impl Share {
    fn new(all: &Arc<AtomicUsize>, max_bytes: usize) -> Self {
        Self { max_bytes, all: Arc::clone(all), bytes: AtomicUsize::new(0), is_over: AtomicBool::new(false) }
    }

    /// Takes more memory. Returns whether enough was left.
    fn take(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.max_bytes;
        self.is_over.fetch_or(!fits, Ordering::Relaxed);
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// Ends a body with an error when no memory is left for more of it.
struct CountBytes(Arc<Share>);

impl Watch for CountBytes {
    fn see(&mut self, frame: PolledFrame, _has_ended: bool) -> PolledFrame {
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && !self.0.take(frame.data_ref().map_or(0, Bytes::len))
        {
            return Poll::Ready(Some(Err(axum::Error::new("no memory for more bodies"))));
        }
        frame
    }
}

/// A large response keeps its share of the memory until it has been sent.
impl Watch for Share {}
