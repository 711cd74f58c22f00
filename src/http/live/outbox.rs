//! Buffers a session's messages until its client takes them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message};
use tokio::sync::Notify;

use crate::live::LiveEvent;

/// Maximum number of events that may wait.
const MAX_WAITING: usize = 256;

/// A message that is to be sent.
enum Outgoing {
    Event(LiveEvent),
    Message(Message),
}

/// Messages to a client that may be slow. Only the latest state of an open turn is kept.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<VecDeque<Outgoing>>,
    is_ready: Notify,
}

/// The client does not read its events.
#[derive(Debug)]
pub(super) struct NotRead;

impl Outbox {
    /// Adds an event.
    pub(super) fn tell(&self, event: LiveEvent) -> Result<(), NotRead> {
        let mut waiting = self.lock();
        if let LiveEvent::Turn { id, .. } = &event {
            let is_older = |of: &Outgoing| matches!(of, Outgoing::Event(LiveEvent::Turn { id: other, .. }) if other == id);
            waiting.retain(|other| !is_older(other));
        }
        if waiting.len() >= MAX_WAITING {
            return Err(NotRead);
        }
        waiting.push_back(Outgoing::Event(event));
        drop(waiting);
        self.is_ready.notify_one();
        Ok(())
    }

    /// Adds a text.
    pub(super) fn text(&self, text: String) {
        self.add(Message::Text(text.into()));
    }

    /// Adds a ping.
    pub(super) fn ping(&self) {
        self.add(Message::Ping(Bytes::new()));
    }

    /// Adds the close message, which is the last one.
    pub(super) fn close(&self, code: u16, reason: &'static str) {
        self.add(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    }

    fn add(&self, message: Message) {
        self.lock().push_back(Outgoing::Message(message));
        self.is_ready.notify_one();
    }

    /// Waits for the next message.
    pub(super) async fn next(&self) -> Message {
        loop {
            let next = self.lock().pop_front();
            match next {
                Some(Outgoing::Message(message)) => return message,
                Some(Outgoing::Event(event)) => {
                    let text = serde_json::to_string(&event).expect("events are JSON");
                    return Message::Text(text.into());
                }
                None => self.is_ready.notified().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(id: u64, end: f64) -> LiveEvent {
        LiveEvent::Turn { id, label: "S1".into(), start: 0.0, end, settled: false }
    }

    #[tokio::test]
    async fn only_the_latest_state_of_a_turn_waits() {
        let outbox = Outbox::default();
        for end in 0..1_000 {
            outbox.tell(turn(1, f64::from(end))).unwrap();
        }
        outbox.tell(turn(2, 3.0)).unwrap();
        outbox.close(1000, "");
        let text = |message: Message| message.to_text().unwrap().to_owned();
        assert!(text(outbox.next().await).contains(r#""id":1,"label":"S1","start":0.0,"end":999.0"#));
        assert!(text(outbox.next().await).contains(r#""id":2"#));
        assert!(matches!(outbox.next().await, Message::Close(Some(_))));
    }

    #[test]
    fn a_client_that_does_not_read_is_noticed() {
        let outbox = Outbox::default();
        for id in 0..256 {
            outbox.tell(turn(id, 1.0)).unwrap();
        }
        assert!(outbox.tell(turn(256, 1.0)).is_err());
        // A new state replaces the old one.
        assert!(outbox.tell(turn(3, 2.0)).is_ok());
    }
}
