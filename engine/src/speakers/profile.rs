//! A speaker's profile: the mean of what was enrolled.

use std::collections::BTreeSet;

use crate::calibration::Evidence;
use crate::embedding::{Embedding, ModelId, UnitEmbedding};

/// Weight of an enrolment whose seconds of speech are not known, in seconds.
pub const DEFAULT_WEIGHT_SECONDS: f64 = 3.0;

/// Most seconds of speech that an enrolment may claim: no recording is longer than a day.
pub const MAX_SPEECH_SECONDS: f64 = 86_400.0;

/// A speaker's profile for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// L2 norm 1.
    pub vector: Vec<f32>,
    /// Seconds of speech that are known to be in it.
    pub seconds: f64,
    /// The number of enrolments in it.
    pub enrolments: usize,
    /// The number of them whose seconds of speech are not known.
    pub without_seconds: usize,
    /// Codes of the warnings that they came with, each once.
    pub warnings: BTreeSet<String>,
}

/// An enrolment, as a profile is made of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// L2 norm 1.
    pub vector: Vec<f32>,
    /// Seconds of speech, if they are known.
    pub speech_seconds: Option<f64>,
    /// Codes of the recording's warnings.
    pub warnings: Vec<String>,
}

impl Profile {
    /// The mean of unit embeddings of one model, weighted by their seconds of speech, with L2 norm 1; `None` without any, or
    /// if the mean has no direction.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let mut mean = vec![0.0_f64; samples.first()?.vector.len()];
        for sample in samples {
            let weight = sample.speech_seconds.unwrap_or(DEFAULT_WEIGHT_SECONDS);
            mean.iter_mut().zip(&sample.vector).for_each(|(mean, c)| *mean += weight * f64::from(*c));
        }
        let norm = mean.iter().map(|c| c * c).sum::<f64>().sqrt();
        if !norm.is_normal() {
            return None;
        }
        Some(Self {
            vector: mean.iter().map(|c| (c / norm) as f32).collect(),
            // A sum of nothing would be -0.
            seconds: samples.iter().filter_map(|sample| sample.speech_seconds).fold(0.0, |sum, s| sum + s),
            enrolments: samples.len(),
            without_seconds: samples.iter().filter(|sample| sample.speech_seconds.is_none()).count(),
            warnings: samples.iter().flat_map(|sample| sample.warnings.iter().cloned()).collect(),
        })
    }

    /// What claims depend on.
    pub fn evidence(&self) -> Evidence {
        let seconds = (self.without_seconds == 0).then_some(self.seconds);
        Evidence::new(seconds, self.warnings.iter().map(String::as_str), self.enrolments)
    }

    /// The profile as an embedding of a model; `None` if it has another dimension.
    pub fn embedding(&self, model: &ModelId) -> Option<UnitEmbedding> {
        let components = self.vector.iter().map(|c| f64::from(*c)).collect();
        Embedding::new(model, components).and_then(UnitEmbedding::try_from).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(vector: [f32; 2], speech_seconds: Option<f64>) -> Sample {
        Sample { vector: vector.to_vec(), speech_seconds, warnings: Vec::new() }
    }

    #[test]
    fn enrolments_count_by_their_seconds_of_speech() {
        let profile = Profile::of(&[sample([1.0, 0.0], Some(9.0)), sample([0.0, 1.0], None)]).unwrap();
        // (9, 3) of norm 9.4868
        assert!((f64::from(profile.vector[0]) - 9.0 / 90f64.sqrt()).abs() < 1e-7, "{profile:?}");
        assert!((f64::from(profile.vector[1]) - 3.0 / 90f64.sqrt()).abs() < 1e-7, "{profile:?}");
        assert_eq!((profile.seconds, profile.enrolments), (9.0, 2), "what is not known is not claimed");
    }

    #[test]
    fn unknown_seconds_are_0_not_minus_0() {
        let profile = Profile::of(&[sample([1.0, 0.0], None)]).unwrap();
        assert!(profile.seconds == 0.0 && profile.seconds.is_sign_positive());
    }

    #[test]
    fn no_enrolments_or_opposite_ones_have_no_profile() {
        assert_eq!(Profile::of(&[]), None);
        assert_eq!(Profile::of(&[sample([1.0, 0.0], None), sample([-1.0, 0.0], None)]), None);
    }
}
