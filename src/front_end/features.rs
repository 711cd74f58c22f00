//! The features of an utterance, and the units that an encoder embeds one by one.

use std::ops::Range;

use ndarray::{Array2, ArrayView2};

use super::mel::{MelExtractor, MelParameters};
use super::windows::{WindowParameters, window_starts};
use crate::speech::Utterance;

/// What a model's encoder takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrontEndParameters {
    /// The frames.
    pub mel: MelParameters,
    /// How they are cut into windows.
    pub windows: WindowParameters,
}

/// Computes features for one model; make it once and share it.
pub struct FrontEnd {
    parameters: FrontEndParameters,
    mel: MelExtractor,
}

/// The features of an utterance: frames of bands, and at least one unit into them.
#[derive(Clone, Debug)]
pub struct Features {
    frames: Array2<f32>,
    units: Vec<Unit>,
}

/// What an encoder embeds at once: a window of an utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its frames.
    pub frames: Range<usize>,
    /// The samples of the utterance under them; they may reach beyond its end, where zeros follow.
    pub samples: Range<usize>,
}

impl FrontEnd {
    /// Plans what can be planned ahead.
    pub fn new(parameters: FrontEndParameters) -> Self {
        Self { parameters, mel: MelExtractor::new(parameters.mel) }
    }

    /// Cuts an utterance into windows and computes the spectrogram under them.
    pub fn features(&self, utterance: &Utterance) -> Features {
        let FrontEndParameters { mel, windows } = self.parameters;
        let unit = |start: usize| Unit {
            frames: start..start + windows.n_frames,
            samples: start * mel.hop_samples..(start + windows.n_frames) * mel.hop_samples,
        };
        let starts = window_starts(utterance.samples().len(), mel.hop_samples, windows);
        let units: Vec<Unit> = starts.into_iter().map(unit).collect();
        let n_frames = units.last().map_or(0, |last| last.frames.end);
        Features::new(self.mel.spectrogram(utterance.samples(), n_frames), units)
    }
}

impl Features {
    /// Frames, `[frames, bands]`, and the units into them.
    ///
    /// # Panics
    /// If a unit reaches beyond the frames.
    pub fn new(frames: Array2<f32>, units: Vec<Unit>) -> Self {
        let n_frames = frames.nrows();
        assert!(units.iter().all(|unit| unit.frames.end <= n_frames), "units lie within {n_frames} frames");
        let frames =
            if frames.is_standard_layout() { frames } else { frames.as_standard_layout().into_owned() };
        Self { frames, units }
    }

    /// All frames: `[frames, bands]`.
    pub fn frames(&self) -> ArrayView2<'_, f32> {
        self.frames.view()
    }

    /// The units, in the order of their starts.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// The values of unit `i`: frame after frame.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn values(&self, i: usize) -> &[f32] {
        let n_bands = self.frames.ncols();
        let Range { start, end } = self.units[i].frames;
        let values = self.frames.as_slice().expect("the constructor brings them into this order");
        &values[start * n_bands..end * n_bands]
    }
}
