//! Rich Transcription Time Marked: a line for each turn.

use super::timeline::Turn;

/// The lines of a recording's turns, by the name and the channel (from 1) of each speaker. Names are of a word each: white space in them
/// becomes `_`.
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

fn one_word(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    if words.is_empty() { "_".into() } else { words.join("_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_field() {
        let turns = [Turn { seconds: 0.5..1.75, speaker: 1, margin: None }];
        let name = |speaker: usize| format!("Ann \t Lee\n{speaker}");
        let text = rttm("team call\u{a0}1", &turns, &name, &|_| 2);
        assert_eq!(text, "SPEAKER team_call_1 2 0.500 1.250 <NA> <NA> Ann_Lee_1 <NA> <NA>\n");
    }
}
