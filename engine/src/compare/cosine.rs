//! The cosine similarity of two embeddings, and the decision that it leads to.

use crate::embedding::{ModelId, UnitEmbedding};

/// The error for two embeddings of different models, whose cosine has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("embeddings of {} and of {} cannot be compared", .0.fingerprint(), .1.fingerprint())]
pub struct UnlikeModels(pub ModelId, pub ModelId);

/// Returns the cosine of the angle between two embeddings of one model, in [-1, 1]. Error: below 1e-14.
pub fn cosine(a: &UnitEmbedding, b: &UnitEmbedding) -> Result<f64, UnlikeModels> {
    if a.model() != b.model() {
        return Err(UnlikeModels(a.model().clone(), b.model().clone()));
    }
    let dot: f64 = a.components().iter().zip(b.components()).map(|(x, y)| x * y).sum();
    Ok(dot.clamp(-1.0, 1.0))
}

/// Returns whether a similarity counts as the same speaker: strictly above the threshold.
pub fn is_same_speaker(similarity: f64, threshold: f64) -> bool {
    similarity > threshold
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedding::{Embedding, EmbeddingError};
    use proptest::prelude::*;

    const DIMENSION: usize = 256;

    fn model() -> ModelId {
        ModelId::new("a", "a/1".into(), DIMENSION)
    }

    fn unit(components: Vec<f64>) -> Result<UnitEmbedding, EmbeddingError> {
        Embedding::new(&model(), components)?.try_into()
    }

    fn constant(value: f64) -> UnitEmbedding {
        unit(vec![value; DIMENSION]).unwrap()
    }

    /// Returns zeros, except for the given components.
    fn sparse(components: &[(usize, f64)]) -> UnitEmbedding {
        let mut values = vec![0.0; DIMENSION];
        for &(index, value) in components {
            values[index] = value;
        }
        unit(values).unwrap()
    }

    #[test]
    fn known_angles() {
        let cases = [
            ("identical", constant(0.5), constant(0.5), 1.0),
            ("opposite", constant(0.5), constant(-0.5), -1.0),
            ("orthogonal", sparse(&[(0, 1.0)]), sparse(&[(1, 1.0)]), 0.0),
            ("60 degrees", sparse(&[(0, 1.0)]), sparse(&[(0, 1.0), (1, 3f64.sqrt())]), 0.5),
            ("squares overflow f32", constant(1e38), constant(1e38), 1.0),
            ("squares overflow f64", constant(1e300), constant(f64::MAX), 1.0),
            ("squares vanish in f32", constant(1e-30), constant(1e-30), 1.0),
            ("squares vanish in f64", constant(1e-300), constant(-f64::MIN_POSITIVE), -1.0),
            ("subnormal", constant(5e-324), constant(1.0), 1.0),
        ];
        for (name, a, b, expected) in cases {
            let actual = cosine(&a, &b).unwrap();
            assert!((actual - expected).abs() < 1e-14, "{name}: {actual}, expected {expected}");
        }
    }

    #[test]
    fn numbers_that_are_not_an_embedding_are_refused() {
        let mut infinite = vec![1.0; DIMENSION];
        infinite[7] = f64::INFINITY;
        let cases = [
            ("zero vector", vec![0.0; DIMENSION], EmbeddingError::Zero),
            ("short", vec![1.0; 128], EmbeddingError::WrongDimension { expected: DIMENSION, got: 128 }),
            ("infinite", infinite, EmbeddingError::NotFinite { index: 7 }),
        ];
        for (name, components, error) in cases {
            assert_eq!(unit(components), Err(error), "{name}");
        }
    }

    #[test]
    fn unlike_models_do_not_compare() {
        let other = ModelId::new("a", "a/2".into(), DIMENSION);
        let of_other: UnitEmbedding =
            Embedding::new(&other, vec![1.0; DIMENSION]).unwrap().try_into().unwrap();
        let error = cosine(&constant(1.0), &of_other).unwrap_err();
        assert_eq!(error.to_string(), "embeddings of a/1 and of a/2 cannot be compared");
    }

    #[test]
    fn the_threshold_itself_is_not_the_same_speaker() {
        assert!(!is_same_speaker(0.75, 0.75));
        assert!(is_same_speaker(0.750_000_1, 0.75));
    }

    proptest! {
        #[test]
        fn symmetric_bounded_and_independent_of_scale(
            a in prop::collection::vec(-1e3..1e3, DIMENSION),
            b in prop::collection::vec(-1e3..1e3, DIMENSION),
            scale in 1e-20..1e20,
        ) {
            let scaled_a = unit(a.iter().map(|c| c * scale).collect()).unwrap();
            let (a, b) = (unit(a).unwrap(), unit(b).unwrap());
            let similarity = cosine(&a, &b).unwrap();
            prop_assert!((-1.0..=1.0).contains(&similarity));
            prop_assert_eq!(similarity.to_bits(), cosine(&b, &a).unwrap().to_bits());
            prop_assert!((similarity - cosine(&scaled_a, &b).unwrap()).abs() < 1e-12);
        }
    }
}
