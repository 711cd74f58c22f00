//! Whisper's JSON, and lists of parts: what is not understood stays as it is.

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::attribute::{Said, Timeline};
use super::error::TranscriptError;

/// Parts and words at the most: a day of speech has fewer.
const MAX_PARTS: usize = 100_000;
const MAX_WORDS: usize = 500_000;

/// A transcript in JSON, checked.
#[derive(Clone, Debug)]
pub struct JsonTranscript {
    /// What the parts are in; none of a list.
    object: Option<Map<String, Value>>,
    /// None of a transcript of words alone.
    parts: Vec<Part>,
    /// Words beside the parts, as OpenAI's API answers them.
    words: Vec<Word>,
}

#[derive(Clone, Debug)]
struct Part {
    fields: Map<String, Value>,
    seconds: Range<f64>,
    text: String,
    /// Words in it, if it has some.
    words: Vec<Word>,
    /// Places of words beside the parts, if it has none of its own.
    words_beside: Range<usize>,
}

#[derive(Clone, Debug)]
struct Word {
    fields: Map<String, Value>,
    /// None of a word that was not aligned.
    seconds: Option<Range<f64>>,
}

impl JsonTranscript {
    pub(super) fn new(value: Value) -> Result<Self, TranscriptError> {
        let (object, parts, words) = match value {
            Value::Array(parts) => (None, parts, Vec::new()),
            Value::Object(mut object) => {
                let parts = take_list(&mut object, "segments");
                let words = take_list(&mut object, "words");
                if parts.is_none() && words.is_none() && !object.get("segments").is_some_and(Value::is_array)
                {
                    return Err(TranscriptError::UnknownFormat);
                }
                (Some(object), parts.unwrap_or_default(), words.unwrap_or_default())
            }
            _ => return Err(TranscriptError::UnknownFormat),
        };
        if parts.is_empty() && words.is_empty() {
            return Err(TranscriptError::Empty);
        }
        if parts.len() > MAX_PARTS || words.len() > MAX_WORDS {
            return Err(TranscriptError::TooLong { max_parts: MAX_PARTS, max_words: MAX_WORDS });
        }
        let parts = parts.into_iter().enumerate().map(|(i, part)| Part::new(part, i + 1));
        let mut parts = parts.collect::<Result<Vec<Part>, _>>()?;
        let words = words.into_iter().map(|word| Word::new(word, 1)).collect::<Result<Vec<Word>, _>>()?;
        share_out(&words, &mut parts);
        Ok(Self { object, parts, words })
    }

    pub(super) fn starts(&self) -> Vec<f64> {
        if self.parts.is_empty() {
            return self.words.iter().filter_map(|word| Some(word.seconds.as_ref()?.start)).collect();
        }
        self.parts.iter().map(|part| part.seconds.start).collect()
    }

    /// The same with `speaker` on each part and word.
    pub(super) fn with_speakers(&self, timeline: &Timeline<'_>, name: &dyn Fn(usize) -> String) -> Value {
        let named =
            |speaker: Option<usize>| speaker.map_or(Value::Null, |speaker| Value::String(name(speaker)));
        let pieces: Vec<(&Part, Vec<Piece<'_>>)> =
            self.parts.iter().map(|part| (part, self.pieces(part, timeline))).collect();
        // What is split has new numbers from there on.
        let is_renumbered = pieces.iter().any(|(_, pieces)| pieces.len() > 1);
        let mut parts: Vec<Value> = Vec::new();
        for (part, pieces) in pieces {
            let is_split = pieces.len() > 1;
            for piece in pieces {
                let mut fields = part.fields.clone();
                fields.insert("speaker".into(), named(piece.said.speaker));
                if is_split {
                    fields.insert("start".into(), json!(piece.said.seconds.start));
                    fields.insert("end".into(), json!(piece.said.seconds.end));
                    fields.insert("text".into(), json!(piece.said.text));
                    // Numbers of tokens are of the whole part.
                    fields.remove("tokens");
                }
                if is_renumbered && fields.get("id").is_some_and(Value::is_number) {
                    fields.insert("id".into(), json!(parts.len()));
                }
                if !part.words.is_empty() {
                    let words = piece.words.iter().map(|(word, speaker)| word.with_speaker(named(*speaker)));
                    fields.insert("words".into(), words.collect());
                }
                parts.push(Value::Object(fields));
            }
        }
        let Some(object) = &self.object else { return Value::Array(parts) };
        let mut object = object.clone();
        if !parts.is_empty() {
            object.insert("segments".into(), Value::Array(parts));
        }
        if !self.words.is_empty() {
            let speakers = speakers_of_words(&self.words, timeline);
            let words = self.words.iter().zip(speakers);
            let words = words.map(|(word, speaker)| word.with_speaker(named(speaker)));
            object.insert("words".into(), words.collect());
        }
        Value::Object(object)
    }

    pub(super) fn said(&self, timeline: &Timeline<'_>) -> Vec<Said> {
        if self.parts.is_empty() {
            let pieces = pieces_of_words(&self.words.iter().collect::<Vec<_>>(), timeline);
            return pieces.into_iter().map(|piece| piece.said).collect();
        }
        self.parts.iter().flat_map(|part| self.pieces(part, timeline)).map(|piece| piece.said).collect()
    }

    /// A part, split at words where the speaker changes.
    fn pieces<'a>(&'a self, part: &'a Part, timeline: &Timeline<'_>) -> Vec<Piece<'a>> {
        let words: Vec<&Word> = match &part.words[..] {
            [] => self.words[part.words_beside.clone()].iter().collect(),
            words => words.iter().collect(),
        };
        let mut pieces = pieces_of_words(&words, timeline);
        let speaker = timeline.speaker_of(&part.seconds);
        if pieces.len() < 2 {
            let words = pieces.pop().map(|piece| piece.words).unwrap_or_default();
            let speaker = words.iter().find_map(|(_, speaker)| *speaker).or(speaker);
            let words = words.into_iter().map(|(word, of)| (word, of.or(speaker))).collect();
            let said = Said { seconds: part.seconds.clone(), speaker, text: part.text.clone() };
            return vec![Piece { said, words }];
        }
        // The edges of the part stay, and so does its text, if it is that of the words.
        let last = pieces.len() - 1;
        pieces[0].said.seconds.start = part.seconds.start;
        pieces[last].said.seconds.end = part.seconds.end;
        if let Some(texts) = cut(&part.text, &pieces) {
            pieces.iter_mut().zip(texts).for_each(|(piece, text)| piece.said.text = text);
        }
        pieces
    }
}

