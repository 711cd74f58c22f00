//! Windows of the segmentation network, their frames, and the frames of features beside them.

use std::ops::Range;

use crate::audio::SAMPLE_RATE_HZ;
use crate::models::segmentation::{
    CLASSES, FIRST_FRAME_CENTRE, FRAME_STEP_SAMPLES, MAX_LOCAL_SPEAKERS, WINDOW_SAMPLES, n_frames,
};

/// Samples from the start of a window to that of the next.
pub(crate) const STEP_SAMPLES: usize = WINDOW_SAMPLES / 2;

/// The starts of so many windows apart are whole frames, and whole feature frames, apart.
pub(crate) const ALIGNED_WINDOWS: usize = 27;

/// Samples of the shortest window: zeros follow a shorter recording.
const MIN_WINDOW_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// Frames of a window.
pub(super) const WINDOW_FRAMES: usize = n_frames(WINDOW_SAMPLES);

/// Samples from a feature frame to the next, and those before the middle of the first: the fbank's of CAM++.
pub(crate) const FEATURE_STEP_SAMPLES: usize = 160;
const FIRST_FEATURE_CENTRE: usize = 200;

/// Feature frames in a second.
pub const FEATURE_FRAMES_A_SECOND: usize = SAMPLE_RATE_HZ as usize / FEATURE_STEP_SAMPLES;

/// The local speakers of each class, a bit each.
const CLASS_SPEAKERS: [u8; CLASSES] = [0b000, 0b001, 0b010, 0b100, 0b011, 0b101, 0b110];

/// The windows of a recording of so many samples: one every five seconds, and one more that ends with the recording. A recording shorter than
/// a window is one, of its own length or a second.
pub fn windows(n_samples: usize) -> Vec<Range<usize>> {
    let Some(last) = n_samples.checked_sub(WINDOW_SAMPLES) else {
        return std::iter::once(0..n_samples.max(MIN_WINDOW_SAMPLES)).collect();
    };
    let regular = (0..=last).step_by(STEP_SAMPLES);
    let flush = (!last.is_multiple_of(STEP_SAMPLES)).then_some(last);
    regular.chain(flush).map(|start| start..start + WINDOW_SAMPLES).collect()
}

/// The frame whose centre is nearest to that of a feature frame. It may lie before the first.
pub(super) fn frame_of(feature_frame: usize) -> isize {
    let centre = (FEATURE_STEP_SAMPLES * feature_frame + FIRST_FEATURE_CENTRE) as f64;
    ((centre - FIRST_FRAME_CENTRE as f64) / FRAME_STEP_SAMPLES as f64).round_ties_even() as isize
}

/// Feature frames of a recording.
pub(super) fn n_feature_frames(n_samples: usize) -> usize {
    n_samples.checked_sub(2 * FIRST_FEATURE_CENTRE).map_or(0, |rest| rest / FEATURE_STEP_SAMPLES + 1)
}

/// The samples under a piece, from the first of its first frame to the last of its last.
pub fn samples_of(feature_frames: &Range<usize>) -> Range<usize> {
    feature_frames.start * FEATURE_STEP_SAMPLES
        ..(feature_frames.end - 1) * FEATURE_STEP_SAMPLES + 2 * FIRST_FEATURE_CENTRE
}

/// Who speaks in each frame of each window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The recording's samples.
    pub n_samples: usize,
    /// Of each window, the frame of the recording that is its first.
    first: Vec<usize>,
    /// Of each window, in each frame, the local speakers that speak, a bit each.
    active: Vec<u8>,
    /// The probability of silence in the same frames, times 255.
    silence: Vec<u8>,
}

impl Segmentation {
    /// A recording of which no window is known yet.
    pub fn new(n_samples: usize) -> Self {
        Self { n_samples, first: Vec::new(), active: Vec::new(), silence: Vec::new() }
    }

    /// Adds a window, by the network's output: `[frames, 7]` log-probabilities.
    pub fn push(&mut self, start: usize, log_probabilities: &[f32]) {
        self.first.push((start as f64 / FRAME_STEP_SAMPLES as f64).round_ties_even() as usize);
        let n_frames = self.first.len() * WINDOW_FRAMES;
        for frame in log_probabilities.chunks_exact(CLASSES).take(WINDOW_FRAMES) {
            // Of equal ones the first.
            let class = (0..CLASSES).rev().max_by(|a, b| frame[*a].total_cmp(&frame[*b])).unwrap_or(0);
            self.active.push(CLASS_SPEAKERS[class]);
            self.silence.push((frame[0].exp() * 255.0).round() as u8);
        }
        self.active.resize(n_frames, 0);
        self.silence.resize(n_frames, u8::MAX);
    }

    /// The windows from one on, a multiple of [`ALIGNED_WINDOWS`], as those of a recording that begins there.
    pub(crate) fn since_window(&self, window: usize) -> Self {
        let skipped_frames = window * STEP_SAMPLES / FRAME_STEP_SAMPLES;
        Self {
            n_samples: self.n_samples - window * STEP_SAMPLES,
            first: self.first[window..].iter().map(|first| first - skipped_frames).collect(),
            active: self.active[window * WINDOW_FRAMES..].to_vec(),
            silence: self.silence[window * WINDOW_FRAMES..].to_vec(),
        }
    }

    /// Whether anybody speaks.
    pub fn has_speech(&self) -> bool {
        self.active.iter().any(|active| *active != 0)
    }

    /// How many windows there are.
    pub(crate) fn n_windows(&self) -> usize {
        self.first.len()
    }

    /// The frame of the recording that is a window's first.
    pub(super) fn first_frame(&self, window: usize) -> usize {
        self.first[window]
    }

    /// The local speakers of each frame of a window.
    pub(super) fn frames(&self, window: usize) -> &[u8] {
        &self.active[window * WINDOW_FRAMES..][..WINDOW_FRAMES]
    }

    /// The probability of silence in each frame of a window, times 255.
    pub(super) fn silence(&self, window: usize) -> &[u8] {
        &self.silence[window * WINDOW_FRAMES..][..WINDOW_FRAMES]
    }

    /// The window whose middle is nearest to each feature frame, in their order; of equally near ones the earlier.
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

/// The only local speaker of a frame, if there is one alone.
pub(super) fn alone(active: u8) -> Option<usize> {
    active.is_power_of_two().then(|| active.trailing_zeros() as usize)
}

/// The local speakers of a frame.
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
