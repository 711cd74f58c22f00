//! The interface that both databases implement for the store.

use std::path::Path;

use super::error::{OpenError, StoreError};
use super::sql::Sql;

/// Work on a connection.
pub(super) type Work<'a> = &'a mut dyn FnMut(&dyn Sql) -> Result<(), StoreError>;

/// A database or connection that can be read.
pub(super) trait Readable {
    /// Reads a consistent state. Returns whether a database exists yet. After a failure, `work` may be called again.
    fn read(&self, work: Work<'_>) -> Result<bool, StoreError>;

    /// Like [`Readable::read`], for work that runs a single statement.
    fn look(&self, work: Work<'_>) -> Result<bool, StoreError>;
}

/// A connection that writes.
pub(super) trait Writable: Readable + Send {
    /// Makes changes in one transaction. No other connection makes changes at the same time. If `work` returns an error,
    /// the transaction is rolled back.
    fn write(&self, work: Work<'_>) -> Result<(), StoreError>;

    /// Overwrites removed data, if this is the program's task. Returns whether all of it is overwritten.
    fn erase(&self) -> bool;
}

/// A database that opens connections on demand.
pub(super) trait Database: Readable + Send + Sync {
    /// Brings existing tables to the newest version. Returns whether the database could be reached.
    fn migrate(&self) -> Result<bool, OpenError>;

    /// Checks the integrity of the stored data, unless the database does so itself.
    fn check(&self) -> Result<(), OpenError>;

    /// Opens the connection for writing, and creates the database if it does not exist.
    fn open_for_writing(&self) -> Result<Box<dyn Writable>, StoreError>;

    /// Returns whether changes wait for readers.
    fn writes_wait_for_reads(&self) -> bool;

    /// Like [`Readable::read`], for reads that may take long because the receiver of the rows is slow.
    fn read_long(&self, work: Work<'_>) -> Result<bool, StoreError>;

    /// Returns whether removed data may not have been overwritten yet.
    fn may_hold_removed(&self) -> bool;

    /// Returns the folder of the database, if it is a file.
    fn folder(&self) -> Option<&Path>;

    /// Returns an error if the database is no longer where it was opened.
    fn check_place(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns whether another process had the database open when this one opened it, as far as this can be known.
    fn has_others(&self) -> bool {
        false
    }

    /// Closes the connections for reading, so that the connection for writing is closed last.
    fn close_readers(&self);

    /// Converts an error while opening into the reason why the database cannot be used.
    fn open_error(&self, error: StoreError) -> OpenError;
}
