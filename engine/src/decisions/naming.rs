//! Names the voices of a recording that belong to enrolled speakers.

use super::identify::{DEFAULT_MARGIN, claim, decide, threshold};
use crate::calibration::{Criterion, Evidence, Judge};
use crate::compare::cosine;
use crate::diarization::{Diarization, label};
use crate::embedding::{Embedding, EmbeddingError, ModelId, UnitEmbedding};
use crate::speakers::{Candidate, Found, Identifier, SearchOptions};

/// A voice is named only if it has at least this many seconds of speech.
pub const LEAST_SECONDS: f64 = 3.0;

/// The number of candidates of a search. A speaker that is not among them is not a rival.
const TOP: usize = 100;

/// The speakers of a recording's voices, by the numbers of the voices.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<Option<NamedVoice>>);

/// The speaker of a voice.
#[derive(Clone, Debug)]
pub struct NamedVoice {
    /// The enrolled speaker's id. `None` if a reference names the speaker.
    pub speaker: Option<Identifier>,
    /// The name. It may be empty for an enrolled speaker.
    pub name: String,
    /// The cosine similarity to the speaker's profile, or to the reference.
    pub similarity: f64,
    /// The share of searches for people who are not enrolled, with as much speech, that score at least this high, if it is known.
    pub false_identification_rate: Option<f64>,
}

/// A speaker that a request names, with a recording of the speaker.
pub struct Reference {
    /// The name.
    pub name: String,
    /// The embedding of the speaker's voice.
    pub embedding: UnitEmbedding,
    /// The properties that claims depend on.
    pub evidence: Evidence,
}

impl Names {
    /// Adds the voices of another channel.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Creates the names of this many voices, none of which was searched for.
    pub fn none(n_voices: usize) -> Self {
        Self(vec![None; n_voices])
    }

    /// Returns the speaker of a voice, if it is known.
    pub fn name_of(&self, voice: usize) -> Option<&NamedVoice> {
        self.0.get(voice)?.as_ref()
    }

    /// Returns the speaker's name, or the id if the speaker has no name. Returns `None` if the voice is not known.
    pub fn known_name(&self, voice: usize) -> Option<String> {
        let NamedVoice { speaker, name, .. } = self.name_of(voice)?;
        let id = || speaker.as_ref().map(ToString::to_string);
        if name.trim().is_empty() { id() } else { Some(name.clone()) }
    }

    /// Returns the speaker's name or, without a name, the id. If the voice is not known, returns its label.
    pub fn display_name(&self, voice: usize) -> String {
        self.known_name(voice).unwrap_or_else(|| label(voice))
    }

    /// Returns the same as [`Self::display_name`], but a different name for each voice of a recording. Enrolled speakers
    /// with the same name get their ids.
    pub fn distinct_names(&self) -> Vec<String> {
        let names: Vec<String> = (0..self.0.len()).map(|voice| self.display_name(voice)).collect();
        let distinct = |(voice, name): (usize, &String)| {
            let is_shared = names.iter().enumerate().any(|(other, of)| other != voice && of == name);
            let id = self.name_of(voice).and_then(|named| named.speaker.as_ref()).map(ToString::to_string);
            if is_shared { id.unwrap_or_else(|| label(voice)) } else { name.clone() }
        };
        names.iter().enumerate().map(distinct).collect()
    }
}

/// Returns the search whose result [`name_speakers`] takes.
pub fn naming_search(collection: Identifier) -> SearchOptions {
    SearchOptions { collection, top: TOP, except: None }
}

/// Returns the voices of a recording as embeddings of a model, to search for them.
pub fn voices_of(found: &Diarization, model: &ModelId) -> Result<Vec<UnitEmbedding>, EmbeddingError> {
    let embedding = |voice: &crate::diarization::DiarizedSpeaker| {
        Embedding::new(model, voice.embedding.clone()).and_then(UnitEmbedding::try_from)
    };
    // A speaker that is never heard without others has no voice.
    found.speakers.iter().filter(|speaker| !speaker.embedding.is_empty()).map(embedding).collect()
}

/// Names the speakers of a recording by the results of [`naming_search`] for each of them.
pub fn name_speakers(
    found: &Diarization,
    searched: Vec<Found>,
    criterion: Criterion,
    judge: Judge<'_>,
) -> Names {
    let seconds = found.speakers.iter().map(|speaker| speaker.clean_seconds);
    let voices: Vec<_> = seconds.zip(searched).collect();
    let mut names = name_voices(&voices, criterion, judge, DEFAULT_MARGIN);
    names.0.resize(found.speakers.len(), None);
    names
}

/// Names the speakers of a recording by reference recordings in the request, as [`name_speakers`] does by profiles.
pub fn name_by_references(
    found: &Diarization,
    voices: &[UnitEmbedding],
    references: &[Reference],
    criterion: Criterion,
    judge: Judge<'_>,
) -> Names {
    // References replace profiles, and their indices replace ids.
    let id = |place: usize| format!("reference-{place}").parse::<Identifier>().expect("it is an identifier");
    let search = |voice: &UnitEmbedding| {
        let candidate = |(place, reference): (usize, &Reference)| Candidate {
            speaker: id(place),
            name: reference.name.clone(),
            similarity: cosine(voice, &reference.embedding).expect("both are of the judge's model"),
            evidence: reference.evidence,
        };
        let mut candidates: Vec<Candidate> = references.iter().enumerate().map(candidate).collect();
        candidates.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        Found { searched: candidates.len(), speakers: candidates.len(), candidates }
    };
    let mut names = name_speakers(found, voices.iter().map(search).collect(), criterion, judge);
    names.0.iter_mut().flatten().for_each(|named| named.speaker = None);
    names
}

