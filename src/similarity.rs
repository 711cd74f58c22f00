//! Cosine similarity of two embeddings, and the decision it leads to.

use crate::embedding::Embedding;

/// Cosine of the angle between two embeddings, in [-1, 1]; 0 if either is the zero vector.
///
/// Each vector is scaled by its largest component first, so that no sum overflows or vanishes whatever the
/// magnitudes; sums are in `f64`. Error: below 1e-14.
pub fn cosine(a: &Embedding, b: &Embedding) -> f64 {
    let (Some(a), Some(b)) = (scaled(a), scaled(b)) else {
        return 0.0;
    };
    let dot: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
    (dot / (squared_norm(&a).sqrt() * squared_norm(&b).sqrt())).clamp(-1.0, 1.0)
}

/// Whether a similarity counts as the same speaker: strictly above the threshold.
pub fn is_same_speaker(similarity: f64, threshold: f64) -> bool {
    similarity > threshold
}

/// The components divided by the largest magnitude among them, or `None` for the zero vector.
fn scaled(embedding: &Embedding) -> Option<Vec<f64>> {
    let largest = embedding.components().iter().fold(0.0_f64, |largest, c| largest.max(c.abs()));
    (largest > 0.0).then(|| embedding.components().iter().map(|c| c / largest).collect())
}

fn squared_norm(components: &[f64]) -> f64 {
    components.iter().map(|c| c * c).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hparams::EMBEDDING_DIM;
    use proptest::prelude::*;

    fn constant(value: f64) -> Embedding {
        vec![value; EMBEDDING_DIM].try_into().unwrap()
    }

    /// All zeros but for the given components.
    fn sparse(components: &[(usize, f64)]) -> Embedding {
        let mut values = vec![0.0; EMBEDDING_DIM];
        for &(index, value) in components {
            values[index] = value;
        }
        values.try_into().unwrap()
    }

    #[test]
    fn known_angles() {
        let cases = [
            ("identical", constant(0.5), constant(0.5), 1.0),
            ("opposite", constant(0.5), constant(-0.5), -1.0),
            ("orthogonal", sparse(&[(0, 1.0)]), sparse(&[(1, 1.0)]), 0.0),
            ("60 degrees", sparse(&[(0, 1.0)]), sparse(&[(0, 1.0), (1, 3f64.sqrt())]), 0.5),
            ("zero vector", constant(0.0), constant(1.0), 0.0),
            ("both zero", constant(0.0), constant(0.0), 0.0),
            ("squares overflow f32", constant(1e38), constant(1e38), 1.0),
            ("squares overflow f64", constant(1e300), constant(f64::MAX), 1.0),
            ("squares vanish in f32", constant(1e-30), constant(1e-30), 1.0),
            ("squares vanish in f64", constant(1e-300), constant(-f64::MIN_POSITIVE), -1.0),
            ("subnormal", constant(5e-324), constant(1.0), 1.0),
        ];
        for (name, a, b, expected) in cases {
            let actual = cosine(&a, &b);
            assert!((actual - expected).abs() < 1e-14, "{name}: {actual}, expected {expected}");
        }
    }

    #[test]
    fn the_threshold_itself_is_not_the_same_speaker() {
        assert!(!is_same_speaker(0.75, 0.75));
        assert!(is_same_speaker(0.750_000_1, 0.75));
    }

    proptest! {
        #[test]
        fn symmetric_bounded_and_blind_to_scale(
            a in prop::collection::vec(-1e3..1e3, EMBEDDING_DIM),
            b in prop::collection::vec(-1e3..1e3, EMBEDDING_DIM),
            scale in 1e-20..1e20,
        ) {
            let scaled_a: Embedding = a.iter().map(|c| c * scale).collect::<Vec<_>>().try_into().unwrap();
            let (a, b): (Embedding, Embedding) = (a.try_into().unwrap(), b.try_into().unwrap());
            let similarity = cosine(&a, &b);
            prop_assert!((-1.0..=1.0).contains(&similarity));
            prop_assert_eq!(similarity.to_bits(), cosine(&b, &a).to_bits());
            prop_assert!((similarity - cosine(&scaled_a, &b)).abs() < 1e-12);
        }
    }
}
