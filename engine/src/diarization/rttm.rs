//! Rich Transcription Time Marked (RTTM): one line for each turn.

use std::ops::Range;

use super::timeline::Turn;

/// The number of fields in a line.
const FIELDS: usize = 10;

/// A year, which is longer than any recording.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// Returns the lines of a recording's turns. `name` and `channel` return the name and the channel (from 1) of a speaker.
/// A name must be one word, so white space in it becomes `_`.
pub fn rttm(
    recording: &str,
    turns: &[Turn],
    name: &dyn Fn(usize) -> String,
    channel: &dyn Fn(usize) -> u16,
) -> String {
    let recording = one_word(recording);
    let line = |turn: &Turn| {
        let (start, length) = (turn.seconds.start, turn.seconds.end - turn.seconds.start);
        let name = one_word(&name(turn.speaker));
        let channel = channel(turn.speaker);
        format!("SPEAKER {recording} {channel} {start:.3} {length:.3} <NA> <NA> {name} <NA> <NA>\n")
    };
    turns.iter().map(line).collect()
}

/// A turn that was read from a line.
#[derive(Clone, Debug, PartialEq)]
pub struct RttmTurn {
    /// The recording.
    pub recording: String,
    /// The start and the end in seconds.
    pub seconds: Range<f64>,
    /// The speaker's name.
    pub speaker: String,
}

/// A line that is not a valid turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RttmError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The reason why it is not valid.
    pub reason: &'static str,
}

/// Parses the turns of a text. It skips lines of types other than `SPEAKER`, empty lines and comments (`;;`).
pub fn parse_rttm(text: &str) -> Result<Vec<RttmTurn>, RttmError> {
    let mut turns = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().take(FIELDS).collect();
        if fields.first() != Some(&"SPEAKER") {
            continue;
        }
        let wrong = |reason| RttmError { line: i + 1, reason };
        let [_, recording, _, start, length, _, _, speaker, ..] = fields[..] else {
            return Err(wrong("a SPEAKER line has at least 8 fields"));
        };
        let seconds = |text: &str| text.parse().ok().filter(|s: &f64| (0.0..=MAX_SECONDS).contains(s));
        let start = seconds(start).ok_or_else(|| wrong("its start is no number of seconds"))?;
        let length = seconds(length).ok_or_else(|| wrong("its length is no number of seconds"))?;
        if length > 0.0 {
            let (recording, speaker) = (recording.to_owned(), speaker.to_owned());
            turns.push(RttmTurn { recording, seconds: start..start + length, speaker });
        }
    }
    Ok(turns)
}

fn one_word(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    if words.is_empty() { "_".into() } else { words.join("_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_bad_ones_named() {
        let turns = [Turn { seconds: 0.5..1.75, speaker: 1, margin: None }];
        let text = rttm("call", &turns, &|speaker| format!("S{speaker}"), &|_| 1);
        let read = parse_rttm(&format!(";; comment\n\nSPKR-INFO call 1 <NA>\n{text}")).unwrap();
        assert_eq!(read, [RttmTurn { recording: "call".into(), seconds: 0.5..1.75, speaker: "S1".into() }]);
        assert_eq!(parse_rttm("").unwrap(), []);
        for (line, reason) in [
            ("SPEAKER call 1 0.5", "at least 8 fields"),
            ("SPEAKER call 1 x 1 <NA> <NA> S1", "its start"),
            ("SPEAKER call 1 0.5 -1 <NA> <NA> S1", "its length"),
            ("SPEAKER call 1 nan 1 <NA> <NA> S1", "its start"),
            ("SPEAKER call 1 1e300 1 <NA> <NA> S1", "its start"),
        ] {
            let error = parse_rttm(&format!("\n{line}\n")).unwrap_err();
            assert!(error.line == 2 && error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_name_is_one_field() {
        let turns = [Turn { seconds: 0.5..1.75, speaker: 1, margin: None }];
        let name = |speaker: usize| format!("Ann \t Lee\n{speaker}");
        let text = rttm("team call\u{a0}1", &turns, &name, &|_| 2);
        assert_eq!(text, "SPEAKER team_call_1 2 0.500 1.250 <NA> <NA> Ann_Lee_1 <NA> <NA>\n");
    }
}
