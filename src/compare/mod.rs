//! Embeddings compared: how alike they are, and the decision that follows.

mod cosine;

pub use cosine::{UnlikeModels, cosine, is_same_speaker};
