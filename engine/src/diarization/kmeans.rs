//! Points -> groups around their means.

use crate::pseudo_random::PseudoRandom;

/// Beginnings, of which the best counts.
const STARTS: usize = 10;

/// Steps of each at the most.
const MAX_STEPS: usize = 300;

/// The search for groups of points, a beginning at a time; it is the same for the same points in every run (k-means++ beginnings: Arthur and
/// Vassilvitskii, 2007).
pub(super) struct Kmeans {
    points: Vec<Vec<f64>>,
    k: usize,
    random: PseudoRandom,
    n_begun: usize,
    /// Groups by number, and the sum of squared distances.
    best: Option<(Vec<usize>, f64)>,
}

impl Kmeans {
    pub(super) fn new(points: Vec<Vec<f64>>, k: usize) -> Self {
        Self { points, k, random: PseudoRandom(0), n_begun: 0, best: None }
    }

    /// One beginning, and the groups if it was the last.
    pub(super) fn advance(&mut self) -> Option<Vec<usize>> {
        let found = run(&self.points, begin(&self.points, self.k, &mut self.random));
        if self.best.as_ref().is_none_or(|best| found.1 < best.1) {
            self.best = Some(found);
        }
        self.n_begun += 1;
        if self.n_begun < STARTS { None } else { self.best.take().map(|(groups, _)| groups) }
    }
}

/// Centres that are far from each other.
fn begin(points: &[Vec<f64>], k: usize, random: &mut PseudoRandom) -> Vec<Vec<f64>> {
    let first = random.below(points.len());
    let mut centres = vec![points[first].clone()];
    let mut nearest: Vec<f64> = points.iter().map(|point| distance(point, &centres[0])).collect();
    while centres.len() < k {
        let mut left = random.share() * nearest.iter().sum::<f64>();
        let chosen = nearest.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        let centre = points[chosen.unwrap_or(points.len() - 1)].clone();
        nearest
            .iter_mut()
            .zip(points)
            .for_each(|(nearest, point)| *nearest = nearest.min(distance(point, &centre)));
        centres.push(centre);
    }
    centres
}

/// Groups around centres, and the sum of squared distances.
fn run(points: &[Vec<f64>], mut centres: Vec<Vec<f64>>) -> (Vec<usize>, f64) {
    let mut groups = vec![usize::MAX; points.len()];
    for _ in 0..MAX_STEPS {
        let nearest: Vec<usize> = points.iter().map(|point| nearest(point, &centres).0).collect();
        if nearest == groups {
            break;
        }
        groups = nearest;
        for (group, centre) in centres.iter_mut().enumerate() {
            let members: Vec<&Vec<f64>> =
                points.iter().zip(&groups).filter(|(_, of)| **of == group).map(|(point, _)| point).collect();
            if !members.is_empty() {
                for (i, c) in centre.iter_mut().enumerate() {
                    *c = members.iter().map(|member| member[i]).sum::<f64>() / members.len() as f64;
                }
            }
        }
    }
    let cost = points.iter().map(|point| nearest(point, &centres).1).sum();
    (groups, cost)
}

fn nearest(point: &[f64], centres: &[Vec<f64>]) -> (usize, f64) {
    let distances = centres.iter().map(|centre| distance(point, centre)).enumerate();
    distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}
