//! `POST /compare-embeddings`: decides whether two embeddings belong to the same speaker.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::compare::{cosine, is_same_speaker};
use crate::embedding::{Embedding, EmbeddingError, ModelId, UnitEmbedding};
use crate::http::admission::RequestAdmission;
use crate::http::error::ApiError;
use crate::http::error_table::error_responses;
use crate::http::request::call::MAX_INLINE_BYTES;
use crate::http::request::fields::Fields;
use crate::http::request::parts::{JSON, Received, Takes};
use crate::http::state::AppState;

/// The bodies that the route accepts.
const TAKES: Takes = Takes {
    kinds: JSON,
    expected: "application/json, or recordings to /v1/verify",
    files: &[],
    texts: &[],
    lenient: Some(&[]),
};

/// Two embeddings to compare.
#[derive(ToSchema)]
pub(in crate::http) struct CompareRequest {
    /// An embedding from `/extract-embedding`: as many finite numbers as that route returns. Its norm may differ from 1.
    #[schema(example = json!([0.085, 0.0, 0.0694]))]
    embedding1: Vec<f64>,
    /// The other embedding.
    #[schema(example = json!([0.085, 0.0, 0.0694]))]
    embedding2: Vec<f64>,
    /// Similarity above which both embeddings count as the same speaker; the service's default threshold if missing or
    /// null.
    #[schema(example = 0.75)]
    threshold: Option<f64>,
}

/// The similarity of two embeddings.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CompareResponse {
    /// Cosine similarity, from -1 to 1; 0 if an embedding is all zeros.
    #[schema(example = 0.87)]
    similarity: f64,
    /// Whether the similarity is above the threshold.
    #[schema(example = true)]
    is_same_speaker: bool,
    /// The threshold that was used.
    #[schema(example = 0.75)]
    threshold: f64,
}

error_responses!(
    CompareErrors,
    "wrong_dimension",
    "invalid_api_key",
    "forbidden",
    "payload_too_large",
    "unsupported_media_type",
    "validation_error",
    "rate_limited",
    "shutting_down",
    "overloaded",
    "timeout"
);

/// Compare two embeddings.
#[utoipa::path(post, path = "/compare-embeddings", tag = "Embeddings",
    request_body = CompareRequest,
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = CompareResponse, description = "The similarity and the decision"),
        CompareErrors,
    ),
)]
pub(in crate::http) async fn compare_embeddings(
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<CompareResponse>, ApiError> {
    let Received::Json(bytes) = Received::new(request, &TAKES).await? else {
        return Err(ApiError::Internal("JSON has no parts".into()));
    };
    let request = if bytes.len() > MAX_INLINE_BYTES {
        RequestAdmission::new(&state)?.run(move || CompareRequest::parse(&bytes)).await??
    } else {
        CompareRequest::parse(&bytes)?
    };
    let threshold = request.threshold.unwrap_or(state.root_threshold);
    let similarity = request.similarity(&state.root_model)?;
    Ok(Json(CompareResponse {
        similarity,
        is_same_speaker: is_same_speaker(similarity, threshold),
        threshold,
    }))
}

impl CompareRequest {
    pub(in crate::http) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let request = Self {
            embedding1: fields.numbers("embedding1"),
            embedding2: fields.numbers("embedding2"),
            threshold: fields.optional_number("threshold"),
        };
        fields.finish()?;
        Ok(request)
    }

    /// Returns the cosine similarity of the two embeddings, or 0 if either is all zeros. Both count as embeddings of the model.
    pub(in crate::http) fn similarity(self, model: &ModelId) -> Result<f64, ApiError> {
        let first = unit_embedding(model, "embedding1", self.embedding1)?;
        let second = unit_embedding(model, "embedding2", self.embedding2)?;
        Ok(match (first, second) {
            (Some(first), Some(second)) => cosine(&first, &second).expect("both are of the model"),
            _ => 0.0,
        })
    }
}

/// Scales an embedding to norm 1. Returns `None` if it is all zeros.
fn unit_embedding(
    model: &ModelId,
    field: &'static str,
    components: Vec<f64>,
) -> Result<Option<UnitEmbedding>, ApiError> {
    match Embedding::new(model, components).and_then(UnitEmbedding::try_from) {
        Ok(embedding) => Ok(Some(embedding)),
        Err(EmbeddingError::Zero) => Ok(None),
        Err(EmbeddingError::WrongDimension { expected, got }) => {
            Err(ApiError::WrongDimension { field: field.to_owned(), expected, got })
        }
        Err(EmbeddingError::NotFinite { .. }) => unreachable!("JSON has no such numbers"),
    }
}
