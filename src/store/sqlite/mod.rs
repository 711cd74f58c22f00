//! Speakers in SQLite: one file, or memory. The only folder that names rusqlite.

mod follow;
mod job;
mod open;
mod reads;
mod statements;
mod writer;
mod writes;

pub(super) use job::{Job, Task};
pub(super) use open::Database;
pub use reads::CollectionSummary;
pub(super) use reads::{Page, Probe};
pub(super) use writer::{Limits, Writer};
pub use writes::{Created, Enrolled, NewSpeaker, Transaction};

pub(super) use follow::follow;
pub(super) use reads::{collections, enrolment, enrolments, enrolments_by_model, probe, speaker, speakers};
pub(super) use rusqlite::Connection;
