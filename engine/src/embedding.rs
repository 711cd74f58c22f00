//! A speaker embedding: finite numbers, checked once, and the model that made them.

use std::fmt;
use std::sync::Arc;

/// Which model made an embedding: its id, its weights and its preprocessing. Cheap to clone.
///
/// Two are equal if their fingerprints are: only then may embeddings be compared.
#[derive(Clone)]
pub struct ModelId(Arc<Inner>);

struct Inner {
    id: String,
    fingerprint: String,
    dimension: usize,
}

impl ModelId {
    /// Names a model: `id` as people choose it (`resemblyzer`), `fingerprint` as a hash decides it
    /// (`resemblyzer-0.1.4/39373b86`), `dimension` as its embeddings have it.
    pub fn new(id: &str, fingerprint: String, dimension: usize) -> Self {
        Self(Arc::new(Inner { id: id.to_owned(), fingerprint, dimension }))
    }

    /// The name that people choose a model by.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Names weights and preprocessing.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// Components of an embedding.
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

/// A speaker embedding: as many finite components as its model makes.
///
/// The encoder computes in `f32`, which widens to `f64` without loss; clients send JSON numbers, which are `f64`. So
/// that neither loses a digit, components are kept as `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    model: ModelId,
    components: Box<[f64]>,
}

/// An [`Embedding`] scaled to L2 norm 1: only its direction counts in a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitEmbedding {
    model: ModelId,
    components: Box<[f64]>,
}

/// Why some numbers are not an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    /// There are more or fewer components than the model makes.
    #[error("must be {expected}-dimensional, got {got}")]
    WrongDimension {
        /// What the model makes.
        expected: usize,
        /// The number of components found.
        got: usize,
    },
    /// A component is infinite or not a number.
    #[error("component {index} is not finite")]
    NotFinite {
        /// Place of the first such component.
        index: usize,
    },
    /// All components are zero: the vector has no direction.
    #[error("all components are zero")]
    Zero,
}

impl Embedding {
    /// Checks the number of components and that all are finite.
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

    /// The model that made it.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// The components, in the encoder's order.
    pub fn components(&self) -> &[f64] {
        &self.components
    }
}

impl UnitEmbedding {
    /// The model that made it.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// The components; their squares sum up to 1.
    pub fn components(&self) -> &[f64] {
        &self.components
    }
}

impl TryFrom<Embedding> for UnitEmbedding {
    type Error = EmbeddingError;

    /// Divides by the largest component, then by the norm, so that no sum overflows or vanishes whatever the magnitudes.
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
