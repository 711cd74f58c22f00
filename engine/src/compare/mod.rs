//! Compares embeddings: how similar they are, and the decisions that follow.

mod clusters;
mod cosine;
mod matrix;
mod two_voices;

pub use clusters::clusters;
pub use cosine::{UnlikeModels, cosine, is_same_speaker};
pub use matrix::similarity_matrix;
pub use two_voices::fall_into_two_voices;
