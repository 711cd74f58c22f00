//! Detects whether the windows of one recording belong to two voices.

use crate::vectors::dot;

/// The minimum number of windows in the smaller group: about 3 seconds.
const MIN_WINDOWS: usize = 4;

/// The maximum number of rounds of each step. Most recordings need three.
const MAX_ROUNDS: usize = 10;

/// Returns the cosine of the groups' means below which the groups are two voices. In smaller groups, the means of a
/// single voice differ more.
///
/// In recordings of one LibriSpeech speaker (42 single utterances, 120 of two joined utterances, 5 of ten), the cosine is
/// at least 0.04 above this limit. It is below the limit in all but one of 320 recordings that join two speakers, and in
/// all of six conversations (5 speakers, 1.6-second windows).
fn max_cosine(n_smaller: usize) -> f64 {
    0.84 - 0.4 / n_smaller as f64
}

/// Returns whether the embeddings of windows, each with a norm of 1, belong to two voices.
///
/// 1. Find the direction in which the windows differ most, by power iteration on their differences from the mean.
/// 2. Divide the windows into two groups, by the side of the mean on which they lie. Then assign each window to the group
///    with the nearer mean, until no window changes its group.
/// 3. There are two voices if both groups are large enough and their means differ.
pub fn fall_into_two_voices(windows: &[Vec<f32>]) -> bool {
    if windows.len() < 2 * MIN_WINDOWS {
        return false;
    }
    let mut is_first = sides(windows);
    for round in 1..=MAX_ROUNDS {
        let (Some(first), Some(second)) =
            (mean_of(windows, &is_first, true), mean_of(windows, &is_first, false))
        else {
            return false;
        };
        let nearer: Vec<bool> =
            windows.iter().map(|window| dot(window, &first) > dot(window, &second)).collect();
        // A window that still changes after this many rounds lies between the groups.
        if nearer == is_first || round == MAX_ROUNDS {
            let n_first = is_first.iter().filter(|is_first| **is_first).count();
            let n_smaller = n_first.min(windows.len() - n_first);
            return n_smaller >= MIN_WINDOWS && f64::from(dot(&first, &second)) < max_cosine(n_smaller);
        }
        is_first = nearer;
    }
    false
}

/// Performs step 1: returns the side of the mean on which each window lies.
fn sides(windows: &[Vec<f32>]) -> Vec<bool> {
    let n = windows.len() as f32;
    let mut mean = vec![0.0; windows[0].len()];
    windows.iter().for_each(|window| add(&mut mean, window, 1.0 / n));
    let differences: Vec<Vec<f32>> =
        windows.iter().map(|window| window.iter().zip(&mean).map(|(a, b)| a - b).collect()).collect();
    let furthest = differences.iter().max_by(|a, b| dot(a, a).total_cmp(&dot(b, b)));
    let mut direction = furthest.cloned().unwrap_or_default();
    for _ in 0..MAX_ROUNDS {
        let mut next = vec![0.0; direction.len()];
        differences.iter().for_each(|difference| add(&mut next, difference, dot(difference, &direction)));
        scale_to_one(&mut next);
        direction = next;
    }
    differences.iter().map(|difference| dot(difference, &direction) > 0.0).collect()
}

/// Returns the mean of one group, scaled to norm 1, or `None` if the group is empty.
fn mean_of(windows: &[Vec<f32>], is_first: &[bool], wanted: bool) -> Option<Vec<f32>> {
    let mut group = windows.iter().zip(is_first).filter(|(_, is_first)| **is_first == wanted);
    let mut mean = group.next()?.0.clone();
    group.for_each(|(window, _)| add(&mut mean, window, 1.0));
    scale_to_one(&mut mean);
    Some(mean)
}

fn add(sum: &mut [f32], vector: &[f32], weight: f32) {
    sum.iter_mut().zip(vector).for_each(|(sum, component)| *sum += weight * component);
}

fn scale_to_one(vector: &mut [f32]) {
    let norm = dot(vector, vector).sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|component| *component /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns windows that each point along one axis and are tilted slightly towards another.
    fn windows(axes: &[usize]) -> Vec<Vec<f32>> {
        let tilted = |(i, axis): (usize, &usize)| {
            let mut window = vec![0.0; 8];
            window[*axis] = 1.0;
            window[4 + i % 4] = 0.4;
            scale_to_one(&mut window);
            window
        };
        axes.iter().enumerate().map(tilted).collect()
    }

    #[test]
    fn two_voices_are_two_groups_that_are_unlike_and_large_enough() {
        let cases: [(&str, &[usize], bool); 6] = [
            ("one voice", &[0; 12], false),
            ("two in turn", &[0, 0, 0, 0, 0, 1, 1, 1, 1, 1], true),
            ("two by turns", &[0, 1, 0, 1, 0, 1, 0, 1], true),
            ("three windows of another", &[0, 0, 0, 0, 0, 0, 0, 1, 1, 1], false),
            ("seven windows", &[0, 0, 0, 1, 1, 1, 1], false),
            ("none", &[], false),
        ];
        for (name, axes, expected) in cases {
            assert_eq!(fall_into_two_voices(&windows(axes)), expected, "{name}");
        }
        assert!(!fall_into_two_voices(&vec![vec![0.0; 256]; 20]), "no embeddings");
        assert!(!fall_into_two_voices(&vec![vec![0.0625; 256]; 20]), "all equal");
    }
}
