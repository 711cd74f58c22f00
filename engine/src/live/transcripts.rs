//! Transcripts from a speech recogniser, which are kept until the turns at their times are settled.

use std::collections::VecDeque;

use crate::transcript::{Transcript, TranscriptError};

/// The maximum size of all transcripts of a session in bytes.
const MAX_SESSION_BYTES: usize = 4 << 20;

/// A part that begins up to this many seconds after the end of the audio still belongs to it.
const ROUNDING_SECONDS: f64 = 1.0;

/// The reason why a transcript is rejected.
#[derive(Debug, thiserror::Error)]
pub enum LiveTranscriptError {
    /// The transcript cannot be read.
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
    /// The transcript is not a list.
    #[error("segments must be a list of objects with start, end and text")]
    NoList,
    /// The transcripts of the session are too large.
    #[error("the transcripts of a session may have {} MiB together", MAX_SESSION_BYTES >> 20)]
    TooMuch,
}

/// Parts that were received together.
struct ReceivedTranscripts {
    transcript: Transcript,
    /// The end of the last of them, in seconds.
    end: f64,
}

/// The transcripts of a session.
#[derive(Default)]
pub(super) struct Transcripts {
    /// The transcripts that wait, in the order in which they were received.
    waiting: VecDeque<ReceivedTranscripts>,
    /// All transcripts that were received, as JSON, each with the start of its latest part.
    texts: Vec<(Box<str>, f64)>,
    n_bytes: usize,
}

impl Transcripts {
    /// Adds the text of a list of parts.
    pub(super) fn push(&mut self, segments: &str) -> Result<(), LiveTranscriptError> {
        if !segments.starts_with('[') {
            return Err(LiveTranscriptError::NoList);
        }
        self.n_bytes += segments.len();
        if self.n_bytes > MAX_SESSION_BYTES {
            return Err(LiveTranscriptError::TooMuch);
        }
        let transcript = Transcript::from_text(segments)?;
        let said = transcript.assign_speakers(&[]);
        let latest = |time: fn(&crate::transcript::Said) -> f64| said.iter().map(time).fold(0.0, f64::max);
        let (start, end) = (latest(|said| said.seconds.start), latest(|said| said.seconds.end));
        self.texts.push((segments.into(), start));
        self.waiting.push_back(ReceivedTranscripts { transcript, end });
        Ok(())
    }

    /// Returns the next transcript, if it ends by this time.
    pub(super) fn next_before(&mut self, seconds: f64) -> Option<Transcript> {
        self.waiting.pop_front_if(|next| next.end <= seconds).map(|next| next.transcript)
    }

    /// Returns all transcripts of a recording of this length as one. Leaves out those that begin too late.
    pub(super) fn whole(&self, duration_seconds: f64) -> Option<Transcript> {
        let within = self.texts.iter().filter(|(_, start)| *start < duration_seconds + ROUNDING_SECONDS);
        let inner = |(text, _): &(Box<str>, f64)| text[1..text.len() - 1].trim().to_owned();
        let parts: Vec<String> = within.map(inner).filter(|inner| !inner.is_empty()).collect();
        if parts.is_empty() {
            return None;
        }
        Transcript::from_text(&format!("[{}]", parts.join(","))).ok()?.of_recording(duration_seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_wait_for_their_turns_in_order() {
        let mut transcripts = Transcripts::default();
        transcripts.push(r#"[{"start": 0.0, "end": 4.0, "text": "one"}]"#).unwrap();
        transcripts.push(r#"[{"start": 1.0, "end": 2.0, "text": "two"}]"#).unwrap();
        transcripts.push(" []".trim()).unwrap();
        transcripts.push(r#"[{"start": 90.0, "end": 91.0, "text": "far"}]"#).unwrap();
        let text = |transcript: Option<Transcript>| {
            transcript.map(|transcript| {
                transcript.assign_speakers(&[]).iter().map(|said| said.text.clone()).collect()
            })
        };
        assert_eq!(text(transcripts.next_before(3.0)), None, "the second waits for the first");
        assert_eq!(text(transcripts.next_before(4.0)), Some(vec!["one".to_owned()]));
        assert_eq!(text(transcripts.next_before(4.0)), Some(vec!["two".to_owned()]));
        assert_eq!(text(transcripts.next_before(4.0)), Some(vec![]));
        assert_eq!(text(transcripts.next_before(4.0)), None);
        assert_eq!(text(transcripts.whole(10.0)), Some(vec!["one".to_owned(), "two".to_owned()]));
    }

    #[test]
    fn what_is_no_list_of_parts_is_refused() {
        let mut transcripts = Transcripts::default();
        for text in ["{}", "7", "\"text\"", "[7]", r#"[{"start": 2, "end": 1, "text": ""}]"#, "[{}"] {
            assert!(transcripts.push(text).is_err(), "{text}");
        }
        let long = format!(r#"[{{"start": 0, "end": 1, "text": "{}"}}]"#, "a".repeat(MAX_SESSION_BYTES / 2));
        transcripts.push(&long).unwrap();
        assert!(matches!(transcripts.push(&long), Err(LiveTranscriptError::TooMuch)));
    }
}
