//! The smallest eigenvalues of a Laplacian, with their vectors.

use super::affinity::Laplacian;
use crate::pseudo_random::PseudoRandom;

/// Steps at the most: vectors of a Krylov space.
pub(super) const MAX_STEPS: usize = 400;

/// Between two looks at whether eigenvectors have converged.
const LOOK_EVERY: usize = 40;

/// Residuals below this, relative to the largest eigenvalue, are none.
const TOLERANCE: f64 = 1e-6;

/// Below this, relative to the largest eigenvalue, a new direction is none.
const BREAKDOWN: f64 = 1e-10;

/// An eigenvalue and its vector, of norm 1.
#[derive(Clone, Debug)]
pub(super) struct Eigenpair {
    pub(super) value: f64,
    pub(super) vector: Vec<f64>,
}

/// The search for the smallest eigenpairs, in slices.
///
/// 1. Lanczos' method on `bound - L` with full reorthogonalisation, from a random vector, until the largest have converged.
/// 2. A Krylov space holds one vector of each eigenvalue, so equal ones (of speakers that have nothing in common) hide behind each other. The
///    method runs again, orthogonal to what is found, until what it finds is no smaller.
pub(super) struct Search {
    wanted: usize,
    found: Vec<Eigenpair>,
    most_steps: usize,
    random: PseudoRandom,
    run: Run,
}

/// Lanczos' method from one vector.
struct Run {
    max_steps: usize,
    basis: Vec<Vec<f64>>,
    diagonal: Vec<f64>,
    beside: Vec<f64>,
    next: Vec<f64>,
}

impl Search {
    pub(super) fn new(laplacian: &Laplacian, wanted: usize, most_steps: usize) -> Self {
        let wanted = wanted.min(laplacian.len());
        let mut random = PseudoRandom(1);
        let run = Run::new(laplacian, most_steps, &mut random);
        Self { wanted, found: Vec::new(), most_steps, random, run }
    }

    /// A slice of the work; whether it was the last.
    pub(super) fn advance(&mut self, laplacian: &Laplacian) -> bool {
        if !self.run.advance(laplacian, self.wanted, &self.found) {
            return false;
        }
        let bound = laplacian.bound();
        let more = ritz_pairs(&self.run, self.wanted, bound);
        let largest = self.found.get(self.wanted.wrapping_sub(1)).map_or(f64::INFINITY, |pair| pair.value);
        let is_news = more.first().is_some_and(|pair| pair.value < largest - TOLERANCE * bound);
        self.found.extend(more);
        self.found.sort_by(|a, b| a.value.total_cmp(&b.value));
        self.found.truncate(self.wanted);
        if is_news {
            let most_steps = self.most_steps.min(laplacian.len() - self.found.len());
            self.run = Run::new(laplacian, most_steps, &mut self.random);
        }
        !is_news
    }

    /// The eigenpairs, ascending: as many as are wanted, or all if there are fewer.
    pub(super) fn into_pairs(self) -> Vec<Eigenpair> {
        self.found
    }
}

impl Run {
    fn new(laplacian: &Laplacian, most_steps: usize, random: &mut PseudoRandom) -> Self {
        let n = laplacian.len();
        Self {
            max_steps: most_steps.min(n),
            basis: Vec::new(),
            diagonal: Vec::new(),
            beside: Vec::new(),
            next: (0..n).map(|_| random.share() - 0.5).collect(),
        }
    }

    /// Some steps, orthogonal to what is known; whether it has ended.
    fn advance(&mut self, laplacian: &Laplacian, wanted: usize, known: &[Eigenpair]) -> bool {
        let bound = laplacian.bound().max(f64::MIN_POSITIVE);
        loop {
            let Self { basis, next, .. } = self;
            orthogonalise(next, &known.iter().map(|pair| &pair.vector));
            orthogonalise(next, &basis.iter());
            if basis.len() == self.max_steps || normalise(next) < BREAKDOWN * bound.min(1.0) {
                return true;
            }
            let product = laplacian.times(next);
            let mut product: Vec<f64> = product.iter().zip(&*next).map(|(y, x)| bound * x - y).collect();
            self.diagonal.push(dot(&product, next));
            basis.push(std::mem::take(next));
            orthogonalise(&mut product, &known.iter().map(|pair| &pair.vector));
            orthogonalise(&mut product, &basis.iter());
            let norm = dot(&product, &product).sqrt();
            if norm < BREAKDOWN * bound {
                return true;
            }
            self.beside.push(norm);
            self.next = product;
            if self.basis.len().is_multiple_of(LOOK_EVERY) {
                return has_converged(&self.diagonal, &self.beside, wanted, bound);
            }
        }
    }
}

