//! Power mel spectrogram, as librosa computes it for Resemblyzer.

use std::array;
use std::f64::consts::PI;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};

use crate::hparams::{FRAME_SAMPLES, HOP_SAMPLES, N_MELS, SAMPLE_RATE_HZ, WINDOW_FRAMES};

/// Frequency bins of a frame's spectrum.
const N_BINS: usize = FRAME_SAMPLES / 2 + 1;

/// Power in [`N_MELS`] mel bands for each frame: shape `[frames, 40]`, not logarithmic.
#[derive(Clone, Debug, PartialEq)]
pub struct MelSpectrogram(Array2<f32>);

impl MelSpectrogram {
    /// All frames: `[frames, 40]`.
    pub fn frames(&self) -> ArrayView2<'_, f32> {
        self.0.view()
    }

    /// The [`WINDOW_FRAMES`] frames from `start` on, one frame after the other.
    ///
    /// # Panics
    /// If the spectrogram ends before the window does.
    pub fn window(&self, start: usize) -> &[f32] {
        let frames = self.0.as_slice().expect("the array is built from a vector in this order");
        &frames[start * N_MELS..(start + WINDOW_FRAMES) * N_MELS]
    }
}

impl From<Array2<f32>> for MelSpectrogram {
    /// # Panics
    /// If there are not [`N_MELS`] columns.
    fn from(frames: Array2<f32>) -> Self {
        assert_eq!(frames.ncols(), N_MELS, "a frame has {N_MELS} mel bands");
        Self(frames.as_standard_layout().into_owned())
    }
}

/// Bins of a filter that are weighted at once.
const LANES: usize = 4;

/// One triangular mel filter: its first bin with weight, and the weights from there on, zeros behind them.
struct MelFilter {
    first_bin: usize,
    weights: Vec<[f32; LANES]>,
}

impl MelFilter {
    fn apply(&self, power: &[f32]) -> f32 {
        // Several sums, since one would wait for each addition in turn.
        let mut sums = [0.0; LANES];
        for (weights, power) in self.weights.iter().zip(power[self.first_bin..].as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                sums[lane] += weights[lane] * power[lane];
            }
        }
        sums.iter().sum()
    }
}

/// Computes spectrograms; make it once and share it.
pub struct MelExtractor {
    fft: Arc<dyn RealToComplex<f64>>,
    window: Vec<f32>,
    filters: Vec<MelFilter>,
}

impl MelExtractor {
    /// Plans the FFT and computes the window and the filters.
    pub fn new() -> Self {
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(FRAME_SAMPLES),
            window: hann_window(),
            filters: mel_filters(),
        }
    }

    /// 16 kHz samples -> the first `n_frames` frames of their power mel spectrogram, as if zeros followed them.
    ///
    /// Source: `wav_to_mel_spectrogram` of resemblyzer's `audio.py`, that is `librosa.feature.melspectrogram`.
    /// 1. A frame each 160 samples, centred there; zeros beyond both ends.
    /// 2. Hann window, 400-point FFT, squared magnitude.
    /// 3. 40 mel bands.
    ///
    /// The FFT works in `f64`: in `f32` its rounding alone reaches the error allowed in the quietest bands.
    ///
    /// Error: 1e-4 relative to librosa's, down to 1e-7 of a frame's peak.
    pub fn spectrogram(&self, samples: &[f32], n_frames: usize) -> MelSpectrogram {
        let mut mels = Array2::zeros((n_frames, N_MELS));
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        // Filters reach beyond the last bin, with a weight of zero.
        let mut power = [0.0; N_BINS + LANES];
        // Frames that lie wholly in the padding stay zero.
        let n_sounding = n_frames.min((samples.len() + FRAME_SAMPLES / 2).div_ceil(HOP_SAMPLES));
        for (i, mut mel) in mels.rows_mut().into_iter().take(n_sounding).enumerate() {
            self.windowed_frame(samples, i * HOP_SAMPLES, &mut frame);
            self.fft
                .process_with_scratch(&mut frame, &mut spectrum, &mut scratch)
                .expect("the buffers are the plan's own");
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = Complex64::norm_sqr(bin) as f32;
            }
            for (band, filter) in mel.iter_mut().zip(&self.filters) {
                *band = filter.apply(&power);
            }
        }
        MelSpectrogram(mels)
    }

    /// The samples around `centre`, zeros beyond the ends, times the window.
    fn windowed_frame(&self, samples: &[f32], centre: usize, frame: &mut [f64]) {
        const HALF: usize = FRAME_SAMPLES / 2;
        let begin = HALF.saturating_sub(centre);
        let end = (samples.len() + HALF).saturating_sub(centre).min(FRAME_SAMPLES);
        frame.fill(0.0);
        let sounding = &samples[centre + begin - HALF..centre + end - HALF];
        for ((out, sample), weight) in frame[begin..end].iter_mut().zip(sounding).zip(&self.window[begin..]) {
            *out = f64::from(sample * weight);
        }
    }
}

