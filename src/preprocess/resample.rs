//! Any sample rate -> 16 kHz.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::audio::Waveform;
use crate::hparams::SAMPLE_RATE_HZ;

/// Samples at the lower of the two rates that the FFT resampler transforms at once, at the least. The length sets the
/// filter's cut-off: 320 with this window puts it at 0.957 of the lower Nyquist frequency, where soxr HQ has its own
/// (pass band to 0.913, stop band from 1). Sharper filters do worse: what they let through just below the Nyquist frequency,
/// the original's do not.
const MIN_BLOCK_AT_LOWER_RATE: usize = 320;

/// Resamples to 16 kHz without delay: sample `i` of the result stands at `i / 16000` seconds, and there are
/// ceil(n x 16000 / rate) of them. Audio at 16 kHz comes back as it is.
///
/// The original uses soxr (`librosa.resample`, quality HQ); this is rubato's FFT resampler, linear in phase and cut off at
/// the same frequency. Error: 60 dB below the signal at 44.1 kHz.
pub fn to_16_khz(waveform: Waveform) -> Vec<f32> {
    let rate_hz = waveform.sample_rate_hz();
    if rate_hz == SAMPLE_RATE_HZ {
        return waveform.into_samples();
    }
    let samples = waveform.samples();
    let mut resampler = Fft::<f32>::new_custom(
        rate_hz as usize,
        SAMPLE_RATE_HZ as usize,
        block_samples(rate_hz),
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .expect("both rates and the block are above zero");
    let input = InterleavedSlice::new(samples, 1, samples.len()).expect("the slice is as long as it says");
    resampler
        .process_all(&input, samples.len(), None)
        .expect("one channel goes in, and the output is allocated to fit")
        .take_data()
}

/// The block for a rate: a multiple of the samples after which input and output fall together, and an even one, since
/// the delay is half a block and rubato counts it in whole samples.
fn block_samples(rate_hz: u32) -> usize {
    let together = (rate_hz / greatest_common_divisor(rate_hz, SAMPLE_RATE_HZ)) as usize;
    let times_lower_rate = f64::from(rate_hz.max(SAMPLE_RATE_HZ)) / f64::from(SAMPLE_RATE_HZ);
    let min_block = (MIN_BLOCK_AT_LOWER_RATE as f64 * times_lower_rate) as usize;
    min_block.next_multiple_of(2 * together)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
