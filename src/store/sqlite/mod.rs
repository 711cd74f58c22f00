//! Stores speakers in SQLite, in a file or in memory. No code outside this folder uses rusqlite.

mod database;
mod open;
mod opened;
mod sql;
mod tables;

pub(super) use database::SqliteDatabase;
