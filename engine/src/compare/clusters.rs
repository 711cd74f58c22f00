//! Groups voices that belong together.

use kodama::{Method, linkage};
use ndarray::Array2;

/// Groups the voices of a similarity matrix, `[n, n]`, by agglomerative clustering with average linkage on the cosine.
/// Groups are joined while their mean similarity is above the threshold. Each group lists its members in ascending order,
/// and groups come in the order of their first members.
///
/// Source: Muellner, "Modern hierarchical, agglomerative clustering algorithms", 2011, as implemented in kodama.
pub fn clusters(similarities: &Array2<f32>, threshold: f64) -> Vec<Vec<usize>> {
    let n = similarities.nrows();
    let mut distances: Vec<f32> = (0..n)
        .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
        .map(|(i, j)| 1.0 - similarities[(i, j)])
        .collect();
    // The members of each group, in the order in which groups merge. The first n groups are single voices.
    let mut groups: Vec<Option<Vec<usize>>> = (0..n).map(|i| Some(vec![i])).collect();
    for step in linkage(&mut distances, n, Method::Average).steps() {
        let is_close = 1.0 - f64::from(step.dissimilarity) > threshold;
        let merged = is_close.then(|| {
            let mut members = groups[step.cluster1].take()?;
            members.extend(groups[step.cluster2].take()?);
            Some(members)
        });
        groups.push(merged.flatten());
    }
    let mut clusters: Vec<Vec<usize>> = groups.into_iter().flatten().collect();
    clusters.iter_mut().for_each(|members| members.sort_unstable());
    clusters.sort_unstable();
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn groups_are_cut_at_the_threshold() {
        let similarities =
            array![[1.0, 0.9, 0.2, 0.8], [0.9, 1.0, 0.1, 0.7], [0.2, 0.1, 1.0, 0.3], [0.8, 0.7, 0.3, 1.0]];
        let cases: [(f64, Vec<Vec<usize>>); 4] = [
            (0.95, vec![vec![0], vec![1], vec![2], vec![3]]),
            (0.76, vec![vec![0, 1], vec![2], vec![3]]),
            (0.74, vec![vec![0, 1, 3], vec![2]]),
            (0.0, vec![vec![0, 1, 2, 3]]),
        ];
        for (threshold, expected) in cases {
            assert_eq!(clusters(&similarities, threshold), expected, "{threshold}");
        }
        assert!(clusters(&Array2::zeros((0, 0)), 0.5).is_empty());
        assert_eq!(clusters(&array![[1.0]], 0.5), [[0]]);
    }
}