/// Names the voices of one recording. Each voice has its seconds of speech and the result of a search for it.
///
/// A voice is named by the criterion, as in a search (`identify`). The speaker must also be ahead at this voice, by the
/// margin, of the same speaker at any other voice of the recording. A speaker therefore names at most one voice.
fn name_voices(voices: &[(f64, Found)], criterion: Criterion, judge: Judge<'_>, margin: f64) -> Names {
    let best: Vec<Option<&Candidate>> =
        voices.iter().map(|(seconds, found)| decided(*seconds, found, criterion, judge, margin)).collect();
    let is_ahead = |place: usize, best: &Candidate| {
        voices.iter().enumerate().filter(|(other, _)| *other != place).all(|(_, (_, found))| {
            let rival = found.candidates.iter().find(|candidate| candidate.speaker == best.speaker);
            rival.is_none_or(|rival| best.similarity - rival.similarity >= margin)
        })
    };
    let named = best.into_iter().enumerate().map(|(place, best)| {
        let Candidate { speaker, name, similarity, .. } = best.filter(|best| is_ahead(place, best))?;
        let (seconds, found) = &voices[place];
        let claim = claim(judge, found, &evidence_of(*seconds));
        Some(NamedVoice {
            speaker: Some(speaker.clone()),
            name: name.clone(),
            similarity: *similarity,
            false_identification_rate: claim.error_rate.map(|rate| rate.value),
        })
    });
    Names(named.collect())
}

/// Returns the properties that a claim about a voice depends on: its seconds of speech.
fn evidence_of(seconds: f64) -> Evidence {
    Evidence::new(Some(seconds), [], 1)
}

fn decided<'a>(
    seconds: f64,
    found: &'a Found,
    criterion: Criterion,
    judge: Judge<'_>,
    margin: f64,
) -> Option<&'a Candidate> {
    let threshold = threshold(judge, found, criterion, &evidence_of(seconds)).ok()?;
    decide(found, threshold, margin).ok().filter(|_| seconds >= LEAST_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Threshold;

    fn found(similarities: &[(&str, f64)]) -> Found {
        let candidate = |(id, similarity): &(&str, f64)| Candidate {
            speaker: id.parse().unwrap(),
            name: String::new(),
            similarity: *similarity,
            evidence: Evidence::new(Some(9.0), [], 1),
        };
        let candidates: Vec<Candidate> = similarities.iter().map(candidate).collect();
        Found { searched: candidates.len(), speakers: candidates.len(), candidates }
    }

    #[test]
    fn speakers_of_one_name_have_their_ids() {
        let voice = |id: &str, name: &str| {
            Some(NamedVoice {
                speaker: Some(id.parse().unwrap()),
                name: name.into(),
                similarity: 0.9,
                false_identification_rate: None,
            })
        };
        let names =
            Names(vec![voice("a1", "Ann"), voice("a2", "Ann"), None, voice("ben", ""), voice("s", "S3")]);
        assert_eq!(names.distinct_names(), ["a1", "a2", "S3", "ben", "s"]);
    }

    #[test]
    fn a_speaker_names_one_voice_at_the_most() {
        let judge = Judge { calibration: None, threshold: Threshold::of_model(0.75) };
        let cases = [
            (vec![(9.0, found(&[("ann", 0.9), ("ben", 0.6)]))], vec![Some("ann")]),
            (vec![(2.9, found(&[("ann", 0.9), ("ben", 0.6)]))], vec![None]),
            (vec![(9.0, found(&[("ann", 0.7), ("ben", 0.6)]))], vec![None]),
            (vec![(9.0, found(&[("ann", 0.9), ("ben", 0.87)]))], vec![None]),
            (vec![(9.0, found(&[]))], vec![None]),
            // Either one of two voices is clearly hers, or both match and it is unclear which one is hers.
            (vec![(9.0, found(&[("ann", 0.9)])), (9.0, found(&[("ann", 0.8)]))], vec![Some("ann"), None]),
            (vec![(9.0, found(&[("ann", 0.9)])), (9.0, found(&[("ann", 0.87)]))], vec![None, None]),
            (
                vec![
                    (9.0, found(&[("ann", 0.9), ("ben", 0.5)])),
                    (9.0, found(&[("ben", 0.8), ("ann", 0.6)])),
                ],
                vec![Some("ann"), Some("ben")],
            ),
        ];
        for (voices, expected) in cases {
            let named = name_voices(&voices, Criterion::Default, judge, 0.05);
            let named: Vec<Option<&str>> = (0..voices.len())
                .map(|voice| named.name_of(voice)?.speaker.as_ref().map(Identifier::as_str))
                .collect();
            assert_eq!(named, expected, "{voices:?}");
        }
    }
}
