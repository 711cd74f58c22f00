//! The speech of a recording and its place in the recording.

use std::ops::Range;

use super::detector::{self, DETECTOR_WINDOW_SAMPLES};
use super::{level, trim};
use crate::audio::{SAMPLE_RATE_HZ, Waveform};
use crate::pace::{Cancelled, Pace};

/// How pauses are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    /// Pauses are cut out, except short ones, and the level is raised to [`level::TARGET_LEVEL_DBFS`].
    Cut,
    /// Pauses stay, unless long pauses are a large share of the recording: then these are cut out. The level stays.
    Kept,
}

/// The part of a recording with speech that an encoder receives, at 16 kHz. It records which stretches of the recording
/// it consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    samples: Vec<f32>,
    /// Stretches in the recording's samples, in order. Together they are as long as `samples`, and none is empty.
    stretches: Vec<Range<usize>>,
    /// Start of each stretch in `samples`.
    begins: Vec<usize>,
    /// Stretches of speech in `samples`, in order. There is at least one.
    speech: Vec<Range<usize>>,
    /// Number of speech samples that were found.
    n_speech: usize,
}

impl Utterance {
    /// Finds speech and cuts pauses. Returns `None` if the voice detector finds no speech; otherwise there are at least
    /// 0.15 s of it.
    pub fn detect(waveform: Waveform, pauses: Pauses, pace: Pace<'_>) -> Result<Option<Self>, Cancelled> {
        let mut samples = waveform.into_samples();
        let gain = level::gain_to_target(&samples);
        pace.pause()?;
        let keep = trim::keep_mask(&detector::voice_flags(&samples, gain, pace)?);
        let speech = trim::stretches(&keep);
        if speech.is_empty() {
            return Ok(None);
        }
        let stretches = match pauses {
            Pauses::Cut => {
                level::raise(&mut samples, gain);
                speech.clone()
            }
            Pauses::Kept => {
                let mut kept = trim::stretches(&trim::without_long_pauses(&keep, &samples));
                // The samples after the last whole window stay with it.
                if let Some(last) = kept.last_mut()
                    && last.end == keep.len() * DETECTOR_WINDOW_SAMPLES
                {
                    last.end = samples.len();
                }
                kept
            }
        };
        trim::trim(&mut samples, &stretches);
        let n_speech = speech.iter().map(ExactSizeIterator::len).sum();
        let speech = places_in(&stretches, &speech);
        let begins = begins(&stretches);
        Ok(Some(Self { samples, stretches, begins, speech, n_speech }))
    }

    /// Returns the samples, at 16 kHz.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Returns the samples, without a copy.
    pub fn into_samples(self) -> Vec<f32> {
        self.samples
    }

    /// Returns the duration of the speech that was found, in seconds. It does not depend on how pauses are handled.
    pub fn speech_seconds(&self) -> f64 {
        seconds(self.n_speech)
    }

    /// Returns the stretches of speech in the samples.
    pub fn speech(&self) -> &[Range<usize>] {
        &self.speech
    }

    /// Returns the start and end of each stretch of speech, in seconds of the recording.
    pub fn stretches_seconds(&self) -> impl Iterator<Item = Range<f64>> {
        self.speech.iter().map(|stretch| self.seconds_in_recording(stretch.clone()))
    }

    /// Returns the start and end in the recording, in seconds, of a range of samples, which may span pauses that were cut
    /// out. The end of a range beyond the last sample counts as that of the last sample.
    ///
    /// # Panics
    /// Panics if the range is empty or begins beyond the last sample.
    pub fn seconds_in_recording(&self, samples: Range<usize>) -> Range<f64> {
        let last = samples.end.min(self.samples.len()) - 1;
        seconds(self.place_in_recording(samples.start))..seconds(self.place_in_recording(last) + 1)
    }

    /// Returns the position of a sample in the recording.
    fn place_in_recording(&self, sample: usize) -> usize {
        assert!(
            sample < self.samples.len(),
            "the utterance has {} samples, none at {sample}",
            self.samples.len()
        );
        let stretch = self.begins.partition_point(|begin| *begin <= sample) - 1;
        self.stretches[stretch].start + sample - self.begins[stretch]
    }
}

/// Returns the start of each stretch when all are joined.
fn begins(stretches: &[Range<usize>]) -> Vec<usize> {
    let begin = |end: &mut usize, stretch: &Range<usize>| Some(std::mem::replace(end, *end + stretch.len()));
    stretches.iter().scan(0, begin).collect()
}

/// Returns the positions of stretches within the joined kept parts. A stretch that is kept only in part is shortened.
fn places_in(kept: &[Range<usize>], stretches: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut places = Vec::with_capacity(stretches.len());
    let mut before = 0;
    let mut rest = stretches;
    for kept in kept {
        while let [stretch, after @ ..] = rest {
            let common = stretch.start.max(kept.start)..stretch.end.min(kept.end);
            if !common.is_empty() {
                places.push(before + common.start - kept.start..before + common.end - kept.start);
            }
            if stretch.end > kept.end {
                break;
            }
            rest = after;
        }
        before += kept.len();
    }
    places
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
        let stretches = trim::stretches(&keep);
        assert_eq!(stretches, [480..1_440, 2_400..2_880]);
        let utterance = Utterance {
            samples: vec![0.5; 1_440],
            begins: begins(&stretches),
            stretches,
            speech: vec![0..960, 960..1_440],
            n_speech: 1_440,
        };
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

    #[test]
    fn speech_is_found_in_what_is_kept() {
        let places = places_in(&[100..300, 500..900], &[120..200, 250..300, 600..700]);
        assert_eq!(places, [20..100, 150..200, 300..400]);
    }
}
