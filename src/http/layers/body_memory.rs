//! The memory of the bodies of requests and of large answers, bounded together.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::error::ApiError;
use crate::http::routes::v1::diarize;
use crate::http::routes::v1::speakers::import;
use crate::http::state::AppState;

/// Bodies of the largest size that are kept in memory at once. Slow senders count with what they have sent alone, so
/// they do not exclude others.
const MAX_LARGEST_BODIES: usize = 8;

/// Bounds the memory of all bodies that are being received or worked on: a body that would go beyond is answered
/// `overloaded`.
pub(in crate::http) async fn bound_memory(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // It is kept in a file.
    if request.uri().path() == import::PATH {
        return Ok(next.run(request).await);
    }
    // Long recordings share a budget of their own, and leave the others theirs.
    let (all, max_bytes) = if request.uri().path() == diarize::PATH {
        (&state.diarize_body_bytes, state.config.max_diarize_body_bytes)
    } else {
        (&state.body_bytes, state.config.max_body_bytes.saturating_mul(MAX_LARGEST_BODIES))
    };
    let share = Arc::new(Share::new(all, max_bytes));
    let request =
        request.map(|body| Body::new(SharingMemory { body, share: Arc::clone(&share), is_counted: false }));
    let response = next.run(request).await;
    if share.is_over.load(Ordering::Relaxed) {
        return Err(ApiError::Overloaded);
    }
    // A large answer waits in memory for its client, who may not take it.
    let n_bytes = HttpBody::size_hint(response.body()).exact().unwrap_or(0) as usize;
    if n_bytes < LARGE_ANSWER_BYTES {
        return Ok(response);
    }
    let share = Share::new(&state.body_bytes, state.config.max_body_bytes.saturating_mul(MAX_LARGEST_BODIES));
    if !share.take(n_bytes) {
        return Err(ApiError::Overloaded);
    }
    Ok(response.map(|body| Body::new(SharingMemory { body, share: Arc::new(share), is_counted: true })))
}

/// Bytes of an answer from which on it counts.
const LARGE_ANSWER_BYTES: usize = 64 << 10;

/// What one request holds of the memory for bodies.
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

    /// Takes more; whether there is as much.
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

/// A body that ends with an error where there is no memory for more of it.
struct SharingMemory {
    body: Body,
    share: Arc<Share>,
    /// All of it has been counted already.
    is_counted: bool,
}

impl HttpBody for SharingMemory {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && !self.is_counted
            && !self.share.take(frame.data_ref().map_or(0, Bytes::len))
        {
            return Poll::Ready(Some(Err(axum::Error::new("no memory for more bodies"))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
