//! Reads and writes VTT and SRT.

use std::ops::Range;

use super::attribute::Said;
use super::error::TranscriptError;
use super::times::{check_times, stamp};
use crate::diarization::Turn;

/// The maximum number of characters of a line that an error shows.
const MAX_SHOWN_CHARS: usize = 100;

/// The maximum number of cues. A day of speech has fewer.
const MAX_CUES: usize = 100_000;

/// A format of cues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CueFormat {
    /// WebVTT, in which the speaker is a voice tag.
    Vtt,
    /// SubRip, in which the speaker precedes the text.
    Srt,
}

/// The times and the text of a cue.
pub type Cue = (Range<f64>, String);

/// Parses the cues of a text.
pub(super) fn parse_cues(text: &str) -> Result<(CueFormat, Vec<Cue>), TranscriptError> {
    let format = if text.starts_with("WEBVTT") { CueFormat::Vtt } else { CueFormat::Srt };
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut cues: Vec<(Range<f64>, Vec<&str>)> = Vec::new();
    let mut is_in_cue = false;
    for line in text.lines() {
        if line.contains("-->") {
            // If no empty line separates two cues, the number of the second follows the text of the first.
            if is_in_cue
                && format == CueFormat::Srt
                && let Some((_, lines)) = cues.last_mut()
                && lines.last().is_some_and(|line| line.trim().parse::<usize>().is_ok())
            {
                lines.pop();
            }
            let wrong = |reason: String| TranscriptError::Part { place: cues.len() + 1, reason };
            let shown: String = line.chars().take(MAX_SHOWN_CHARS).collect();
            let seconds = cue_times(line).ok_or_else(|| wrong(format!("has no times: {shown:?}")))?;
            let seconds = check_times(seconds).map_err(wrong)?;
            if cues.len() == MAX_CUES {
                return Err(TranscriptError::TooLong { max_parts: MAX_CUES, max_words: MAX_CUES });
            }
            cues.push((seconds, Vec::new()));
            is_in_cue = true;
        } else if line.trim().is_empty() {
            // The first line of a cue may be blank, as in YouTube's captions. In VTT, an empty line without a space ends
            // a cue without text.
            let has_text = cues.last().is_some_and(|(_, lines)| !lines.is_empty());
            is_in_cue &= !has_text && (format == CueFormat::Srt || !line.is_empty());
        } else if is_in_cue && let Some((_, lines)) = cues.last_mut() {
            lines.push(line);
        }
    }
    let cues: Vec<Cue> =
        cues.into_iter().map(|(seconds, lines)| (seconds, without_voices(&lines.join("\n")))).collect();
    if cues.is_empty() && format == CueFormat::Srt && !text.is_empty() {
        return Err(TranscriptError::UnknownForm);
    }
    Ok((format, cues))
}

/// Parses `00:01:02.345 --> 00:01:03,000`. Settings may follow, and hours may be missing.
fn cue_times(line: &str) -> Option<Range<f64>> {
    let (start, rest) = line.split_once("-->")?;
    Some(time(start.trim())?..time(rest.split_whitespace().next()?)?)
}

fn time(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    for (i, part) in text.split(':').enumerate() {
        if i > 2 || !part.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        seconds = seconds * 60.0 + part.replace(',', ".").parse::<f64>().ok()?;
    }
    Some(seconds)
}

/// Returns the text of a cue without voice tags, because the service assigns the speakers itself.
fn without_voices(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    // No tag ends after the last '>', so the search for tags stops there.
    let last_end = text.rfind('>').map_or(0, |at| at + 1);
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        plain.push_str(before);
        let is_voice = tag.starts_with("</v>") || tag.starts_with("<v ") || tag.starts_with("<v.");
        let may_end = is_voice && text.len() - tag.len() < last_end;
        if let Some(end) = may_end.then(|| tag.find('>')).flatten() {
            rest = &tag[end + 1..];
        } else {
            plain.push('<');
            rest = &tag[1..];
        }
    }
    plain + rest
}

/// Formats turns without a transcript as cues. The text of a cue is the name of its speaker.
pub fn cues_of_turns(format: CueFormat, turns: &[Turn], name: &dyn Fn(usize) -> String) -> String {
    let said = turns.iter().map(|turn| {
        let name = one_line(&name(turn.speaker));
        let text = if format == CueFormat::Vtt { escaped(&name) } else { name };
        Said { seconds: turn.seconds.clone(), speaker: Some(turn.speaker), text }
    });
    let said: Vec<Said> = said.collect();
    // The text is already the name, so SRT does not need a name before it.
    if format == CueFormat::Srt {
        let nameless: Vec<Said> = said.into_iter().map(|part| Said { speaker: None, ..part }).collect();
        return cues(format, &nameless, name);
    }
    cues(format, &said, name)
}

