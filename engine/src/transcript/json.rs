//! Transcripts in JSON. Unknown fields stay unchanged.
//!
//! A transcript keeps its original text, and its parts and words are ranges of it. Memory therefore grows only with the
//! length of the text, and numbers keep their notation.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::attribute::{Said, Timeline};
use super::error::TranscriptError;
use super::forms::{Form, FormName, Lists, MAX_PARTS, MAX_WORDS, WordsBeside};
use super::raw::{MAX_FIELDS, ObjectWriter, fields, items, number, string};
use super::times::check_times;

/// A transcript in JSON, checked.
#[derive(Clone, Debug)]
pub struct JsonTranscript {
    text: Arc<str>,
    form: &'static Form,
    parts_at: Option<Place>,
    parts: Vec<TranscriptPart>,
    /// The words in the parts, part by part.
    words_in_parts: Vec<Word>,
    word_lists: Vec<WordList>,
    /// The words outside of parts, list by list.
    words: Vec<Word>,
    /// Further objects that get a speaker, and their times.
    labelled: Vec<(Place, Range<f64>)>,
}

/// A range of the text.
type Place = Range<usize>;

#[derive(Clone, Debug)]
struct TranscriptPart {
    at: Place,
    /// The end is infinite until [`JsonTranscript::end_at`] if it is unknown.
    seconds: Range<f64>,
    /// The range of `words_in_parts` that is in the part.
    words: Range<usize>,
    /// The range of the words outside of parts that lie in the part, if the part holds no words.
    words_beside: Range<usize>,
}

#[derive(Clone, Debug)]
struct Word {
    at: Place,
    /// `None` if the word was not aligned.
    seconds: Option<Range<f64>>,
    /// Whether the item continues the previous word, as punctuation or a syllable. It then has that word's speaker.
    is_joined: bool,
}

/// A list of words outside of parts.
#[derive(Clone, Debug)]
struct WordList {
    at: Place,
    words: Range<usize>,
    are_said: bool,
}

impl JsonTranscript {
    pub(super) fn new(text: &str) -> Result<Self, TranscriptError> {
        // The text must be a single JSON value. Later reads of its parts need no check.
        serde_json::from_str::<&RawValue>(text).map_err(|_| TranscriptError::UnknownForm)?;
        let text: Arc<str> = text.into();
        let lists = Lists::find(&text)?;
        let mut transcript = Self {
            text: Arc::clone(&text),
            form: lists.form,
            parts_at: None,
            parts: Vec::new(),
            words_in_parts: Vec::new(),
            word_lists: Vec::new(),
            words: Vec::new(),
            labelled: Vec::new(),
        };
        for WordsBeside { list, are_said } in lists.words {
            let begin = transcript.words.len();
            for word in items(list, MAX_WORDS - begin)? {
                let word = transcript.word(word, 1)?;
                transcript.words.push(word);
            }
            let words = begin..transcript.words.len();
            transcript.word_lists.push(WordList { at: transcript.place(list), words, are_said });
        }
        if let Some(parts) = lists.parts {
            transcript.parts_at = Some(transcript.place(parts));
            for (i, part) in items(parts, MAX_PARTS)?.into_iter().enumerate() {
                transcript.add_part(part, i + 1)?;
            }
        }
        for object in lists.labelled {
            if let Some(seconds) = fields(object).and_then(|fields| transcript.form.seconds(&fields)) {
                transcript.labelled.push((transcript.place(object), seconds));
            }
        }
        for i in 1..transcript.parts.len() {
            let next = transcript.parts[i].seconds.start;
            let seconds = &mut transcript.parts[i - 1].seconds;
            if seconds.end.is_infinite() {
                seconds.end = next.max(seconds.start);
            }
        }
        if let [list, ..] = &transcript.word_lists[..] {
            share_out(&transcript.words[list.words.clone()], &mut transcript.parts);
        }
        Ok(transcript)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.words.is_empty()
    }

    /// Ends a last part without an end at the end of the recording.
    pub(super) fn end_at(&mut self, duration_seconds: f64) {
        for part in &mut self.parts {
            if part.seconds.end.is_infinite() {
                part.seconds.end = duration_seconds.max(part.seconds.start);
            }
        }
    }

    /// Returns the range of a piece of the text.
    fn place(&self, piece: &str) -> Place {
        let start = piece.as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + piece.len()
    }

