//! Whisper's JSON, and lists of parts: what is not understood stays as it is.
//!
//! A transcript is kept as the text it came in. Its parts and words are places in that text, so that memory grows with its bytes alone, and
//! numbers come back as they were written.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::attribute::{Said, Timeline};
use super::error::TranscriptError;
use super::raw::{ListError, ObjectWriter, fields, items, number, string};

/// Parts and words at the most: a day of speech has fewer. Words are those of all parts, and those beside them.
const MAX_PARTS: usize = 100_000;
const MAX_WORDS: usize = 500_000;

/// A transcript in JSON, checked.
#[derive(Clone, Debug)]
pub struct JsonTranscript {
    text: Arc<str>,
    /// Whether it is an object with parts and words in it, not a list of parts.
    is_object: bool,
    /// None of a transcript of words alone.
    parts: Vec<Part>,
    /// Words in the parts, part by part.
    words_in_parts: Vec<Word>,
    /// Words beside the parts, as OpenAI's API answers them.
    words: Vec<Word>,
}

/// A place in the text.
type Place = Range<usize>;

#[derive(Clone, Debug)]
struct Part {
    at: Place,
    seconds: Range<f64>,
    /// Which of the words in parts are in it.
    words: Range<usize>,
    /// Which of the words beside the parts are in it, if it has none of its own.
    words_beside: Range<usize>,
}

#[derive(Clone, Debug)]
struct Word {
    at: Place,
    /// None of a word that was not aligned.
    seconds: Option<Range<f64>>,
}

impl JsonTranscript {
    pub(super) fn new(text: &str) -> Result<Self, TranscriptError> {
        let mut transcript = Self {
            text: text.into(),
            is_object: text.starts_with('{'),
            parts: Vec::new(),
            words_in_parts: Vec::new(),
            words: Vec::new(),
        };
        // The places refer to this text.
        let text = Arc::clone(&transcript.text);
        let (parts, words) = if transcript.is_object {
            let fields = fields(&text).ok_or(TranscriptError::UnknownFormat)?;
            let list = |name: &str| fields.get(name).filter(|list| list.starts_with('['));
            if list("segments").is_none() && list("words").is_none() {
                return Err(TranscriptError::UnknownFormat);
            }
            (list("segments"), list("words"))
        } else {
            (Some(&*text), None)
        };
        let (parts, words) = (read_list(parts, MAX_PARTS)?, read_list(words, MAX_WORDS)?);
        if parts.is_empty() && words.is_empty() {
            return Err(TranscriptError::Empty);
        }
        for (i, part) in parts.into_iter().enumerate() {
            let words_left = MAX_WORDS - words.len() - transcript.words_in_parts.len();
            transcript.add_part(part, i + 1, words_left)?;
        }
        for word in words {
            let word = transcript.word(word, 1)?;
            transcript.words.push(word);
        }
        share_out(&transcript.words, &mut transcript.parts);
        Ok(transcript)
    }

    /// Where a piece of the text lies in it.
    fn place(&self, piece: &str) -> Place {
        let start = piece.as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + piece.len()
    }

    fn add_part(&mut self, part: &str, place: usize, words_left: usize) -> Result<(), TranscriptError> {
        let wrong = |reason: &str| TranscriptError::Part { place, reason: reason.to_owned() };
        let fields = fields(part).ok_or_else(|| wrong("is no object of up to 100 fields"))?;
        let seconds = times(&fields).ok_or_else(|| wrong("has no start and end"))?;
        check(&seconds).map_err(|reason| wrong(&reason))?;
        if !fields.get("text").is_some_and(|text| text.starts_with('"')) {
            return Err(wrong("has no text"));
        }
        let begin = self.words_in_parts.len();
        if let Some(words) = fields.get("words").filter(|words| words.starts_with('[')) {
            for word in read_list(Some(words), words_left)? {
                let word = self.word(word, place)?;
                self.words_in_parts.push(word);
            }
        }
        let words = begin..self.words_in_parts.len();
        self.parts.push(Part { at: self.place(part), seconds, words, words_beside: 0..0 });
        Ok(())
    }

    fn word(&self, word: &str, place: usize) -> Result<Word, TranscriptError> {
        let wrong = |reason: String| TranscriptError::Part { place, reason };
        let fields =
            fields(word).ok_or_else(|| wrong("has a word that is no object of up to 100 fields".into()))?;
        let seconds = times(&fields);
        if let Some(seconds) = &seconds {
            check(seconds).map_err(|reason| wrong(format!("has a word that {reason}")))?;
        }
        Ok(Word { at: self.place(word), seconds })
    }

    pub(super) fn starts(&self) -> Vec<f64> {
        if self.parts.is_empty() {
            return self.words.iter().filter_map(|word| Some(word.seconds.as_ref()?.start)).collect();
        }
        self.parts.iter().map(|part| part.seconds.start).collect()
    }

