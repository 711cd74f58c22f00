//! `GET /v1/key`: the rights and limits of the request's key.

use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error_table::error_responses;
use crate::http::layers::auth::KeyHolder;

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct KeyAnswer {
    /// The name of the key's holder in logs.
    #[schema(example = "ios")]
    name: String,
    /// The rights of the key: `embed`, `verify`, `identify`, `enrol`, `read`, or `admin` for everything.
    #[schema(example = json!(["embed", "verify"]))]
    rights: Vec<&'static str>,
    /// Patterns of the collections that the key may use.
    #[schema(example = json!(["*"]))]
    collections: Vec<String>,
    /// Recordings and comparisons that the key may send per minute; null if unlimited.
    #[schema(example = 60)]
    rate_limit_per_minute: Option<u32>,
}

error_responses!(KeyErrors, "invalid_api_key", "rate_limited", "shutting_down");

/// Describe the key of this request.
#[utoipa::path(get, path = "/v1/key", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = KeyAnswer, description = "The key, without its secret"),
        KeyErrors,
    ),
)]
pub(in crate::http) async fn key(
    Extension(KeyHolder { holder, .. }): Extension<KeyHolder>,
) -> Json<KeyAnswer> {
    Json(KeyAnswer {
        name: holder.key.name.clone(),
        rights: holder.key.rights.iter().map(|right| right.name()).collect(),
        collections: holder.key.collections.clone(),
        rate_limit_per_minute: holder.rate_limit_per_minute(),
    })
}
