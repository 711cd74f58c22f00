//! Which voices of a recording are enrolled speakers.

use super::identify::{DEFAULT_MARGIN, claim, decide, threshold};
use crate::calibration::{Criterion, Evidence, Judge};
use crate::compare::cosine;
use crate::diarization::{Diarization, label};
use crate::embedding::{Embedding, EmbeddingError, ModelId, UnitEmbedding};
use crate::speakers::{Candidate, Found, Identifier, Wanted};

/// Seconds of speech from which on a voice may be named.
pub const LEAST_SECONDS: f64 = 3.0;

/// Candidates of a search: what is not among them is no rival.
const TOP: usize = 100;

/// Whom the voices of a recording are of, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<Option<NamedVoice>>);

/// Whom a voice is of.
#[derive(Clone, Debug)]
pub struct NamedVoice {
    /// The enrolled speaker's id; none of a speaker whom a reference names.
    pub speaker: Option<Identifier>,
    /// The name, which an enrolled speaker may lack.
    pub name: String,
    /// Cosine similarity to the speaker's profile, or to the reference.
    pub similarity: f64,
    /// The share of searches with as much speech in which a stranger scores as much, where that can be told.
    pub false_identification_rate: Option<f64>,
}

/// A speaker whom a request names, with a recording of the speaker.
pub struct Reference {
    /// The name.
    pub name: String,
    /// The voice.
    pub embedding: UnitEmbedding,
    /// What claims depend on.
    pub evidence: Evidence,
}

impl Names {
    /// Adds the voices of another channel.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Of so many voices, of which nobody was looked for.
    pub fn none(n_voices: usize) -> Self {
        Self(vec![None; n_voices])
    }

    /// Whom the voice is of, if that is known.
    pub fn of(&self, voice: usize) -> Option<&NamedVoice> {
        self.0.get(voice)?.as_ref()
    }

    /// The speaker's name, or the id of one without; none of a voice that is not known.
    pub fn known_name(&self, voice: usize) -> Option<String> {
        let NamedVoice { speaker, name, .. } = self.of(voice)?;
        let id = || speaker.as_ref().map(ToString::to_string);
        if name.trim().is_empty() { id() } else { Some(name.clone()) }
    }

    /// The speaker's name or, without one, id; or the voice's label.
    pub fn display_name(&self, voice: usize) -> String {
        self.known_name(voice).unwrap_or_else(|| label(voice))
    }

    /// As [`Self::display_name`], but different for each voice of a recording: the ids of enrolled speakers of one name.
    pub fn distinct_names(&self) -> Vec<String> {
        let names: Vec<String> = (0..self.0.len()).map(|voice| self.display_name(voice)).collect();
        let distinct = |(voice, name): (usize, &String)| {
            let is_shared = names.iter().enumerate().any(|(other, of)| other != voice && of == name);
            let id = self.of(voice).and_then(|named| named.speaker.as_ref()).map(ToString::to_string);
            if is_shared { id.unwrap_or_else(|| label(voice)) } else { name.clone() }
        };
        names.iter().enumerate().map(distinct).collect()
    }
}

/// The search that [`name_speakers`] takes the result of.
pub fn naming_search(collection: Identifier) -> Wanted {
    Wanted { collection, top: TOP, except: None }
}

/// The voices of a recording as a model's embeddings, to be searched for.
pub fn voices_of(found: &Diarization, model: &ModelId) -> Result<Vec<UnitEmbedding>, EmbeddingError> {
    let embedding = |voice: &crate::diarization::Speaker| {
        Embedding::new(model, voice.embedding.clone()).and_then(UnitEmbedding::try_from)
    };
    // Where nobody is heard alone, there is no voice.
    found.speakers.iter().filter(|speaker| !speaker.embedding.is_empty()).map(embedding).collect()
}

/// Names the speakers of a recording by what [`naming_search`] has found for each.
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

/// Names the speakers of a recording by recordings of them that came with it, as [`name_speakers`] does by profiles.
pub fn name_by_references(
    found: &Diarization,
    voices: &[UnitEmbedding],
    references: &[Reference],
    criterion: Criterion,
    judge: Judge<'_>,
) -> Names {
    // References take the place of profiles; their places, that of ids.
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

/// Names voices of one recording, each with its seconds of speech and what a search for it has found.
///
/// A voice is named as a search would name it (`identify`), by the criterion; and the speaker must be as much ahead at
/// this voice as at any other of the recording: a speaker names one voice at the most.
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

/// What a claim about a voice depends on: its seconds of speech.
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
            // One of two voices is clearly hers; or both are, and nobody knows which.
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
                .map(|voice| named.of(voice)?.speaker.as_ref().map(Identifier::as_str))
                .collect();
            assert_eq!(named, expected, "{voices:?}");
        }
    }
}