    /// The same with `speaker` on each part and word.
    pub(super) fn with_speakers(&self, timeline: &Timeline, name: &dyn Fn(usize) -> String) -> Box<RawValue> {
        let mut out = String::with_capacity(self.text.len() + self.text.len() / 4);
        let named = |speaker: Option<usize>| speaker.map_or("null".into(), |speaker| string(&name(speaker)));
        if !self.is_object {
            self.write_parts(&mut out, timeline, &named);
            return raw(out);
        }
        let mut object = ObjectWriter::new(&mut out, &self.text);
        if !self.parts.is_empty() {
            object.replace("segments", |out| self.write_parts(out, timeline, &named));
        }
        if !self.words.is_empty() {
            let speakers = speakers_of_words(&self.words, timeline);
            let words = self.words.iter().zip(speakers);
            object.replace("words", |out| {
                write_list(out, words, |out, (word, speaker)| self.write_word(out, word, &named(speaker)));
            });
        }
        object.end();
        raw(out)
    }

    fn write_parts(&self, out: &mut String, timeline: &Timeline, named: &dyn Fn(Option<usize>) -> String) {
        // If a part is split, all get new numbers.
        let is_renumbered = self.parts.iter().any(|part| self.is_split(part, timeline));
        let mut n_written = 0;
        let pieces = self.parts.iter().flat_map(|part| {
            let pieces = self.pieces(part, timeline);
            let is_split = pieces.len() > 1;
            pieces.into_iter().map(move |piece| (part, piece, is_split))
        });
        write_list(out, pieces, |out, (part, piece, is_split)| {
            let mut object = ObjectWriter::new(out, &self.text[part.at.clone()]);
            object.put("speaker", &named(piece.said.speaker));
            if is_split {
                object.put("start", &number(piece.said.seconds.start));
                object.put("end", &number(piece.said.seconds.end));
                object.put("text", &string(&piece.said.text));
                // Numbers of tokens are of the whole part.
                object.remove("tokens");
            }
            let has_number = object.get("id").is_some_and(|id| id.parse::<f64>().is_ok());
            if is_renumbered && has_number {
                object.put("id", &n_written.to_string());
            }
            if !part.words.is_empty() {
                object.replace("words", |out| {
                    let words = piece.words.iter().copied();
                    write_list(out, words, |out, (word, speaker)| {
                        self.write_word(out, word, &named(speaker));
                    });
                });
            }
            object.end();
            n_written += 1;
        });
    }

    fn write_word(&self, out: &mut String, word: &Word, speaker: &str) {
        let mut object = ObjectWriter::new(out, &self.text[word.at.clone()]);
        object.put("speaker", speaker);
        object.end();
    }

    pub(super) fn said(&self, timeline: &Timeline) -> Vec<Said> {
        if self.parts.is_empty() {
            let words: Vec<&Word> = self.words.iter().collect();
            return self.pieces_of_words(&words, timeline).into_iter().map(|piece| piece.said).collect();
        }
        self.parts.iter().flat_map(|part| self.pieces(part, timeline)).map(|piece| piece.said).collect()
    }

    /// A part's own words or, if it has none, those of the list beside the parts that are in it.
    fn words_of(&self, part: &Part) -> &[Word] {
        match &self.words_in_parts[part.words.clone()] {
            [] => &self.words[part.words_beside.clone()],
            words => words,
        }
    }

    /// Whether the speaker changes within a part.
    fn is_split(&self, part: &Part, timeline: &Timeline) -> bool {
        let speakers = speakers_of_words(self.words_of(part), timeline);
        speakers.windows(2).any(|pair| pair[0] != pair[1])
    }

    /// A part, split at words where the speaker changes.
    fn pieces<'a>(&'a self, part: &'a Part, timeline: &Timeline) -> Vec<Piece<'a>> {
        let words: Vec<&Word> = self.words_of(part).iter().collect();
        let mut pieces = self.pieces_of_words(&words, timeline);
        let speaker = timeline.speaker_of(&part.seconds);
        let text = self.text_of(&part.at, &["text"]);
        if pieces.len() < 2 {
            let words = pieces.pop().map(|piece| piece.words).unwrap_or_default();
            let speaker = words.iter().find_map(|(_, speaker)| *speaker).or(speaker);
            let words = words.into_iter().map(|(word, of)| (word, of.or(speaker))).collect();
            let said = Said { seconds: part.seconds.clone(), speaker, text: text.into_owned() };
            return vec![Piece { said, words }];
        }
        // The edges of the part stay, and so does its text, if it is that of the words.
        let last = pieces.len() - 1;
        pieces[0].said.seconds.start = part.seconds.start;
        pieces[last].said.seconds.end = part.seconds.end;
        if let Some(texts) = self.cut(&text, &pieces) {
            pieces.iter_mut().zip(texts).for_each(|(piece, text)| piece.said.text = text);
        }
        pieces
    }

