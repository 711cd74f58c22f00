//! Voice activity detection: the WebRTC detector at its most aggressive, as the encoder's training data was cut.

use webrtc_vad::{SampleRate, Vad, VadMode};

use crate::pace::{Cancelled, Pace};

/// Samples that the detector judges at once: 30 ms (`vad_window_length` of resemblyzer's `hparams.py`).
pub const DETECTOR_WINDOW_SAMPLES: usize = 480;

/// Largest magnitude of a 16-bit sample, by which the original scales (`int16_max` of resemblyzer's `audio.py`).
const INT16_MAX: f32 = 32_767.0;

/// Windows that are judged between two pauses: half a minute, which takes 2 to 3 ms.
const WINDOWS_A_SLICE: usize = 1_000;

/// 16 kHz samples, and what scales them -> one flag for each whole window of [`DETECTOR_WINDOW_SAMPLES`]: does it hold voice?
///
/// Source: `trim_long_silences` of resemblyzer's `audio.py`; the flags are webrtcvad 2.0.10's, bit for bit.
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

/// A sample to 16 bits, halves to the even neighbour as numpy rounds.
///
/// Beyond full scale the original wraps around, an accident of numpy's cast that turns a loud sample into a loud one of
/// the other sign; here it saturates. Only recordings that already clip can tell the difference.
pub fn to_i16(sample: f32) -> i16 {
    // Added to a number of 16 bits, it leaves no room for fractions: the sum is rounded as `round_ties_even` does, which is a call
    // into a library where the instruction for it cannot be taken for granted.
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
