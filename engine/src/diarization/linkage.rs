//! Clusters local speakers by average linkage.

use crate::pace::{Cancelled, Pace};
use crate::vectors::dot;

/// A unit vector that represents a stretch of one voice.
pub(super) struct Member {
    pub(super) unit: Vec<f64>,
    /// The weight of the stretch.
    pub(super) weight: f64,
    /// The window that contains the stretch. Two members of one window are two voices, unless their cosine reaches the
    /// threshold.
    pub(super) window: usize,
}

/// Clusters the members and returns the cluster of each member. Clusters are numbered in the order of their first members. The
/// two clusters with the largest weighted mean cosine are joined while that cosine is at least `threshold` and there are more
/// than `least` clusters. Clusters stay apart if they have members of one window whose cosine is below `threshold`.
///
/// Each row remembers its best partner, so that the time of a join is proportional to the number of members, not to its
/// square.
pub(super) fn average_linkage(
    members: &[&Member],
    threshold: f64,
    least: usize,
    pace: Pace<'_>,
) -> Result<Vec<usize>, Cancelled> {
    let n = members.len();
    let mut linkage = Linkage::new(members, threshold, pace)?;
    let mut n_clusters = n;
    while n_clusters > least {
        let Some((i, j)) = linkage.nearest().filter(|(i, j)| linkage.cosine(*i, *j) >= threshold) else {
            break;
        };
        linkage.join(i, j);
        n_clusters -= 1;
        pace.pause()?;
    }
    Ok(numbered(&linkage.cluster_of))
}

struct Linkage {
    n: usize,
    /// `[n, n]`: sums of the weighted cosines between the members of two clusters. Minus infinity keeps two clusters apart.
    sums: Vec<f64>,
    weights: Vec<f64>,
    /// Whether the row is still a cluster.
    is_cluster: Vec<bool>,
    /// The row of each member's cluster.
    cluster_of: Vec<usize>,
    /// For each row, the nearest cluster after it, if there is one. Of equally near clusters, it is the first.
    best: Vec<Option<usize>>,
}

impl Linkage {
    fn new(members: &[&Member], threshold: f64, pace: Pace<'_>) -> Result<Self, Cancelled> {
        let n = members.len();
        let mut linkage = Self {
            n,
            sums: vec![0.0; n * n],
            weights: members.iter().map(|member| member.weight).collect(),
            is_cluster: vec![true; n],
            cluster_of: (0..n).collect(),
            best: vec![None; n],
        };
        for (i, a) in members.iter().enumerate() {
            for (j, b) in members.iter().enumerate().skip(i + 1) {
                let cosine = dot(&a.unit, &b.unit);
                let are_apart = a.window == b.window && cosine < threshold;
                let sum = if are_apart { f64::NEG_INFINITY } else { a.weight * b.weight * cosine };
                linkage.sums[i * n + j] = sum;
                linkage.sums[j * n + i] = sum;
            }
            pace.pause()?;
        }
        for i in 0..n {
            linkage.best[i] = linkage.best_of(i);
        }
        Ok(linkage)
    }

    /// Returns the mean cosine of two clusters.
    fn cosine(&self, i: usize, j: usize) -> f64 {
        self.sums[i * self.n + j] / (self.weights[i] * self.weights[j])
    }

    fn best_of(&self, row: usize) -> Option<usize> {
        let others = (row + 1..self.n).filter(|other| self.is_cluster[*other]);
        others.rev().max_by(|a, b| self.cosine(row, *a).total_cmp(&self.cosine(row, *b)))
    }

    fn nearest(&self) -> Option<(usize, usize)> {
        let pairs = (0..self.n).filter(|row| self.is_cluster[*row]);
        let pairs = pairs.filter_map(|row| self.best[row].map(|best| (row, best)));
        pairs.rev().max_by(|a, b| self.cosine(a.0, a.1).total_cmp(&self.cosine(b.0, b.1)))
    }

