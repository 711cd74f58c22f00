//! The share of the windows that hears each speaker, in each frame.

use std::ops::Range;

use super::windows::{Segmentation, WINDOW_FRAMES, speakers};
use crate::models::segmentation::FRAME_STEP_SAMPLES;

/// Returns the number of frames of a recording of `n_samples`.
fn n_frames(n_samples: usize) -> usize {
    n_samples / FRAME_STEP_SAMPLES + 2
}

/// The weighted share of the windows in which each speaker is active, for each frame.
pub(super) struct Activity {
    n_speakers: usize,
    /// `[frames, speakers]`.
    shares: Vec<f32>,
    /// The probability of silence in each frame: the weighted mean over the windows.
    silence: Vec<f32>,
}

impl Activity {
    /// Computes the activity from the windows. `speaker_of` maps a window and the number of a local speaker in it to a
    /// speaker. A window counts most in its middle: its weights are a Hamming window.
    pub(super) fn new(
        segmentation: &Segmentation,
        n_speakers: usize,
        speaker_of: impl Fn(usize, usize) -> usize,
    ) -> Self {
        let n_frames = n_frames(segmentation.n_samples);
        let mut shares = vec![0.0_f32; n_frames * n_speakers];
        let (mut weights, mut silence) = (vec![0.0_f32; n_frames], vec![0.0_f32; n_frames]);
        let step = 2.0 * std::f64::consts::PI / (WINDOW_FRAMES - 1) as f64;
        let hamming: Vec<f32> =
            (0..WINDOW_FRAMES).map(|i| (0.54 - 0.46 * (i as f64 * step).cos()) as f32).collect();
        for window in 0..segmentation.n_windows() {
            let first = segmentation.first_frame(window);
            let silent = segmentation.silence(window);
            for ((i, active), weight) in segmentation.frames(window).iter().enumerate().zip(&hamming) {
                let frame = first + i;
                if frame >= n_frames {
                    break;
                }
                weights[frame] += weight;
                silence[frame] += weight * f32::from(silent[i]) / f32::from(u8::MAX);
                // Two local speakers may be one speaker, who counts once.
                let mut heard = 0_u64;
                for number in speakers(*active) {
                    let speaker = speaker_of(window, number);
                    if heard >> speaker & 1 == 0 {
                        heard |= 1 << speaker;
                        shares[frame * n_speakers + speaker] += weight;
                    }
                }
            }
        }
        for (row, weight) in shares.chunks_mut(n_speakers).zip(&weights) {
            row.iter_mut().for_each(|share| *share /= weight.max(f32::MIN_POSITIVE));
        }
        for (silence, weight) in silence.iter_mut().zip(&weights) {
            *silence /= weight.max(f32::MIN_POSITIVE);
        }
        Self { n_speakers, shares, silence }
    }

    /// Returns the number of frames.
    pub(super) fn n_frames(&self) -> usize {
        self.shares.len() / self.n_speakers
    }

    /// Returns the share of each speaker in a frame.
    pub(super) fn row(&self, frame: usize) -> &[f32] {
        &self.shares[frame * self.n_speakers..][..self.n_speakers]
    }

    /// Returns the probability of silence in a frame.
    pub(super) fn silence(&self, frame: usize) -> f32 {
        self.silence[frame]
    }

    /// Returns the speaker who is heard most in some frames. Among equals, it is the first.
    pub(super) fn most_heard(&self, frames: Range<usize>) -> usize {
        let mut sums = vec![0.0_f64; self.n_speakers];
        for frame in frames {
            sums.iter_mut().zip(self.row(frame)).for_each(|(sum, share)| *sum += f64::from(*share));
        }
        (0..self.n_speakers).rev().max_by(|a, b| sums[*a].total_cmp(&sums[*b])).unwrap_or(0)
    }

    /// Swaps the shares of two speakers in some frames, where `from` has the larger one.
    pub(super) fn give(&mut self, frames: Range<usize>, from: usize, to: usize) {
        for row in self.shares[frames.start * self.n_speakers..frames.end * self.n_speakers]
            .chunks_mut(self.n_speakers)
        {
            let (x, y) = (row[from], row[to]);
            row[to] = x.max(y);
            row[from] = x.min(y);
        }
    }

    /// Returns all shares, `[frames, speakers]`.
    #[cfg(test)]
    pub(super) fn shares(&self) -> &[f32] {
        &self.shares
    }
}
