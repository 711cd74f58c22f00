//! Checks whether a voice may be enrolled for a speaker.

use super::profile::Profile;
use crate::compare::{cosine, is_same_speaker};
use crate::embedding::UnitEmbedding;

/// Warnings of recordings that contain more than the voice of one speaker.
const UNFIT: [&str; 2] = ["noise", "several_speakers"];

/// A voice to enrol.
#[derive(Clone, Debug)]
pub struct NewVoice {
    /// The SHA-256 of the data that was sent, by which a repeated enrolment is recognised.
    pub digest: [u8; 32],
    /// The embedding for the profile.
    pub embedding: UnitEmbedding,
    /// The seconds of speech, if they are known.
    pub speech_seconds: Option<f64>,
    /// The codes of the recording's warnings.
    pub warnings: Vec<String>,
}

/// The rules for an enrolment.
#[derive(Clone, Copy, Debug)]
pub struct EnrolmentRules {
    /// The minimum seconds of speech, if they are known.
    pub min_seconds: f64,
    /// The cosine similarity to the profile must exceed this.
    pub threshold: f64,
    /// Whether to enrol the voice regardless of the rules.
    pub force: bool,
}

/// The reason why a voice should not be enrolled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// There is too little speech for a reliable profile.
    #[error(
        "{speech_seconds:.1} s of speech is less than the {min_seconds} s that an enrolment should have; force overrides this"
    )]
    TooLittleSpeech {
        /// The seconds of speech in the recording.
        speech_seconds: f64,
        /// The seconds of speech that the rules require.
        min_seconds: f64,
    },
    /// The recording contains more than the voice of one speaker.
    #[error(
        "the recording has the warning {warning}: enrol a recording of this speaker only; force overrides this"
    )]
    Recording {
        /// The warning's code.
        warning: String,
    },
    /// The voice is unlike the speaker's earlier enrolments.
    #[error("the voice differs from this speaker's enrolments: {}the threshold is {threshold}; force overrides this", similarity_text(*.similarity))]
    NotThisSpeaker {
        /// The cosine similarity to the profile, unless it is secret.
        similarity: Option<f64>,
        /// The threshold that it should exceed.
        threshold: f64,
    },
}

fn similarity_text(similarity: Option<f64>) -> String {
    similarity.map_or_else(String::new, |similarity| format!("the similarity is {similarity:.4}, "))
}

/// Checks a voice against the rules and the current profile. Returns the similarity to the profile, if there is one.
pub fn check(
    voice: &NewVoice,
    profile: Option<&Profile>,
    rules: &EnrolmentRules,
) -> Result<Option<f64>, Unfit> {
    let embedding = profile.and_then(|profile| profile.embedding(voice.embedding.model()));
    let similarity = embedding.and_then(|profile| cosine(&voice.embedding, &profile).ok());
    if rules.force {
        return Ok(similarity);
    }
    if let Some(speech_seconds) = voice.speech_seconds.filter(|seconds| *seconds < rules.min_seconds) {
        return Err(Unfit::TooLittleSpeech { speech_seconds, min_seconds: rules.min_seconds });
    }
    if let Some(warning) = voice.warnings.iter().find(|warning| UNFIT.contains(&warning.as_str())) {
        return Err(Unfit::Recording { warning: warning.clone() });
    }
    match similarity {
        Some(similarity) if !is_same_speaker(similarity, rules.threshold) => {
            Err(Unfit::NotThisSpeaker { similarity: Some(similarity), threshold: rules.threshold })
        }
        similarity => Ok(similarity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedding::{Embedding, ModelId};

    fn voice(components: [f64; 2], speech_seconds: Option<f64>, warnings: &[&str]) -> NewVoice {
        let model = ModelId::new("a", "a/1".into(), 2);
        NewVoice {
            digest: [0; 32],
            embedding: Embedding::new(&model, components.to_vec()).unwrap().try_into().unwrap(),
            speech_seconds,
            warnings: warnings.iter().map(|warning| (*warning).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_enrolled_must_fit() {
        let profile = Profile {
            vector: vec![1.0, 0.0],
            seconds: 3.0,
            enrolments: 1,
            without_seconds: 0,
            warnings: std::collections::BTreeSet::new(),
        };
        let rules = EnrolmentRules { min_seconds: 3.0, threshold: 0.75, force: false };
        let forced = EnrolmentRules { force: true, ..rules };
        let too_little = Unfit::TooLittleSpeech { speech_seconds: 2.9, min_seconds: 3.0 };
        let noisy = Unfit::Recording { warning: "noise".into() };
        let cases = [
            (voice([1.0, 0.0], Some(3.0), &["clipped"]), Some(&profile), Ok(Some(1.0))),
            (voice([1.0, 0.0], None, &[]), None, Ok(None)),
            (voice([1.0, 0.0], Some(2.9), &["noise"]), Some(&profile), Err(too_little)),
            (voice([1.0, 0.0], None, &["clipped", "noise"]), Some(&profile), Err(noisy)),
            (
                voice([0.0, 1.0], None, &[]),
                Some(&profile),
                Err(Unfit::NotThisSpeaker { similarity: Some(0.0), threshold: 0.75 }),
            ),
            (voice([0.0, 1.0], None, &[]), None, Ok(None)),
        ];
        for (voice, profile, expected) in cases {
            assert_eq!(check(&voice, profile, &rules), expected, "{voice:?}");
            assert!(check(&voice, profile, &forced).is_ok(), "{voice:?}");
        }
    }
}
