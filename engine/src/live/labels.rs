//! Labels for clusters: each cluster keeps the label that its speech had before.

use std::ops::Range;

use super::events::LiveEvent;
use crate::decisions::{NamedVoice, Names};
use crate::diarization::{Diarization, DiarizedSpeaker, best_pairs, label};
use crate::notation::milliseconds;
use crate::vectors::dot;

/// A cluster may keep a label if it has this share of the label's speech, or if this share of its speech had the label.
const COMMON_SHARE: f64 = 0.5;

/// A label is absorbed if another label has this share of its speech.
const ABSORBED_SHARE: f64 = 0.8;

/// After this many windows, an absorbed label is merged with the other label.
const ABSORBED_WINDOWS: usize = 3;

/// After this many searches in a row that do not find a name, the name is withdrawn.
const LOST_NAMES: usize = 2;

/// A label, and the information about its person.
#[derive(Default)]
struct Labelled {
    /// The cluster's embedding when it was last found, with an L2 norm of 1, or empty.
    voice: Vec<f64>,
    merged_into: Option<usize>,
    /// The number of windows for which it has been absorbed.
    n_absorbed: usize,
    /// The enrolled speaker, as last reported.
    named: Option<NamedVoice>,
    /// The number of searches in a row that did not find that name.
    n_lost: usize,
}

/// The labels of a session.
#[derive(Default)]
pub(super) struct Labels {
    known: Vec<Labelled>,
    /// The speakers of the last step, and their labels.
    heard: Vec<DiarizedSpeaker>,
    of_heard: Vec<usize>,
    /// For each label, its seconds of speech at the last search.
    searched_seconds: Vec<f64>,
}

impl Labels {
    /// Gives each speaker of a step the label that the same speech had before. Two voices with a cosine of at least
    /// `joined_from` are one.
    pub(super) fn assign(
        &mut self,
        found: &Diarization,
        before: &[(Range<f64>, usize)],
        offset: f64,
        joined_from: f64,
    ) -> &[usize] {
        let common = self.common_seconds(found, before, offset);
        let of_label = |label: usize| -> f64 {
            before
                .iter()
                .filter(|(_, of)| *of == label)
                .map(|(turn, _)| turn.end - turn.start.max(offset))
                .sum()
        };
        let seconds_of_labels: Vec<f64> = (0..self.known.len()).map(of_label).collect();
        let score = |(speaker, row): (&DiarizedSpeaker, &Vec<f64>)| -> Vec<f64> {
            let own: f64 = row.iter().sum();
            let score = |(label, common): (usize, &f64)| {
                let known = &self.known[label];
                let cosine = cosine(&known.voice, &speaker.embedding);
                let is_same = *common > 0.0
                    && (*common >= COMMON_SHARE * own || *common >= COMMON_SHARE * seconds_of_labels[label]);
                let is_alike = cosine.is_some_and(|cosine| cosine >= joined_from);
                if known.merged_into.is_some() || !(is_same || is_alike) {
                    return -1.0;
                }
                // Common speech decides. The voices decide only where it does not.
                common + 0.01 * cosine.unwrap_or(0.0).max(0.0) + 1e-3
            };
            row.iter().enumerate().map(score).collect()
        };
        let scores: Vec<Vec<f64>> = found.speakers.iter().zip(&common).map(score).collect();
        let pairs = best_pairs(&scores);
        self.of_heard = pairs
            .into_iter()
            .enumerate()
            .map(|(speaker, label)| {
                label.filter(|label| scores[speaker][*label] > 0.0).unwrap_or_else(|| {
                    self.known.push(Labelled::default());
                    self.known.len() - 1
                })
            })
            .collect();
        for (speaker, label) in found.speakers.iter().zip(&self.of_heard) {
            if !speaker.embedding.is_empty() {
                self.known[*label].voice.clone_from(&speaker.embedding);
            }
        }
        self.heard.clone_from(&found.speakers);
        &self.of_heard
    }

