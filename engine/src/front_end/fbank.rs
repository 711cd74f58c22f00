//! The logarithmic mel filter bank of Kaldi.

use std::f64::consts::PI;
use std::sync::Arc;

use ndarray::Array2;
use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};

use super::filters::{Filter, LANES};
use crate::pace::{Cancelled, Pace};

/// Frames that are computed between two pauses: ten seconds of audio, which take about two milliseconds.
const FRAMES_A_SLICE: usize = 1_000;

/// The parameters of a model's filter bank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FbankParameters {
    /// Sample rate in Hz.
    pub sample_rate_hz: u32,
    /// Samples in one frame.
    pub frame_samples: usize,
    /// Samples between the starts of two frames.
    pub hop_samples: usize,
    /// Length of the FFT; zeros follow the frame.
    pub fft_samples: usize,
    /// Number of bands in a frame. They end at half the sample rate.
    pub n_bands: usize,
    /// Lower edge of the lowest band, in Hz.
    pub low_hz: f64,
}

impl FbankParameters {
    /// Returns the number of whole frames in `n_samples` samples.
    pub fn n_frames(&self, n_samples: usize) -> usize {
        n_samples.checked_sub(self.frame_samples).map_or(0, |rest| rest / self.hop_samples + 1)
    }
}

/// Share of each sample that is subtracted from the next.
const PRE_EMPHASIS: f64 = 0.97;

/// Exponent that turns the Hann window into Povey's window.
const POVEY_EXPONENT: f64 = 0.85;

/// Computes filter banks. Create it once and share it.
pub struct FbankExtractor {
    parameters: FbankParameters,
    fft: Arc<dyn RealToComplex<f64>>,
    window: Vec<f64>,
    filters: Vec<Filter>,
}

impl FbankExtractor {
    /// Plans the FFT and computes the window and the filters.
    pub fn new(parameters: FbankParameters) -> Self {
        Self {
            parameters,
            fft: RealFftPlanner::new().plan_fft_forward(parameters.fft_samples),
            window: povey_window(parameters.frame_samples),
            filters: filters(parameters),
        }
    }

    /// Returns the logarithmic energies of each whole frame of samples (full scale ±1), `[frames, bands]`.
    ///
    /// Source: Kaldi's `compute-fbank-feats` without dither, which equals `torchaudio.compliance.kaldi.fbank`.
    /// 1. Cuts frames that lie within the samples, and subtracts each frame's mean.
    /// 2. Applies pre-emphasis within the frame, Povey's window, FFT and squared magnitude.
    /// 3. Applies triangles on the mel scale and the natural logarithm. Energies are raised to at least the `f32`
    ///    epsilon.
    ///
    /// Error: 1e-3.
    pub fn log_energies(&self, samples: &[f32], pace: Pace<'_>) -> Result<Array2<f32>, Cancelled> {
        let mut energies = Array2::zeros((self.parameters.n_frames(samples.len()), self.parameters.n_bands));
        self.each_frame(samples, pace, |i, bands| {
            energies.row_mut(i).iter_mut().zip(bands).for_each(|(to, band)| *to = *band);
        })?;
        Ok(energies)
    }

    /// Calls `each` with the number and the logarithmic energies of each frame.
    pub(super) fn each_frame(
        &self,
        samples: &[f32],
        pace: Pace<'_>,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), Cancelled> {
        let FbankParameters { frame_samples, hop_samples, n_bands, .. } = self.parameters;
        let mut bands = vec![0.0; n_bands];
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        // Filters extend past the last bin, with a weight of zero.
        let mut power = vec![0.0; spectrum.len() + LANES];
        for i in 0..self.parameters.n_frames(samples.len()) {
            let start = i * hop_samples;
            self.windowed_frame(&samples[start..start + frame_samples], &mut frame);
            self.fft
                .process_with_scratch(&mut frame, &mut spectrum, &mut scratch)
                .expect("the buffers are the plan's own");
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = Complex64::norm_sqr(bin) as f32;
            }
            for (band, filter) in bands.iter_mut().zip(&self.filters) {
                *band = filter.apply(&power).max(f32::EPSILON).ln();
            }
            each(i, &bands);
            if (i + 1).is_multiple_of(FRAMES_A_SLICE) {
                pace.pause()?;
            }
        }
        Ok(())
    }

    /// Steps 1 and 2 up to the FFT.
    fn windowed_frame(&self, samples: &[f32], frame: &mut [f64]) {
        let mean = samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / samples.len() as f64;
        // The first sample serves as its own predecessor.
        let mut before = f64::from(samples[0]) - mean;
        for ((out, sample), weight) in frame.iter_mut().zip(samples).zip(&self.window) {
            let sample = f64::from(*sample) - mean;
            *out = (sample - PRE_EMPHASIS * before) * weight;
            before = sample;
        }
        frame[samples.len()..].fill(0.0);
    }
}

