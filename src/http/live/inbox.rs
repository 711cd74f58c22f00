//! Buffers audio and requests of the client until a step takes them.

use std::collections::VecDeque;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::live::Purpose;

/// Maximum seconds of audio that a step takes.
const STEP_SECONDS: f64 = 30.0;

/// If more seconds of audio than this are waiting, a step only catches up.
const BEHIND_SECONDS: f64 = 5.0;

/// Maximum seconds of audio that may wait before the session stops reading.
const MAX_WAITING_SECONDS: f64 = 30.0;

/// A client's request in a text message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientMessage {
    /// A list of transcript segments, in JSON.
    Transcript(String),
    KeepAlive,
    Flush,
    End,
}

impl ClientMessage {
    /// Parses a text message. The error says what is wrong with it.
    pub(super) fn from_text(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        #[derive(Deserialize)]
        struct Transcript<'a> {
            #[serde(borrow)]
            segments: &'a RawValue,
        }
        let expected = "expected an object with type transcript, keep_alive, flush or end";
        let Kind { kind } = serde_json::from_str(text).map_err(|_| expected.to_owned())?;
        Ok(match &*kind {
            "transcript" => {
                let Transcript { segments } =
                    serde_json::from_str(text).map_err(|_| "a transcript has segments".to_owned())?;
                Self::Transcript(segments.get().to_owned())
            }
            "keep_alive" => Self::KeepAlive,
            "flush" => Self::Flush,
            "end" => Self::End,
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(format!("there is no message of type {other:?}; {expected}"));
            }
        })
    }
}

/// The work of a step.
pub(super) struct Work {
    pub(super) audio: Vec<Vec<u8>>,
    pub(super) purpose: Purpose,
    /// The time at which the last of the audio arrived.
    pub(super) due: Instant,
}

/// Buffered audio, and the actions that follow at certain positions in it.
pub(super) struct Inbox {
    bytes_a_second: usize,
    partial_seconds: f64,
    audio: VecDeque<Vec<u8>>,
    n_waiting: usize,
    /// Number of bytes taken so far.
    n_taken: usize,
    /// Flushes and the end, each with the number of bytes before it.
    marks: VecDeque<(usize, Purpose)>,
    last_came: Instant,
    /// Whether the last step only caught up. An update is then due as soon as no audio is waiting.
    is_update_due: bool,
}

impl Inbox {
    pub(super) fn new(bytes_a_second: usize, partial_seconds: f64) -> Self {
        Self {
            bytes_a_second,
            partial_seconds,
            audio: VecDeque::new(),
            n_waiting: 0,
            n_taken: 0,
            marks: VecDeque::new(),
            last_came: Instant::now(),
            is_update_due: false,
        }
    }

    /// Adds audio.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        self.n_waiting += bytes.len();
        self.last_came = Instant::now();
        self.audio.push_back(bytes);
    }

    /// Schedules an action after the audio received so far.
    pub(super) fn mark(&mut self, purpose: Purpose) {
        self.marks.push_back((self.n_taken + self.n_waiting, purpose));
        self.last_came = Instant::now();
    }

    /// Returns the number of bytes received so far.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_taken + self.n_waiting
    }

    /// Returns the seconds of audio that are waiting.
    pub(super) fn waiting_seconds(&self) -> f64 {
        self.n_waiting as f64 / self.bytes_a_second as f64
    }

    /// Returns whether the session may read more.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_seconds() < MAX_WAITING_SECONDS && self.marks.len() < 64
    }

    /// Returns the work of the next step, if one is due.
    pub(super) fn next(&mut self) -> Option<Work> {
        let most = (STEP_SECONDS * self.bytes_a_second as f64) as usize;
        let mark = self.marks.front().copied();
        let until_mark = mark.map_or(usize::MAX, |(at, _)| at - self.n_taken);
        let n = self.n_waiting.min(until_mark).min(most);
        let purpose = match mark {
            Some((_, purpose)) if n == until_mark => {
                self.marks.pop_front();
                purpose
            }
            Some(_) => Purpose::CatchUp,
            None if self.waiting_seconds() > BEHIND_SECONDS => Purpose::CatchUp,
            None if self.is_update_due || self.waiting_seconds() + 1e-9 >= self.partial_seconds => {
                Purpose::Update
            }
            None => return None,
        };
        self.is_update_due = purpose == Purpose::CatchUp;
        Some(Work { audio: self.take(n), purpose, due: self.last_came })
    }

    fn take(&mut self, mut n: usize) -> Vec<Vec<u8>> {
        self.n_taken += n;
        self.n_waiting -= n;
        let mut taken = Vec::new();
        while n > 0 {
            let mut piece = self.audio.pop_front().expect("what waits was pushed");
            if piece.len() > n {
                self.audio.push_front(piece.split_off(n));
            }
            n -= piece.len();
            taken.push(piece);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(inbox: &mut Inbox) -> Option<(usize, Purpose)> {
        inbox.next().map(|work| (work.audio.iter().map(Vec::len).sum(), work.purpose))
    }

    #[test]
    fn a_step_is_due_once_enough_audio_waits() {
        let mut inbox = Inbox::new(100, 1.0);
        inbox.push(vec![0; 60]);
        assert_eq!(next(&mut inbox), None);
        inbox.push(vec![0; 60]);
        assert_eq!(next(&mut inbox), Some((120, Purpose::Update)));
        assert_eq!(next(&mut inbox), None);
        inbox.mark(Purpose::Flush);
        inbox.push(vec![0; 50]);
        inbox.mark(Purpose::End);
        assert_eq!(next(&mut inbox), Some((0, Purpose::Flush)));
        assert_eq!(next(&mut inbox), Some((50, Purpose::End)));
        assert_eq!(next(&mut inbox), None);
    }

    #[test]
    fn much_audio_is_taken_in_parts() {
        let mut inbox = Inbox::new(100, 1.0);
        inbox.push(vec![0; 7_000]);
        assert!(!inbox.has_room());
        assert_eq!(next(&mut inbox), Some((3_000, Purpose::CatchUp)));
        let mut short = Inbox::new(100, 1.0);
        short.push(vec![0; 700]);
        assert_eq!(next(&mut short), Some((700, Purpose::CatchUp)));
        assert_eq!(next(&mut short), Some((0, Purpose::Update)));
        assert_eq!(next(&mut short), None);
        inbox.mark(Purpose::End);
        assert_eq!(next(&mut inbox), Some((3_000, Purpose::CatchUp)));
        assert_eq!(next(&mut inbox), Some((1_000, Purpose::End)));
        assert_eq!(inbox.n_bytes(), 7_000);
    }

    #[test]
    fn texts_say_what_they_ask_for() {
        assert_eq!(ClientMessage::from_text(r#"{"type": "end"}"#), Ok(ClientMessage::End));
        assert_eq!(ClientMessage::from_text(r#"{"type": "flush", "why": 1}"#), Ok(ClientMessage::Flush));
        let transcript = ClientMessage::from_text(r#"{"segments": [1], "type": "transcript"}"#);
        assert_eq!(transcript, Ok(ClientMessage::Transcript("[1]".into())));
        for text in
            ["", "end", "{}", "[]", r#"{"type": 7}"#, r#"{"type": "start"}"#, r#"{"type": "transcript"}"#]
        {
            assert!(ClientMessage::from_text(text).is_err(), "{text}");
        }
    }
}
