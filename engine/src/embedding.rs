//! A speaker embedding: its components, checked once to be finite, and the model that computed them.

use std::fmt;
use std::sync::Arc;

/// The identity of the model that computed an embedding: its id, its weights and its preprocessing. It is cheap to clone.
///
/// Two identities are equal if their fingerprints and dimensions are equal. Only then may embeddings be compared.
#[derive(Clone)]
pub struct ModelId(Arc<Inner>);

struct Inner {
    id: String,
    fingerprint: String,
    dimension: usize,
}

impl ModelId {
    /// Creates the identity of a model. `id` is the name by which users choose it (`resemblyzer`). `fingerprint` contains
    /// a hash and identifies weights and preprocessing (`resemblyzer-0.1.4/39373b86`). `dimension` is the number of
    /// components of its embeddings.
    pub fn new(id: &str, fingerprint: String, dimension: usize) -> Self {
        Self(Arc::new(Inner { id: id.to_owned(), fingerprint, dimension }))
    }

    /// Returns the name by which users choose the model.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the fingerprint, which identifies weights and preprocessing.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// Returns the number of components of an embedding.
    pub fn dimension(&self) -> usize {
        self.0.dimension
    }
}

impl PartialEq for ModelId {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint && self.0.dimension == other.0.dimension
    }
}

impl Eq for ModelId {}

impl fmt::Debug for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fingerprint())
    }
}

/// A speaker embedding: finite components, as many as its model's dimension.
///
/// The encoder computes in `f32`, which widens to `f64` without loss. Clients send JSON numbers, which are `f64`.
/// Components are kept as `f64` so that neither source loses a digit.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    model: ModelId,
    components: Box<[f64]>,
}

/// An [`Embedding`] scaled to L2 norm 1, because a comparison depends only on the direction.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitEmbedding {
    model: ModelId,
    components: Box<[f64]>,
}

/// The reason that a vector is not an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    /// The vector has more or fewer components than the model's dimension.
    #[error("must be {expected}-dimensional, got {got}")]
    WrongDimension {
        /// The model's dimension.
        expected: usize,
        /// The number of components found.
        got: usize,
    },
    /// A component is infinite or not a number.
    #[error("component {index} is not finite")]
    NotFinite {
        /// Index of the first such component.
        index: usize,
    },
    /// All components are zero: the vector has no direction.
    #[error("all components are zero")]
    Zero,
}

impl Embedding {
    /// Checks the number of components and that all of them are finite.
    pub fn new(model: &ModelId, components: Vec<f64>) -> Result<Self, EmbeddingError> {
        if let Some(index) = components.iter().position(|c| !c.is_finite()) {
            return Err(EmbeddingError::NotFinite { index });
        }
        if components.len() != model.dimension() {
            return Err(EmbeddingError::WrongDimension {
                expected: model.dimension(),
                got: components.len(),
            });
        }
        Ok(Self { model: model.clone(), components: components.into() })
    }

    /// Returns the model that computed it.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Returns the components, in the encoder's order.
    pub fn components(&self) -> &[f64] {
        &self.components
    }
}

impl UnitEmbedding {
    /// Returns the model that computed it.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Returns the components, whose squares sum to 1.
    pub fn components(&self) -> &[f64] {
        &self.components
    }
}

impl TryFrom<Embedding> for UnitEmbedding {
    type Error = EmbeddingError;

    /// Divides by the largest component, then by the norm, so that no sum overflows or underflows, whatever the
    /// magnitudes.
    fn try_from(embedding: Embedding) -> Result<Self, EmbeddingError> {
        let Embedding { model, mut components } = embedding;
        let largest = components.iter().fold(0.0_f64, |largest, c| largest.max(c.abs()));
        if largest == 0.0 {
            return Err(EmbeddingError::Zero);
        }
        components.iter_mut().for_each(|c| *c /= largest);
        let norm = components.iter().map(|c| c * c).sum::<f64>().sqrt();
        components.iter_mut().for_each(|c| *c /= norm);
        Ok(Self { model, components })
    }
}
