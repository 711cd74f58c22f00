//! Speakers in SQLite: one file, or memory. The only folder that names rusqlite.

mod database;
mod open;
mod opened;
mod sql;
mod tables;

pub(super) use database::Database;