    /// Returns, for each speaker, the seconds that each label has of the same speech.
    fn common_seconds(
        &self,
        found: &Diarization,
        before: &[(Range<f64>, usize)],
        offset: f64,
    ) -> Vec<Vec<f64>> {
        let mut common = vec![vec![0.0; self.known.len()]; found.speakers.len()];
        for turn in &found.turns {
            let seconds = turn.seconds.start + offset..turn.seconds.end + offset;
            for (other, label) in before {
                let both = other.end.min(seconds.end) - other.start.max(seconds.start);
                common[turn.speaker][*label] += both.max(0.0);
            }
        }
        common
    }

    /// Merges the labels that had no cluster for some windows, because their speech belongs to another label. Returns
    /// each such label with that other label.
    pub(super) fn absorbed(
        &mut self,
        found: &Diarization,
        before: &[(Range<f64>, usize)],
        offset: f64,
    ) -> Vec<(usize, usize)> {
        let common = self.common_seconds(found, before, offset);
        let mut merged = Vec::new();
        for (label, known) in self.known.iter_mut().enumerate() {
            if known.merged_into.is_some() {
                continue;
            }
            let own = before.iter().filter(|(_, of)| *of == label);
            let seconds: f64 = own.map(|(turn, _)| turn.end - turn.start.max(offset)).sum();
            let most =
                (0..self.of_heard.len()).max_by(|a, b| common[*a][label].total_cmp(&common[*b][label]));
            let into = most.filter(|most| {
                !self.of_heard.contains(&label)
                    && seconds > 0.0
                    && common[*most][label] >= ABSORBED_SHARE * seconds
            });
            let Some(into) = into else {
                known.n_absorbed = 0;
                continue;
            };
            known.n_absorbed += 1;
            if known.n_absorbed >= ABSORBED_WINDOWS {
                known.merged_into = Some(self.of_heard[into]);
                merged.push((label, self.of_heard[into]));
            }
        }
        merged
    }

    /// Returns the label that replaces a label, if it has been merged, or the label itself.
    pub(super) fn resolve(&self, mut label: usize) -> usize {
        while let Some(into) = self.known[label].merged_into {
            label = into;
        }
        label
    }

    /// Returns the enrolled speaker behind a label.
    pub(super) fn name_of(&self, label: usize) -> Option<&NamedVoice> {
        self.known[label].named.as_ref()
    }

    /// Returns the speakers of the last step, if one of them needs another search. One more second of speech may change
    /// the result.
    pub(super) fn due_search(&mut self, least_seconds: f64) -> Option<Diarization> {
        let seconds = |speaker: &DiarizedSpeaker| speaker.clean_seconds;
        let mut before = vec![0.0; self.known.len()];
        before[..self.searched_seconds.len()].copy_from_slice(&self.searched_seconds);
        let is_due = self.heard.iter().zip(&self.of_heard).any(|(speaker, label)| {
            let seconds = seconds(speaker);
            seconds >= least_seconds && (seconds - before[*label]).abs() >= 1.0
        });
        if !is_due {
            return None;
        }
        for (speaker, label) in self.heard.iter().zip(&self.of_heard) {
            before[*label] = seconds(speaker);
        }
        self.searched_seconds = before;
        Some(Diarization { turns: Vec::new(), speakers: self.heard.clone() })
    }

    /// Takes the names of the speakers of the last step, and returns the changes as events.
    pub(super) fn name(&mut self, names: &Names) -> Vec<LiveEvent> {
        let mut events = Vec::new();
        for (place, number) in self.of_heard.iter().enumerate() {
            let known = &mut self.known[*number];
            let found = names.name_of(place);
            let id = |named: &NamedVoice| named.speaker.clone();
            if found.map(id) == known.named.as_ref().map(id) {
                known.n_lost = 0;
                continue;
            }
            if known.named.is_some() && known.n_lost + 1 < LOST_NAMES {
                known.n_lost += 1;
                continue;
            }
            known.n_lost = 0;
            known.named = found.cloned();
            events.push(LiveEvent::Speaker {
                label: label(*number),
                speaker: found.and_then(id),
                name: found.map(|named| named.name.clone()),
                similarity: found.map(|named| named.similarity),
                false_identification_rate: found.and_then(|named| named.false_identification_rate),
                seconds: milliseconds(self.heard[place].clean_seconds),
            });
        }
        events
    }
}

/// Returns the cosine of two unit vectors, or `None` if one is empty.
fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    (!a.is_empty() && !b.is_empty()).then(|| dot(a, b))
}
