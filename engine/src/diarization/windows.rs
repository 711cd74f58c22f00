//! Windows of the segmentation network, their frames, and the feature frames at the same times.

use std::ops::Range;

use crate::audio::SAMPLE_RATE_HZ;
use crate::models::segmentation::{
    CLASSES, FIRST_FRAME_CENTRE, FRAME_STEP_SAMPLES, MAX_LOCAL_SPEAKERS, WINDOW_SAMPLES, n_frames,
};

/// Samples from the start of a window to the start of the next.
pub(crate) const STEP_SAMPLES: usize = WINDOW_SAMPLES / 2;

/// The distance between two windows that are this many windows apart is a whole number of frames and of feature frames.
pub(crate) const ALIGNED_WINDOWS: usize = 27;

/// Samples of the shortest window. A shorter recording is padded with zeros.
const MIN_WINDOW_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// The number of frames in a window.
pub(super) const WINDOW_FRAMES: usize = n_frames(WINDOW_SAMPLES);

/// Samples from a feature frame to the next, and samples before the middle of the first, as in the fbank of CAM++.
pub(crate) const FEATURE_STEP_SAMPLES: usize = 160;
const FIRST_FEATURE_CENTRE: usize = 200;

/// The number of feature frames in a second.
pub const FEATURE_FRAMES_A_SECOND: usize = SAMPLE_RATE_HZ as usize / FEATURE_STEP_SAMPLES;

/// The local speakers of each class, one bit each.
const CLASS_SPEAKERS: [u8; CLASSES] = [0b000, 0b001, 0b010, 0b100, 0b011, 0b101, 0b110];

/// Returns the windows of a recording: one every five seconds, and one more that ends with the recording. A recording
/// shorter than a window has one window, which is as long as the recording but at least a second.
pub fn windows(n_samples: usize) -> Vec<Range<usize>> {
    let Some(last) = n_samples.checked_sub(WINDOW_SAMPLES) else {
        return std::iter::once(0..n_samples.max(MIN_WINDOW_SAMPLES)).collect();
    };
    let regular = (0..=last).step_by(STEP_SAMPLES);
    let flush = (!last.is_multiple_of(STEP_SAMPLES)).then_some(last);
    regular.chain(flush).map(|start| start..start + WINDOW_SAMPLES).collect()
}

/// Returns the frame whose centre is nearest to that of a feature frame. It may lie before the first frame.
pub(super) fn frame_of(feature_frame: usize) -> isize {
    let centre = (FEATURE_STEP_SAMPLES * feature_frame + FIRST_FEATURE_CENTRE) as f64;
    ((centre - FIRST_FRAME_CENTRE as f64) / FRAME_STEP_SAMPLES as f64).round_ties_even() as isize
}

/// Returns the number of feature frames of a recording.
pub(super) fn n_feature_frames(n_samples: usize) -> usize {
    n_samples.checked_sub(2 * FIRST_FEATURE_CENTRE).map_or(0, |rest| rest / FEATURE_STEP_SAMPLES + 1)
}

/// Returns the samples of a piece, from the first sample of its first frame to the last sample of its last frame.
pub fn samples_of(feature_frames: &Range<usize>) -> Range<usize> {
    feature_frames.start * FEATURE_STEP_SAMPLES
        ..(feature_frames.end - 1) * FEATURE_STEP_SAMPLES + 2 * FIRST_FEATURE_CENTRE
}

/// The speakers in each frame of each window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The number of samples in the recording.
    pub n_samples: usize,
    /// For each window, the frame of the recording at which it begins.
    first: Vec<usize>,
    /// For each frame of each window, the local speakers that speak, one bit each.
    active: Vec<u8>,
    /// The probability of silence in the same frames, times 255.
    silence: Vec<u8>,
}

impl Segmentation {
    /// Creates the segmentation of a recording, without windows.
    pub fn new(n_samples: usize) -> Self {
        Self { n_samples, first: Vec::new(), active: Vec::new(), silence: Vec::new() }
    }

    /// Adds a window from the output of the network: `[frames, 7]` log-probabilities.
    pub fn push(&mut self, start: usize, log_probabilities: &[f32]) {
        self.first.push((start as f64 / FRAME_STEP_SAMPLES as f64).round_ties_even() as usize);
        let n_frames = self.first.len() * WINDOW_FRAMES;
        for frame in log_probabilities.chunks_exact(CLASSES).take(WINDOW_FRAMES) {
            // If several classes are equally probable, the first one counts.
            let class = (0..CLASSES).rev().max_by(|a, b| frame[*a].total_cmp(&frame[*b])).unwrap_or(0);
            self.active.push(CLASS_SPEAKERS[class]);
            self.silence.push((frame[0].exp() * 255.0).round() as u8);
        }
        self.active.resize(n_frames, 0);
        self.silence.resize(n_frames, u8::MAX);
    }

