//! Converts errors of the router and of libraries to the service's own format.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::error::{ApiError, ErrorUnderV1};

/// Applies the conventions of all responses under /v1. Caches must not store them, and errors also have OpenAI's format.
/// Clients must not retry after a conflict, as OpenAI's SDKs would otherwise do.
pub(in crate::http) async fn with_v1_conventions(request: Request, next: Next) -> Response {
    let is_v1 = request.uri().path().starts_with("/v1/");
    let mut response = next.run(request).await;
    if !is_v1 {
        return response;
    }
    if let Some(ErrorUnderV1(body)) = response.extensions_mut().remove() {
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        response = (parts, Json(body)).into_response();
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if response.status() == StatusCode::CONFLICT {
        response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response
}

/// Returns the response to a request whose handler panicked.
pub(in crate::http) fn panicked(_panic: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::Panicked.into_response()
}

/// Answers methods that a route does not support. The router adds `Allow`.
pub(in crate::http) async fn method_not_allowed(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => ApiError::MethodNotAllowed.into_response(),
    }
}

/// Replaces the error bodies of libraries. Adds `OPTIONS`, which every route answers, to `Allow`.
pub(in crate::http) async fn with_uniform_errors(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|v| v == "application/json");
    let mut response = match response.status() {
        // A path that is not valid UTF-8 matches no route.
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if !is_json => replaced(response, ApiError::NotFound),
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

/// Returns the error, with the headers of another response that do not describe its body.
fn replaced(response: Response, error: ApiError) -> Response {
    let (mut parts, _) = response.into_parts();
    for header in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
        parts.headers.remove(header);
    }
    let mut response = error.into_response();
    response.headers_mut().extend(parts.headers);
    response
}
