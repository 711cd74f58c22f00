//! Bodies whose frames are watched on their way.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// What a body's next frame comes to.
pub(in crate::http) type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Watches the frames of a body. It is dropped with the body: once all of it is sent, or nobody reads it any more.
pub(in crate::http) trait Watch: Send + Unpin + 'static {
    /// Bytes that are given on at once.
    const MAX_FRAME_BYTES: usize = usize::MAX;

    /// Sees that a frame is asked for.
    fn asked(&mut self) {}

    /// Sees each frame, and whether the body has ended with it; may put another in its place.
    fn see(&mut self, frame: PolledFrame, _has_ended: bool) -> PolledFrame {
        frame
    }

    /// Takes a body of which not everything was read.
    fn left(&mut self, _body: Body) {}
}

/// The same body, watched.
pub(in crate::http) fn watched(body: Body, watch: impl Watch) -> Body {
    Body::new(Watched { body: Some(body), rest: Bytes::new(), watch })
}

struct Watched<W: Watch> {
    /// `None` once it has ended.
    body: Option<Body>,
    /// What is left of its last frame.
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
        self.watch.asked();
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
            self.watch.left(body);
        }
    }
}