    fn add_part(&mut self, part: &str, place: usize) -> Result<(), TranscriptError> {
        let wrong = |reason: &str| TranscriptError::Part { place, reason: reason.to_owned() };
        let form = self.form;
        let fields =
            fields(part).ok_or_else(|| wrong(&format!("is no object of up to {MAX_FIELDS} fields")))?;
        if !fields.get(form.text).is_some_and(|text| text.starts_with('"')) {
            return Err(wrong(&format!("has no {}", form.text)));
        }
        let begin = self.words_in_parts.len();
        if let Some(words) = fields.get(form.words).filter(|words| words.starts_with(['[', '{'])) {
            // Some forms hold numbers of tokens here, which are not words.
            for word in items(words, MAX_WORDS - self.words.len() - begin)? {
                let word = self.word(word, place)?;
                self.words_in_parts.push(word);
            }
        }
        if form.name == FormName::WhisperCpp {
            self.join_tokens(begin);
        }
        let words = begin..self.words_in_parts.len();
        let seconds = if form.name == FormName::Vosk {
            // Vosk gives only the times of words. A pause has no words, and is placed at the end of the part before.
            let mut times = self.words_in_parts[words.clone()].iter().filter_map(|word| word.seconds.clone());
            let before = self.parts.last().map_or(0.0, |part| part.seconds.end);
            let first = times.next().unwrap_or(before..before);
            first.start..times.next_back().map_or(first.end, |last| last.end)
        } else {
            form.seconds(&fields).ok_or_else(|| wrong("has no start and end"))?
        };
        let seconds = check_times(seconds).map_err(|reason| wrong(&reason))?;
        self.parts.push(TranscriptPart { at: self.place(part), seconds, words, words_beside: 0..0 });
        Ok(())
    }

