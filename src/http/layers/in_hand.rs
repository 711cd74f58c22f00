//! Requests in hand, which a stop waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::watch;

use super::drain;
use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Counts a request, so that stopping waits for it; once stopping has begun, refuses it.
pub(in crate::http) async fn take_in_hand(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    struct Counted(Arc<watch::Sender<usize>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.send_modify(|in_hand| *in_hand -= 1);
        }
    }

    state.in_hand.send_modify(|in_hand| *in_hand += 1);
    let counted = Counted(Arc::clone(&state.in_hand));
    if state.shutting_down.load(Ordering::Relaxed) {
        drop(counted);
        // The connection is closed behind the answer; a client that still sends would not get to read it.
        drain::drain_briefly(request).await;
        return Err(ApiError::ShuttingDown);
    }
    Ok(next.run(request).await)
}
