//! Resamples from any rate to 16 kHz, block by block.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler, WindowFunction};

use super::error::AudioError;
use super::recording::SAMPLE_RATE_HZ;
use super::samples::Samples;

/// Smallest number of samples at the lower of the two rates that the FFT resampler transforms at once.
///
/// The length sets the filter's cut-off: 320 with this window puts it at 0.957 of the lower Nyquist frequency, like that
/// of soxr HQ (pass band to 0.913, stop band from 1). Sharper filters perform worse: they pass frequencies just below the
/// Nyquist frequency that the original's filter removes.
const MIN_BLOCK_AT_LOWER_RATE: usize = 320;

/// A mono signal that is resampled to 16 kHz as it arrives, without delay. Sample `i` of the result is at `i / 16000`
/// seconds, and the result has ceil(n x 16000 / rate) samples. A signal at 16 kHz is returned unchanged.
///
/// The original uses soxr (`librosa.resample`, quality HQ). This is rubato's FFT resampler, with linear phase and a
/// cut-off at the same frequency. Error: 60 dB below the signal at 44.1 kHz.
pub struct To16Khz<S = Vec<f32>> {
    /// `None` at 16 kHz.
    filter: Option<ResamplingFilter>,
    output: S,
}

struct ResamplingFilter {
    fft: Fft<f32>,
    rate_hz: u32,
    /// Number of input samples so far.
    n_taken: u64,
    /// The incomplete input block.
    pending: Vec<f32>,
    /// The output of a block.
    resampled: Vec<f32>,
    /// Number of output samples, still to come, that are the filter's delay.
    delay: usize,
}

impl<S: Samples> To16Khz<S> {
    /// Prepares for a rate in Hz, one of [`SAMPLE_RATES_HZ`](super::SAMPLE_RATES_HZ).
    pub fn from_rate(rate_hz: u32) -> Self {
        let filter = (rate_hz != SAMPLE_RATE_HZ).then(|| ResamplingFilter::from_rate(rate_hz));
        Self { filter, output: S::default() }
    }

    /// Reserves room for `n_samples` more input samples.
    pub fn reserve(&mut self, n_samples: usize) {
        let rate_hz = self.filter.as_ref().map_or(SAMPLE_RATE_HZ, |filter| filter.rate_hz);
        self.output
            .reserve((n_samples as u64 * u64::from(SAMPLE_RATE_HZ)).div_ceil(u64::from(rate_hz)) as usize);
    }

    /// Resamples the next samples.
    pub fn push(&mut self, samples: &[f32]) {
        match &mut self.filter {
            Some(filter) => filter.push(samples, &mut self.output),
            None => self.output.add(samples),
        }
    }

    /// Returns the output so far.
    pub fn output(&self) -> &S {
        &self.output
    }

    /// Returns the output so far, to be modified.
    pub fn output_mut(&mut self) -> &mut S {
        &mut self.output
    }

    /// Returns the whole signal at 16 kHz.
    pub fn finish(mut self) -> Result<S::Whole, AudioError> {
        let n_samples = match &mut self.filter {
            Some(filter) => filter.finish(&mut self.output),
            None => self.output.n_samples(),
        };
        self.output.finish(n_samples)
    }
}

impl ResamplingFilter {
    fn from_rate(rate_hz: u32) -> Self {
        let fft = Fft::<f32>::new_custom(
            rate_hz as usize,
            SAMPLE_RATE_HZ as usize,
            block_samples(rate_hz),
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .expect("both rates and the block are above zero");
        Self {
            rate_hz,
            n_taken: 0,
            pending: Vec::with_capacity(fft.input_frames_next()),
            resampled: vec![0.0; fft.output_frames_next()],
            delay: fft.output_delay(),
            fft,
        }
    }

    fn push(&mut self, mut samples: &[f32], output: &mut impl Samples) {
        self.n_taken += samples.len() as u64;
        while !samples.is_empty() {
            let missing = self.fft.input_frames_next() - self.pending.len();
            let (now, later) = samples.split_at(missing.min(samples.len()));
            self.pending.extend_from_slice(now);
            samples = later;
            if now.len() == missing {
                self.resample_pending(output);
            }
        }
    }

    /// Adds silence until the output is as long as the signal, and returns that number of samples.
    fn finish(&mut self, output: &mut impl Samples) -> usize {
        let expected = (self.n_taken * u64::from(SAMPLE_RATE_HZ)).div_ceil(u64::from(self.rate_hz)) as usize;
        while output.n_samples() < expected {
            self.resample_pending(output);
        }
        expected
    }

    /// Resamples the pending block as if it were padded with silence.
    fn resample_pending(&mut self, output: &mut impl Samples) {
        let n_pending = self.pending.len();
        let input = InterleavedSlice::new(&self.pending, 1, n_pending).expect("it is as long as it says");
        let n_resampled = self.resampled.len();
        let mut resampled =
            InterleavedSlice::new_mut(&mut self.resampled, 1, n_resampled).expect("it is as long as it says");
        let indexing = Indexing::new().partial_len(n_pending);
        self.fft
            .process_into_buffer(&input, &mut resampled, Some(&indexing))
            .expect("one channel and at most one block go in, and one block comes out");
        self.pending.clear();
        let skipped = self.delay.min(n_resampled);
        self.delay -= skipped;
        output.add(&self.resampled[skipped..]);
    }
}

/// Returns the block length for a rate. It is a multiple of the period after which samples of input and output coincide.
/// It is even, because the delay is half a block and rubato counts the delay in whole samples.
fn block_samples(rate_hz: u32) -> usize {
    let together = (rate_hz / greatest_common_divisor(rate_hz, SAMPLE_RATE_HZ)) as usize;
    let times_lower_rate = f64::from(rate_hz.max(SAMPLE_RATE_HZ)) / f64::from(SAMPLE_RATE_HZ);
    let min_block = (MIN_BLOCK_AT_LOWER_RATE as f64 * times_lower_rate) as usize;
    min_block.next_multiple_of(2 * together)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
