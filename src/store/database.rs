//! The interface that every database implements for the store.

use std::path::Path;

use super::error::{OpenError, StoreError};
use super::sql::Sql;

/// Work on a connection.
pub(super) type Work<'a> = &'a mut dyn FnMut(&dyn Sql) -> Result<(), StoreError>;

/// What a read needs of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A consistent state.
    Consistent,
    /// Enough for a single statement.
    SingleStatement,
    /// A consistent state, for long: the receiver of the rows may be slow.
    Long,
    /// A consistent state, on the connection that has just written. Only directly after a successful write.
    AfterWrite,
}

/// A database. It opens connections on demand, and has one connection that writes. The defaults are those of a server.
pub(super) trait Database: Send + Sync {
    /// Brings existing tables to the newest version. Returns whether the database could be reached.
    fn migrate(&self) -> Result<bool, OpenError>;

    /// Checks the integrity of the stored data, unless the database does so itself.
    fn check(&self) -> Result<(), OpenError> {
        Ok(())
    }

    /// Reads. Returns whether a database exists yet. After a failure, `work` may be called again.
    fn read(&self, reading: Reading, work: Work<'_>) -> Result<bool, StoreError>;

    /// Makes changes in one transaction, and creates the database if it does not exist. No other connection makes changes
    /// at the same time. If `work` returns an error, the transaction is rolled back.
    fn write(&self, work: Work<'_>) -> Result<(), StoreError>;

    /// Closes the connection that writes, so that the next write opens another.
    fn close_writer(&self);

    /// Closes idle connections for reading, so that the connection that writes is closed last.
    fn close_readers(&self);

    /// Returns whether changes wait for readers.
    fn writes_wait_for_reads(&self) -> bool {
        false
    }

    /// Returns whether removed data may not have been overwritten yet.
    fn may_hold_removed(&self) -> bool {
        false
    }

    /// Overwrites removed data, if this is the program's task. Returns whether all of it is overwritten.
    fn erase(&self) -> bool {
        true
    }

    /// Returns the folder of the database, if it is a file.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Returns an error if the database is no longer where it was opened.
    fn check_place(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns whether another process had the database open when this one opened it, as far as this can be known.
    fn has_others(&self) -> bool {
        false
    }

    /// Converts an error while opening into the reason why the database cannot be used.
    fn open_error(&self, error: StoreError) -> OpenError;
}
