//! All constants of the network that other modules need. Source: pyannote.audio's configuration of segmentation-3.0.

use crate::audio::SAMPLE_RATE_HZ;

/// Samples of a window that the network was trained on: 10 s.
pub const WINDOW_SAMPLES: usize = 10 * SAMPLE_RATE_HZ as usize;

/// The minimum number of samples that the network takes.
pub const MIN_SAMPLES: usize = 991;

/// Samples from the centre of a frame to the centre of the next one.
pub const FRAME_STEP_SAMPLES: usize = 270;

/// The sample on which the first frame is centred.
pub const FIRST_FRAME_CENTRE: usize = 495;

/// The maximum number of speakers that the network distinguishes in a window.
pub const MAX_LOCAL_SPEAKERS: usize = 3;

/// Classes of a frame: no speaker, each of three local speakers alone, each pair of them.
pub const CLASSES: usize = 7;

/// Name of the graph's input.
pub(super) const INPUT_NAME: &str = "samples";

/// Name of the graph's output.
pub(super) const OUTPUT_NAME: &str = "log_probabilities";

/// Returns the number of frames of a window of `n_samples`. Three convolutions (kernels of 251, 5 and 5) are each
/// followed by max pooling over 3.
pub const fn n_frames(n_samples: usize) -> usize {
    if n_samples < MIN_SAMPLES {
        return 0;
    }
    let filtered = (n_samples - 251) / 10 + 1;
    let first = filtered / 3;
    let second = (first - 4) / 3;
    (second - 4) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_windows() {
        for (n_samples, n) in [(0, 0), (990, 0), (991, 1), (160_000, 589)] {
            assert_eq!(n_frames(n_samples), n, "{n_samples}");
        }
    }
}