/// The list of a field, taken out, if it is one and not empty.
fn take_list(fields: &mut Map<String, Value>, name: &str) -> Option<Vec<Value>> {
    match fields.get_mut(name) {
        Some(Value::Array(list)) if !list.is_empty() => Some(std::mem::take(list)),
        _ => None,
    }
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

fn pieces_of_words<'a>(words: &[&'a Word], timeline: &Timeline<'_>) -> Vec<Piece<'a>> {
    let speakers = speakers_of_words(words.iter().copied(), timeline);
    let words: Vec<(&Word, Option<usize>)> = words.iter().copied().zip(speakers).collect();
    let mut end = 0.0;
    let mut pieces = Vec::new();
    for run in words.chunk_by(|a, b| a.1 == b.1) {
        let mut times = run.iter().filter_map(|(word, _)| word.seconds.clone());
        let first = times.next().unwrap_or(end..end);
        end = times.next_back().unwrap_or(first.clone()).end.max(first.start);
        let text = joined(&run.iter().map(|(word, _)| word.text()).collect::<Vec<_>>());
        pieces.push(Piece {
            said: Said { seconds: first.start..end, speaker: run[0].1, text },
            words: run.to_vec(),
        });
    }
    pieces
}

/// A text, cut where the first word of each piece but the first begins; none if it is not the text of the words.
fn cut(text: &str, pieces: &[Piece<'_>]) -> Option<Vec<String>> {
    let mut at = 0;
    let mut cuts = Vec::new();
    for piece in pieces {
        for (i, (word, _)) in piece.words.iter().enumerate() {
            let word = word.text().trim();
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
    Some(cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_owned()).collect())
}

impl Part {
    fn new(value: Value, place: usize) -> Result<Self, TranscriptError> {
        let wrong = |reason: &str| TranscriptError::Part { place, reason: reason.to_owned() };
        let Value::Object(mut fields) = value else { return Err(wrong("is no object")) };
        let seconds = times(&fields).ok_or_else(|| wrong("has no start and end"))?;
        check(&seconds).map_err(|reason| wrong(&reason))?;
        let text = fields.get("text").and_then(Value::as_str).ok_or_else(|| wrong("has no text"))?.to_owned();
        let words = take_list(&mut fields, "words").unwrap_or_default();
        let words = words.into_iter().map(|word| Word::new(word, place)).collect::<Result<_, _>>()?;
        Ok(Self { fields, seconds, text, words, words_beside: 0..0 })
    }
}

impl Word {
    fn new(value: Value, place: usize) -> Result<Self, TranscriptError> {
        let wrong = |reason: String| TranscriptError::Part { place, reason };
        let Value::Object(fields) = value else {
            return Err(wrong("has a word that is no object".into()));
        };
        let seconds = times(&fields);
        if let Some(seconds) = &seconds {
            check(seconds).map_err(|reason| wrong(format!("has a word that {reason}")))?;
        }
        Ok(Self { fields, seconds })
    }

    /// Whisper's `word`, or `text`.
    fn text(&self) -> &str {
        let text = self.fields.get("word").or_else(|| self.fields.get("text"));
        text.and_then(Value::as_str).unwrap_or_default()
    }

    fn with_speaker(&self, speaker: Value) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("speaker".into(), speaker);
        Value::Object(fields)
    }
}

/// The speakers of words; one without times is said by whoever said the word before or, of the first, behind it.
fn speakers_of_words<'a>(
    words: impl IntoIterator<Item = &'a Word>,
    timeline: &Timeline<'_>,
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

/// Words with spaces between, unless they bring their own.
fn joined(words: &[&str]) -> String {
    let bring_spaces = words.iter().any(|word| word.starts_with(' '));
    words.join(if bring_spaces { "" } else { " " })
}

fn times(fields: &Map<String, Value>) -> Option<Range<f64>> {
    let time = |name: &str| fields.get(name).and_then(Value::as_f64);
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
