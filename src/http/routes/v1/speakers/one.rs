//! `GET`, `PATCH` and `DELETE /v1/speakers/{id}`: the data of a speaker, except for the voice.

use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{CollectionQuery, StoreErrors, address_by_query, show};
use crate::http::answer::no_content;
use crate::http::error::ApiError;
use crate::http::layers::auth::KeyHolder;
use crate::http::request::parts::json_body;
use crate::http::state::AppState;
use crate::http::store::{Change, read, write};
use crate::speakers::{Metadata, Speaker, SpeakerName};

/// The fields to change. Missing fields stay unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Anna B.", "metadata": {"team": "red"}}))]
pub(in crate::http) struct ChangeRequest {
    /// The speaker's name, up to 200 characters.
    #[schema(value_type = Option<String>, max_length = 200)]
    name: Option<SpeakerName>,
    /// A JSON object of up to 4 KiB, which replaces the previous one.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
}

/// Describe a speaker.
#[utoipa::path(get, operation_id = "get_speaker", path = "/v1/speakers/{id}", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(("id" = String, Path, description = "The speaker", example = "anna"), CollectionQuery),
    responses((status = 200, body = Speaker, description = "The speaker"), StoreErrors),
)]
pub(in crate::http) async fn speaker(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let address = address_by_query(&key, &id, &uri)?;
    Ok(Json(read(&state, move |store| store.speaker(&address)).await?).into_response())
}

/// Change a speaker's name or metadata.
#[utoipa::path(patch, operation_id = "change_speaker", path = "/v1/speakers/{id}", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(("id" = String, Path, description = "The speaker", example = "anna"), CollectionQuery),
    request_body(content((ChangeRequest = "application/json"))),
    responses((status = 200, body = Speaker, description = "The changed speaker"), StoreErrors),
)]
pub(in crate::http) async fn change(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let address = address_by_query(&key, &id, request.uri())?;
    let wanted: ChangeRequest = json_body(request).await?;
    let logged = Change::new("change", &address);
    let (speaker, _) = write(
        &state,
        &key,
        move |transaction| transaction.change(&address, wanted.name.as_ref(), wanted.metadata.as_ref()),
        |(_, is_change)| is_change.then_some(logged),
    )
    .await?;
    Ok(show(speaker, &key))
}

/// Delete a speaker with all enrolments.
///
/// From the next request on, no response contains the speaker. Within seconds, the database's files contain no byte of
/// the speaker's voice.
#[utoipa::path(delete, operation_id = "remove_speaker", path = "/v1/speakers/{id}", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(("id" = String, Path, description = "The speaker", example = "anna"), CollectionQuery),
    responses((status = 204, description = "The speaker is deleted"), StoreErrors),
)]
pub(in crate::http) async fn remove(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let address = address_by_query(&key, &id, &uri)?;
    let logged = Change::new("remove", &address);
    write(&state, &key, move |transaction| transaction.remove(&address), |()| Some(logged)).await?;
    Ok(no_content())
}
