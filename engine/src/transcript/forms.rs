//! The forms of transcripts in JSON: where each form keeps its parts and words, and the names of their fields.

use std::ops::Range;

use super::error::TranscriptError;
use super::raw::{JsonFields, ListError, ObjectWriter, fields, items, number, string, text};
use super::times::stamp;

/// The maximum number of parts in a transcript. A day of speech has fewer.
pub(super) const MAX_PARTS: usize = 100_000;

/// The maximum number of words in a transcript, including the words in all parts.
pub(super) const MAX_WORDS: usize = 500_000;

/// The maximum number of keys of an unknown form that an error shows.
const MAX_SHOWN_KEYS: usize = 12;

/// The maximum number of characters of a key that an error shows.
const MAX_SHOWN_CHARS: usize = 40;

/// The names of the fields of a form's parts and words.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) name: FormName,
    pub(super) times: Times,
    /// The field with the text of a part.
    pub(super) text: &'static str,
    /// The field with the words of a part.
    pub(super) words: &'static str,
    /// The fields that may hold the text of a word. The first that a word has counts.
    pub(super) word_text: &'static [&'static str],
    pub(super) speaker: &'static str,
    /// The fields that describe a whole part. A part that is split loses them.
    pub(super) of_whole_parts: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormName {
    /// OpenAI's `verbose_json`, faster-whisper, whisperX, or a list of parts.
    Whisper,
    WhisperCpp,
    HuggingFace,
    Vosk,
    Deepgram,
    Aws,
    AssemblyAi,
}

/// The notation of times in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// `start` and `end`, in seconds.
    Seconds,
    /// `start` and `end`, in milliseconds.
    Milliseconds,
    /// `start_time` and `end_time`, in seconds, as strings.
    Quoted,
    /// `timestamp`, a pair of seconds.
    Pair,
    /// `offsets` in milliseconds, and the same in `timestamps` as hours, minutes and seconds.
    Offsets,
}

const WHISPER: Form = Form {
    name: FormName::Whisper,
    times: Times::Seconds,
    text: "text",
    words: "words",
    word_text: &["word", "text"],
    speaker: "speaker",
    of_whole_parts: &["tokens"],
};

impl Form {
    /// Returns the times of an object in seconds. An end that is null is infinite.
    pub(super) fn seconds(&self, object: &JsonFields<'_>) -> Option<Range<f64>> {
        let milliseconds = |time: Option<&str>| Some(end_or_time(time?)? / 1e3);
        let seconds = match self.times {
            Times::Seconds => time(object.get("start")?)?..end_or_time(object.get("end")?)?,
            Times::Milliseconds => milliseconds(object.get("start"))?..milliseconds(object.get("end"))?,
            Times::Quoted => {
                let quoted = |name: &str| end_or_time(&text(object.get(name)?)?);
                quoted("start_time")?..quoted("end_time")?
            }
            Times::Pair => match items(object.get("timestamp")?, 2).ok()?[..] {
                [start, end] => time(start)?..end_or_time(end)?,
                _ => return None,
            },
            Times::Offsets => {
                let offsets = fields(object.get("offsets")?)?;
                milliseconds(offsets.get("from"))?..milliseconds(offsets.get("to"))?
            }
        };
        Some(seconds).filter(|seconds| seconds.start.is_finite())
    }

