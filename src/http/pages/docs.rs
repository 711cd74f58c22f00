//! `/openapi.json`, `/docs` (Swagger UI) and `/redoc` (ReDoc): the API for people and programs, all from the binary.

use std::io::Read;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Styles are inline, ReDoc searches in a worker made from a blob, and both draw pictures from `data:` URLs.
const PAGE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    worker-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The routes of the documentation.
pub(in crate::http) fn routes(document: utoipa::openapi::OpenApi) -> Router<AppState> {
    let document = Arc::new(document);
    let swagger_config = Config::from("../openapi.json").try_it_out_enabled(true).persist_authorization(true);
    let pages = Router::from(SwaggerUi::new("/docs").config(swagger_config))
        .route("/redoc", get(async || Html(include_str!("../../../assets/redoc/index.html"))))
        .route("/redoc/redoc.standalone.js", get(redoc_script))
        .layer(from_fn(unpack_unless_accepted))
        .layer(map_response(with_relative_redirect))
        .layer(map_response(with_security_headers));
    pages.route("/openapi.json", get(async move || Json(&*document).into_response()))
}

/// Swagger UI's own redirect, of `/docs` to `/docs/`, is absolute; behind a proxy's path prefix it would lead elsewhere.
async fn with_relative_redirect(mut response: Response) -> Response {
    if response.headers().get(LOCATION).is_some_and(|location| location == "/docs/") {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("docs/"));
    }
    response
}

/// What browsers show in their tabs.
pub(in crate::http) async fn icon() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "max-age=86400")],
        include_str!("../../../assets/icon.svg"),
    )
}

/// The pages load nothing from elsewhere, cannot be framed and send no referrer.
async fn with_security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn redoc_script() -> impl IntoResponse {
    let headers = [(CONTENT_TYPE, "text/javascript"), (CONTENT_ENCODING, "gzip")];
    (headers, include_bytes!("../../../assets/redoc/redoc.standalone.js.gz"))
}

/// The files of the pages are compressed in the binary and are sent to browsers as they are; a client that does not accept
/// gzip (curl, for one) gets them unpacked.
async fn unpack_unless_accepted(request: Request, next: Next) -> Result<Response, ApiError> {
    let encodings = request.headers().get(ACCEPT_ENCODING);
    let accepts_gzip = encodings.is_some_and(|v| v.as_bytes().windows(4).any(|word| word == b"gzip"));
    let mut response = next.run(request).await;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if accepts_gzip || !response.headers().contains_key(CONTENT_ENCODING) {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    let failed = |e: &dyn std::fmt::Display| ApiError::Internal(format!("a page cannot be unpacked: {e}"));
    let packed = body.collect().await.map_err(|e| failed(&e))?.to_bytes();
    let unpacked = tokio::task::spawn_blocking(move || unpack(&packed)).await.map_err(|e| failed(&e))?;
    Ok(Response::from_parts(parts, unpacked.map_err(|e| failed(&e))?.into()))
}

fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
