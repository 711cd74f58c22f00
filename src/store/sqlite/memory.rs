//! A SQLite database in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::open::prepare_for_writing;
use super::sql::{read_consistently, write_immediately};
use crate::store::database::{Database, Reading, Work};
use crate::store::error::{OpenError, StoreError};

/// A database on one connection. It lasts as long as the program: nothing is written to a disk.
pub(in crate::store) struct MemoryDatabase {
    connection: Mutex<Connection>,
}

impl MemoryDatabase {
    pub(in crate::store) fn open() -> Result<Self, OpenError> {
        let connection = Connection::open_in_memory().map_err(|error| system(error.to_string()))?;
        prepare_for_writing(&connection).map_err(|error| system(format!("{error:?}")))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database for MemoryDatabase {
    fn migrate(&self) -> Result<bool, OpenError> {
        Ok(true)
    }

    fn read(&self, _: Reading, work: Work<'_>) -> Result<bool, StoreError> {
        read_consistently(&self.connection(), work).map(|()| true)
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        write_immediately(&self.connection(), work, || Ok(()))
    }

    /// The connection is the database.
    fn close_writer(&self) {}

    /// There is only one connection.
    fn close_readers(&self) {}

    fn writes_wait_for_reads(&self) -> bool {
        true
    }

    fn open_error(&self, error: StoreError) -> OpenError {
        system(error.to_string())
    }
}

fn system(reason: String) -> OpenError {
    OpenError::System { place: ":memory:".into(), reason }
}
