//! The time limit of a request.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Answers within the time limit, from the request's head on.
pub(in crate::http) async fn answer_in_time(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let limit = state.config.request_timeout;
    let timeout = ApiError::Timeout { seconds: limit.as_secs_f64() };
    tokio::time::timeout(limit, next.run(request)).await.map_err(|_| timeout)
}
