//! A speaker embedding: 256 finite numbers, checked once.

use crate::hparams::EMBEDDING_DIM;

/// A speaker embedding of [`EMBEDDING_DIM`] finite components.
///
/// The encoder computes in `f32`, which widens to `f64` without loss; clients send JSON numbers, which are `f64`. So
/// that neither loses a digit, components are kept as `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Box<[f64; EMBEDDING_DIM]>);

/// Why some numbers are no embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    /// There are more or fewer components than [`EMBEDDING_DIM`].
    #[error("must be {EMBEDDING_DIM}-dimensional, got {got}")]
    WrongDimension {
        /// The number of components found.
        got: usize,
    },
    /// A component is infinite or not a number.
    #[error("component {index} is not finite")]
    NotFinite {
        /// Where the first such component stands.
        index: usize,
    },
}

impl Embedding {
    /// The components, in the encoder's order.
    pub fn components(&self) -> &[f64; EMBEDDING_DIM] {
        &self.0
    }
}

impl TryFrom<Vec<f64>> for Embedding {
    type Error = EmbeddingError;

    fn try_from(components: Vec<f64>) -> Result<Self, EmbeddingError> {
        if let Some(index) = components.iter().position(|c| !c.is_finite()) {
            return Err(EmbeddingError::NotFinite { index });
        }
        let got = components.len();
        let components = components.try_into().map_err(|_| EmbeddingError::WrongDimension { got })?;
        Ok(Self(components))
    }
}
