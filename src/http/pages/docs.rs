//! `/openapi.json`, `/asyncapi.json`, `/docs` (Swagger UI) and `/redoc` (ReDoc): the API reference for people and
//! programs. All of its files are in the binary.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use axum::middleware::{from_fn, map_response};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{asyncapi, packed, policy};
use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Styles are inline, ReDoc searches in a worker made from a blob, and both draw images from `data:` URLs.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    worker-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Returns the routes of the documentation.
pub(in crate::http) fn routes(document: utoipa::openapi::OpenApi) -> Router<AppState> {
    let of_sessions = document.clone();
    let document = packed_json(move || serde_json::json!(document));
    let of_sessions = packed_json(move || asyncapi::document(&of_sessions));
    let swagger_config = Config::from("../openapi.json").try_it_out_enabled(true);
    let pages = Router::from(SwaggerUi::new("/docs").config(swagger_config))
        .route("/redoc", get(async || Html(include_str!("../../../assets/redoc/index.html"))))
        .route("/redoc/redoc.standalone.js", get(redoc_script))
        .layer(from_fn(packed::unpack_unless_accepted))
        .layer(map_response(with_relative_redirect))
        .layer(map_response(async |response| policy::with_policy(response, POLICY)));
    let documents = Router::new().route("/openapi.json", document).route("/asyncapi.json", of_sessions);
    pages.merge(documents.layer(from_fn(packed::unpack_unless_accepted)))
}

/// Serves a document, which is built and compressed on the first request.
fn packed_json(make: impl FnOnce() -> serde_json::Value + Send + Sync + 'static) -> MethodRouter<AppState> {
    let pack = move || packed::pack(make().to_string().as_bytes());
    let packed: Arc<LazyLock<Vec<u8>, _>> = Arc::new(LazyLock::new(pack));
    get(async move || {
        let packed = tokio::task::spawn_blocking(move || packed.to_vec());
        let packed = packed.await.map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok::<_, ApiError>(([(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")], packed))
    })
}

/// Makes Swagger UI's redirect from `/docs` to `/docs/` relative. An absolute redirect would lead elsewhere behind a
/// proxy with a path prefix.
async fn with_relative_redirect(mut response: Response) -> Response {
    if response.headers().get(LOCATION).is_some_and(|location| location == "/docs/") {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("docs/"));
    }
    response
}

/// Serves the icon that browsers show in their tabs.
pub(in crate::http) async fn icon() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "max-age=86400")],
        include_str!("../../../assets/icon.svg"),
    )
}

async fn redoc_script() -> impl IntoResponse {
    let headers = [(CONTENT_TYPE, "text/javascript"), (CONTENT_ENCODING, "gzip")];
    (headers, include_bytes!("../../../assets/redoc/redoc.standalone.js.gz"))
}
