//! Attributes the parts of a transcript to speakers.

use std::collections::HashMap;
use std::ops::Range;

use crate::diarization::Turn;

/// A stretch of a transcript and its speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The start and the end in seconds.
    pub seconds: Range<f64>,
    /// The speaker's number. `None` if the recording has no turns.
    pub speaker: Option<usize>,
    /// The text.
    pub text: String,
}

/// Returns turns as stretches without text.
pub fn said_of_turns(turns: &[Turn]) -> Vec<Said> {
    let said = |turn: &Turn| Said {
        seconds: turn.seconds.clone(),
        speaker: Some(turn.speaker),
        text: String::new(),
    };
    turns.iter().map(said).collect()
}

/// The turns of a recording, which can be searched by time. Turns of different speakers may overlap.
pub struct Timeline {
    /// The speakers with turns, in the order of their first turns.
    speakers: Vec<SpeakerTurns>,
}

/// The turns of one speaker.
struct SpeakerTurns {
    speaker: usize,
    /// The turns in order, without overlaps.
    turns: Vec<Range<f64>>,
    /// For each turn, the total seconds of the turns before it.
    seconds_before: Vec<f64>,
}

impl Timeline {
    /// Creates a timeline from turns in the order of their starts.
    pub fn new(turns: &[Turn]) -> Self {
        let mut speakers: Vec<SpeakerTurns> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for turn in turns {
            let place = *places.entry(turn.speaker).or_insert_with(|| {
                speakers.push(SpeakerTurns::new(turn.speaker));
                speakers.len() - 1
            });
            speakers[place].push(&turn.seconds);
        }
        Self { speakers }
    }

    /// Returns the speaker who speaks longest within a stretch. If several speak equally long or the stretch has no
    /// speech, it is the speaker with a turn nearest to the middle of the stretch. If several speak there, it is the
    /// speaker who began first. The time for this grows with the number of speakers, not with the number of turns.
    pub fn speaker_of(&self, seconds: &Range<f64>) -> Option<usize> {
        let middle = f64::midpoint(seconds.start, seconds.end);
        // Differences below a thousandth of a second do not count.
        let rounded = |seconds: f64| (seconds * 1e3).round() as i64;
        let rank = |of: &&SpeakerTurns| {
            let (within, away) = (of.seconds_within(seconds), of.away_from(middle));
            (-rounded(within), rounded(away), rounded(of.begun_by(middle)))
        };
        self.speakers.iter().min_by_key(rank).map(|of| of.speaker)
    }
}

impl SpeakerTurns {
    fn new(speaker: usize) -> Self {
        Self { speaker, turns: Vec::new(), seconds_before: Vec::new() }
    }

    /// Adds a turn that begins no earlier than the one before.
    fn push(&mut self, turn: &Range<f64>) {
        match self.turns.last_mut() {
            Some(last) if turn.start <= last.end => last.end = last.end.max(turn.end),
            last => {
                let before = last.map_or(0.0, |last| last.end - last.start);
                self.seconds_before.push(self.seconds_before.last().unwrap_or(&0.0) + before);
                self.turns.push(turn.clone());
            }
        }
    }

    /// Returns the speaker's seconds of speech up to a time.
    fn seconds_before(&self, time: f64) -> f64 {
        match self.turns.partition_point(|turn| turn.start < time).checked_sub(1) {
            Some(last) => self.seconds_before[last] + time.min(self.turns[last].end) - self.turns[last].start,
            None => 0.0,
        }
    }

    fn seconds_within(&self, seconds: &Range<f64>) -> f64 {
        (self.seconds_before(seconds.end) - self.seconds_before(seconds.start)).max(0.0)
    }

    /// Returns the start of the last turn that begins by a time, or 0 if there is none.
    fn begun_by(&self, time: f64) -> f64 {
        let next = self.turns.partition_point(|turn| turn.start <= time);
        next.checked_sub(1).map_or(0.0, |last| self.turns[last].start)
    }

    /// Returns the seconds from a time to the nearest turn.
    fn away_from(&self, time: f64) -> f64 {
        let next = self.turns.partition_point(|turn| turn.start < time);
        let until = self.turns.get(next).map_or(f64::INFINITY, |turn| turn.start - time);
        let since = next.checked_sub(1).map_or(f64::INFINITY, |last| time - self.turns[last].end);
        until.min(since).max(0.0)
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
            // Two turns of one speaker count together against one of another.
            (2.0..9.0, 1),
            (1.0..9.0, 0),
            // Both speak equally long: the middle is on the edge between their turns, or within the second's turn.
            (2.5..3.5, 0),
            (4.0..4.0, 1),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Timeline::new(&turns).speaker_of(&seconds), Some(expected), "{seconds:?}");
        }
        assert_eq!(Timeline::new(&[]).speaker_of(&(0.0..1.0)), None);
    }

    #[test]
    fn where_two_speak_it_is_the_one_who_began_first() {
        let turns = [turn(0.0, 1.0, 1), turn(2.0, 6.0, 0), turn(4.0, 8.0, 1)];
        for (seconds, expected) in [(4.5..5.0, 0), (5.8..6.2, 1), (5.5..6.0, 0), (6.5..7.0, 1)] {
            assert_eq!(Timeline::new(&turns).speaker_of(&seconds), Some(expected), "{seconds:?}");
        }
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
