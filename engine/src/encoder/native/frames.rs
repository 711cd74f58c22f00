//! Frames of quantised values.

#![allow(clippy::inline_always, reason = "see `Task`")]

/// Frames as pairs of integers, each frame with its scale.
#[derive(Default)]
pub(super) struct ScaledFrames {
    pairs: Vec<i32>,
    scales: Vec<f32>,
    /// Pairs per frame, with its padding.
    n_pairs: usize,
    /// Zeros before and after the pairs of each frame.
    n_padding: usize,
}

/// Zeros, for taps that reach beyond the frames.
static NOTHING: [i32; 1_024] = [0; 1_024];

impl ScaledFrames {
    /// Resizes the buffers for frames.
    pub(super) fn fit(&mut self, n_frames: usize, n_pairs: usize) {
        self.fit_padded(n_frames, n_pairs, 0);
    }

    /// Like [`Self::fit`], with `n_padding` zeros before and after the pairs of each frame.
    pub(super) fn fit_padded(&mut self, n_frames: usize, n_pairs: usize, n_padding: usize) {
        self.n_pairs = n_pairs + 2 * n_padding;
        self.n_padding = n_padding;
        self.pairs.resize(self.pairs.len().max(n_frames * self.n_pairs), 0);
        self.scales.resize(n_frames, 0.0);
        if n_padding == 0 {
            return;
        }
        for frame in self.pairs[..n_frames * self.n_pairs].chunks_exact_mut(self.n_pairs) {
            frame[..n_padding].fill(0);
            frame[n_padding + n_pairs..].fill(0);
        }
    }

    /// Returns a frame's pairs from `pair` on, counted with its padding, and its scale.
    #[inline(always)]
    pub(super) fn values(&self, frame: usize, pair: usize) -> (&[i32], f32) {
        if frame >= self.scales.len() {
            return (&NOTHING, 0.0);
        }
        (&self.pairs[frame * self.n_pairs + pair..(frame + 1) * self.n_pairs], self.scales[frame])
    }

    /// Returns a frame's pairs without padding, and its scale.
    pub(super) fn frame_mut(&mut self, frame: usize) -> (&mut [i32], &mut f32) {
        let ([pairs], [scale]) = self.frames_mut(frame);
        (pairs, scale)
    }

    /// Returns the pairs of `N` frames from `first` on, without padding, and their scales.
    pub(super) fn frames_mut<const N: usize>(&mut self, first: usize) -> ([&mut [i32]; N], &mut [f32; N]) {
        let inner = self.n_padding..self.n_pairs - self.n_padding;
        let mut frames = self.pairs[first * self.n_pairs..].chunks_exact_mut(self.n_pairs);
        let frames = std::array::from_fn(|_| &mut frames.next().unwrap_or_default()[inner.clone()]);
        (frames, &mut self.scales[first..].as_chunks_mut().0[0])
    }
}