    fn word(&self, word: &str, place: usize) -> Result<Word, TranscriptError> {
        let wrong = |reason: String| TranscriptError::Part { place, reason };
        let no_object = || wrong(format!("has a word that is no object of up to {MAX_FIELDS} fields"));
        let fields = fields(word).ok_or_else(no_object)?;
        let seconds = self.form.seconds(&fields).map(|seconds| {
            // The end of a word does not matter.
            let end = if seconds.end.is_infinite() { seconds.start } else { seconds.end };
            check_times(seconds.start..end).map_err(|reason| wrong(format!("has a word that {reason}")))
        });
        let is_joined = self.form.name == FormName::Aws && fields.get("type") == Some(r#""punctuation""#);
        Ok(Word { at: self.place(word), seconds: seconds.transpose()?, is_joined })
    }

    /// Joins the tokens of a part, from `begin` on, to words. A word begins with a space, unless the language has none.
    fn join_tokens(&mut self, begin: usize) {
        let begins_word: Vec<bool> =
            self.words_in_parts[begin..].iter().map(|token| self.word_text(token).starts_with(' ')).collect();
        let has_blanks = begins_word.contains(&true);
        for (token, begins_word) in self.words_in_parts[begin..].iter_mut().zip(begins_word) {
            token.is_joined = has_blanks && !begins_word;
        }
    }

    /// Returns the starts of the parts or, if there are no parts, of the words.
    pub(super) fn starts(&self) -> Vec<f64> {
        if self.parts.is_empty() {
            return self.words.iter().filter_map(|word| Some(word.seconds.as_ref()?.start)).collect();
        }
        self.parts.iter().map(|part| part.seconds.start).collect()
    }

    /// Returns the transcript with a speaker on each part and word, in the field that the form has for it.
    pub(super) fn with_speakers(&self, timeline: &Timeline, name: &dyn Fn(usize) -> String) -> Box<RawValue> {
        let named = |speaker: Option<usize>| match speaker {
            None => "null".to_owned(),
            // Deepgram's form has numbers.
            Some(speaker) if self.form.name == FormName::Deepgram => speaker.to_string(),
            Some(speaker) => string(&name(speaker)),
        };
        let mut changes: Vec<(Place, String)> = Vec::new();
        let mut change = |at: &Place, write: &mut dyn FnMut(&mut String)| {
            let mut out = String::with_capacity(at.len() + at.len() / 4);
            write(&mut out);
            changes.push((at.clone(), out));
        };
        if let Some(at) = &self.parts_at {
            change(at, &mut |out| self.write_parts(out, timeline, &named));
        }
        for list in &self.word_lists {
            let words = &self.words[list.words.clone()];
            let speakers = speakers_of_words(words, timeline);
            change(&list.at, &mut |out| {
                write_list(out, words.iter().zip(&speakers), |out, (word, speaker)| {
                    self.write_word(out, word, &named(*speaker));
                });
            });
            // Some forms also list the words of each speaker.
            let (at, before, behind) = match self.form.name {
                FormName::Aws => self.place_for(&["results"], "speaker_labels"),
                FormName::AssemblyAi => self.place_for(&[], "utterances"),
                _ => continue,
            };
            let runs = self.runs(words, &speakers);
            change(&at, &mut |out| {
                out.push_str(&before);
                match self.form.name {
                    FormName::Aws => write_speaker_labels(out, &runs, &named),
                    _ => self.write_utterances(out, &runs, &named),
                }
                out.push_str(behind);
            });
        }
        for (at, seconds) in &self.labelled {
            change(at, &mut |out| {
                let mut object = ObjectWriter::new(out, &self.text[at.clone()]);
                object.put(self.form.speaker, &named(timeline.speaker_of(seconds)));
                object.end();
            });
        }
        changes.sort_by_key(|(at, _)| at.start);
        let mut out = String::with_capacity(self.text.len() + self.text.len() / 4);
        let mut end = 0;
        for (at, text) in changes {
            out.push_str(&self.text[end..at.start]);
            out.push_str(&text);
            end = at.end;
        }
        out.push_str(&self.text[end..]);
        RawValue::from_string(out).expect("it is made of JSON")
    }

    fn write_parts(&self, out: &mut String, timeline: &Timeline, named: &dyn Fn(Option<usize>) -> String) {
        // If any part is split, all parts get new numbers.
        let is_renumbered = self.parts.iter().any(|part| self.is_split(part, timeline));
        let mut n_written = 0;
        let pieces = self.parts.iter().flat_map(|part| {
            let pieces = self.pieces_of(part, timeline);
            let is_split = pieces.len() > 1;
            pieces.into_iter().map(move |piece| (part, piece, is_split))
        });
        write_list(out, pieces, |out, (part, piece, is_split)| {
            let mut object = ObjectWriter::new(out, &self.text[part.at.clone()]);
            object.put(self.form.speaker, &named(piece.said.speaker));
            if is_split {
                self.form.put_seconds(&mut object, &piece.said.seconds);
                object.put(self.form.text, &string(&piece.said.text));
                self.form.of_whole_parts.iter().for_each(|field| object.remove(field));
            }
            let has_number = object.get("id").is_some_and(|id| id.parse::<f64>().is_ok());
            if is_renumbered && has_number {
                object.put("id", &n_written.to_string());
            }
            if !part.words.is_empty() {
                object.replace(self.form.words, |out| {
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
        object.put(self.form.speaker, speaker);
        object.end();
    }

    /// Writes AssemblyAI's utterances: one object for each run of words.
    fn write_utterances(
        &self,
        out: &mut String,
        runs: &[TextPiece<'_>],
        named: &dyn Fn(Option<usize>) -> String,
    ) {
        write_list(out, runs.iter(), |out, run| {
            let speaker = named(run.said.speaker);
            let confidence = |(word, _): &(&Word, Option<usize>)| -> Option<f64> {
                let confidence = fields(&self.text[word.at.clone()])?.get("confidence")?;
                serde_json::from_str(confidence).ok()
            };
            let sum: Option<f64> = run.words.iter().map(confidence).sum();
            let confidence = sum.map_or("null".to_owned(), |sum| number(sum / run.words.len() as f64));
            let Range { start, end } = run.said.seconds;
            append(
                out,
                format_args!(
                    r#"{{"speaker":{speaker},"text":{},"confidence":{confidence},"start":{:.0},"end":{:.0},"words":"#,
                    string(&run.said.text),
                    start * 1e3,
                    end * 1e3
                ),
            );
            write_list(out, run.words.iter(), |out, (word, _)| self.write_word(out, word, &speaker));
            out.push('}');
        });
    }

    /// Returns the parts with their speakers. A part with words is split where the speaker changes.
    pub(super) fn collect_said(&self, timeline: &Timeline) -> Vec<Said> {
        let pieces: Vec<TextPiece<'_>> = if self.parts.is_empty() {
            let mut pieces = Vec::new();
            for list in self.word_lists.iter().filter(|list| list.are_said) {
                let words = &self.words[list.words.clone()];
                pieces.extend(self.runs(words, &speakers_of_words(words, timeline)));
            }
            pieces
        } else {
            self.parts.iter().flat_map(|part| self.pieces_of(part, timeline)).collect()
        };
        // Several channels have one list of words each, so the result is sorted by time. A pause has no text.
        let mut said: Vec<Said> = pieces.into_iter().map(|piece| piece.said).collect();
        said.retain(|said| !said.text.trim().is_empty());
        if self.word_lists.len() > 1 {
            said.sort_by(|a, b| a.seconds.start.total_cmp(&b.seconds.start));
        }
        said
    }

    /// Returns the words that a part holds. If it holds none, returns the words outside of parts that lie in it.
    fn words_of(&self, part: &TranscriptPart) -> &[Word] {
        match &self.words_in_parts[part.words.clone()] {
            [] => &self.words[part.words_beside.clone()],
            words => words,
        }
    }

    /// Returns whether the speaker changes within a part.
    fn is_split(&self, part: &TranscriptPart, timeline: &Timeline) -> bool {
        let speakers = speakers_of_words(self.words_of(part), timeline);
        speakers.windows(2).any(|pair| pair[0] != pair[1])
    }

    /// Splits a part at words where the speaker changes.
    fn pieces_of<'a>(&'a self, part: &'a TranscriptPart, timeline: &Timeline) -> Vec<TextPiece<'a>> {
        let words = self.words_of(part);
        let mut pieces = self.runs(words, &speakers_of_words(words, timeline));
        let speaker = timeline.speaker_of(&part.seconds);
        let text = self.text_of(&part.at, &[self.form.text]);
        if pieces.len() < 2 {
            let words = pieces.pop().map(|piece| piece.words).unwrap_or_default();
            let speaker = words.iter().find_map(|(_, speaker)| *speaker).or(speaker);
            let words = words.into_iter().map(|(word, of)| (word, of.or(speaker))).collect();
            let said = Said { seconds: part.seconds.clone(), speaker, text: text.into_owned() };
            return vec![TextPiece { said, words }];
        }
        // The edges of the part stay. Its text stays, too, if it is the text of the words.
        let last = pieces.len() - 1;
        pieces[0].said.seconds.start = part.seconds.start;
        pieces[last].said.seconds.end = part.seconds.end;
        if let Some(texts) = self.split_text(&text, &pieces) {
            pieces.iter_mut().zip(texts).for_each(|(piece, text)| piece.said.text = text);
        }
        pieces
    }

    /// Splits words where the speaker changes.
    fn runs<'a>(&'a self, words: &'a [Word], speakers: &[Option<usize>]) -> Vec<TextPiece<'a>> {
        let words: Vec<(&Word, Option<usize>)> = words.iter().zip(speakers.iter().copied()).collect();
        let mut end = 0.0;
        let mut pieces = Vec::new();
        for run in words.chunk_by(|a, b| a.1 == b.1) {
            let mut times = run.iter().filter_map(|(word, _)| word.seconds.clone());
            let first = times.next().unwrap_or(end..end);
            end = times.next_back().unwrap_or(first.clone()).end.max(first.start);
            let said = Said { seconds: first.start..end, speaker: run[0].1, text: self.join_words(run) };
            pieces.push(TextPiece { said, words: run.to_vec() });
        }
        pieces
    }

    /// Returns the text of words. Spaces separate them, unless the words include spaces.
    fn join_words(&self, words: &[(&Word, Option<usize>)]) -> String {
        let texts: Vec<Cow<'_, str>> = words.iter().map(|(word, _)| self.word_text(word)).collect();
        let bring_blanks = texts.iter().any(|text| text.starts_with(' '));
        let mut joined = String::new();
        for ((word, _), text) in words.iter().zip(texts) {
            if !bring_blanks && !joined.is_empty() && !word.is_joined {
                joined.push(' ');
            }
            joined.push_str(&text);
        }
        joined
    }

    /// Cuts a text where the first word of each piece begins, except for the first piece. Returns `None` if the text is
    /// not that of the words.
    fn split_text(&self, text: &str, pieces: &[TextPiece<'_>]) -> Option<Vec<String>> {
        let mut at = 0;
        let mut cuts = Vec::new();
        for piece in pieces {
            for (i, (word, _)) in piece.words.iter().enumerate() {
                let word = self.word_text(word);
                let word = word.trim();
                let found = at + text[at..].find(word)?;
                if i == 0 && !cuts.is_empty() {
                    // The space before a word stays with the word, as in Whisper's texts, unless the text begins without a space.
                    cuts.push(text[..found].trim_end().len());
                } else if i == 0 {
                    cuts.push(0);
                }
                at = found + word.len();
            }
        }
        cuts.push(text.len());
        let begins_with_blank = text.starts_with(char::is_whitespace);
        let piece = |cut: &[usize]| {
            let piece = &text[cut[0]..cut[1].max(cut[0])];
            if begins_with_blank { piece.to_owned() } else { piece.trim_start().to_owned() }
        };
        Some(cuts.windows(2).map(piece).collect())
    }

    fn word_text(&self, word: &Word) -> Cow<'_, str> {
        if self.form.name == FormName::Aws {
            let best = fields(&self.text[word.at.clone()]).and_then(|item| {
                let alternatives = items(item.get("alternatives")?, MAX_WORDS).ok()?;
                super::raw::text(fields(alternatives.first()?)?.get("content")?)
            });
            return best.unwrap_or_default();
        }
        match self.text_of(&word.at, self.form.word_text) {
            // Marks of Whisper's decoder, such as those of the beginning and of times, are not text.
            mark if self.form.name == FormName::WhisperCpp && mark.starts_with("[_") => Cow::Borrowed(""),
            text => text,
        }
    }

    /// Returns the range of the value of a field in an object of the text, which is found by its path. If the field is
    /// missing, returns the place where it may be added, and the text before and after its value.
    fn place_for(&self, path: &[&str], name: &str) -> (Place, String, &'static str) {
        let object = path.iter().fold(&*self.text, |object, name| {
            fields(object).and_then(|fields| fields.get(name)).unwrap_or(object)
        });
        if let Some(value) = fields(object).and_then(|fields| fields.get(name)) {
            return (self.place(value), String::new(), "");
        }
        let begin = self.place(object).start + 1;
        (begin..begin, format!("{}:", string(name)), ",")
    }

    /// Returns the string in the first of these fields that an object has.
    fn text_of(&self, at: &Place, names: &[&str]) -> Cow<'_, str> {
        let text = fields(&self.text[at.clone()]).and_then(|fields| {
            let found = names.iter().find_map(|name| fields.get(name))?;
            super::raw::text(found)
        });
        text.unwrap_or_default()
    }
}

/// Writes AWS's list of turns: one object for each run of words, with the times of the words.
fn write_speaker_labels(out: &mut String, runs: &[TextPiece<'_>], named: &dyn Fn(Option<usize>) -> String) {
    let speakers: BTreeSet<Option<usize>> = runs.iter().map(|run| run.said.speaker).collect();
    append(out, format_args!(r#"{{"channel_label":"ch_0","speakers":{},"segments":"#, speakers.len()));
    write_list(out, runs.iter(), |out, run| {
        let label = named(run.said.speaker);
        let times = |seconds: &Range<f64>| {
            format!(
                r#""start_time":"{:.3}","end_time":"{:.3}","speaker_label":{label}"#,
                seconds.start, seconds.end
            )
        };
        append(out, format_args!("{{{},\"items\":", times(&run.said.seconds)));
        let words = run.words.iter().filter_map(|(word, _)| word.seconds.as_ref());
        write_list(out, words, |out, seconds| append(out, format_args!("{{{}}}", times(seconds))));
        out.push('}');
    });
    out.push('}');
}

/// Returns the speaker of each word. A word without times has the speaker of the word before it. At the start, it has the
/// speaker of the first word with times.
fn speakers_of_words(words: &[Word], timeline: &Timeline) -> Vec<Option<usize>> {
    let own = |word: &Word| {
        let seconds = word.seconds.as_ref().filter(|_| !word.is_joined)?;
        timeline.speaker_of(seconds)
    };
    let mut speakers: Vec<Option<usize>> = words.iter().map(own).collect();
    let mut last = speakers.iter().flatten().next().copied();
    for speaker in &mut speakers {
        last = speaker.or(last);
        *speaker = last;
    }
    speakers
}

/// Assigns words outside of parts to the parts in which their middles lie. Both must be in the order of time.
fn share_out(words: &[Word], parts: &mut [TranscriptPart]) {
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

/// A run of words of one speaker.
struct TextPiece<'a> {
    said: Said,
    words: Vec<(&'a Word, Option<usize>)>,
}

fn append(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}

/// Writes a JSON list.
fn write_list<T>(out: &mut String, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    out.push('[');
    for (i, item) in items.enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        write(out, item);
    }
    out.push(']');
}
