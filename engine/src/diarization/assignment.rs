//! Pairs the elements of two lists so that they fit best.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

/// Scores are compared in steps of a millionth.
const STEPS: f64 = 1e6;

/// Returns a column for each row of scores, so that the sum of the scores is largest. Each column is used at most once,
/// and rows that are left over get `None`. All rows have the same length.
pub(crate) fn best_pairs(scores: &[Vec<f64>]) -> Vec<Option<usize>> {
    let n_columns = scores.first().map_or(0, Vec::len);
    if n_columns == 0 {
        return vec![None; scores.len()];
    }
    let steps = |row: usize, column: usize| (scores[row][column] * STEPS).round() as i64;
    if scores.len() <= n_columns {
        let weights = Matrix::from_fn(scores.len(), n_columns, |(row, column)| steps(row, column));
        return kuhn_munkres(&weights).1.into_iter().map(Some).collect();
    }
    let weights = Matrix::from_fn(n_columns, scores.len(), |(column, row)| steps(row, column));
    let mut pairs = vec![None; scores.len()];
    for (column, row) in kuhn_munkres(&weights).1.into_iter().enumerate() {
        pairs[row] = Some(column);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_decides_and_not_the_first_row() {
        let cases = [
            (vec![vec![0.9, 0.8], vec![0.9, 0.1]], vec![Some(1), Some(0)]),
            (vec![vec![0.9, 0.8, 0.1], vec![0.9, 0.7, 0.1]], vec![Some(1), Some(0)]),
            (vec![vec![0.5], vec![0.9]], vec![None, Some(0)]),
            (vec![vec![0.5, 0.4], vec![0.9, 0.8], vec![0.1, 0.9]], vec![None, Some(0), Some(1)]),
            (vec![vec![], vec![]], vec![None, None]),
            (vec![], vec![]),
        ];
        for (scores, expected) in cases {
            assert_eq!(best_pairs(&scores), expected, "{scores:?}");
        }
    }
}
