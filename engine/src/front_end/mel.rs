//! The power mel spectrogram that librosa computes for Resemblyzer.

use std::f64::consts::PI;
use std::sync::Arc;

use ndarray::Array2;
use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};

use super::filters::{Filter, LANES};
use crate::pace::{Cancelled, Pace};

/// Frames that are computed between two pauses: ten seconds of audio, which take about a millisecond.
const FRAMES_A_SLICE: usize = 1_000;

/// The parameters of a model's spectrogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MelParameters {
    /// Sample rate in Hz.
    pub sample_rate_hz: u32,
    /// Samples in one frame, which is also the length of the FFT. The number is even.
    pub frame_samples: usize,
    /// Samples between the centres of two frames.
    pub hop_samples: usize,
    /// Number of bands in a frame, from 0 Hz to half the sample rate.
    pub n_mels: usize,
}

/// Computes spectrograms. Create it once and share it.
pub struct MelExtractor {
    parameters: MelParameters,
    fft: Arc<dyn RealToComplex<f64>>,
    window: Vec<f32>,
    filters: Vec<Filter>,
    centres_hz: Vec<f64>,
}

impl MelExtractor {
    /// Plans the FFT and computes the window and the filters.
    pub fn new(parameters: MelParameters) -> Self {
        Self {
            parameters,
            fft: RealFftPlanner::new().plan_fft_forward(parameters.frame_samples),
            window: hann_window(parameters.frame_samples),
            filters: mel_filters(parameters),
            centres_hz: edges_hz(parameters)[1..=parameters.n_mels].to_vec(),
        }
    }

    /// Returns the centre of each band, in Hz.
    pub fn centres_hz(&self) -> &[f64] {
        &self.centres_hz
    }

    /// Returns the first `n_frames` frames of the power mel spectrogram of samples, `[frames, mels]`. It is not
    /// logarithmic, and is computed as if zeros followed the samples.
    ///
    /// Source: `wav_to_mel_spectrogram` of resemblyzer's `audio.py`, which calls `librosa.feature.melspectrogram`.
    /// 1. Centres a frame on every `hop_samples`-th sample, with zeros beyond both ends.
    /// 2. Applies a Hann window, FFT and squared magnitude.
    /// 3. Sums the bins of each mel band.
    ///
    /// The FFT uses `f64`, because in `f32` its rounding error alone reaches the allowed error in the quietest bands.
    ///
    /// Error: 1e-4 relative to librosa's, down to 1e-7 of a frame's peak.
    pub fn spectrogram(
        &self,
        samples: &[f32],
        n_frames: usize,
        pace: Pace<'_>,
    ) -> Result<Array2<f32>, Cancelled> {
        let MelParameters { frame_samples, hop_samples, n_mels, .. } = self.parameters;
        let mut mels = Array2::zeros((n_frames, n_mels));
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        // Filters extend past the last bin, with a weight of zero.
        let mut power = vec![0.0; spectrum.len() + LANES];
        // Frames that lie completely in the padding stay zero.
        let n_sounding = n_frames.min((samples.len() + frame_samples / 2).div_ceil(hop_samples));
        for (i, mut mel) in mels.rows_mut().into_iter().take(n_sounding).enumerate() {
            self.windowed_frame(samples, i * hop_samples, &mut frame);
            self.fft
                .process_with_scratch(&mut frame, &mut spectrum, &mut scratch)
                .expect("the buffers are the plan's own");
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = Complex64::norm_sqr(bin) as f32;
            }
            for (band, filter) in mel.iter_mut().zip(&self.filters) {
                *band = filter.apply(&power);
            }
            if (i + 1).is_multiple_of(FRAMES_A_SLICE) {
                pace.pause()?;
            }
        }
        Ok(mels)
    }

    /// Writes the samples around `centre`, with zeros beyond the ends, times the window.
    fn windowed_frame(&self, samples: &[f32], centre: usize, frame: &mut [f64]) {
        let half = frame.len() / 2;
        let begin = half.saturating_sub(centre);
        let end = (samples.len() + half).saturating_sub(centre).min(frame.len());
        frame.fill(0.0);
        let sounding = &samples[centre + begin - half..centre + end - half];
        for ((out, sample), weight) in frame[begin..end].iter_mut().zip(sounding).zip(&self.window[begin..]) {
            *out = f64::from(sample * weight);
        }
    }
}

/// Returns a periodic Hann window (`scipy.signal.get_window("hann", n, fftbins=True)`).
fn hann_window(n_samples: usize) -> Vec<f32> {
    let step = 2.0 * PI / n_samples as f64;
    (0..n_samples).map(|i| (0.5 - 0.5 * (i as f64 * step).cos()) as f32).collect()
}

