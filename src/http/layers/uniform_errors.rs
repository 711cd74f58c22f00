//! Errors that the router and libraries answer, in the service's own shape.

use axum::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;

/// The answer to a request whose handler panicked.
pub(in crate::http) fn panicked(_panic: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::Panicked.into_response()
}

/// Answers methods that a route does not have; the router adds `Allow`.
pub(in crate::http) async fn method_not_allowed(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => ApiError::MethodNotAllowed.into_response(),
    }
}

/// Replaces the bodies of errors that libraries answer, and adds to `Allow` the `OPTIONS` that every route answers.
pub(in crate::http) async fn with_uniform_errors(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|v| v == "application/json");
    let mut response = match response.status() {
        StatusCode::NOT_FOUND if !is_json => replaced(response, ApiError::NotFound),
        StatusCode::METHOD_NOT_ALLOWED if !is_json => replaced(response, ApiError::MethodNotAllowed),
        status if status.is_server_error() && !is_json => {
            replaced(response, ApiError::Internal(format!("{status} by a library")))
        }
        _ => response,
    };
    if let Some(allow) = response.headers().get(ALLOW).and_then(|v| v.to_str().ok()) {
        let with_options = HeaderValue::try_from(format!("{allow},OPTIONS")).expect("it was a header before");
        response.headers_mut().insert(ALLOW, with_options);
    }
    response
}

/// The error with those headers of another answer that do not describe its body.
fn replaced(response: Response, error: ApiError) -> Response {
    let (mut parts, _) = response.into_parts();
    for header in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
        parts.headers.remove(header);
    }
    let mut response = error.into_response();
    response.headers_mut().extend(parts.headers);
    response
}
