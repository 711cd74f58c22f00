//! Requests with voices or recordings. They are received, admitted and parsed before their handler starts.

use axum::extract::{FromRequest, FromRequestParts, Request};

use super::parts::{Received, Takes};
use crate::http::admission::{Caller, RequestAdmission};
use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Maximum number of bytes that are parsed immediately. Longer bodies are parsed on a worker.
pub(in crate::http) const MAX_INLINE_BYTES: usize = 64 << 10;

/// A request that a route parses.
pub(in crate::http) trait Parse: Sized + Send + 'static {
    /// The bodies that the route accepts.
    const TAKES: Takes;
    /// Whether the request needs the store of enrolled speakers.
    const NEEDS_STORE: bool = false;
    /// Whether the time limit grows with the body, which may contain a long recording.
    const IS_LONG: bool = false;

    fn parse(received: Received) -> Result<Self, ApiError>;
}

/// A request that has been admitted and parsed.
pub(in crate::http) struct Call<R> {
    pub(in crate::http) caller: Caller,
    pub(in crate::http) admission: RequestAdmission,
    pub(in crate::http) request: R,
}

impl<R: Parse> FromRequest<AppState> for Call<R> {
    type Rejection = ApiError;

    /// Receives, admits and parses a request. If the queue is full or shutdown has begun, rejects it before its body arrives.
    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if R::NEEDS_STORE {
            state.store()?;
        }
        state.embedder()?.check_capacity()?;
        let (mut head, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut head, state).await?;
        if R::IS_LONG {
            caller.time_limit.extend_for_body(&head.headers);
        }
        let received = Received::new(Request::from_parts(head, body), &R::TAKES).await?;
        let admission = RequestAdmission::new(state)?;
        let request = if received.text_bytes() > MAX_INLINE_BYTES {
            admission.run(move || R::parse(received)).await??
        } else {
            R::parse(received)?
        };
        Ok(Self { caller, admission, request })
    }
}
