//! Bodies whose frames are observed on their way.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// The result of polling a body for its next frame.
pub(in crate::http) type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Observes the frames of a body. It is dropped with the body, once the body has been sent or is no longer read.
pub(in crate::http) trait Watch: Send + Unpin + 'static {
    /// Maximum number of bytes that are passed on at once.
    const MAX_FRAME_BYTES: usize = usize::MAX;

    /// Called when a frame is requested.
    fn on_poll(&mut self) {}

    /// Called with each frame, and with a flag for whether the body ends with it. The returned frame replaces it.
    fn see(&mut self, frame: PolledFrame, _has_ended: bool) -> PolledFrame {
        frame
    }

    /// Called with a body that was not read completely.
    fn on_leave(&mut self, _body: Body) {}
}

/// Returns the same body, observed by `watch`.
pub(in crate::http) fn watched(body: Body, watch: impl Watch) -> Body {
    Body::new(Watched { body: Some(body), rest: Bytes::new(), watch })
}

struct Watched<W: Watch> {
    /// `None` once the body has ended.
    body: Option<Body>,
    /// The unsent rest of the last frame.
    rest: Bytes,
    watch: W,
}

impl<W: Watch> Watched<W> {
    fn next_frame(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(&mut *body).poll_frame(cx);
        let has_ended = body.is_end_stream();
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.body = None;
        }
        self.watch.see(frame, has_ended)
    }
}

impl<W: Watch> HttpBody for Watched<W> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        self.watch.on_poll();
        if self.rest.is_empty() {
            match self.next_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    self.rest = frame.into_data().unwrap_or_default();
                }
                other => return other,
            }
        }
        let n = self.rest.len().min(W::MAX_FRAME_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(n)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl<W: Watch> Drop for Watched<W> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.watch.on_leave(body);
        }
    }
}
