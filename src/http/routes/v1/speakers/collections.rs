//! `GET /v1/collections` and `DELETE /v1/collections/{collection}`: groups of speakers that are searched together.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::StoreErrors;
use crate::http::answer::no_content;
use crate::http::error::ApiError;
use crate::http::layers::auth::KeyHolder;
use crate::http::request::parts::options_of_query;
use crate::http::state::AppState;
use crate::http::store::{Change, read, write};
use crate::speakers::Identifier;
use crate::store::{CollectionSummary, StoreError};

/// The collections that the key may use.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CollectionsAnswer {
    /// The collections, sorted by name.
    collections: Vec<CollectionSummary>,
}

/// The options of a route that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// List the collections that contain speakers.
#[utoipa::path(get, operation_id = "list_collections", path = "/v1/collections", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    responses((status = 200, body = CollectionsAnswer, description = "The collections that the key may use"), StoreErrors),
)]
pub(in crate::http) async fn collections(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    uri: Uri,
) -> Result<Json<CollectionsAnswer>, ApiError> {
    let NoOptions {} = options_of_query(&uri)?;
    let mut collections = read(&state, crate::store::Store::collections).await?;
    collections.retain(|summary| key.require_collection(&summary.collection).is_ok());
    Ok(Json(CollectionsAnswer { collections }))
}

/// Delete all speakers of a collection.
#[utoipa::path(delete, operation_id = "remove_collection", path = "/v1/collections/{collection}", tag = "Speakers",
    security(("ApiKey" = []), ("Bearer" = [])),
    params(("collection" = String, Path, description = "The collection", example = "default")),
    responses((status = 204, description = "The speakers are deleted"), StoreErrors),
)]
pub(in crate::http) async fn remove(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoOptions {} = options_of_query(&uri)?;
    let collection: Identifier =
        name.parse().map_err(|_| ApiError::from(StoreError::CollectionNotFound { collection: name }))?;
    key.require_collection(&collection)?;
    let removed = Some(collection.clone());
    write(
        &state,
        &key,
        move |transaction| transaction.remove_collection(&collection),
        |n| Some(Change::for_many("remove_collection", removed, *n)),
    )
    .await?;
    Ok(no_content())
}
