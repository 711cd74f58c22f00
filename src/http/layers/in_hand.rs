//! Requests in hand, which a stop waits for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;

use super::drain;
use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Bytes that are given to the server at once.
const PIECE_BYTES: usize = 64 << 10;

/// A request that is counted until this is dropped.
struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|in_hand| *in_hand -= 1);
    }
}

/// The body of an answer, whose request is in hand until the last byte is sent.
struct InHand {
    body: Body,
    /// What is left of its last frame: given away in pieces, since what the server has taken counts as sent.
    rest: Bytes,
    _counted: Counted,
}

impl HttpBody for InHand {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return other,
            }
        }
        let n = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(n)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// Counts a request, so that stopping waits for it; once stopping has begun, refuses it.
pub(in crate::http) async fn take_in_hand(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    state.in_hand.send_modify(|in_hand| *in_hand += 1);
    let counted = Counted(Arc::clone(&state.in_hand));
    if state.shutting_down.load(Ordering::Relaxed) {
        drop(counted);
        // The connection is closed behind the answer; a client that still sends would not get to read it.
        drain::drain_briefly(request).await;
        return Err(ApiError::ShuttingDown);
    }
    Ok(next.run(request).await.map(|body| Body::new(InHand { body, rest: Bytes::new(), _counted: counted })))
}
