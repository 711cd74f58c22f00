//! Cross-origin requests: the pages that may call the service from a browser.

use std::time::Duration;

use axum::Router;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::CorsOrigins;

/// Response headers that pages may read.
const READ: [HeaderName; 6] = [
    RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// Allows pages of these origins to call the service.
pub(in crate::http) fn allow(service: Router, origins: &CorsOrigins) -> Router {
    let origins = match origins {
        CorsOrigins::None => return service,
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::List(origins) => {
            AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    service.layer(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            // Some SDKs send a dozen custom headers.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(READ)
            .max_age(Duration::from_hours(1)),
    )
}
