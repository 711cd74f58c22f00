//! Units of noise with known embeddings, to check that this machine computes correctly.

use super::head::N_BANDS;
use super::weights::N_MELS;

/// Frames of a window of mel power: 1.6 s, as in the encoder's windows.
const N_MEL_FRAMES: usize = 160;

/// Frames of log-mel power: an odd number that spans more than one segment.
const N_LOG_FRAMES: usize = 251;

/// Samples of a window: two seconds.
const N_SAMPLES: usize = 32_000;

/// Returns a linear congruential generator of numbers from 0 to 1.
pub(super) fn noise() -> impl FnMut() -> f32 {
    let mut state = 1_u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    }
}

/// Returns a window as loud as speech.
pub(super) fn mels() -> Vec<f32> {
    let mut noise = noise();
    std::iter::repeat_with(|| noise() * noise()).take(N_MEL_FRAMES * N_MELS).collect()
}

/// Returns logarithms of mel power less their mean, from -6 to 6.
pub(super) fn log_mels() -> Vec<f32> {
    let mut noise = noise();
    std::iter::repeat_with(|| 12.0 * noise() - 6.0).take(N_LOG_FRAMES * N_BANDS).collect()
}

/// Returns bursts of noise, as loud as speech.
pub(super) fn samples() -> Vec<f32> {
    let mut noise = noise();
    let burst = |i: usize| if (i / 4_000).is_multiple_of(3) { 0.01 } else { 0.3 };
    (0..N_SAMPLES).map(|i| (noise() - 0.5) * burst(i)).collect()
}
