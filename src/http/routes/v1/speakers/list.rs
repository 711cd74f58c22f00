//! `GET /v1/speakers`: the speakers of a collection, page by page.

use axum::extract::State;
use axum::http::Uri;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{StoreErrors, collection};
use crate::http::error::{ApiError, FieldError};
use crate::http::layers::auth::KeyHolder;
use crate::http::request::parts::options_of_query;
use crate::http::state::AppState;
use crate::http::store::read;
use crate::speakers::{Identifier, Speaker};
use crate::store::PageRequest;

/// Maximum number of speakers on a page.
const MAX_LIMIT: usize = 200;

/// The query for a page of speakers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// The collection.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default", nullable = false)]
    collection: Option<Identifier>,
    /// The maximum number of speakers on the page.
    #[param(minimum = 1, maximum = 200, example = 50, nullable = true)]
    limit: Option<usize>,
    /// The id after which the page starts. For the next page, send `next` of the previous response.
    #[param(example = "anna", nullable = false)]
    after: Option<String>,
    /// A text that the name of a speaker must contain. Upper and lower case are equal.
    #[param(example = "ann", nullable = false)]
    name: Option<String>,
}

/// A page of speakers.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ListAnswer {
    /// The speakers, in the bytewise order of their ids.
    speakers: Vec<Speaker>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(value_type = Option<String>, example = "anna")]
    next: Option<Identifier>,
}

/// List enrolled speakers.
#[utoipa::path(get, operation_id = "list_speakers", path = "/v1/speakers", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(ListQuery),
    responses((status = 200, body = ListAnswer, description = "A page of speakers"), StoreErrors),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    uri: Uri,
) -> Result<Json<ListAnswer>, ApiError> {
    let wanted: ListQuery = options_of_query(&uri)?;
    let limit = wanted.limit.unwrap_or(MAX_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let msg = format!("Input should be from 1 to {MAX_LIMIT}");
        return Err(FieldError::new(&["query", "limit"], "value_error", &msg).into());
    }
    for (name, text) in [("after", &wanted.after), ("name", &wanted.name)] {
        // PostgreSQL cannot store this character, so no speaker has it.
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            let msg = "Input should not have the character U+0000";
            return Err(FieldError::new(&["query", name], "value_error", msg).into());
        }
    }
    let request = PageRequest {
        collection: collection(&key, wanted.collection)?,
        after: wanted.after.unwrap_or_default(),
        name: wanted.name.unwrap_or_default(),
        limit,
    };
    let page = read(&state, move |store| store.speakers(&request)).await?;
    Ok(Json(ListAnswer { speakers: page.speakers, next: page.next }))
}
