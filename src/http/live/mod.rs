//! Live sessions: one WebSocket for each session of the engine.

mod inbox;
mod outbox;
mod session;

pub(super) use session::{Opened, SessionPlace, run};