/// Returns a Hann window that starts and ends at zero, raised to a power.
fn povey_window(n_samples: usize) -> Vec<f64> {
    let step = 2.0 * PI / (n_samples - 1) as f64;
    (0..n_samples).map(|i| (0.5 - 0.5 * (i as f64 * step).cos()).powf(POVEY_EXPONENT)).collect()
}

/// Returns triangular filters of height 1 between neighbouring points of the mel scale. Their sides are straight on that
/// scale.
fn filters(parameters: FbankParameters) -> Vec<Filter> {
    let FbankParameters { sample_rate_hz, fft_samples, n_bands, low_hz, .. } = parameters;
    let bin_hz = f64::from(sample_rate_hz) / fft_samples as f64;
    let (low, high) = (mel(low_hz), mel(f64::from(sample_rate_hz) / 2.0));
    let edge = |i: usize| low + (high - low) * i as f64 / (n_bands + 1) as f64;
    let filter = |band: usize| {
        let [left, centre, right] = [edge(band), edge(band + 1), edge(band + 2)];
        let weight = |bin: usize| {
            let mel = mel(bin as f64 * bin_hz);
            ((mel - left) / (centre - left)).min((right - mel) / (right - centre)).max(0.0) as f32
        };
        let first_bin = (hz(left) / bin_hz) as usize;
        let last_bin = ((hz(right) / bin_hz) as usize).min(fft_samples / 2);
        Filter::new(first_bin..=last_bin, weight)
    };
    (0..n_bands).map(filter).collect()
}

/// Converts Hz to the mel scale of HTK.
fn mel(hz: f64) -> f64 {
    1_127.0 * (1.0 + hz / 700.0).ln()
}

fn hz(mel: f64) -> f64 {
    700.0 * ((mel / 1_127.0).exp() - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: FbankParameters = FbankParameters {
        sample_rate_hz: 16_000,
        frame_samples: 400,
        hop_samples: 160,
        fft_samples: 512,
        n_bands: 80,
        low_hz: 20.0,
    };

    #[test]
    fn frames_lie_within_the_samples() {
        let cases = [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)];
        for (n_samples, n_frames) in cases {
            assert_eq!(PARAMETERS.n_frames(n_samples), n_frames, "{n_samples} samples");
            let energies =
                FbankExtractor::new(PARAMETERS).log_energies(&vec![0.1; n_samples], Pace::UNBROKEN).unwrap();
            assert_eq!(energies.dim(), (n_frames, 80));
        }
    }

    /// Subtracting the mean turns a constant into silence, and silence has the lowest possible energy.
    #[test]
    fn silence_has_the_least_energy() {
        for level in [0.0, 0.25] {
            let energies =
                FbankExtractor::new(PARAMETERS).log_energies(&[level; 400], Pace::UNBROKEN).unwrap();
            assert!(energies.iter().all(|energy| (energy - f32::EPSILON.ln()).abs() < 1e-6), "{level}");
        }
    }

    #[test]
    fn the_mel_scale_inverts() {
        for frequency in [20.0, 700.0, 8_000.0] {
            assert!((hz(mel(frequency)) - frequency).abs() < 1e-9, "{frequency}");
        }
    }
}