/// Whether the largest Ritz values of the tridiagonal matrix are eigenvalues.
fn has_converged(diagonal: &[f64], beside: &[f64], wanted: usize, bound: f64) -> bool {
    let n = diagonal.len();
    if n < wanted {
        return false;
    }
    let (values, vectors) = tridiagonal(diagonal, &beside[..n - 1]);
    let residual = beside[n - 1];
    let last = order(&values).into_iter().take(wanted).map(|i| (residual * vectors[n - 1][i]).abs());
    last.fold(0.0, f64::max) < TOLERANCE * bound
}

fn ritz_pairs(run: &Run, wanted: usize, bound: f64) -> Vec<Eigenpair> {
    let Run { basis, diagonal, beside, .. } = run;
    let n = diagonal.len();
    if n == 0 {
        return Vec::new();
    }
    let (values, vectors) = tridiagonal(diagonal, &beside[..n - 1]);
    let pair = |i: usize| {
        let mut vector = vec![0.0; basis[0].len()];
        for (j, direction) in basis.iter().enumerate() {
            let share = vectors[j][i];
            vector.iter_mut().zip(direction).for_each(|(v, d)| *v += share * d);
        }
        Eigenpair { value: bound - values[i], vector }
    };
    order(&values).into_iter().take(wanted).map(pair).collect()
}

/// Places of values, the largest first.
fn order(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalise(vector: &mut [f64]) -> f64 {
    let norm = dot(vector, vector).sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|v| *v /= norm);
    }
    norm
}

/// Twice, since what rounding leaves of once is too much.
fn orthogonalise<'a>(vector: &mut [f64], against: &(impl Iterator<Item = &'a Vec<f64>> + Clone)) {
    for _ in 0..2 {
        for direction in against.clone() {
            let share = dot(vector, direction);
            vector.iter_mut().zip(direction).for_each(|(v, d)| *v -= share * d);
        }
    }
}

/// Eigenvalues and eigenvectors (columns) of a symmetric tridiagonal matrix, by its diagonal and what stands beside it: implicit QL steps
/// (Bowdler, Martin, Reinsch and Wilkinson, 1968).
#[allow(clippy::many_single_char_names, reason = "the letters are the paper's")]
fn tridiagonal(diagonal: &[f64], beside: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = diagonal.len();
    let mut d = diagonal.to_vec();
    let mut e = beside.to_vec();
    e.push(0.0);
    let mut z = vec![vec![0.0; n]; n];
    (0..n).for_each(|i| z[i][i] = 1.0);
    for l in 0..n {
        // Each eigenvalue takes two or three steps.
        for _ in 0..60 {
            let small = |m: usize| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs());
            let m = (l..n - 1).find(|m| small(*m)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let mut r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut is_split = false;
            for i in (l..m).rev() {
                let f = s * e[i];
                let b = c * e[i];
                r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    is_split = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                for row in &mut z {
                    let f = row[i + 1];
                    row[i + 1] = s * row[i] + c * f;
                    row[i] = c * row[i] - s * f;
                }
            }
            if is_split {
                continue;
            }
            d[l] -= p;
            e[l] = g;
            e[m] = 0.0;
        }
    }
    (d, z)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn a_tridiagonal_matrix_is_its_eigenpairs() {
        let (diagonal, beside) = ([2.0, -1.0, 0.5, 3.0, 0.0], [1.0, 0.3, 0.0, 2.0]);
        let (values, vectors) = tridiagonal(&diagonal, &beside);
        for i in 0..5 {
            for j in 0..5 {
                let sum: f64 = (0..5).map(|k| values[k] * vectors[i][k] * vectors[j][k]).sum();
                let expected = if i == j {
                    diagonal[i]
                } else if i.abs_diff(j) == 1 {
                    beside[i.min(j)]
                } else {
                    0.0
                };
                assert!((sum - expected).abs() < 1e-12, "{i} {j}: {sum}");
            }
        }
    }

    /// Groups of windows that have nothing in common: each has an eigenvalue 0.
    #[test]
    fn every_one_of_equal_eigenvalues_is_found() {
        for n_groups in 1..5 {
            let units =
                Array2::from_shape_fn((40 * n_groups, 8), |(i, j)| if i / 40 == j { 1.0 } else { 0.0 });
            let mut laplacian = Laplacian::new(units.nrows());
            while !laplacian.advance(&units) {}
            let mut search = Search::new(&laplacian, 11, MAX_STEPS);
            while !search.advance(&laplacian) {}
            let pairs = search.into_pairs();
            assert_eq!(pairs.len(), 11);
            let n_zero = pairs.iter().filter(|pair| pair.value.abs() < 1e-6 * laplacian.bound()).count();
            assert_eq!(n_zero, n_groups);
            for pair in &pairs {
                let product = laplacian.times(&pair.vector);
                let worst = product
                    .iter()
                    .zip(&pair.vector)
                    .map(|(y, x)| (y - pair.value * x).abs())
                    .fold(0.0, f64::max);
                assert!(worst < 1e-5 * laplacian.bound(), "{}: {worst}", pair.value);
            }
        }
    }
}
