//! `POST /compare-embeddings`: are two embeddings the same speaker?

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, ErrorBody};
use super::validation::Fields;
use super::{AppState, body};
use crate::embedding::{Embedding, EmbeddingError};
use crate::similarity;

/// Two embeddings take about 10 kB; this leaves room for any way to write them.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Two embeddings to compare.
#[derive(ToSchema)]
pub(super) struct CompareRequest {
    /// An embedding: 256 finite numbers, not necessarily of norm 1.
    #[schema(min_items = 256, max_items = 256)]
    embedding1: Vec<f64>,
    /// Another.
    #[schema(min_items = 256, max_items = 256)]
    embedding2: Vec<f64>,
    /// Similarity above which they are the same speaker; the service's own threshold if missing or null.
    #[schema(example = 0.75)]
    threshold: Option<f64>,
}

/// How alike two embeddings are.
#[derive(Serialize, ToSchema)]
pub(super) struct CompareResponse {
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

/// Compare two embeddings.
#[utoipa::path(post, path = "/compare-embeddings", tag = "Embeddings",
    request_body = CompareRequest,
    security(("ApiKey" = []), ("Bearer" = [])),
    responses(
        (status = 200, body = CompareResponse),
        (status = 400, body = ErrorBody, description = "`wrong_dimension`"),
        (status = 401, body = ErrorBody, description = "`invalid_api_key`"),
        (status = 413, body = ErrorBody, description = "`payload_too_large`"),
        (status = 422, body = ErrorBody, description = "`validation_error`"),
        (status = 429, body = ErrorBody, description = "`rate_limited`, with `Retry-After`"),
        (status = 503, body = ErrorBody, description = "`shutting_down`, `overloaded` or `timeout`, with `Retry-After`"),
    ),
)]
pub(super) async fn compare_embeddings(
    State(state): State<AppState>,
    body: Body,
) -> Result<Json<CompareResponse>, ApiError> {
    let bytes = body::read(body, MAX_BODY_BYTES.min(state.config.max_body_bytes)).await?;
    let request = CompareRequest::parse(&bytes)?;
    let threshold = request.threshold.unwrap_or(state.config.same_speaker_threshold);
    let similarity = request.similarity()?;
    let is_same_speaker = similarity::is_same_speaker(similarity, threshold);
    Ok(Json(CompareResponse { similarity, is_same_speaker, threshold }))
}

impl CompareRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let request = Self {
            embedding1: fields.numbers("embedding1"),
            embedding2: fields.numbers("embedding2"),
            threshold: fields.optional_number("threshold"),
        };
        fields.finish()?;
        Ok(request)
    }

    pub(super) fn similarity(self) -> Result<f64, ApiError> {
        let first = embedding("embedding1", self.embedding1)?;
        let second = embedding("embedding2", self.embedding2)?;
        Ok(similarity::cosine(&first, &second))
    }
}

fn embedding(field: &'static str, components: Vec<f64>) -> Result<Embedding, ApiError> {
    Embedding::try_from(components).map_err(|error| match error {
        EmbeddingError::WrongDimension { got } => ApiError::WrongDimension { field, got },
        EmbeddingError::NotFinite { .. } => unreachable!("JSON has no such numbers"),
    })
}
