//! Bodies that no handler reads: read to their end, so that clients get to read the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::EXPECT;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};

/// The most that is read of a body after its request has been answered.
const MAX_DRAINED_BYTES: usize = 256 << 20;

/// The longest that is spent on reading a body after its request has been answered.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(20);

/// Makes a request's body one that is read to its end even if the handler drops it, as a request is when it is answered
/// early with an error.
///
/// A server that answers and closes while the client still sends makes the client's system throw the answer away and
/// report a reset connection. A client that waits for `100 Continue` sends nothing until its body is asked for, so nothing
/// is read then either.
pub(in crate::http) fn drain_when_dropped(request: Request) -> Request {
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
pub(in crate::http) async fn drain_briefly(request: Request) {
    if !request.headers().contains_key(EXPECT) {
        let _ = tokio::time::timeout(Duration::from_secs(1), drain(request.into_body())).await;
    }
}

async fn drain(body: Body) {
    let mut body = Limited::new(body, MAX_DRAINED_BYTES);
    while let Some(Ok(_)) = body.frame().await {}
}