    /// Returns the segmentation of the windows from `window` on, as if the recording began there. `window` is a multiple
    /// of [`ALIGNED_WINDOWS`].
    pub(crate) fn since_window(&self, window: usize) -> Self {
        let skipped_frames = window * STEP_SAMPLES / FRAME_STEP_SAMPLES;
        Self {
            n_samples: self.n_samples - window * STEP_SAMPLES,
            first: self.first[window..].iter().map(|first| first - skipped_frames).collect(),
            active: self.active[window * WINDOW_FRAMES..].to_vec(),
            silence: self.silence[window * WINDOW_FRAMES..].to_vec(),
        }
    }

    /// Returns whether any speaker is active.
    pub fn has_speech(&self) -> bool {
        self.active.iter().any(|active| *active != 0)
    }

    /// Returns the number of windows.
    pub(crate) fn n_windows(&self) -> usize {
        self.first.len()
    }

    /// Returns the frame of the recording at which a window begins.
    pub(super) fn first_frame(&self, window: usize) -> usize {
        self.first[window]
    }

    /// Returns the local speakers in each frame of a window.
    pub(super) fn frames(&self, window: usize) -> &[u8] {
        &self.active[window * WINDOW_FRAMES..][..WINDOW_FRAMES]
    }

    /// Returns the probability of silence in each frame of a window, times 255.
    pub(super) fn silence(&self, window: usize) -> &[u8] {
        &self.silence[window * WINDOW_FRAMES..][..WINDOW_FRAMES]
    }

    /// Returns each feature frame with the window whose middle is nearest, in order. If two windows are equally near, it
    /// is the earlier one.
    pub(super) fn owners(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut owner = 0;
        let away = |window: usize, frame: isize| {
            (frame - (self.first[window] + WINDOW_FRAMES / 2) as isize).unsigned_abs()
        };
        let n_frames = if self.first.is_empty() { 0 } else { n_feature_frames(self.n_samples) };
        (0..n_frames).map(move |t| {
            let frame = frame_of(t);
            while owner + 1 < self.first.len() && away(owner + 1, frame) < away(owner, frame) {
                owner += 1;
            }
            (t, owner)
        })
    }
}

/// Returns the local speaker of a frame, if there is only one.
pub(super) fn alone(active: u8) -> Option<usize> {
    active.is_power_of_two().then(|| active.trailing_zeros() as usize)
}

/// Returns the local speakers of a frame.
pub(super) fn speakers(active: u8) -> impl Iterator<Item = usize> {
    (0..MAX_LOCAL_SPEAKERS).filter(move |speaker| active >> speaker & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_a_recording() {
        let starts = |n: usize| windows(n).iter().map(|window| window.start).collect::<Vec<_>>();
        let cases: [(usize, &[usize]); 7] = [
            (1, &[0]),
            (159_999, &[0]),
            (160_000, &[0]),
            (160_001, &[0, 1]),
            (240_000, &[0, 80_000]),
            (250_000, &[0, 80_000, 90_000]),
            (320_000, &[0, 80_000, 160_000]),
        ];
        for (n_samples, expected) in cases {
            assert_eq!(starts(n_samples), expected, "{n_samples}");
        }
        let ends = [1_600, 20_000].map(|n| windows(n)[0].end);
        assert_eq!(ends, [16_000, 20_000]);
    }

    #[test]
    fn aligned_windows_are_whole_frames_apart() {
        let samples = ALIGNED_WINDOWS * STEP_SAMPLES;
        assert!(samples.is_multiple_of(FRAME_STEP_SAMPLES) && samples.is_multiple_of(FEATURE_STEP_SAMPLES));
        let mut segmentation = Segmentation::new(samples + WINDOW_SAMPLES);
        (0..=ALIGNED_WINDOWS).for_each(|window| segmentation.push(window * STEP_SAMPLES, &[]));
        assert_eq!(segmentation.since_window(ALIGNED_WINDOWS).first, [0]);
    }

    #[test]
    fn short_windows_end_in_silence() {
        let mut segmentation = Segmentation::new(16_000);
        let mut output = vec![f32::NEG_INFINITY; 2 * CLASSES];
        output[4] = 0.0;
        segmentation.push(0, &output);
        assert_eq!(segmentation.frames(0)[..3], [0b011, 0, 0]);
        assert_eq!(segmentation.frames(0).len(), WINDOW_FRAMES);
    }
}
