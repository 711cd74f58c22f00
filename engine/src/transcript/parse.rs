//! Reads transcripts in all known formats.

use std::borrow::Cow;

use encoding_rs::{Encoding, WINDOWS_1252};
use serde_json::value::RawValue;

use super::attribute::{Said, Timeline};
use super::cues::{Cue, CueFormat, cues, escaped, parse_cues, plain};
use super::error::TranscriptError;
use super::json::JsonTranscript;
use crate::diarization::Turn;

/// The maximum size of a transcript in bytes: a day of speech, word by word.
pub const MAX_TRANSCRIPT_BYTES: usize = 16 << 20;

/// A part may begin this many seconds after the end, because recognisers round and pad the audio.
const ROUNDING_SECONDS: f64 = 1.0;

/// A transcript, in its own format.
#[derive(Clone, Debug)]
pub enum Transcript {
    /// JSON in one of the forms of recognisers, or as a list of parts.
    Json(JsonTranscript),
    /// VTT or SRT.
    Cues(CueFormat, Vec<Cue>),
}

impl Transcript {
    /// Reads a file: UTF-8, UTF-16 with a byte order mark, or Windows-1252.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TranscriptError> {
        check_size(bytes.len())?;
        Self::from_text(&decoded(bytes))
    }

    /// Reads JSON, VTT or SRT, and detects which of them the text is.
    pub fn from_text(text: &str) -> Result<Self, TranscriptError> {
        check_size(text.len())?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with(['{', '[']) {
            return JsonTranscript::new(text).map(Self::Json);
        }
        parse_cues(text).map(|(format, cues)| Self::Cues(format, cues))
    }

    /// Reads a value of a JSON body: an object, a list, or a string that holds a text in any form.
    pub fn from_json(json: &str) -> Result<Self, TranscriptError> {
        match super::raw::text(json) {
            Some(text) => Self::from_text(&text),
            None if json.starts_with(['{', '[']) => Self::from_text(json),
            None => Err(TranscriptError::UnknownForm),
        }
    }

    /// Returns whether the transcript is empty, like Whisper's response to silence.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Json(json) => json.is_empty(),
            Self::Cues(_, cues) => cues.is_empty(),
        }
    }

    /// Fits the transcript to a recording of this length: a last part without an end ends with the recording. Rejects the
    /// transcript of another recording.
    pub fn of_recording(mut self, duration_seconds: f64) -> Result<Self, TranscriptError> {
        let starts: Vec<f64> = match &self {
            Self::Json(json) => json.starts(),
            Self::Cues(_, cues) => cues.iter().map(|(seconds, _)| seconds.start).collect(),
        };
        if let Some(place) = starts.iter().position(|start| *start >= duration_seconds + ROUNDING_SECONDS) {
            return Err(TranscriptError::PastEnd {
                place: place + 1,
                start: starts[place],
                duration_seconds,
            });
        }
        if let Self::Json(json) = &mut self {
            json.end_at(duration_seconds);
        }
        Ok(self)
    }

    /// Returns the transcript with the name of the speaker on each part. JSON stays JSON; VTT and SRT become a string.
    pub fn with_speakers(&self, turns: &[Turn], name: &dyn Fn(usize) -> String) -> Box<RawValue> {
        match self {
            Self::Json(json) => json.with_speakers(&Timeline::new(turns), name),
            Self::Cues(format, _) => {
                let cues = super::raw::string(&self.cues(*format, turns, name));
                RawValue::from_string(cues).expect("a string is JSON")
            }
        }
    }

    /// Returns the transcript as cues with the names of the speakers.
    pub fn cues(&self, format: CueFormat, turns: &[Turn], name: &dyn Fn(usize) -> String) -> String {
        let mut said = self.said_in_markup(turns);
        // Text from VTT is already in the markup of VTT.
        match (self, format) {
            (Self::Cues(CueFormat::Vtt, _), CueFormat::Vtt) => {}
            (Self::Cues(CueFormat::Vtt, _), CueFormat::Srt) => {
                said.iter_mut().for_each(|part| part.text = plain(&part.text));
            }
            (_, CueFormat::Vtt) => said.iter_mut().for_each(|part| part.text = escaped(&part.text)),
            (_, CueFormat::Srt) => {}
        }
        cues(format, &said, name)
    }

    /// Returns the parts with their speakers as plain text. A part with words is split where the speaker changes.
    pub fn assign_speakers(&self, turns: &[Turn]) -> Vec<Said> {
        let mut said = self.said_in_markup(turns);
        if matches!(self, Self::Cues(CueFormat::Vtt, _)) {
            said.iter_mut().for_each(|part| part.text = plain(&part.text));
        }
        said
    }

    /// Returns the same as [`Self::assign_speakers`], with the tags of VTT.
    fn said_in_markup(&self, turns: &[Turn]) -> Vec<Said> {
        let timeline = Timeline::new(turns);
        match self {
            Self::Json(json) => json.collect_said(&timeline),
            Self::Cues(_, cues) => cues
                .iter()
                .map(|(seconds, text)| Said {
                    seconds: seconds.clone(),
                    speaker: timeline.speaker_of(seconds),
                    text: text.clone(),
                })
                .collect(),
        }
    }
}

fn check_size(n_bytes: usize) -> Result<(), TranscriptError> {
    if n_bytes > MAX_TRANSCRIPT_BYTES {
        return Err(TranscriptError::TooLarge { max_bytes: MAX_TRANSCRIPT_BYTES });
    }
    Ok(())
}

/// Decodes the text of a file.
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding.decode(bytes).0;
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    // Damaged UTF-8 has more characters of several bytes than errors. For example, whisper.cpp may cut a character in two.
    let text = String::from_utf8_lossy(bytes);
    let n_errors = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
    let n_beyond_ascii = text.chars().filter(|c| !c.is_ascii()).count() - n_errors;
    if n_beyond_ascii > n_errors { text } else { WINDOWS_1252.decode(bytes).0 }
}