/// Returns triangular filters of unit area between neighbouring points of the mel scale, from 0 Hz to half the sample
/// rate (`librosa.filters.mel(norm="slaney", htk=False)`).
fn mel_filters(parameters: MelParameters) -> Vec<Filter> {
    let bin_hz = f64::from(parameters.sample_rate_hz) / parameters.frame_samples as f64;
    let last_bin = parameters.frame_samples / 2;
    edges_hz(parameters).windows(3).map(|edges| mel_filter(edges, bin_hz, last_bin)).collect()
}

/// Returns evenly spaced points of the mel scale, in Hz. Each band lies between a point and the next but one.
fn edges_hz(parameters: MelParameters) -> Vec<f64> {
    let n_mels = parameters.n_mels;
    let max_mel = hz_to_mel(f64::from(parameters.sample_rate_hz) / 2.0);
    (0..n_mels + 2).map(|i| mel_to_hz(max_mel * i as f64 / (n_mels + 1) as f64)).collect()
}

/// Returns the triangular filter with the given low, centre and high frequency.
fn mel_filter(edges_hz: &[f64], bin_hz: f64, last_bin: usize) -> Filter {
    let [low_hz, centre_hz, high_hz] = [edges_hz[0], edges_hz[1], edges_hz[2]];
    let weight = |bin: usize| {
        let hz = bin as f64 * bin_hz;
        let triangle = ((hz - low_hz) / (centre_hz - low_hz)).min((high_hz - hz) / (high_hz - centre_hz));
        (triangle.max(0.0) * 2.0 / (high_hz - low_hz)) as f32
    };
    let first_bin = (low_hz / bin_hz) as usize;
    let last_bin = ((high_hz / bin_hz) as usize).min(last_bin);
    Filter::new(first_bin..=last_bin, weight)
}

// The mel scale of Slaney's Auditory Toolbox: linear below 1 kHz, logarithmic above.
const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const LOG_FROM_HZ: f64 = 1_000.0;
const LOG_FROM_MEL: f64 = LOG_FROM_HZ / LINEAR_HZ_PER_MEL;

/// Returns the growth per mel in the logarithmic part: 27 mels for a factor of 6.4.
fn log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < LOG_FROM_HZ {
        return hz / LINEAR_HZ_PER_MEL;
    }
    LOG_FROM_MEL + (hz / LOG_FROM_HZ).ln() / log_step()
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < LOG_FROM_MEL {
        return mel * LINEAR_HZ_PER_MEL;
    }
    LOG_FROM_HZ * ((mel - LOG_FROM_MEL) * log_step()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mel_scale_passes_its_fixed_points_and_inverts() {
        assert!((hz_to_mel(1_000.0) - 15.0).abs() < 1e-12);
        assert!((hz_to_mel(6_400.0) - 42.0).abs() < 1e-12);
        for hz in [0.0, 50.0, 999.9, 1_000.1, 4_321.0, 8_000.0] {
            assert!((mel_to_hz(hz_to_mel(hz)) - hz).abs() < 1e-9, "{hz}");
        }
    }

    const PARAMETERS: MelParameters =
        MelParameters { sample_rate_hz: 16_000, frame_samples: 400, hop_samples: 160, n_mels: 40 };

    fn spectrogram(extractor: &MelExtractor, samples: &[f32], n_frames: usize) -> Array2<f32> {
        extractor.spectrogram(samples, n_frames, Pace::UNBROKEN).unwrap()
    }

    #[test]
    fn padding_adds_frames_of_zeros() {
        let samples: Vec<f32> = (0..1_000).map(|i| (i as f32 * 0.1).sin()).collect();
        let extractor = MelExtractor::new(PARAMETERS);
        let padded = spectrogram(&extractor, &[samples.as_slice(), &[0.0; 3_000]].concat(), 26);
        assert_eq!(spectrogram(&extractor, &samples, 26), padded);
        assert_eq!(padded.dim(), (26, PARAMETERS.n_mels));
        assert!(padded.rows().into_iter().skip(8).flatten().all(|power| *power == 0.0));
        assert!(padded.rows().into_iter().take(8).flatten().any(|power| *power > 0.0));
    }

    #[test]
    fn no_samples_give_zeros() {
        let zeros = Array2::<f32>::zeros((3, PARAMETERS.n_mels));
        assert_eq!(spectrogram(&MelExtractor::new(PARAMETERS), &[], 3), zeros);
    }
}
