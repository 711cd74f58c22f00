//! Embeddings compared: how alike they are, and what follows from it.

mod clusters;
mod cosine;
mod matrix;

pub use clusters::clusters;
pub use cosine::{UnlikeModels, cosine, is_same_speaker};
pub use matrix::similarity_matrix;
