//! Windows for telling speakers apart: within stretches of speech, over a recording whose pauses stay.

use std::ops::Range;

/// How stretches of speech are cut into windows, in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnWindowParameters {
    /// A window.
    pub length: usize,
    /// Between the starts of two.
    pub step: usize,
    /// The shortest stretch that has a window.
    pub least: usize,
    /// Stretches are joined over gaps up to this.
    pub joined_gap: usize,
    /// There is one more window, flush with the end of a stretch, if more than this remains.
    pub rest: usize,
}

/// Stretches of speech, in order -> windows, none of which leaves its stretch. A stretch shorter than a window is one. If none is long enough, the
/// longest has a window.
pub(super) fn turn_windows(
    stretches: &[Range<usize>],
    parameters: TurnWindowParameters,
) -> Vec<Range<usize>> {
    let TurnWindowParameters { length, step, least, joined_gap, rest } = parameters;
    let mut joined: Vec<Range<usize>> = Vec::new();
    for stretch in stretches {
        match joined.last_mut() {
            Some(last) if stretch.start - last.end <= joined_gap => last.end = stretch.end,
            _ => joined.push(stretch.clone()),
        }
    }
    let longest = joined.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let mut windows = Vec::new();
    for stretch in joined.into_iter().filter(|stretch| stretch.len() >= least.min(longest)) {
        if stretch.len() <= length {
            windows.push(stretch);
            continue;
        }
        let starts = (stretch.start..=stretch.end - length).step_by(step);
        windows.extend(starts.map(|start| start..start + length));
        if windows.last().is_some_and(|last| stretch.end - last.end > rest) {
            windows.push(stretch.end - length..stretch.end);
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
    fn windows_stay_in_their_stretch_and_reach_its_end() {
        let parameters = TurnWindowParameters { length: 160, step: 80, least: 40, joined_gap: 20, rest: 5 };
        let cases = [
            (vec![], vec![]),
            (vec![0..39], vec![0..39]),
            (vec![0..30, 70..109, 200..240], vec![200..240]),
            (vec![10..50], vec![10..50]),
            (vec![0..160], vec![0..160]),
            (vec![0..165], vec![0..160]),
            (vec![0..166], vec![0..160, 6..166]),
            (vec![0..240], vec![0..160, 80..240]),
            (vec![100..180, 200..260], vec![100..260]),
            (vec![100..180, 201..260], vec![100..180, 201..260]),
        ];
        for (stretches, expected) in cases {
            assert_eq!(turn_windows(&stretches, parameters), expected, "{stretches:?}");
        }
    }
}
