//! The settled and the open turns of a session.

use std::ops::Range;

use super::events::LiveEvent;
use crate::diarization::{Turn, label};
use crate::notation::milliseconds;

/// The shortest stretch of speech directly after the settled part that makes a turn, in seconds. A shorter stretch only
/// moves the edge of the turn before it.
const EDGE_SECONDS: f64 = 0.1;

/// A turn that begins within this many seconds of another's end continues that turn.
const NEAR_SECONDS: f64 = 0.5;

/// An open turn is not reported again if its edges move by less than this many seconds.
const TOLD_SECONDS: f64 = 0.05;

/// A turn that is not settled.
#[derive(Clone, Debug)]
struct OpenTurn {
    id: u64,
    label: usize,
    seconds: Range<f64>,
    /// Whether the turn continues after the reported part.
    goes_on: bool,
    /// The label and the times as last reported.
    told: Option<(usize, f64, f64)>,
}

/// All turns so far, by labels.
#[derive(Default)]
pub(super) struct LiveTurns {
    next_id: u64,
    /// The settled turns, in the order in which they were settled.
    settled: Vec<Turn>,
    open: Vec<OpenTurn>,
    /// Everything before this time is final.
    settled_until: f64,
    /// Whether speech is reported as active, and the time up to which it is reported.
    is_speech: bool,
    speech_told_until: f64,
}

impl LiveTurns {
    /// Returns the time before which everything is final, in seconds.
    pub(super) fn settled_until(&self) -> f64 {
        self.settled_until
    }

    /// Returns the total seconds of the settled turns.
    pub(super) fn settled_seconds(&self) -> f64 {
        self.settled.iter().map(|turn| turn.seconds.end - turn.seconds.start).sum()
    }

    /// Returns all turns that end after a time, with their labels.
    pub(super) fn since(&self, seconds: f64) -> impl Iterator<Item = (Range<f64>, usize)> {
        // Turns are settled soon after they end.
        let late = self.settled.iter().rev().take_while(move |turn| turn.seconds.end > seconds - 60.0);
        let late = late.map(|turn| (turn.seconds.clone(), turn.speaker));
        let open = self.open.iter().map(|turn| (turn.seconds.clone(), turn.label));
        late.chain(open).filter(move |(turn, _)| turn.end > seconds)
    }

    /// Returns all turns in the order of their starts, for attributing settled transcripts.
    pub(super) fn all(&self) -> Vec<Turn> {
        let open = self.open.iter().map(|turn| Turn {
            seconds: turn.seconds.clone(),
            speaker: turn.label,
            margin: None,
        });
        let mut turns: Vec<Turn> = self.settled.iter().cloned().chain(open).collect();
        turns.sort_by(|a, b| a.seconds.start.total_cmp(&b.seconds.start));
        turns
    }

    /// Moves the turns of one label to another label.
    pub(super) fn merge(&mut self, from: usize, into: usize) {
        self.settled.iter_mut().filter(|turn| turn.speaker == from).for_each(|turn| turn.speaker = into);
        for turn in self.open.iter_mut().filter(|turn| turn.label == from) {
            turn.label = into;
            // The client changes this label as well.
            if let Some((label, ..)) = &mut turn.told {
                *label = into;
            }
        }
    }

