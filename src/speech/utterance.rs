//! The speech of a recording, and where in the recording it was.

use std::ops::Range;

use super::detector::{self, DETECTOR_WINDOW_SAMPLES};
use super::{level, trim};
use crate::audio::{SAMPLE_RATE_HZ, Waveform};

/// The speech of a recording: at least one sample, 16 kHz, at [`level::TARGET_LEVEL_DBFS`] or above, long silences cut
/// out. It knows which stretches of the recording it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    samples: Vec<f32>,
    /// Stretches in the recording's samples, in order, as long together as `samples`. None is empty.
    stretches: Vec<Range<usize>>,
}

impl Utterance {
    /// Raises the level and cuts silence; `None` if the voice detector keeps nothing.
    pub fn of(waveform: Waveform) -> Option<Self> {
        let mut samples = waveform.into_samples();
        level::raise_to_target(&mut samples);
        let keep = trim::keep_mask(&detector::voice_flags(&samples));
        trim::trim(&mut samples, &keep);
        (!samples.is_empty()).then(|| Self { samples, stretches: stretches(&keep) })
    }

    /// The samples, at 16 kHz.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// The samples, without a copy.
    pub fn into_samples(self) -> Vec<f32> {
        self.samples
    }

    /// The duration of the speech, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        seconds(self.samples.len())
    }

    /// When speech begins and ends, in seconds of the recording, stretch by stretch.
    pub fn stretches_seconds(&self) -> impl Iterator<Item = Range<f64>> {
        self.stretches.iter().map(|stretch| seconds(stretch.start)..seconds(stretch.end))
    }

    /// When the samples of a range begin and end in the recording, in seconds: the range may span pauses that were cut out.
    /// What lies beyond the last sample counts as ending with it.
    ///
    /// # Panics
    /// If the range is empty or begins beyond the last sample.
    pub fn seconds_in_recording(&self, samples: Range<usize>) -> Range<f64> {
        let last = samples.end.min(self.samples.len()) - 1;
        seconds(self.place_in_recording(samples.start))..seconds(self.place_in_recording(last) + 1)
    }

    /// Where in the recording a sample was.
    fn place_in_recording(&self, sample: usize) -> usize {
        let mut before = 0;
        for stretch in &self.stretches {
            if sample < before + stretch.len() {
                return stretch.start + sample - before;
            }
            before += stretch.len();
        }
        panic!("the utterance has {before} samples, none at {sample}");
    }
}

/// The stretches, in samples, that a mask of detector windows keeps.
fn stretches(keep: &[bool]) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (window, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        let start = window * DETECTOR_WINDOW_SAMPLES;
        let end = start + DETECTOR_WINDOW_SAMPLES;
        match stretches.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => stretches.push(start..end),
        }
    }
    stretches
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_in_the_recording() {
        let keep = [false, true, true, false, false, true];
        let stretches = stretches(&keep);
        assert_eq!(stretches, [480..1_440, 2_400..2_880]);
        let utterance = Utterance { samples: vec![0.5; 1_440], stretches };
        let cases = [
            ("the first sample", 0..1, 480..481),
            ("up to the cut", 0..960, 480..1_440),
            ("across the cut", 959..961, 1_439..2_401),
            ("behind the cut", 960..1_440, 2_400..2_880),
            ("beyond the end", 1_000..9_000, 2_440..2_880),
        ];
        for (name, samples, expected) in cases {
            let expected = seconds(expected.start)..seconds(expected.end);
            assert_eq!(utterance.seconds_in_recording(samples), expected, "{name}");
        }
        let spoken: Vec<Range<f64>> = utterance.stretches_seconds().collect();
        assert_eq!(spoken, [0.03..0.09, 0.15..0.18]);
    }
}
