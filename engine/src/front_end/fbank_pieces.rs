//! The filter bank of a recording, whole or in pieces, for CAM++.

use std::ops::Range;

use half::f16;
use ndarray::Array2;

use super::fbank::{FbankExtractor, FbankParameters};
use super::features::{Features, Unit, subtract_means};
use super::pieces::{PartialParameters, PieceParameters, partials, pieces};
use super::stationarity::hardly_moves;
use crate::pace::{Cancelled, Pace};
use crate::speech::Utterance;

/// Computes pieces. Create it once and share it.
pub struct FbankPieces {
    parameters: FbankParameters,
    pieces: PieceParameters,
    partials: PartialParameters,
    fbank: FbankExtractor,
}

impl FbankPieces {
    /// Prepares the FFT, the window and the filters.
    pub fn new(parameters: FbankParameters, pieces: PieceParameters, partials: PartialParameters) -> Self {
        Self { parameters, pieces, partials, fbank: FbankExtractor::new(parameters) }
    }

    /// Returns the number of whole frames in `n_samples` samples.
    pub(super) fn n_frames(&self, n_samples: usize) -> usize {
        self.parameters.n_frames(n_samples)
    }

    /// Returns the frames of an utterance in pieces, without their mean over time. Stores the frames of a recording of
    /// several pieces in 16 bits.
    pub fn features(&self, utterance: &Utterance, pace: Pace<'_>) -> Result<Features, Cancelled> {
        let n_frames = self.parameters.n_frames(utterance.samples().len());
        let units =
            pieces(n_frames, self.pieces).into_iter().map(|frames| self.unit(frames, false)).collect();
        if n_frames > self.pieces.max_whole_frames {
            let frames = self.halves(utterance.samples(), n_frames, pace)?;
            return Ok(Features::in_half_precision(frames, units));
        }
        let mut frames = self.fbank.log_energies(utterance.samples(), pace)?;
        subtract_means(frames.as_slice_mut().expect("it is new"), n_frames);
        Ok(Features::new(frames, units))
    }

    /// Returns all frames in 16 bits, without their mean.
    fn halves(&self, samples: &[f32], n_frames: usize, pace: Pace<'_>) -> Result<Array2<f16>, Cancelled> {
        let n_bands = self.parameters.n_bands;
        let mut frames = Array2::from_elem((n_frames, n_bands), f16::ZERO);
        let mut sums = vec![0.0_f64; n_bands];
        self.fbank.each_frame(samples, pace, |i, bands| {
            for ((frame, sum), band) in frames.row_mut(i).iter_mut().zip(&mut sums).zip(bands) {
                *frame = f16::from_f32(*band);
                *sum += f64::from(*band);
            }
        })?;
        let means: Vec<f32> = sums.iter().map(|sum| (sum / n_frames as f64) as f32).collect();
        for mut frame in frames.rows_mut() {
            frame.iter_mut().zip(&means).for_each(|(band, mean)| *band = f16::from_f32(band.to_f32() - mean));
        }
        Ok(frames)
    }

    /// Returns windows of the same frames at `rate` windows per second. The mean over each window is subtracted later. No
    /// frame lies between two windows.
    pub(super) fn partials(&self, features: &Features, rate: Option<f64>) -> Features {
        let PartialParameters { n_frames, step_frames, .. } = self.partials;
        let frames_a_second = f64::from(self.parameters.sample_rate_hz) / self.parameters.hop_samples as f64;
        let step_frames = rate.map_or(step_frames, |rate| (frames_a_second / rate).round() as usize);
        let windows = partials(features.n_frames(), step_frames.clamp(1, n_frames), self.partials);
        features.with_units(windows.into_iter().map(|frames| self.unit(frames, true)).collect())
    }

    /// Returns the values of a piece of a recording, without the piece's mean: the whole frames in its samples.
    pub(super) fn piece(&self, samples: &[f32]) -> Vec<f32> {
        let energies = self.fbank.log_energies(samples, Pace::UNBROKEN).expect("nobody cancels it");
        let n_frames = energies.nrows();
        let mut values = energies.into_raw_vec_and_offset().0;
        subtract_means(&mut values, n_frames);
        values
    }

    /// Returns whether level and spectrum of the speech hardly change, as in noise, hum or a tone.
    pub(super) fn hardly_moves(&self, utterance: &Utterance, features: &Features) -> bool {
        let FbankParameters { frame_samples, hop_samples, n_bands, .. } = self.parameters;
        let mut speech = utterance.speech().iter().peekable();
        let is_speech = |frame: &usize| {
            let middle = frame * hop_samples + frame_samples / 2;
            while speech.next_if(|stretch| stretch.end <= middle).is_some() {}
            speech.peek().is_some_and(|stretch| stretch.contains(&middle))
        };
        let powers = |frame: usize| -> Vec<f32> {
            features.values_of(frame..frame + 1).iter().map(|energy| energy.exp()).collect()
        };
        // The mean is already subtracted from each band, so all bands have equal weight.
        hardly_moves((0..features.n_frames()).filter(is_speech).map(powers), &vec![1.0; n_bands])
    }

    fn unit(&self, frames: Range<usize>, is_centred: bool) -> Unit {
        let FbankParameters { frame_samples, hop_samples, .. } = self.parameters;
        let samples = frames.start * hop_samples..(frames.end - 1) * hop_samples + frame_samples;
        Unit { frames, samples, is_centred }
    }
}
