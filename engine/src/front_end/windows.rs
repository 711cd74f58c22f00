//! Cuts an utterance into an encoder's windows.

/// The parameters by which a model cuts an utterance into windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowParameters {
    /// Number of frames in a window.
    pub n_frames: usize,
    /// Number of frames between the starts of two windows.
    pub step_frames: usize,
    /// Share of the last window that audio must cover for the window to count.
    pub min_coverage: f64,
}

/// Returns the first frame of each window for `n_samples` samples. There is at least one window.
///
/// Windows start every `step_frames` frames as long as frames remain. The last window is dropped if audio covers less
/// than `min_coverage` of it, unless it is the only one.
///
/// Source: `compute_partial_slices` of resemblyzer's `voice_encoder.py`.
pub fn window_starts(n_samples: usize, hop_samples: usize, windows: WindowParameters) -> Vec<usize> {
    let WindowParameters { n_frames, step_frames, min_coverage } = windows;
    let n_sounding = (n_samples + 1).div_ceil(hop_samples);
    let end = (n_sounding + step_frames + 1).saturating_sub(n_frames).max(1);
    let mut starts: Vec<usize> = (0..end).step_by(step_frames).collect();
    if let [_, .., last] = starts[..] {
        let covered = n_samples as f64 - (last * hop_samples) as f64;
        if covered / ((n_frames * hop_samples) as f64) < min_coverage {
            starts.pop();
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected counts come from the original, around each length at which the count changes.
    #[test]
    fn window_counts_are_the_originals() {
        let windows = WindowParameters { n_frames: 160, step_frames: 77, min_coverage: 0.75 };
        let cases = [(1, 1), (25_600, 1), (31_519, 1), (31_520, 2), (43_839, 2), (43_840, 3), (240_000, 18)];
        for (n_samples, expected) in cases {
            assert_eq!(window_starts(n_samples, 160, windows).len(), expected, "{n_samples} samples");
        }
    }
}