    /// Updates the open turns from the turns that were found up to `horizon`, with their labels. Then settles everything
    /// before `settle_until`.
    pub(super) fn update(
        &mut self,
        found: Vec<(Range<f64>, usize)>,
        horizon: f64,
        settle_until: f64,
    ) -> Vec<LiveEvent> {
        let settled_until = self.settled_until;
        let mut before: Vec<Option<OpenTurn>> =
            std::mem::take(&mut self.open).into_iter().map(Some).collect();
        let found: Vec<(Range<f64>, usize, bool)> = found
            .into_iter()
            .map(|(seconds, label)| (seconds.start..seconds.end.min(horizon), label, seconds.end > horizon))
            .filter(|(seconds, _, goes_on)| {
                (seconds.end > settled_until || *goes_on) && seconds.start < seconds.end
            })
            .collect();
        // Each found turn continues an open turn, preferably one with the same label.
        let mut continued: Vec<Option<OpenTurn>> = vec![None; found.len()];
        for with_same_label in [true, false] {
            for ((seconds, label, _), continued) in found.iter().zip(&mut continued) {
                if continued.is_some() {
                    continue;
                }
                let nearness = |turn: &OpenTurn| {
                    // The settled part of a turn keeps its label. Such a turn only continues without a gap.
                    let is_frozen = turn.seconds.start < settled_until;
                    let may_be = if with_same_label {
                        turn.label == *label
                    } else {
                        !is_frozen && seconds.start >= settled_until
                    };
                    let near = if is_frozen { EDGE_SECONDS } else { NEAR_SECONDS };
                    let common = turn.seconds.end.min(seconds.end) - turn.seconds.start.max(seconds.start);
                    (may_be && common > -near).then_some(common)
                };
                let best = before
                    .iter()
                    .enumerate()
                    .filter_map(|(place, turn)| Some((place, nearness(turn.as_ref()?)?)))
                    .max_by(|a, b| a.1.total_cmp(&b.1));
                *continued = best.and_then(|(place, _)| before[place].take());
            }
        }
        let mut events = Vec::new();
        // Turns that do not continue end with their settled part.
        for mut turn in before.into_iter().flatten() {
            turn.seconds.end = turn.seconds.end.min(settled_until).max(turn.seconds.start);
            self.settle(turn, &mut events);
        }
        for ((seconds, label, goes_on), continued) in found.into_iter().zip(continued) {
            let turn = match continued {
                Some(turn) if turn.seconds.start < settled_until => {
                    OpenTurn { seconds: turn.seconds.start..seconds.end, goes_on, ..turn }
                }
                Some(turn) => {
                    let start = seconds.start.max(settled_until);
                    OpenTurn { label, seconds: start..seconds.end.max(start), goes_on, ..turn }
                }
                None => {
                    let start = seconds.start.max(settled_until);
                    if seconds.end - start < EDGE_SECONDS {
                        continue;
                    }
                    self.next_id += 1;
                    OpenTurn { id: self.next_id, label, seconds: start..seconds.end, goes_on, told: None }
                }
            };
            self.open.push(turn);
        }
        self.settled_until = settled_until.max(settle_until);
        self.open.sort_by(|a, b| a.seconds.start.total_cmp(&b.seconds.start));
        for turn in std::mem::take(&mut self.open) {
            if turn.seconds.end <= self.settled_until && !turn.goes_on {
                self.settle(turn, &mut events);
            } else {
                self.open.push(turn);
            }
        }
        for turn in &mut self.open {
            let (label, Range { start, end }) = (turn.label, turn.seconds.clone());
            let is_told = turn.told.is_some_and(|(known, from, to)| {
                known == label && (from - start).abs() < TOLD_SECONDS && (to - end).abs() < TOLD_SECONDS
            });
            if !is_told {
                turn.told = Some((label, start, end));
                events.push(event(turn, false));
            }
        }
        self.speech(horizon, &mut events);
        events
    }

    fn settle(&mut self, turn: OpenTurn, events: &mut Vec<LiveEvent>) {
        events.push(event(&turn, true));
        if !turn.seconds.is_empty() {
            self.settled.push(Turn { seconds: turn.seconds, speaker: turn.label, margin: None });
        }
    }

    /// Reports when speech has started and stopped since the last report.
    fn speech(&mut self, horizon: f64, events: &mut Vec<LiveEvent>) {
        let mut stretches: Vec<Range<f64>> =
            self.since(self.speech_told_until).map(|(seconds, _)| seconds).collect();
        stretches.sort_by(|a, b| a.start.total_cmp(&b.start));
        stretches.dedup_by(|next, last| {
            let is_one = next.start <= last.end + EDGE_SECONDS;
            if is_one {
                last.end = last.end.max(next.end);
            }
            is_one
        });
        let mut told = Vec::new();
        if self.is_speech && stretches.is_empty() {
            told.push((self.speech_told_until, false));
        }
        for stretch in stretches {
            if !self.is_speech {
                told.push((stretch.start.max(self.speech_told_until), true));
            }
            self.is_speech = stretch.end >= horizon - EDGE_SECONDS;
            if !self.is_speech {
                told.push((stretch.end, false));
            }
        }
        if let Some((at, active)) = told.last() {
            (self.is_speech, self.speech_told_until) = (*active, *at);
        }
        let event = |(at, active)| LiveEvent::Speech { at: milliseconds(at), active };
        events.splice(0..0, told.into_iter().map(event));
    }
}

