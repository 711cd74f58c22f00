//! Bodies that no handler reads: read to their end, so that clients get to read the answer.

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

/// The most that is read of a body after its request has been answered.
const MAX_DRAINED_BYTES: usize = 256 << 20;

/// The longest that is spent on reading a body after its request has been answered.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(20);

/// What is known of a request's body while the request is answered: an extension of the request.
#[derive(Default)]
pub(in crate::http) struct BodyState {
    /// A handler has asked for it.
    is_asked_for: AtomicBool,
    answer_begins: Notify,
}

/// An extension of an answer, dropped when its head is written.
#[derive(Clone)]
struct AnswerHead(#[allow(dead_code, reason = "it is dropped")] Arc<NotifyOnDrop>);

struct NotifyOnDrop(Arc<BodyState>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.answer_begins.notify_one();
    }
}

impl BodyState {
    /// Lets the rest of the request's body be read once the answer is written. A client that waits for `100 Continue` and gets
    /// an answer instead may send its body or not, so no other request can follow on its connection.
    pub(in crate::http) fn answered(self: Arc<Self>, expects_continue: bool, answer: &mut Response) {
        if expects_continue && !self.is_asked_for.load(Ordering::Relaxed) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer.extensions_mut().insert(AnswerHead(Arc::new(NotifyOnDrop(self))));
    }
}

/// Makes a request's body one that is read to its end even if the handler drops it, as a request is when it is answered
/// early with an error.
///
/// A server that answers and closes while the client still sends makes the client's system throw the answer away and
/// report a reset connection. Reading begins with the answer: before, hyper would send `100 Continue`.
pub(in crate::http) fn drain_when_dropped(request: Request) -> Request {
    let state = request.extensions().get::<Arc<BodyState>>().cloned().unwrap_or_default();
    request.map(|body| watched(body, Draining(state)))
}

struct Draining(Arc<BodyState>);

impl Watch for Draining {
    fn asked(&mut self) {
        self.0.is_asked_for.store(true, Ordering::Relaxed);
    }

    fn left(&mut self, body: Body) {
        let state = Arc::clone(&self.0);
        tokio::spawn(tokio::time::timeout(MAX_DRAIN_TIME, async move {
            state.answer_begins.notified().await;
            drain(body).await;
        }));
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
