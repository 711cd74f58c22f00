//! The level of a signal, its voice and the level of each frame, updated as samples arrive. The result does not depend on
//! how the samples are split.

use crate::audio::{CompactWaveform, SAMPLE_RATE_HZ};
use crate::models::segmentation::{FIRST_FRAME_CENTRE, FRAME_STEP_SAMPLES};
use crate::pace::{Cancelled, Pace};
use crate::speech::detector::{DETECTOR_WINDOW_SAMPLES, voice_flags};
use crate::speech::level::{gain_to, level_of};

/// Samples that the voice detector processes per slice: half a minute.
const SLICE_SAMPLES: usize = 1_000 * DETECTOR_WINDOW_SAMPLES;

/// The first sample that counts towards the level of the segmentation network's first frame.
const FIRST_FRAME_START: usize = FIRST_FRAME_CENTRE - FRAME_STEP_SAMPLES / 2;

/// Frames whose levels are computed between two pauses: half a minute.
const FRAMES_A_SLICE: usize = 1_800;

/// Power added to each frame's power, so that the level of digital silence is finite: -120 dB.
const SILENCE_POWER: f32 = 1e-12;

/// Level, voice and the level of each frame, for the samples received so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal {
    /// Number of samples that `energy` and `n_voiced` cover.
    n_samples: usize,
    energy: f64,
    /// Number of windows in which the detector finds voice.
    n_voiced: usize,
    levels_db: Vec<f32>,
}

impl Signal {
    /// Processes the new samples: whole slices or, once the signal has ended, all of them.
    ///
    /// The detector receives a quiet signal amplified according to its level so far.
    pub(crate) fn advance(
        &mut self,
        samples: &CompactWaveform,
        has_ended: bool,
        pace: Pace<'_>,
    ) -> Result<(), Cancelled> {
        while self.n_samples < samples.len() {
            let end = self.n_samples + SLICE_SAMPLES;
            if end > samples.len() && !has_ended {
                break;
            }
            let slice = samples.read(self.n_samples..end.min(samples.len()));
            self.energy += slice.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            self.n_samples += slice.len();
            let flags = voice_flags(&slice, gain_to(self.level_dbfs()), pace)?;
            self.n_voiced += flags.into_iter().filter(|is_voiced| *is_voiced).count();
            pace.pause()?;
        }
        self.advance_levels(samples, pace)
    }

    fn advance_levels(&mut self, samples: &CompactWaveform, pace: Pace<'_>) -> Result<(), Cancelled> {
        let n_frames = samples.len().saturating_sub(FIRST_FRAME_START) / FRAME_STEP_SAMPLES;
        while self.levels_db.len() < n_frames {
            let n = FRAMES_A_SLICE.min(n_frames - self.levels_db.len());
            let start = self.next_frame_start();
            let slice = samples.read(start..start + n * FRAME_STEP_SAMPLES);
            self.levels_db.extend(slice.chunks(FRAME_STEP_SAMPLES).map(|frame| {
                let power = frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len() as f32;
                10.0 * (power + SILENCE_POWER).log10()
            }));
            pace.pause()?;
        }
        Ok(())
    }

    fn next_frame_start(&self) -> usize {
        FIRST_FRAME_START + self.levels_db.len() * FRAME_STEP_SAMPLES
    }

    /// Returns the first sample that later calls still need.
    pub(crate) fn needed_from(&self) -> usize {
        self.n_samples.min(self.next_frame_start())
    }

    /// Returns the level, in dBFS, of the samples processed so far; minus infinity for digital silence.
    pub(crate) fn level_dbfs(&self) -> f64 {
        level_of(self.energy, self.n_samples)
    }

    /// Returns the seconds in which the detector finds voice.
    pub(crate) fn detected_seconds(&self) -> f64 {
        (self.n_voiced * DETECTOR_WINDOW_SAMPLES) as f64 / f64::from(SAMPLE_RATE_HZ)
    }

    /// Returns the level of each frame of the segmentation network, in dB.
    pub(crate) fn levels_db(&self) -> &[f32] {
        &self.levels_db
    }

    /// Like [`Signal::levels_db`], without a copy.
    pub(crate) fn into_levels_db(self) -> Vec<f32> {
        self.levels_db
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pseudo_random::PseudoRandom;

    #[test]
    fn it_does_not_depend_on_how_the_samples_came() {
        let mut random = PseudoRandom(3);
        let samples: Vec<f32> = (0..1_300_000)
            .map(|i| (random.share() as f32 - 0.5) * if i < 700_000 { 1e-3 } else { 0.2 })
            .collect();
        let whole = CompactWaveform::from(&samples[..]);
        let mut at_once = Signal::default();
        at_once.advance(&whole, true, Pace::UNBROKEN).unwrap();
        let mut by_parts = Signal::default();
        for end in (0..samples.len()).step_by(77_760) {
            by_parts.advance(&CompactWaveform::from(&samples[..end]), false, Pace::UNBROKEN).unwrap();
        }
        by_parts.advance(&whole, true, Pace::UNBROKEN).unwrap();
        assert_eq!(by_parts.level_dbfs().to_bits(), at_once.level_dbfs().to_bits());
        assert_eq!(by_parts.n_voiced, at_once.n_voiced);
        assert_eq!(by_parts.levels_db(), at_once.levels_db());
        assert_eq!(by_parts.needed_from(), at_once.needed_from());
    }
}
