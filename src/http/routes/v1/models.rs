//! `GET /v1/models` and `GET /v1/models/{model}`: the loaded models.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::embedder::EmbedderModel;
use crate::http::error::ApiError;
use crate::http::error_table::error_responses;
use crate::http::request::model::find;
use crate::http::state::AppState;

/// A model.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ModelAnswer {
    /// The name by which requests choose the model.
    #[schema(example = "resemblyzer")]
    id: String,
    /// Always `model`.
    #[schema(example = "model")]
    object: &'static str,
    /// The time at which the weights were published, in seconds since 1970.
    #[schema(example = 1_568_073_600)]
    created: u64,
    /// The publisher of the weights.
    #[schema(example = "resemble-ai")]
    owned_by: &'static str,
    /// The fingerprint of weights and preprocessing. Embeddings can be compared if their fingerprints are equal.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    fingerprint: String,
    /// The number of components of an embedding.
    #[schema(example = 256)]
    dimension: usize,
    /// Similarity above which two embeddings count as the same speaker.
    #[schema(example = 0.75)]
    threshold: f64,
    /// The licence of the weights.
    #[schema(example = "Apache-2.0")]
    licence: &'static str,
}

/// The models that requests may name. A request that names none uses CAM++, if it is one of them.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ModelsAnswer {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<ModelAnswer>,
}

impl ModelAnswer {
    fn new(model: &EmbedderModel) -> Self {
        let spec = model.spec();
        Self {
            id: spec.id.to_owned(),
            object: "model",
            created: spec.published,
            owned_by: spec.publisher,
            fingerprint: model.id().fingerprint().to_owned(),
            dimension: spec.dimension,
            threshold: spec.threshold.similarity,
            licence: spec.licence,
        }
    }
}

error_responses!(ListErrors, "invalid_api_key", "rate_limited", "model_not_ready", "shutting_down");

error_responses!(
    ModelErrors,
    "invalid_api_key",
    "model_not_found",
    "model_mismatch",
    "rate_limited",
    "model_not_ready",
    "shutting_down"
);

/// List the models.
#[utoipa::path(get, path = "/v1/models", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = ModelsAnswer, description = "The models that are loaded"),
        ListErrors,
    ),
)]
pub(in crate::http) async fn models(State(state): State<AppState>) -> Result<Json<ModelsAnswer>, ApiError> {
    let models = state.embedder()?.models();
    let data = models.iter().map(|model| ModelAnswer::new(model)).collect();
    Ok(Json(ModelsAnswer { object: "list", data }))
}

/// Describe a model, by its id or fingerprint.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    params(("model" = String, Path, description = "The id or fingerprint. The slash of a fingerprint may be plain or `%2F`")),
    responses(
        (status = 200, body = ModelAnswer, description = "The model"),
        ModelErrors,
    ),
)]
pub(in crate::http) async fn model(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<ModelAnswer>, ApiError> {
    Ok(Json(ModelAnswer::new(find(state.embedder()?, &name)?)))
}

/// Describe a model by its fingerprint with a plain slash.
#[utoipa::path(get, path = "/v1/models/{release}/{weights}", tag = "Voices",
    security(("ApiKey" = []), ("Bearer" = [])),
    params(
        ("release" = String, Path, description = "The fingerprint before its slash"),
        ("weights" = String, Path, description = "The fingerprint after its slash"),
    ),
    responses(
        (status = 200, body = ModelAnswer, description = "The model"),
        ModelErrors,
    ),
)]
pub(in crate::http) async fn model_by_fingerprint(
    State(state): State<AppState>,
    Path((release, weights)): Path<(String, String)>,
) -> Result<Json<ModelAnswer>, ApiError> {
    Ok(Json(ModelAnswer::new(find(state.embedder()?, &format!("{release}/{weights}"))?)))
}
