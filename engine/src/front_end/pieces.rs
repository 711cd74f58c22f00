//! Cuts the frames of a recording into pieces and partials.

use std::ops::Range;

/// The lengths of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceParameters {
    /// The maximum number of frames of a recording that stays a single piece.
    pub max_whole_frames: usize,
    /// The maximum number of frames in a piece of a longer recording.
    pub max_frames: usize,
}

/// The windows of partials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialParameters {
    /// Number of frames in a window.
    pub n_frames: usize,
    /// Number of frames between the starts of two windows, unless the request sets a rate.
    pub step_frames: usize,
    /// If at least this many frames follow the last whole window, another window is added that ends with the recording.
    pub min_rest_frames: usize,
}

/// Cuts frames into pieces of equal length, so that they can share a call of the encoder and have equal weight in a mean.
/// The pieces cover all frames; neighbours may overlap by some frames.
pub(super) fn pieces(n_frames: usize, parameters: PieceParameters) -> Vec<Range<usize>> {
    let PieceParameters { max_whole_frames, max_frames } = parameters;
    let n = if n_frames <= max_whole_frames { 1 } else { n_frames.div_ceil(max_frames) };
    let length = n_frames.div_ceil(n);
    let start = |i: usize| if n == 1 { 0 } else { i * (n_frames - length) / (n - 1) };
    (0..n).map(|i| start(i)..start(i) + length).collect()
}

/// Cuts frames into windows that begin every `step_frames` frames. A recording shorter than a window becomes one window.
pub(super) fn partials(
    n_frames: usize,
    step_frames: usize,
    parameters: PartialParameters,
) -> Vec<Range<usize>> {
    let PartialParameters { n_frames: length, min_rest_frames, .. } = parameters;
    let last_start = n_frames.saturating_sub(length);
    let mut starts: Vec<usize> = (0..=last_start).step_by(step_frames).collect();
    if last_start - starts[starts.len() - 1] >= min_rest_frames {
        starts.push(last_start);
    }
    starts.into_iter().map(|start| start..(start + length).min(n_frames)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_equal_and_leave_nothing_out() {
        let parameters = PieceParameters { max_whole_frames: 2_000, max_frames: 1_200 };
        let counts = [(1, 1), (2_000, 1), (2_001, 2), (2_401, 3), (5_998, 5), (60_001, 51), (360_000, 300)];
        for (n_frames, n) in counts {
            let pieces = pieces(n_frames, parameters);
            let max = if n == 1 { 2_000 } else { 1_200 };
            assert_eq!(pieces.len(), n, "{n_frames}");
            assert!(pieces.iter().all(|piece| piece.len() == pieces[0].len() && piece.len() <= max));
            assert_eq!((pieces[0].start, pieces[n - 1].end), (0, n_frames));
            let overlap = |pair: &[Range<usize>]| pair[0].end.checked_sub(pair[1].start);
            assert!(pieces.windows(2).all(|pair| overlap(pair).is_some_and(|n| n <= 1)), "{pieces:?}");
        }
    }

    #[test]
    fn partials_end_with_the_recording() {
        let parameters = PartialParameters { n_frames: 148, step_frames: 75, min_rest_frames: 5 };
        let starts = |n_frames| -> Vec<usize> {
            partials(n_frames, 75, parameters).into_iter().map(|range| range.start).collect()
        };
        assert_eq!(
            partials(100, 75, parameters).into_iter().map(|range| range.end).collect::<Vec<_>>(),
            [100]
        );
        assert_eq!(starts(148), [0]);
        assert_eq!(starts(152), [0]);
        assert_eq!(starts(153), [0, 5]);
        assert_eq!(starts(223), [0, 75]);
        assert_eq!(starts(240), [0, 75, 92]);
    }
}
