//! [`Waveform`] -> [`Utterance`] (levelled, trimmed to speech) -> [`MelSpectrogram`].
//!
//! Source: `preprocess_wav` of resemblyzer's `audio.py`.

pub mod loudness;
pub mod mel;
pub mod silence;
pub mod vad;

pub use mel::{MelExtractor, MelSpectrogram};

use crate::audio::Waveform;
use crate::hparams::SAMPLE_RATE_HZ;

/// The speech of a recording: at least one sample, 16 kHz, at [`crate::hparams::TARGET_LEVEL_DBFS`] or above, long
/// silences cut out.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance(Vec<f32>);

impl Utterance {
    /// The samples, at 16 kHz.
    pub fn samples(&self) -> &[f32] {
        &self.0
    }

    /// The samples, without a copy.
    pub fn into_samples(self) -> Vec<f32> {
        self.0
    }

    /// The duration of the speech, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        self.0.len() as f64 / f64::from(SAMPLE_RATE_HZ)
    }
}

/// Raises the level and cuts silence; `None` if the voice detector keeps nothing.
pub fn preprocess(waveform: Waveform) -> Option<Utterance> {
    let mut samples = waveform.into_samples();
    loudness::raise_to_target(&mut samples);
    let flags = vad::voice_flags(&samples);
    silence::trim(&mut samples, &silence::keep_mask(&flags));
    (!samples.is_empty()).then_some(Utterance(samples))
}