impl Default for MelExtractor {
    fn default() -> Self {
        Self::new()
    }
}

/// Periodic Hann window (`scipy.signal.get_window("hann", 400, fftbins=True)`).
fn hann_window() -> Vec<f32> {
    let step = 2.0 * PI / FRAME_SAMPLES as f64;
    (0..FRAME_SAMPLES).map(|i| (0.5 - 0.5 * (i as f64 * step).cos()) as f32).collect()
}

/// Triangles between neighbouring points of the mel scale, from 0 to 8 kHz, each of unit area
/// (`librosa.filters.mel(norm="slaney", htk=False)`).
fn mel_filters() -> Vec<MelFilter> {
    let max_mel = hz_to_mel(f64::from(SAMPLE_RATE_HZ) / 2.0);
    let edges_hz: Vec<f64> =
        (0..N_MELS + 2).map(|i| mel_to_hz(max_mel * i as f64 / (N_MELS + 1) as f64)).collect();
    edges_hz.windows(3).map(|edges| mel_filter(edges[0], edges[1], edges[2])).collect()
}

fn mel_filter(low_hz: f64, centre_hz: f64, high_hz: f64) -> MelFilter {
    let bin_hz = f64::from(SAMPLE_RATE_HZ) / FRAME_SAMPLES as f64;
    let weight = |bin: usize| {
        let hz = bin as f64 * bin_hz;
        let triangle = ((hz - low_hz) / (centre_hz - low_hz)).min((high_hz - hz) / (high_hz - centre_hz));
        (triangle.max(0.0) * 2.0 / (high_hz - low_hz)) as f32
    };
    let first_bin = (low_hz / bin_hz) as usize;
    let last_bin = ((high_hz / bin_hz) as usize).min(N_BINS - 1);
    let bins: Vec<usize> = (first_bin..=last_bin).collect();
    let weights =
        bins.chunks(LANES).map(|bins| array::from_fn(|lane| bins.get(lane).map_or(0.0, |bin| weight(*bin))));
    MelFilter { first_bin, weights: weights.collect() }
}

// The mel scale of Slaney's Auditory Toolbox: linear below 1 kHz, logarithmic above.
const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const LOG_FROM_HZ: f64 = 1_000.0;
const LOG_FROM_MEL: f64 = LOG_FROM_HZ / LINEAR_HZ_PER_MEL;

/// Growth a mel in the logarithmic part: 27 mels for a factor of 6.4.
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

    #[test]
    fn padding_adds_frames_of_zeros() {
        let samples: Vec<f32> = (0..1_000).map(|i| (i as f32 * 0.1).sin()).collect();
        let extractor = MelExtractor::new();
        let padded = extractor.spectrogram(&[samples.as_slice(), &[0.0; 3_000]].concat(), 26);
        assert_eq!(extractor.spectrogram(&samples, 26), padded);
        assert_eq!(padded.frames().dim(), (26, N_MELS));
        assert!(padded.frames().rows().into_iter().skip(8).flatten().all(|power| *power == 0.0));
        assert!(padded.frames().rows().into_iter().take(8).flatten().any(|power| *power > 0.0));
    }

    #[test]
    fn no_samples_give_zeros() {
        assert_eq!(MelExtractor::new().spectrogram(&[], 3).frames(), Array2::<f32>::zeros((3, N_MELS)));
    }
}