    /// Changes the times of an object.
    pub(super) fn put_seconds(&self, object: &mut ObjectWriter<'_, '_>, seconds: &Range<f64>) {
        let milliseconds = |seconds: f64| format!("{:.0}", seconds * 1e3);
        let quoted = |seconds: f64| string(&format!("{seconds:.3}"));
        let (start, end) = (seconds.start, seconds.end);
        match self.times {
            Times::Seconds => {
                object.put("start", &number(start));
                object.put("end", &number(end));
            }
            Times::Milliseconds => {
                object.put("start", &milliseconds(start));
                object.put("end", &milliseconds(end));
            }
            Times::Quoted => {
                object.put("start_time", &quoted(start));
                object.put("end_time", &quoted(end));
            }
            Times::Pair => object.put("timestamp", &format!("[{},{}]", number(start), number(end))),
            Times::Offsets => {
                let pair = |from: String, to: String| format!(r#"{{"from":{from},"to":{to}}}"#);
                object.put("timestamps", &pair(string(&stamp(start, ',')), string(&stamp(end, ','))));
                object.put("offsets", &pair(milliseconds(start), milliseconds(end)));
            }
        }
    }
}

fn time(text: &str) -> Option<f64> {
    serde_json::from_str(text).ok()
}

fn end_or_time(text: &str) -> Option<f64> {
    if text == "null" { Some(f64::INFINITY) } else { time(text) }
}

static FORMS: [Form; 7] = [
    WHISPER,
    Form {
        name: FormName::WhisperCpp,
        times: Times::Offsets,
        words: "tokens",
        word_text: &["text"],
        ..WHISPER
    },
    Form { name: FormName::HuggingFace, times: Times::Pair, word_text: &["text"], ..WHISPER },
    Form { name: FormName::Vosk, words: "result", ..WHISPER },
    Form {
        name: FormName::Deepgram,
        text: "transcript",
        word_text: &["punctuated_word", "word"],
        of_whole_parts: &["id"],
        ..WHISPER
    },
    Form { name: FormName::Aws, times: Times::Quoted, speaker: "speaker_label", ..WHISPER },
    Form { name: FormName::AssemblyAi, times: Times::Milliseconds, ..WHISPER },
];

/// The lists of a transcript, as slices of its text.
pub(super) struct Lists<'a> {
    pub(super) form: &'static Form,
    pub(super) parts: Option<&'a str>,
    /// The words outside of parts. The parts may hold words as well.
    pub(super) words: Vec<WordsBeside<'a>>,
    /// Objects with times that get a speaker, but are neither parts nor words.
    pub(super) labelled: Vec<&'a str>,
}

/// A list of words outside of parts.
pub(super) struct WordsBeside<'a> {
    pub(super) list: &'a str,
    /// Whether these words are the transcript, and not an alternative to it.
    pub(super) are_said: bool,
}

impl<'a> Lists<'a> {
    fn new(name: FormName) -> Self {
        let form = FORMS.iter().find(|form| form.name == name).expect("each form is listed");
        Self { form, parts: None, words: Vec::new(), labelled: Vec::new() }
    }

    fn with_parts(self, parts: Option<&'a str>) -> Self {
        Self { parts, ..self }
    }

    fn with_words(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        for list in words {
            self.words.push(WordsBeside { list, are_said: self.words.is_empty() });
        }
        self
    }

    /// Finds the lists of a transcript, which is an object or a list, by its keys.
    pub(super) fn find(text: &'a str) -> Result<Self, TranscriptError> {
        if text.starts_with('[') {
            return of_list(text);
        }
        let Some(root) = fields(text) else { return Err(TranscriptError::UnknownForm) };
        let results = root.get("results").and_then(fields);
        if root.get("audio_url").or(root.get("audio_duration")).or(root.get("utterances")).is_some()
            && let Some(words) = root.get("words")
        {
            return Ok(Self::new(FormName::AssemblyAi).with_words(list(words)));
        }
        if let Some(parts) = root.list("segments") {
            let words = root.list("words").or(root.list("word_segments"));
            return Ok(Self::new(FormName::Whisper).with_parts(Some(parts)).with_words(words));
        }
        if let Some(parts) = root.list("transcription") {
            return Ok(Self::new(FormName::WhisperCpp).with_parts(Some(parts)));
        }
        if let Some(chunks) = root.list("chunks") {
            return of_chunks(chunks);
        }
        if let Some(words) = root.list("result") {
            return Ok(Self::new(FormName::Vosk).with_words([words]));
        }
        if let Some(alternatives) = root.list("alternatives") {
            let words = objects(alternatives)?.filter_map(|alternative| alternative.list("result"));
            return Ok(Self::new(FormName::Vosk).with_words(words));
        }
        if let Some(channels) = results.as_ref().and_then(|results| results.list("channels")) {
            return of_channels(channels, results.and_then(|results| results.list("utterances")));
        }
        if let Some(results) = &results
            && let Some(words) = results.list("items")
        {
            let mut lists = Self::new(FormName::Aws).with_words([words]);
            lists.labelled = match results.list("audio_segments") {
                Some(segments) => items(segments, MAX_WORDS)?,
                None => Vec::new(),
            };
            return Ok(lists);
        }
        match root.list("words").or(root.list("word_segments")) {
            Some(words) => Ok(Self::new(FormName::Whisper).with_words([words])),
            None => Err(unknown(&root)),
        }
    }
}

