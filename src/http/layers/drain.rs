//! Request bodies that no handler reads. They are read to the end, so that clients can read the response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, EXPECT};
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use tokio::sync::Notify;

use super::watched::{Watch, watched};

/// Maximum number of bytes that are read of a body after the response.
const MAX_DRAINED_BYTES: usize = 256 << 20;

/// Maximum time for reading a body after the response.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(20);

/// The state of a request's body while the request is answered, as an extension of the request.
#[derive(Default)]
pub(in crate::http) struct BodyState {
    /// Whether a handler has asked for the body.
    is_asked_for: AtomicBool,
    answer_begins: Notify,
}

/// An extension of a response, dropped when the response's head is written.
#[derive(Clone)]
struct AnswerHead(#[allow(dead_code, reason = "it is dropped")] Arc<NotifyOnDrop>);

struct NotifyOnDrop(Arc<BodyState>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.answer_begins.notify_one();
    }
}

impl BodyState {
    /// Lets the rest of the request's body be read once the response is written. A client that waits for `100 Continue`
    /// and gets a response instead may or may not send its body. Its connection therefore cannot carry another request.
    pub(in crate::http) fn note_response(self: Arc<Self>, expects_continue: bool, answer: &mut Response) {
        if expects_continue && !self.is_asked_for.load(Ordering::Relaxed) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer.extensions_mut().insert(AnswerHead(Arc::new(NotifyOnDrop(self))));
    }
}

/// Makes sure that a request's body is read to the end even if the handler drops it, as happens after an early error.
///
/// If a server responds and closes the connection while the client is still sending, the client's system discards the
/// response and reports a reset connection. Reading starts with the response, because reading earlier would make hyper
/// send `100 Continue`.
pub(in crate::http) fn drain_when_dropped(request: Request) -> Request {
    let state = request.extensions().get::<Arc<BodyState>>().cloned().unwrap_or_default();
    request.map(|body| watched(body, Draining(state)))
}

struct Draining(Arc<BodyState>);

impl Watch for Draining {
    fn on_poll(&mut self) {
        self.0.is_asked_for.store(true, Ordering::Relaxed);
    }

    fn on_leave(&mut self, body: Body) {
        let state = Arc::clone(&self.0);
        tokio::spawn(tokio::time::timeout(MAX_DRAIN_TIME, async move {
            state.answer_begins.notified().await;
            drain(body).await;
        }));
    }
}

/// Reads data that a client is still sending, for at most one second.
pub(in crate::http) async fn drain_briefly(request: Request) {
    if !request.headers().contains_key(EXPECT) {
        let _ = tokio::time::timeout(Duration::from_secs(1), drain(request.into_body())).await;
    }
}

async fn drain(body: Body) {
    let mut body = Limited::new(body, MAX_DRAINED_BYTES);
    while let Some(Ok(_)) = body.frame().await {}
}
