//! A speaker's profile: the mean of the speaker's enrolments.

use std::collections::BTreeSet;

use crate::calibration::Evidence;
use crate::embedding::{Embedding, ModelId, UnitEmbedding};

/// The weight, in seconds, of an enrolment with unknown seconds of speech.
pub const DEFAULT_WEIGHT_SECONDS: f64 = 3.0;

/// The maximum seconds of speech of an enrolment. No recording is longer than a day.
pub const MAX_SPEECH_SECONDS: f64 = 86_400.0;

/// A speaker's profile for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The mean embedding, with an L2 norm of 1.
    pub vector: Vec<f32>,
    /// The total of the known seconds of speech.
    pub seconds: f64,
    /// The number of enrolments.
    pub enrolments: usize,
    /// The number of enrolments with unknown seconds of speech.
    pub without_seconds: usize,
    /// The codes of the enrolments' warnings, each once.
    pub warnings: BTreeSet<String>,
}

/// An enrolment as the input of a profile.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The embedding, with an L2 norm of 1.
    pub vector: Vec<f32>,
    /// The seconds of speech, if they are known.
    pub speech_seconds: Option<f64>,
    /// The codes of the recording's warnings.
    pub warnings: Vec<String>,
}

impl Profile {
    /// Computes the mean of unit embeddings of one model, weighted by their seconds of speech and scaled to an L2 norm of
    /// 1. Returns `None` if there are no samples, or if the mean has no direction.
    pub fn from_samples(samples: &[Sample]) -> Option<Self> {
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
            // The fold starts at 0, because an empty sum is -0.
            seconds: samples.iter().filter_map(|sample| sample.speech_seconds).fold(0.0, |sum, s| sum + s),
            enrolments: samples.len(),
            without_seconds: samples.iter().filter(|sample| sample.speech_seconds.is_none()).count(),
            warnings: samples.iter().flat_map(|sample| sample.warnings.iter().cloned()).collect(),
        })
    }

    /// Returns the properties that claims depend on.
    pub fn evidence(&self) -> Evidence {
        let seconds = (self.without_seconds == 0).then_some(self.seconds);
        Evidence::new(seconds, self.warnings.iter().map(String::as_str), self.enrolments)
    }

    /// Returns the profile as an embedding of a model, or `None` if the model has another dimension.
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
        let profile =
            Profile::from_samples(&[sample([1.0, 0.0], Some(9.0)), sample([0.0, 1.0], None)]).unwrap();
        // (9, 3) has a norm of 9.4868.
        assert!((f64::from(profile.vector[0]) - 9.0 / 90f64.sqrt()).abs() < 1e-7, "{profile:?}");
        assert!((f64::from(profile.vector[1]) - 3.0 / 90f64.sqrt()).abs() < 1e-7, "{profile:?}");
        assert_eq!((profile.seconds, profile.enrolments), (9.0, 2), "what is not known is not claimed");
    }

    #[test]
    fn unknown_seconds_are_0_not_minus_0() {
        let profile = Profile::from_samples(&[sample([1.0, 0.0], None)]).unwrap();
        assert!(profile.seconds == 0.0 && profile.seconds.is_sign_positive());
    }

    #[test]
    fn no_enrolments_or_opposite_ones_have_no_profile() {
        assert_eq!(Profile::from_samples(&[]), None);
        assert_eq!(Profile::from_samples(&[sample([1.0, 0.0], None), sample([-1.0, 0.0], None)]), None);
    }
}
