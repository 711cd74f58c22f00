//! Which windows are alike: a sparse matrix, and the Laplacian of the graph that it is.

use ndarray::{Array2, Axis, s};

/// Share of each row that is dropped.
const PRUNED: f64 = 0.88;

/// Entries of each row that stay at the least, its own among them.
const LEAST_KEPT: usize = 6;

/// Rows of similarities that are computed at once.
const BLOCK_ROWS: usize = 128;

/// Entries of a row that are dropped.
fn n_dropped(n: usize) -> usize {
    ((PRUNED * n as f64) as usize).min(n.saturating_sub(LEAST_KEPT))
}

/// The Laplacian `D - A`, not normalised, of the affinity `A = (P + P^T) / 2` without its diagonal, where `P` has the largest
/// cosines of each row; `D` sums the absolute values of each row of `A`.
pub(super) struct Laplacian {
    degrees: Vec<f64>,
    /// Where the entries of each row begin, and where the last ends.
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Laplacian {
    /// Of no windows yet, and of so many in the end.
    pub(super) fn new(n: usize) -> Self {
        let n_kept = n - n_dropped(n);
        Self {
            degrees: vec![0.0; n],
            starts: vec![0],
            columns: Vec::with_capacity(n * n_kept),
            values: Vec::with_capacity(n * n_kept),
        }
    }

    /// Adds the rows of some windows, of unit vectors `[windows, dimension]`; whether they were the last.
    pub(super) fn advance(&mut self, units: &Array2<f32>) -> bool {
        let (n, first) = (self.len(), self.starts.len() - 1);
        let n_dropped = n_dropped(n);
        let mut order: Vec<u32> = Vec::with_capacity(n);
        let block = units.slice(s![first..(first + BLOCK_ROWS).min(n), ..]).dot(&units.t());
        for (row, similarities) in block.axis_iter(Axis(0)).enumerate() {
            order.clear();
            order.extend(0..n as u32);
            if n_dropped > 0 {
                let ascending =
                    |a: &u32, b: &u32| similarities[*a as usize].total_cmp(&similarities[*b as usize]);
                order.select_nth_unstable_by(n_dropped, ascending);
                order.drain(..n_dropped);
            }
            order.sort_unstable();
            self.add_row(first + row, &order, |column| similarities[column as usize]);
        }
        self.starts.len() > n
    }

    fn add_row(&mut self, row: usize, columns: &[u32], value: impl Fn(u32) -> f32) {
        for column in columns.iter().copied().filter(|column| *column as usize != row) {
            let value = value(column);
            // A pair that both rows keep has the same value twice, so halves of absolute values add up.
            let half = f64::from(value.abs()) / 2.0;
            self.degrees[row] += half;
            self.degrees[column as usize] += half;
            self.columns.push(column);
            self.values.push(value);
        }
        self.starts.push(self.columns.len());
    }

    /// The number of windows.
    pub(super) fn len(&self) -> usize {
        self.degrees.len()
    }

    /// No eigenvalue is above this (Gershgorin).
    pub(super) fn bound(&self) -> f64 {
        2.0 * self.degrees.iter().fold(0.0, |most: f64, degree| most.max(*degree))
    }

    /// Its product with a vector.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut product: Vec<f64> = self.degrees.iter().zip(x).map(|(degree, x)| degree * x).collect();
        for (row, bounds) in self.starts.windows(2).enumerate() {
            let mut sum = 0.0;
            let half = x[row] / 2.0;
            let entries = bounds[0]..bounds[1];
            for (column, value) in self.columns[entries.clone()].iter().zip(&self.values[entries]) {
                let (column, value) = (*column as usize, f64::from(*value));
                sum += value * x[column];
                product[column] -= value * half;
            }
            product[row] -= sum / 2.0;
        }
        product
    }
}