    /// Joins the second cluster to the first, which comes before it.
    fn join(&mut self, i: usize, j: usize) {
        let n = self.n;
        self.is_cluster[j] = false;
        self.cluster_of.iter_mut().filter(|cluster| **cluster == j).for_each(|cluster| *cluster = i);
        for other in (0..n).filter(|other| *other != i) {
            let sum = self.sums[i * n + other] + self.sums[j * n + other];
            self.sums[i * n + other] = sum;
            self.sums[other * n + i] = sum;
        }
        self.weights[i] += self.weights[j];
        self.best[i] = self.best_of(i);
        for row in (0..j).filter(|row| *row != i && self.is_cluster[*row]) {
            let Some(best) = self.best[row] else { continue };
            if best == j || best == i {
                self.best[row] = self.best_of(row);
            } else if row < i {
                let nearness = self.cosine(row, i).total_cmp(&self.cosine(row, best));
                if nearness.then(best.cmp(&i)).is_gt() {
                    self.best[row] = Some(i);
                }
            }
        }
    }
}

fn numbered(cluster_of: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = cluster_of.to_vec();
    order.sort_unstable();
    order.dedup();
    cluster_of.iter().map(|cluster| order.partition_point(|known| known < cluster)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pseudo_random::PseudoRandom;

    const JOIN: f64 = 0.45;

    fn member(angle: f64, window: usize) -> Member {
        Member { unit: vec![angle.cos(), angle.sin()], weight: 100.0, window }
    }

    fn clusters(members: &[Member], least: usize) -> Vec<usize> {
        average_linkage(&members.iter().collect::<Vec<_>>(), JOIN, least, Pace::UNBROKEN).unwrap()
    }

    #[test]
    fn the_alike_are_joined_unless_one_window_tells_them_apart() {
        let members = [member(0.0, 0), member(1.6, 0), member(0.1, 1), member(1.5, 1), member(0.2, 2)];
        assert_eq!(clusters(&members, 1), [0, 1, 0, 1, 0]);
        // These are as similar as two parts of one voice, so the shared window does not keep them apart.
        assert_eq!(clusters(&[member(0.0, 0), member(0.1, 0)], 1), [0, 0]);
        // Both are nearest to the third, which can join only one of them.
        let members = [member(0.0, 0), member(1.2, 0), member(0.55, 1)];
        assert_eq!(clusters(&members, 1), [0, 1, 0]);
        assert_eq!(clusters(&members, 3), [0, 1, 2]);
        assert_eq!(clusters(&[], 1), [0; 0]);
    }

    /// Checks that the remembered partners are those that a search through all pairs finds.
    #[test]
    fn joins_are_those_of_the_plain_way() {
        let mut random = PseudoRandom(7);
        let unit = |random: &mut PseudoRandom| {
            let values: Vec<f64> = (0..4).map(|_| random.share() - 0.3).collect();
            let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
            values.into_iter().map(|v| v / norm).collect()
        };
        let members: Vec<Member> = (0..60)
            .map(|i| Member { unit: unit(&mut random), weight: 1.0 + (i % 7) as f64, window: i / 3 })
            .collect();
        let mut plain = Linkage::new(&members.iter().collect::<Vec<_>>(), JOIN, Pace::UNBROKEN).unwrap();
        loop {
            let pairs = (0..60).flat_map(|i| (i + 1..60).map(move |j| (i, j)));
            let alive = pairs.filter(|(i, j)| plain.is_cluster[*i] && plain.is_cluster[*j]);
            let best = alive.rev().max_by(|a, b| plain.cosine(a.0, a.1).total_cmp(&plain.cosine(b.0, b.1)));
            let Some((i, j)) = best.filter(|(i, j)| plain.cosine(*i, *j) >= JOIN) else { break };
            plain.join(i, j);
        }
        let found = clusters(&members, 1);
        assert_eq!(found, numbered(&plain.cluster_of));
        assert!(found.iter().max() > Some(&3), "{found:?}");
    }
}
