//! Windows of a mel spectrogram, for Resemblyzer's encoder.

use ndarray::s;

use super::features::{Features, Unit};
use super::mel::{MelExtractor, MelParameters};
use super::stationarity::hardly_moves;
use super::windows::{WindowParameters, window_starts};
use crate::audio::CompactWaveform;
use crate::pace::{Cancelled, Pace};
use crate::speech::Utterance;
use crate::speech::level::gain_to_target;

/// Computes windows. Create it once and share it.
pub struct MelWindows {
    windows: WindowParameters,
    parameters: MelParameters,
    mel: MelExtractor,
}

impl MelWindows {
    /// Prepares the FFT, the window and the filters.
    pub fn new(parameters: MelParameters, windows: WindowParameters) -> Self {
        Self { windows, parameters, mel: MelExtractor::new(parameters) }
    }

    /// Cuts an utterance into windows and computes their spectrogram.
    pub fn features(&self, utterance: &Utterance, pace: Pace<'_>) -> Result<Features, Cancelled> {
        self.features_of(utterance.samples(), self.windows, pace)
    }

    /// Like [`MelWindows::features`], with other window parameters, for samples that contain only speech.
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

    /// Returns the windows at another rate, or `None` if it is the windows' own rate.
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

    /// Returns the number of frames in a window.
    pub(super) fn n_frames(&self) -> usize {
        self.windows.n_frames
    }

    /// Returns the values of the window around a sample of a recording. The window is shifted to lie within the
    /// recording, if that is long enough. A quiet window is raised to the level of the encoder's training data.
    pub(super) fn window_around(&self, recording: &CompactWaveform, middle: usize) -> Vec<f32> {
        let MelParameters { hop_samples, frame_samples, n_mels, .. } = self.parameters;
        let n_frames = self.windows.n_frames;
        let last_start = (recording.len() / hop_samples + 1).saturating_sub(n_frames);
        let start = (middle / hop_samples).saturating_sub(n_frames / 2).min(last_start);
        // A frame extends half its length before its centre.
        let n_before = start.min(frame_samples.div_ceil(2 * hop_samples));
        let end = (start + n_frames) * hop_samples + frame_samples / 2;
        let samples = recording.read((start - n_before) * hop_samples..end);
        let frames = self.mel.spectrogram(&samples, n_before + n_frames, Pace::UNBROKEN);
        let mut values = frames.expect("nobody cancels it").into_raw_vec_and_offset().0;
        values.drain(..n_before * n_mels);
        let gain = gain_to_target(&samples);
        // Power grows with the square of the gain.
        values.iter_mut().for_each(|power| *power *= gain * gain);
        values
    }

    /// Returns whether level and spectrum of an utterance hardly change according to its features, as in noise, hum or a
    /// tone.
    pub(super) fn hardly_moves(&self, utterance: &Utterance, features: &Features) -> bool {
        let frames = features.frames();
        // Zeros follow the utterance.
        let n_frames = frames.nrows().min(utterance.samples().len() / self.parameters.hop_samples);
        // Weights keep a strong lowest octave, which only a few cycles fill, from deciding the result.
        let weights: Vec<f64> = self.mel.centres_hz().iter().map(|hz| hz * hz).collect();
        hardly_moves(frames.slice(s![..n_frames, ..]).rows().into_iter(), &weights)
    }

    /// Returns the number of frames between the starts of two windows at `rate` windows per second.
    ///
    /// Source: `compute_partial_slices` of resemblyzer's `voice_encoder.py`.
    fn step_frames(&self, rate: f64) -> usize {
        let MelParameters { sample_rate_hz, hop_samples, .. } = self.parameters;
        let step = (f64::from(sample_rate_hz) / rate / hop_samples as f64).round_ties_even();
        (step as usize).max(1)
    }
}
