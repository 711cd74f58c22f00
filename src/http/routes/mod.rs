//! The routes, one endpoint per file.

pub(super) mod compare_embeddings;
pub(super) mod extract_answer;
pub(super) mod extract_embedding;
pub(super) mod health;
pub(super) mod metrics;
pub(super) mod upload;
pub(super) mod v1;
