//! Stores speakers in SQLite, in a file or in memory. No code outside this folder uses rusqlite.

mod file;
mod memory;
mod open;
mod opened;
mod sql;
mod tables;

pub(super) use file::FileDatabase;
pub(super) use memory::MemoryDatabase;