/// Formats cues with the names of their speakers. The text of `said` is already in the markup of the format.
pub(super) fn cues(format: CueFormat, said: &[Said], name: &dyn Fn(usize) -> String) -> String {
    let cue = |(i, part): (usize, &Said)| {
        let speaker = part.speaker.map(name).map(|name| one_line(&name));
        // An empty line would end the cue.
        let words: Vec<&str> = part.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let words = words.join("\n");
        // In SRT, every line with an arrow counts as a line of times.
        let words = if format == CueFormat::Srt { words.replace("-->", "->") } else { words };
        let times =
            |mark| format!("{} --> {}", stamp(part.seconds.start, mark), stamp(part.seconds.end, mark));
        match (format, speaker) {
            (CueFormat::Vtt, Some(speaker)) => format!("{}\n<v {}>{words}\n", times('.'), escaped(&speaker)),
            (CueFormat::Vtt, None) => format!("{}\n{words}\n", times('.')),
            (CueFormat::Srt, Some(speaker)) => format!("{}\n{}\n{speaker}: {words}\n", i + 1, times(',')),
            (CueFormat::Srt, None) => format!("{}\n{}\n{words}\n", i + 1, times(',')),
        }
    };
    let head = (format == CueFormat::Vtt).then(|| "WEBVTT\n".to_owned());
    let cues: Vec<String> = head.into_iter().chain(said.iter().enumerate().map(cue)).collect();
    cues.join("\n") + if cues.is_empty() { "" } else { "\n" }
}

/// Escapes the characters that would begin or end a tag in VTT.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the text of a VTT cue without tags and escapes.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        plain.push_str(before);
        let Some((_, after)) = tag.split_once('>') else {
            plain.push('<');
            plain.push_str(tag);
            rest = "";
            break;
        };
        rest = after;
    }
    plain.push_str(rest);
    plain.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
}

/// Removes line breaks, and changes arrows that would make the line look like a line of times.
fn one_line(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").replace("-->", "->")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_or_text_makes_a_cue_of_its_own() {
        let text = "first\n\n7\n00:00:09,000 --> 00:00:10,000\nnot said";
        let said = [Said { seconds: 0.0..1.0, speaker: Some(0), text: text.into() }];
        let name = |_: usize| "Anna\n\n8\n00:00:11,000 --> 00:00:12,000".to_owned();
        for format in [CueFormat::Srt, CueFormat::Vtt] {
            let text = if format == CueFormat::Vtt { escaped(&said[0].text) } else { said[0].text.clone() };
            let written = cues(format, &[Said { text, ..said[0].clone() }], &name);
            assert_eq!(written.matches("-->").count(), 1, "{written}");
            let (_, read) = parse_cues(&written).unwrap();
            assert_eq!(read.len(), 1, "{written}");
        }
    }

    #[test]
    fn a_first_line_may_be_blank() {
        let captions = "WEBVTT\n\n00:00.500 --> 00:02.400 align:start\n \nfirst<00:00.900><c> words</c>\n\n00:02.400 --> 00:02.410\n\n\
            NOTE nothing\n\n00:02.410 --> 00:04.400\nsecond &amp; last\n \n";
        let (_, read) = parse_cues(captions).unwrap();
        let texts: Vec<String> = read.iter().map(|(_, text)| plain(text)).collect();
        assert_eq!(texts, [" \nfirst words", "", "second & last"].map(|text| text.trim().to_owned()));
        let subtitles = "1\n00:00:01,000 --> 00:00:02,000\n\nfirst\n\n2\n00:00:02,000 --> 00:00:03,000\n\n3\n00:00:03,000 --> 00:00:04,000\nthird";
        let (_, read) = parse_cues(subtitles).unwrap();
        assert_eq!(read.iter().map(|(_, text)| &**text).collect::<Vec<_>>(), ["first", "", "third"]);
    }

    #[test]
    fn voices_are_taken_off_and_other_tags_stay() {
        let cases = [
            ("<v Anna>hello</v>", "hello"),
            ("<v.loud Anna>a <i>b</i>", "a <i>b</i>"),
            ("a < b", "a < b"),
            ("<v Anna", "<v Anna"),
            ("a > b <v Anna", "a > b <v Anna"),
            ("<<v A>b", "<b"),
        ];
        for (text, expected) in cases {
            assert_eq!(without_voices(text), expected, "{text}");
        }
    }
}
