//! Bodies whose frames are watched on their way.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// What a body's next frame comes to.
pub(in crate::http) type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Watches the frames of a body. It is dropped with the body: once all of it is sent, or nobody reads it any more.
pub(in crate::http) trait Watch: Send + Unpin + 'static {
    /// Sees each frame, and whether the body has ended with it; may put another in its place.
    fn see(&mut self, frame: PolledFrame, _has_ended: bool) -> PolledFrame {
        frame
    }
}

/// The same body, watched.
pub(in crate::http) fn watched(body: Body, watch: impl Watch) -> Body {
    Body::new(Watched { body, watch })
}

struct Watched<W> {
    body: Body,
    watch: W,
}

impl<W: Watch> HttpBody for Watched<W> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let has_ended = self.body.is_end_stream();
        self.watch.see(frame, has_ended)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
