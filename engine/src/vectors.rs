//! Arithmetic of vectors.

use std::iter::Sum;
use std::ops::Mul;

/// Returns the scalar product. For unit vectors, it is their cosine.
pub(crate) fn dot<T: Copy + Mul<Output = T> + Sum>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}
