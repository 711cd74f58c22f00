//! The features of an utterance, and the units that an encoder embeds one by one.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

use super::mel::{MelExtractor, MelParameters};
use super::stationarity::hardly_moves;
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
    /// The frames from one window to the next for so many windows a second.
    ///
    /// Source: `compute_partial_slices` of resemblyzer's `voice_encoder.py`.
    pub fn step_frames(&self, rate: f64) -> usize {
        let mel = self.parameters.mel;
        let step = (f64::from(mel.sample_rate_hz) / rate / mel.hop_samples as f64).round_ties_even();
        (step as usize).max(1)
    }

    /// The frames from one window to the next, unless another rate is wanted.
    pub fn default_step_frames(&self) -> usize {
        self.parameters.windows.step_frames
    }

    /// Plans what can be planned ahead.
    pub fn new(parameters: FrontEndParameters) -> Self {
        Self { parameters, mel: MelExtractor::new(parameters.mel) }
    }

    /// Cuts an utterance into windows and computes the spectrogram under them.
    pub fn features(&self, utterance: &Utterance) -> Features {
        self.features_every(utterance, self.parameters.windows.step_frames)
    }

    /// Whether level and spectrum of an utterance hardly move, as in noise, hum or a tone: what its features tell.
    pub fn hardly_moves(&self, utterance: &Utterance, features: &Features) -> bool {
        let frames = features.frames();
        // Behind the utterance there are zeros.
        let n_frames = frames.nrows().min(utterance.samples().len() / self.parameters.mel.hop_samples);
        hardly_moves(&frames.slice(s![..n_frames, ..]), self.mel.centres_hz())
    }

    /// As [`FrontEnd::features`], with windows that begin every so many frames.
    pub fn features_every(&self, utterance: &Utterance, step_frames: usize) -> Features {
        let FrontEndParameters { mel, windows } = self.parameters;
        let windows = WindowParameters { step_frames, ..windows };
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

    /// No frames and no units.
    pub fn none() -> Self {
        Self { frames: Array2::zeros((0, 0)), units: Vec::new() }
    }

    /// Features one behind the other, with the units of all.
    ///
    /// # Panics
    /// If they have different bands.
    pub fn joined(mut all: Vec<Features>) -> Self {
        if all.len() < 2 {
            return all.pop().unwrap_or_else(Self::none);
        }
        let frames: Vec<ArrayView2<'_, f32>> = all.iter().map(Features::frames).collect();
        let frames = concatenate(Axis(0), &frames).expect("all have the same bands");
        let mut units = Vec::new();
        let mut begin = 0;
        for features in &all {
            units.extend(features.units.iter().map(|unit| Unit {
                frames: unit.frames.start + begin..unit.frames.end + begin,
                samples: unit.samples.clone(),
            }));
            begin += features.frames.nrows();
        }
        Self::new(frames, units)
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
