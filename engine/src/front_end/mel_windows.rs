//! Windows of a mel spectrogram, as Resemblyzer's encoder takes them.

use std::ops::Range;

use ndarray::s;

use super::features::{Features, Unit};
use super::mel::{MelExtractor, MelParameters};
use super::stationarity::hardly_moves;
use super::windows::{WindowParameters, window_starts};
use crate::pace::{Cancelled, Pace};
use crate::speech::Utterance;

/// Computes windows; make it once and share it.
pub struct MelWindows {
    windows: WindowParameters,
    parameters: MelParameters,
    mel: MelExtractor,
}

impl MelWindows {
    /// Plans what can be planned ahead.
    pub fn new(parameters: MelParameters, windows: WindowParameters) -> Self {
        Self { windows, parameters, mel: MelExtractor::new(parameters) }
    }

    /// Cuts an utterance into windows and computes the spectrogram under them.
    pub fn features(&self, utterance: &Utterance, pace: Pace<'_>) -> Result<Features, Cancelled> {
        self.features_of(utterance.samples(), self.windows, pace)
    }

    /// The same of samples that hold speech alone, cut otherwise.
    pub fn features_of(
        &self,
        samples: &[f32],
        windows: WindowParameters,
        pace: Pace<'_>,
    ) -> Result<Features, Cancelled> {
        let hop_samples = self.parameters.hop_samples;
        let unit = |start: usize| Unit {
            frames: start..start + windows.n_frames,
            samples: start * hop_samples..(start + windows.n_frames) * hop_samples,
            is_centred: false,
        };
        let starts = window_starts(samples.len(), hop_samples, windows);
        let units: Vec<Unit> = starts.into_iter().map(unit).collect();
        let n_frames = units.last().map_or(0, |last| last.frames.end);
        Ok(Features::new(self.mel.spectrogram(samples, n_frames, pace)?, units))
    }

    /// The windows at another rate; none if it is their own.
    pub(super) fn partials(
        &self,
        utterance: &Utterance,
        rate: Option<f64>,
        pace: Pace<'_>,
    ) -> Result<Option<Features>, Cancelled> {
        let step_frames = rate.map_or(self.windows.step_frames, |rate| self.step_frames(rate));
        let windows = WindowParameters { step_frames, ..self.windows };
        (windows != self.windows).then(|| self.features_of(utterance.samples(), windows, pace)).transpose()
    }

    /// Windows of a recording. One that is shorter than the encoder's takes in what lies around it, as far as there is something.
    pub(super) fn turn_windows(
        &self,
        samples: &[f32],
        windows: Vec<Range<usize>>,
        pace: Pace<'_>,
    ) -> Result<Features, Cancelled> {
        let (hop_samples, length) = (self.parameters.hop_samples, self.windows.n_frames);
        let n_frames = (samples.len() / hop_samples + 1).max(length);
        let unit = |window: Range<usize>| {
            let middle = usize::midpoint(window.start, window.end) / hop_samples;
            let start = middle.saturating_sub(length / 2).min(n_frames - length);
            Unit { frames: start..start + length, samples: window, is_centred: false }
        };
        let units = windows.into_iter().map(unit).collect();
        Ok(Features::new(self.mel.spectrogram(samples, n_frames, pace)?, units))
    }

    /// Whether level and spectrum of an utterance hardly move, as in noise, hum or a tone: what its features tell.
    pub(super) fn hardly_moves(&self, utterance: &Utterance, features: &Features) -> bool {
        let frames = features.frames();
        // Behind the utterance there are zeros.
        let n_frames = frames.nrows().min(utterance.samples().len() / self.parameters.hop_samples);
        // A strong lowest octave, which few cycles fill, should not decide.
        let weights: Vec<f64> = self.mel.centres_hz().iter().map(|hz| hz * hz).collect();
        hardly_moves(frames.slice(s![..n_frames, ..]).rows().into_iter(), &weights)
    }

    /// The frames from one window to the next for so many windows a second.
    ///
    /// Source: `compute_partial_slices` of resemblyzer's `voice_encoder.py`.
    fn step_frames(&self, rate: f64) -> usize {
        let MelParameters { sample_rate_hz, hop_samples, .. } = self.parameters;
        let step = (f64::from(sample_rate_hz) / rate / hop_samples as f64).round_ties_even();
        (step as usize).max(1)
    }
}
