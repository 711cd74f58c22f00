//! Voice activity detection by the WebRTC detector in its most aggressive mode, as for the encoder's training data.

use webrtc_vad::{SampleRate, Vad, VadMode};

use crate::pace::{Cancelled, Pace};

/// Samples of one detector window: 30 ms (`vad_window_length` of resemblyzer's `hparams.py`).
pub const DETECTOR_WINDOW_SAMPLES: usize = 480;

/// Largest 16-bit sample, by which the original scales (`int16_max` of resemblyzer's `audio.py`).
const INT16_MAX: f32 = 32_767.0;

/// Windows that are processed between two pauses: half a minute, which takes 2 to 3 ms.
const WINDOWS_A_SLICE: usize = 1_000;

/// Returns a flag for each whole window of [`DETECTOR_WINDOW_SAMPLES`] that says whether it contains voice. The samples
/// are at 16 kHz and are multiplied by `gain`.
///
/// Source: `trim_long_silences` of resemblyzer's `audio.py`. The flags equal those of webrtcvad 2.0.10, bit for bit.
pub fn voice_flags(samples: &[f32], gain: f32, pace: Pace<'_>) -> Result<Vec<bool>, Cancelled> {
    let mut detector = Vad::new_with_rate_and_mode(SampleRate::Rate16kHz, VadMode::VeryAggressive);
    let mut pcm = [0_i16; DETECTOR_WINDOW_SAMPLES];
    let mut flags = Vec::with_capacity(samples.len() / DETECTOR_WINDOW_SAMPLES);
    for window in samples.chunks_exact(DETECTOR_WINDOW_SAMPLES) {
        for (out, sample) in pcm.iter_mut().zip(window) {
            *out = to_i16(*sample * gain);
        }
        flags.push(detector.is_voice_segment(&pcm).expect("30 ms at 16 kHz is a length the detector takes"));
        if flags.len().is_multiple_of(WINDOWS_A_SLICE) {
            pace.pause()?;
        }
    }
    Ok(flags)
}

/// Converts a sample to 16 bits and rounds halves to even, as numpy does.
///
/// Beyond full scale, the original wraps around: numpy's cast turns a loud sample into a loud one of the other sign. This
/// function saturates instead. The difference affects only recordings that already clip.
pub fn to_i16(sample: f32) -> i16 {
    // An `f32` of this size has no fractional bits, so adding and subtracting it rounds as `round_ties_even` does.
    // `round_ties_even` itself is a library call where its instruction is not guaranteed to exist.
    const ROUNDING: f32 = 12_582_912.0;
    let scaled = (sample * INT16_MAX).clamp(f32::from(i16::MIN), f32::from(i16::MAX));
    ((scaled + ROUNDING) - ROUNDING) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_round_to_even_and_saturate() {
        let cases = [
            (0.0, 0),
            (1.0, 32_767),
            (-1.0, -32_767),
            (1.5 / 32_767.0, 2),
            (2.5 / 32_767.0, 2),
            (1.1, 32_767),
            (-7.0, -32_768),
        ];
        for (sample, expected) in cases {
            assert_eq!(to_i16(sample), expected, "{sample}");
        }
    }
}
