//! `GET` and `DELETE` of `/v1/speakers/{id}/enrolments` and of a single enrolment. Responses do not contain the embeddings.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{CollectionQuery, StoreErrors, address_by_query};
use crate::http::answer::no_content;
use crate::http::error::ApiError;
use crate::http::layers::auth::KeyHolder;
use crate::http::state::AppState;
use crate::http::store::{Change, read, write};
use crate::speakers::Enrolment;

/// The enrolments of a speaker.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EnrolmentsAnswer {
    /// The enrolments, in the order in which they were made.
    enrolments: Vec<Enrolment>,
}

/// List a speaker's enrolments.
#[utoipa::path(get, operation_id = "list_enrolments", path = "/v1/speakers/{id}/enrolments", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(("id" = String, Path, description = "The speaker", example = "anna"), CollectionQuery),
    responses((status = 200, body = EnrolmentsAnswer, description = "The enrolments, without their embeddings"), StoreErrors),
)]
pub(in crate::http) async fn enrolments(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<EnrolmentsAnswer>, ApiError> {
    let address = address_by_query(&key, &id, &uri)?;
    let enrolments = read(&state, move |store| store.enrolments(&address)).await?;
    Ok(Json(EnrolmentsAnswer { enrolments }))
}

/// Describe an enrolment.
#[utoipa::path(get, operation_id = "get_enrolment", path = "/v1/speakers/{id}/enrolments/{enrolment}", tag = "Speakers",
    security(("ApiKey" = []), ("Bearer" = [])),
    params(
        ("id" = String, Path, description = "The speaker", example = "anna"),
        ("enrolment" = String, Path, description = "The enrolment"),
        CollectionQuery,
    ),
    responses((status = 200, body = Enrolment, description = "The enrolment, without its embedding"), StoreErrors),
)]
pub(in crate::http) async fn enrolment(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path((id, enrolment)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Enrolment>, ApiError> {
    let address = address_by_query(&key, &id, &uri)?;
    Ok(Json(read(&state, move |store| store.enrolment(&address, &enrolment)).await?))
}

/// Delete all enrolments of a speaker.
///
/// The speaker itself stays.
#[utoipa::path(delete, operation_id = "remove_enrolments", path = "/v1/speakers/{id}/enrolments", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(("id" = String, Path, description = "The speaker", example = "anna"), CollectionQuery),
    responses((status = 204, description = "The enrolments are deleted"), StoreErrors),
)]
pub(in crate::http) async fn remove_all(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let address = address_by_query(&key, &id, &uri)?;
    let logged = Change::new("remove_enrolments", &address);
    write(
        &state,
        &key,
        move |transaction| transaction.remove_enrolments(&address),
        |n| (*n > 0).then_some(logged),
    )
    .await?;
    Ok(no_content())
}

/// Delete an enrolment.
#[utoipa::path(delete, operation_id = "remove_enrolment", path = "/v1/speakers/{id}/enrolments/{enrolment}", tag = "Speakers",
    security(("ApiKey" = []), ("Bearer" = [])),
    params(
        ("id" = String, Path, description = "The speaker", example = "anna"),
        ("enrolment" = String, Path, description = "The enrolment"),
        CollectionQuery,
    ),
    responses((status = 204, description = "The enrolment is deleted"), StoreErrors),
)]
pub(in crate::http) async fn remove(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path((id, enrolment)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let address = address_by_query(&key, &id, &uri)?;
    let logged = Change { enrolment: Some(enrolment.clone()), ..Change::new("remove_enrolment", &address) };
    let remove =
        move |transaction: &crate::store::Transaction<'_>| transaction.remove_enrolment(&address, &enrolment);
    write(&state, &key, remove, |()| Some(logged)).await?;
    Ok(no_content())
}