fn event(turn: &OpenTurn, settled: bool) -> LiveEvent {
    LiveEvent::Turn {
        id: turn.id,
        label: label(turn.label),
        start: milliseconds(turn.seconds.start),
        end: milliseconds(turn.seconds.end),
        settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[LiveEvent]) -> Vec<(u64, &str, f64, f64, bool)> {
        let mut turns = Vec::new();
        for event in events {
            if let LiveEvent::Turn { id, label, start, end, settled } = event {
                turns.push((*id, label.as_str(), *start, *end, *settled));
            }
        }
        turns
    }

    #[test]
    fn a_turn_grows_changes_its_label_and_is_settled_once() {
        let mut turns = LiveTurns::default();
        let events = turns.update(vec![(0.5..2.0, 0)], 1.5, 0.0);
        assert_eq!(events[0], LiveEvent::Speech { at: 0.5, active: true });
        assert_eq!(told(&events), [(1, "S1", 0.5, 1.5, false)]);
        // An unchanged turn is not reported again.
        assert_eq!(told(&turns.update(vec![(0.5..2.0, 0)], 1.5, 0.0)), []);
        assert_eq!(told(&turns.update(vec![(0.4..2.6, 1)], 3.0, 0.0)), [(1, "S2", 0.4, 2.6, false)]);
        let events = turns.update(vec![(0.4..2.6, 1), (3.1..5.0, 0)], 5.0, 4.0);
        assert_eq!(told(&events), [(1, "S2", 0.4, 2.6, true), (2, "S1", 3.1, 5.0, false)]);
        // The part before 4 s is settled, so the speech after it belongs to another turn.
        let events = turns.update(vec![(0.4..2.6, 0), (3.1..6.0, 1)], 6.0, 4.0);
        assert_eq!(told(&events), [(2, "S1", 3.1, 4.0, true), (3, "S2", 4.0, 6.0, false)]);
        let events = turns.update(vec![(3.1..6.0, 1)], 7.5, 7.5);
        assert_eq!(events[0], LiveEvent::Speech { at: 6.0, active: false });
        assert_eq!(told(&events), [(3, "S2", 4.0, 6.0, true)]);
        assert!((turns.settled_seconds() - 5.1).abs() < 1e-9);
    }

    #[test]
    fn what_goes_on_behind_what_is_told_stays_open() {
        let mut turns = LiveTurns::default();
        assert_eq!(told(&turns.update(vec![(1.0..9.0, 0)], 6.0, 6.0)), [(1, "S1", 1.0, 6.0, false)]);
        assert_eq!(told(&turns.update(vec![(1.0..9.0, 0)], 11.0, 11.0)), [(1, "S1", 1.0, 9.0, true)]);
    }

    #[test]
    fn a_turn_that_was_none_ends_where_it_starts() {
        let mut turns = LiveTurns::default();
        turns.update(vec![(1.0..2.0, 0)], 2.0, 0.0);
        assert_eq!(told(&turns.update(vec![], 3.0, 0.0)), [(1, "S1", 1.0, 1.0, true)]);
        assert!(turns.all().is_empty());
    }

    #[test]
    fn labels_that_are_one_person_share_turns() {
        let mut turns = LiveTurns::default();
        turns.update(vec![(0.0..2.0, 0), (2.0..4.0, 1)], 4.0, 2.0);
        turns.merge(1, 0);
        assert_eq!(turns.all().iter().map(|turn| turn.speaker).collect::<Vec<_>>(), [0, 0]);
        assert_eq!(told(&turns.update(vec![(0.0..2.0, 0), (2.0..4.0, 0)], 4.0, 2.0)), []);
    }
}
