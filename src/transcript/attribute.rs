//! Which speaker said a part of a transcript.

use std::ops::Range;

use crate::diarization::Turn;

/// A stretch of a transcript with its speaker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    /// When.
    pub(super) seconds: Range<f64>,
    /// The speaker's number; none if the recording has no turns.
    pub(super) speaker: Option<usize>,
    /// What.
    pub(super) text: String,
}

/// Turns that are asked for stretches. Those of two channels may overlap.
pub struct Timeline<'a> {
    /// In the order of their starts.
    turns: &'a [Turn],
    /// Of each turn, which of those up to it ends last.
    last_to_end: Vec<usize>,
}

impl<'a> Timeline<'a> {
    /// Of turns in the order of their starts.
    pub fn new(turns: &'a [Turn]) -> Self {
        let mut last = 0;
        let last_to_end = turns.iter().enumerate().map(|(i, turn)| {
            if turn.seconds.end > turns[last].seconds.end {
                last = i;
            }
            last
        });
        Self { turns, last_to_end: last_to_end.collect() }
    }

    /// The speaker with most of a stretch; of equal ones, or where nobody speaks, the one whose turn is nearest to its middle.
    pub fn speaker_of(&self, seconds: &Range<f64>) -> Option<usize> {
        let Self { turns, last_to_end } = self;
        let middle = f64::midpoint(seconds.start, seconds.end);
        let away = |turn: &Turn| (turn.seconds.start - middle).max(middle - turn.seconds.end).max(0.0);
        // Before `from` every turn has ended, behind `to` none has begun: the nearest of both are enough.
        let from = last_to_end.partition_point(|last| turns[*last].seconds.end <= seconds.start);
        let to = turns.partition_point(|turn| turn.seconds.start < seconds.end).max(from);
        let before = from.checked_sub(1).map(|i| &turns[last_to_end[i]]);
        let near = before.into_iter().chain(&turns[from..to]).chain(turns.get(to));
        let mut shares: Vec<(usize, f64, f64)> = Vec::new();
        for turn in near {
            let common = (turn.seconds.end.min(seconds.end) - turn.seconds.start.max(seconds.start)).max(0.0);
            match shares.iter_mut().find(|(speaker, ..)| *speaker == turn.speaker) {
                Some((_, share, nearest)) => {
                    *share += common;
                    *nearest = nearest.min(away(turn));
                }
                None => shares.push((turn.speaker, common, away(turn))),
            }
        }
        // A thousandth of a second decides nothing.
        let rounded = |seconds: f64| (seconds * 1e3).round() as i64;
        let best = shares.into_iter().min_by_key(|(_, share, nearest)| (-rounded(*share), rounded(*nearest)));
        best.map(|(speaker, ..)| speaker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(start: f64, end: f64, speaker: usize) -> Turn {
        Turn { seconds: start..end, speaker, margin: None }
    }

    #[test]
    fn a_stretch_goes_to_whom_most_of_it_is_or_who_is_nearest() {
        let turns = [turn(1.0, 3.0, 0), turn(3.0, 5.0, 1), turn(8.0, 9.0, 0), turn(9.5, 10.0, 2)];
        let cases = [
            (1.2..2.0, 0),
            (2.6..3.2, 0),
            (2.9..3.5, 1),
            (0.0..0.5, 0),
            (5.2..5.6, 1),
            (7.2..7.6, 0),
            (20.0..21.0, 2),
            // Two turns of one speaker against one of another.
            (2.0..9.0, 1),
            (1.0..9.0, 0),
            // As much of both: the middle is in the second's turn.
            (2.5..3.5, 0),
            (4.0..4.0, 1),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Timeline::new(&turns).speaker_of(&seconds), Some(expected), "{seconds:?}");
        }
        assert_eq!(Timeline::new(&[]).speaker_of(&(0.0..1.0)), None);
    }

    #[test]
    fn a_long_turn_of_another_channel_is_not_overlooked() {
        let turns = [turn(0.0, 60.0, 0), turn(1.0, 2.0, 1), turn(3.0, 4.0, 1), turn(70.0, 71.0, 1)];
        for (seconds, expected) in
            [(10.0..12.0, 0), (1.0..2.0, 0), (59.0..65.0, 0), (66.0..68.0, 1), (90.0..91.0, 1)]
        {
            assert_eq!(Timeline::new(&turns).speaker_of(&seconds), Some(expected), "{seconds:?}");
        }
    }
}
