//! Paths with a trailing slash.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Uri;
use axum::response::Redirect;
use utoipa::openapi::OpenApi;

use crate::http::error::ApiError;

/// The paths that a trailing slash is removed from: those of the API, and the documentation's.
pub(in crate::http) fn known_paths(document: &OpenApi) -> Arc<BTreeSet<String>> {
    Arc::new(document.paths.paths.keys().cloned().chain(["/redoc".to_owned()]).collect())
}

/// A route with a slash behind it is redirected to the route, as FastAPI does; anything else is not found.
pub(in crate::http) fn without_trailing_slash(
    known_paths: &BTreeSet<String>,
    uri: &Uri,
) -> Result<Redirect, ApiError> {
    let path = uri.path().strip_suffix('/').filter(|path| known_paths.contains(*path));
    path.map(Redirect::temporary).ok_or(ApiError::NotFound)
}
