//! Where an utterance is cut into the encoder's windows.

use crate::hparams::{HOP_SAMPLES, MIN_WINDOW_COVERAGE, WINDOW_FRAMES, WINDOW_STEP_FRAMES};

/// Number of 16 kHz samples -> first frame of each window; never empty.
///
/// Windows start every [`WINDOW_STEP_FRAMES`] frames as long as frames remain; the last one is dropped if audio covers
/// less than [`MIN_WINDOW_COVERAGE`] of it, unless it is the only one.
///
/// Source: `compute_partial_slices` of resemblyzer's `voice_encoder.py`.
pub fn window_starts(n_samples: usize) -> Vec<usize> {
    let n_frames = (n_samples + 1).div_ceil(HOP_SAMPLES);
    let end = (n_frames + WINDOW_STEP_FRAMES + 1).saturating_sub(WINDOW_FRAMES).max(1);
    let mut starts: Vec<usize> = (0..end).step_by(WINDOW_STEP_FRAMES).collect();
    if let [_, .., last] = starts[..] {
        let covered = n_samples as f64 - (last * HOP_SAMPLES) as f64;
        if covered / ((WINDOW_FRAMES * HOP_SAMPLES) as f64) < MIN_WINDOW_COVERAGE {
            starts.pop();
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts computed with the original, around each length at which the count changes.
    #[test]
    fn window_counts_are_the_originals() {
        let cases = [(1, 1), (25_600, 1), (31_519, 1), (31_520, 2), (43_839, 2), (43_840, 3), (240_000, 18)];
        for (n_samples, expected) in cases {
            assert_eq!(window_starts(n_samples).len(), expected, "{n_samples} samples");
        }
    }
}