    fn pieces_of_words<'a>(&'a self, words: &[&'a Word], timeline: &Timeline) -> Vec<Piece<'a>> {
        let speakers = speakers_of_words(words.iter().copied(), timeline);
        let words: Vec<(&Word, Option<usize>)> = words.iter().copied().zip(speakers).collect();
        let mut end = 0.0;
        let mut pieces = Vec::new();
        for run in words.chunk_by(|a, b| a.1 == b.1) {
            let mut times = run.iter().filter_map(|(word, _)| word.seconds.clone());
            let first = times.next().unwrap_or(end..end);
            end = times.next_back().unwrap_or(first.clone()).end.max(first.start);
            let text = joined(&run.iter().map(|(word, _)| self.word_text(word)).collect::<Vec<_>>());
            pieces.push(Piece {
                said: Said { seconds: first.start..end, speaker: run[0].1, text },
                words: run.to_vec(),
            });
        }
        pieces
    }

    /// A text, cut where the first word of each piece but the first begins; none if it is not the text of the words.
    fn cut(&self, text: &str, pieces: &[Piece<'_>]) -> Option<Vec<String>> {
        let mut at = 0;
        let mut cuts = Vec::new();
        for piece in pieces {
            for (i, (word, _)) in piece.words.iter().enumerate() {
                let word = self.word_text(word);
                let word = word.trim();
                let found = at + text[at..].find(word)?;
                if i == 0 && !cuts.is_empty() {
                    // The blank before a word goes with it, as Whisper has it.
                    cuts.push(text[..found].trim_end().len());
                } else if i == 0 {
                    cuts.push(0);
                }
                at = found + word.len();
            }
        }
        cuts.push(text.len());
        Some(cuts.windows(2).map(|cut| text[cut[0]..cut[1].max(cut[0])].to_owned()).collect())
    }

    /// Whisper's `word`, or `text`.
    fn word_text(&self, word: &Word) -> Cow<'_, str> {
        self.text_of(&word.at, &["word", "text"])
    }

    /// The first of the fields of an object that is a string.
    fn text_of(&self, at: &Place, names: &[&str]) -> Cow<'_, str> {
        let text = fields(&self.text[at.clone()]).and_then(|fields| {
            let found = names.iter().find_map(|name| fields.get(name))?;
            super::raw::text(found)
        });
        text.unwrap_or_default()
    }
}

/// The speaker of each word. A word without times has the speaker of the word before it; the first ones, that of the first word
/// with times.
fn speakers_of_words<'a>(
    words: impl IntoIterator<Item = &'a Word>,
    timeline: &Timeline,
) -> Vec<Option<usize>> {
    let own = |word: &Word| word.seconds.as_ref().and_then(|seconds| timeline.speaker_of(seconds));
    let mut speakers: Vec<Option<usize>> = words.into_iter().map(own).collect();
    let mut last = speakers.iter().flatten().next().copied();
    for speaker in &mut speakers {
        last = speaker.or(last);
        *speaker = last;
    }
    speakers
}

/// Gives words beside the parts to the parts that their middles lie in, where both are in the order of time.
fn share_out(words: &[Word], parts: &mut [Part]) {
    let mut next = 0;
    for part in parts.iter_mut() {
        let place =
            |word: &Word| word.seconds.as_ref().map(|seconds| f64::midpoint(seconds.start, seconds.end));
        while next < words.len() && place(&words[next]).is_some_and(|middle| middle < part.seconds.start) {
            next += 1;
        }
        let begin = next;
        while next < words.len() && place(&words[next]).is_none_or(|middle| middle < part.seconds.end) {
            next += 1;
        }
        part.words_beside = begin..next;
    }
}

/// Words in a row of one speaker.
struct Piece<'a> {
    said: Said,
    words: Vec<(&'a Word, Option<usize>)>,
}

/// The items of a list; none of a list that is missing.
fn read_list(list: Option<&str>, max: usize) -> Result<Vec<&str>, TranscriptError> {
    let Some(list) = list else { return Ok(Vec::new()) };
    items(list, max).map_err(|error| match error {
        ListError::NoList => TranscriptError::UnknownFormat,
        ListError::TooLong => TranscriptError::TooLong { max_parts: MAX_PARTS, max_words: MAX_WORDS },
    })
}

/// Writes a list of JSON.
fn write_list<T>(out: &mut String, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    out.push('[');
    for (i, item) in items.enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        write(out, item);
    }
    out.push(']');
}

fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("it is made of JSON")
}

/// Words with spaces between, unless they bring their own.
fn joined(words: &[Cow<'_, str>]) -> String {
    let bring_spaces = words.iter().any(|word| word.starts_with(' '));
    words.join(if bring_spaces { "" } else { " " })
}

fn times(fields: &super::raw::Fields<'_>) -> Option<Range<f64>> {
    let time = |name: &str| fields.get(name).and_then(|time| serde_json::from_str::<f64>(time).ok());
    Some(time("start")?..time("end")?)
}

pub(super) fn check(seconds: &Range<f64>) -> Result<(), String> {
    if seconds.start < 0.0 {
        return Err(format!("begins at {} s", seconds.start));
    }
    if seconds.end < seconds.start {
        return Err(format!("ends at {} s, before it begins at {} s", seconds.end, seconds.start));
    }
    Ok(())
}
