//! Texts in any of the formats -> transcripts.

use serde_json::value::RawValue;

use super::attribute::{Said, Timeline};
use super::cues::{Cue, CueFormat, cues, escaped, of_cues};
use super::error::TranscriptError;
use super::json::JsonTranscript;
use crate::diarization::Turn;

/// Bytes of a transcript at the most: a day of speech, word by word.
pub const MAX_TRANSCRIPT_BYTES: usize = 16 << 20;

/// A part may begin so much behind the end: recognisers round, and pad what they hear.
const ROUNDING_SECONDS: f64 = 1.0;

/// A transcript, in its own format.
#[derive(Clone, Debug)]
pub enum Transcript {
    /// Whisper's `verbose_json`, with words or without, or a list of parts.
    Json(JsonTranscript),
    /// VTT or SRT.
    Cues(CueFormat, Vec<Cue>),
}

impl Transcript {
    /// Reads JSON, VTT or SRT; which it is, the text tells.
    pub fn of_text(text: &str) -> Result<Self, TranscriptError> {
        if text.len() > MAX_TRANSCRIPT_BYTES {
            return Err(TranscriptError::TooLarge { max_bytes: MAX_TRANSCRIPT_BYTES });
        }
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(TranscriptError::Empty);
        }
        if text.starts_with(['{', '[']) {
            return JsonTranscript::new(text).map(Self::Json);
        }
        let (format, cues) = of_cues(text)?;
        if cues.is_empty() { Err(TranscriptError::Empty) } else { Ok(Self::Cues(format, cues)) }
    }

    /// Reads what a JSON body holds: the text of an object, of a list, or of a string with a text in any format.
    pub fn of_json(json: &str) -> Result<Self, TranscriptError> {
        match super::raw::text(json) {
            Some(text) => Self::of_text(&text),
            None if json.starts_with(['{', '[']) => Self::of_text(json),
            None => Err(TranscriptError::UnknownFormat),
        }
    }

    /// Refuses one that is of another recording.
    pub fn check_length(&self, duration_seconds: f64) -> Result<(), TranscriptError> {
        let starts: Vec<f64> = match self {
            Self::Json(json) => json.starts(),
            Self::Cues(_, cues) => cues.iter().map(|(seconds, _)| seconds.start).collect(),
        };
        match starts.iter().position(|start| *start >= duration_seconds + ROUNDING_SECONDS) {
            Some(place) => {
                Err(TranscriptError::PastEnd { place: place + 1, start: starts[place], duration_seconds })
            }
            None => Ok(()),
        }
    }

    /// The transcript with the name of who said each part. JSON stays JSON; VTT and SRT are text.
    pub fn with_speakers(&self, turns: &[Turn], name: &dyn Fn(usize) -> String) -> Box<RawValue> {
        match self {
            Self::Json(json) => json.with_speakers(&Timeline::new(turns), name),
            Self::Cues(format, _) => {
                let cues = super::raw::string(&self.cues(*format, turns, name));
                RawValue::from_string(cues).expect("a string is JSON")
            }
        }
    }

    /// The transcript as cues, with the name of who said each.
    pub fn cues(&self, format: CueFormat, turns: &[Turn], name: &dyn Fn(usize) -> String) -> String {
        let mut said = self.said(turns);
        // What comes from VTT is written as VTT has it.
        let is_markup = matches!(self, Self::Cues(CueFormat::Vtt, _));
        if format == CueFormat::Vtt && !is_markup {
            said.iter_mut().for_each(|part| part.text = escaped(&part.text));
        }
        cues(format, &said, name)
    }

    /// What was said, part by part; a part with words is split where the speaker changes.
    fn said(&self, turns: &[Turn]) -> Vec<Said> {
        let timeline = Timeline::new(turns);
        match self {
            Self::Json(json) => json.said(&timeline),
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
