//! Speakers in SQLite: one file, or memory. The only folder that names rusqlite.

mod follow;
mod job;
mod open;
mod reads;
mod statements;
mod writer;
mod writes;

pub(super) use follow::follow;
pub(super) use job::{Job, Task};
pub(super) use open::Database;
pub(super) use reads::{collections, enrolment, enrolments, enrolments_by_model, speaker, speakers, voice};
pub(super) use rusqlite::Connection;
pub(super) use writer::Writer;

pub use reads::{CollectionSummary, PageRequest, SpeakerPage, SpeakerVoice};
pub use writes::{Created, Enrolled, NewSpeaker, Transaction};
