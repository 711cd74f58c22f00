//! `POST /v1/speakers/{id}/enrolments/{enrolment}/move` and `POST /v1/speakers/{id}/merge`: corrections of wrong enrolments.

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{CollectionQuery, StoreErrors, address, show};
use crate::http::error::ApiError;
use crate::http::layers::auth::KeyHolder;
use crate::http::request::parts::{json_body, options_of_query};
use crate::http::state::AppState;
use crate::http::store::{Change, write};
use crate::speakers::{Identifier, Speaker};

/// The speaker who receives the enrolment.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "anne"}))]
pub(in crate::http) struct MoveRequest {
    /// The id of the speaker who receives the enrolment.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    to: Identifier,
}

/// The speaker to merge into another speaker.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": "unknown-3"}))]
pub(in crate::http) struct MergeRequest {
    /// The id of the other speaker, who is the same person. The merge deletes this speaker.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    from: Identifier,
}

/// Move an enrolment to another speaker.
#[utoipa::path(post, path = "/v1/speakers/{id}/enrolments/{enrolment}/move", tag = "Speakers",
    security(("ApiKey" = []), ("Bearer" = [])),
    params(
        ("id" = String, Path, description = "The speaker who has the enrolment before the move", example = "anna"),
        ("enrolment" = String, Path, description = "The enrolment"),
        CollectionQuery,
    ),
    request_body(content((MoveRequest = "application/json"))),
    responses((status = 200, body = Speaker, description = "The speaker who received the enrolment"), StoreErrors),
)]
pub(in crate::http) async fn move_enrolment(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path((id, enrolment)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let CollectionQuery { collection } = options_of_query(request.uri())?;
    let MoveRequest { to } = json_body(request).await?;
    let address = address(&key, &id, collection)?;
    let logged = Change {
        enrolment: Some(enrolment.clone()),
        other: Some(to.clone()),
        ..Change::new("move", &address)
    };
    let is_change = address.id != to;
    let moved = write(
        &state,
        &key,
        move |transaction| transaction.move_enrolment(&address, &enrolment, &to),
        move |_| is_change.then_some(logged),
    );
    Ok(show(moved.await?, &key))
}

/// Merge another speaker into this one.
///
/// All enrolments of the other speaker are moved to this speaker, and the other speaker is deleted. The enrolments stay
/// separate, so they can be moved to a new speaker again.
#[utoipa::path(post, operation_id = "merge_speakers", path = "/v1/speakers/{id}/merge", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(("id" = String, Path, description = "The speaker to keep", example = "anna"), CollectionQuery),
    request_body(content((MergeRequest = "application/json"))),
    responses((status = 200, body = Speaker, description = "The merged speaker"), StoreErrors),
)]
pub(in crate::http) async fn merge(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let CollectionQuery { collection } = options_of_query(request.uri())?;
    let MergeRequest { from } = json_body(request).await?;
    let address = address(&key, &id, collection)?;
    let logged = Change { other: Some(from.clone()), ..Change::new("merge", &address) };
    let is_change = address.id != from;
    let merged = write(
        &state,
        &key,
        move |transaction| transaction.merge(&address, &from),
        move |_| is_change.then_some(logged),
    );
    Ok(show(merged.await?, &key))
}
