//! Live sessions: a WebSocket each, over the engine's sessions.

mod inbox;
mod outbox;
mod session;

pub(super) use session::{Opened, Place, run};
