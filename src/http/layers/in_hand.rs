//! Requests in progress, which shutdown waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::watch;

use super::drain;
use super::watched::{Watch, watched};
use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Counts a request as in progress until this is dropped.
pub(in crate::http) struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    pub(in crate::http) fn new(state: &AppState) -> Self {
        state.in_hand.send_modify(|in_hand| *in_hand += 1);
        Self(Arc::clone(&state.in_hand))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|in_hand| *in_hand -= 1);
    }
}

/// A request is in progress until the last byte of its response has been sent. The response is passed on in pieces,
/// because every piece that the server has accepted counts as sent.
impl Watch for Counted {
    const MAX_FRAME_BYTES: usize = 64 << 10;
}

/// Counts a request, so that shutdown waits for it. Rejects the request if shutdown has begun.
pub(in crate::http) async fn take_in_hand(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let counted = Counted::new(&state);
    if state.shutting_down.load(Ordering::Relaxed) {
        drop(counted);
        // The connection closes after the response. A client that is still sending could not read it.
        drain::drain_briefly(request).await;
        return Err(ApiError::ShuttingDown);
    }
    Ok(next.run(request).await.map(|body| watched(body, counted)))
}
