//! Paths that lead to others. They are relative, so that they lead on behind a proxy's path prefix too.

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

/// Without a page, `/` leads to the documentation.
pub(in crate::http) async fn to_docs() -> Redirect {
    Redirect::temporary("docs/")
}

/// A route with a slash behind it is redirected to the route, as FastAPI does; anything else is not found.
pub(in crate::http) fn without_trailing_slash(
    known_paths: &BTreeSet<String>,
    uri: &Uri,
) -> Result<Redirect, ApiError> {
    let path = uri.path().strip_suffix('/').filter(|path| known_paths.contains(*path));
    let name = path.and_then(|path| path.rsplit('/').next()).ok_or(ApiError::NotFound)?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Redirect::temporary(&format!("../{name}{query}")))
}
