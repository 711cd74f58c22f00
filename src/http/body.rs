//! Request bodies: read up to a limit, bounded together, and drained when they are not wanted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::AppState;
use super::error::ApiError;
use super::validation::FieldError;

/// Bodies of the largest size that are kept in memory at once. Slow senders take part in this with what they have sent
/// alone, so they keep nobody out.
const MAX_LARGEST_BODIES: usize = 8;

/// The most that is read of a body after its request has been answered.
const MAX_DRAINED_BYTES: usize = 256 << 20;

/// The longest that is spent on reading a body after its request has been answered.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(20);

/// Reads a body, unless it is (or says that it is) larger than the limit.
pub(super) async fn read(body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    check_announced_length(&body, max_bytes)?;
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::PayloadTooLarge { max_bytes }),
        Err(_) => Err(FieldError::malformed("body_incomplete", "The request body ended early".into()).into()),
    }
}

/// Bounds the memory of all bodies that are being received or worked on: a body that would go beyond is answered
/// `overloaded`.
pub(super) async fn bound_memory(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let share = Arc::new(Share {
        max_bytes: state.config.max_body_bytes.saturating_mul(MAX_LARGEST_BODIES),
        all: Arc::clone(&state.body_bytes),
        bytes: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let request = request.map(|body| Body::new(SharingMemory { body, share: Arc::clone(&share) }));
    let response = next.run(request).await;
    if share.is_over.load(Ordering::Relaxed) { Err(ApiError::Overloaded) } else { Ok(response) }
}

/// What one request holds of the memory for bodies.
struct Share {
    max_bytes: usize,
    all: Arc<AtomicUsize>,
    bytes: AtomicUsize,
    is_over: AtomicBool,
}

impl Share {
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

/// Refuses a body whose announced length is over the limit.
pub(super) fn check_announced_length(body: &Body, max_bytes: usize) -> Result<(), ApiError> {
    if HttpBody::size_hint(body).lower() > max_bytes as u64 {
        return Err(ApiError::PayloadTooLarge { max_bytes });
    }
    Ok(())
}

/// Makes a request's body one that is read to its end even if the handler drops it, as a request is when it is answered
/// early with an error.
///
/// A server that answers and closes while the client still sends makes the client's system throw the answer away and
/// report a reset connection. A client that waits for `100 Continue` sends nothing until its body is asked for, so nothing
/// is read then either.
pub(super) fn drain_when_dropped(request: Request) -> Request {
    let is_coming = !request.headers().contains_key(EXPECT);
    request.map(|body| Body::new(DrainOnDrop { body: Some(body), is_coming }))
}

struct DrainOnDrop {
    /// `None` once it has ended.
    body: Option<Body>,
    /// The client sends, or will.
    is_coming: bool,
}

impl HttpBody for DrainOnDrop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_coming = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && self.is_coming
            && !body.is_end_stream()
        {
            tokio::spawn(tokio::time::timeout(MAX_DRAIN_TIME, drain(body)));
        }
    }
}

/// Reads what a client is just sending, for a second at the most.
pub(super) async fn drain_briefly(request: Request) {
    if !request.headers().contains_key(EXPECT) {
        let _ = tokio::time::timeout(Duration::from_secs(1), drain(request.into_body())).await;
    }
}

async fn drain(body: Body) {
    let mut body = Limited::new(body, MAX_DRAINED_BYTES);
    while let Some(Ok(_)) = body.frame().await {}
}
