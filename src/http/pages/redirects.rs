//! Redirects. They are relative, so that they also work behind a proxy with a path prefix.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Uri;
use axum::response::Redirect;
use utoipa::openapi::OpenApi;

use crate::http::error::ApiError;

/// Returns the paths from which a trailing slash is removed: those of the API and of the documentation.
pub(in crate::http) fn known_paths(document: &OpenApi) -> Arc<BTreeSet<String>> {
    Arc::new(document.paths.paths.keys().cloned().chain(["/redoc".to_owned()]).collect())
}

/// Redirects `/` to the documentation, if the service has no page.
pub(in crate::http) async fn to_docs() -> Redirect {
    Redirect::temporary("docs/")
}

/// Redirects a route with a trailing slash to the route, as FastAPI does. Anything else is not found.
pub(in crate::http) fn without_trailing_slash(
    known_paths: &BTreeSet<String>,
    uri: &Uri,
) -> Result<Redirect, ApiError> {
    let path = uri.path().strip_suffix('/').filter(|path| known_paths.contains(*path));
    let name = path.and_then(|path| path.rsplit('/').next()).ok_or(ApiError::NotFound)?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Redirect::temporary(&format!("../{name}{query}")))
}