/// Reads a list of parts, of chunks or of Vosk's results.
fn of_list(text: &str) -> Result<Lists<'_>, TranscriptError> {
    let first = objects(text)?.next();
    if first.as_ref().is_some_and(|first| first.get("timestamp").is_some()) {
        return of_chunks(text);
    }
    // Vosk's result for a pause has only a text.
    let may_be_vosk = first.as_ref().is_some_and(|first| first.get("start").is_none());
    if may_be_vosk && objects(text)?.any(|object| object.list("result").is_some()) {
        return Ok(Lists::new(FormName::Vosk).with_parts(Some(text)));
    }
    match &first {
        Some(first) if !["start", "end", "text"].iter().any(|key| first.get(key).is_some()) => {
            Err(unknown(first))
        }
        _ => Ok(Lists::new(FormName::Whisper).with_parts(Some(text))),
    }
}

/// Reads Hugging Face's chunks. They are words if none of them contains a space.
fn of_chunks(chunks: &str) -> Result<Lists<'_>, TranscriptError> {
    let is_word = |chunk: JsonFields<'_>| {
        let said = chunk.get("text").and_then(text);
        said.is_some_and(|said| !said.trim().contains(char::is_whitespace))
    };
    let lists = Lists::new(FormName::HuggingFace);
    let are_words = objects(chunks)?.nth(1).is_some() && objects(chunks)?.all(is_word);
    Ok(if are_words { lists.with_words([chunks]) } else { lists.with_parts(Some(chunks)) })
}

/// Reads Deepgram's channels, each with alternative transcripts.
fn of_channels<'a>(channels: &'a str, utterances: Option<&'a str>) -> Result<Lists<'a>, TranscriptError> {
    let mut lists = Lists::new(FormName::Deepgram).with_parts(utterances);
    for channel in objects(channels)? {
        let Some(alternatives) = channel.list("alternatives") else { continue };
        for (i, alternative) in objects(alternatives)?.enumerate() {
            let words = alternative.list("words");
            lists.words.extend(words.map(|list| WordsBeside { list, are_said: i == 0 }));
            let paragraphs = alternative.get("paragraphs").and_then(fields);
            if let Some(paragraphs) = paragraphs.and_then(|of| of.list("paragraphs")) {
                lists.labelled.extend(items(paragraphs, MAX_WORDS)?);
            }
        }
    }
    Ok(lists)
}

/// Returns the objects of a list, and splits each of them only when it is needed.
fn objects(list: &str) -> Result<impl Iterator<Item = JsonFields<'_>>, TranscriptError> {
    Ok(items(list, MAX_WORDS)?.into_iter().filter_map(fields))
}

impl From<ListError> for TranscriptError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::NoList => Self::UnknownForm,
            ListError::TooLong => Self::TooLong { max_parts: MAX_PARTS, max_words: MAX_WORDS },
        }
    }
}

fn list(value: &str) -> Option<&str> {
    Some(value).filter(|value| value.starts_with('['))
}

fn unknown(fields: &JsonFields<'_>) -> TranscriptError {
    let shown = |key: &str| key.chars().take(MAX_SHOWN_CHARS).collect::<String>();
    let mut keys: Vec<String> = fields.keys().take(MAX_SHOWN_KEYS).map(shown).collect();
    if fields.keys().count() > keys.len() {
        keys.push("...".to_owned());
    }
    TranscriptError::UnknownKeys { keys }
}

impl<'a> JsonFields<'a> {
    /// Returns the value of a field if it is a list.
    fn list(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(list)
    }
}
