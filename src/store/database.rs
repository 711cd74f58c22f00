//! What a database does for the store; there are two.

use std::path::Path;

use super::error::{OpenError, StoreError};
use super::sql::Sql;

/// What is done with a connection.
pub(super) type Work<'a> = &'a mut dyn FnMut(&dyn Sql) -> Result<(), StoreError>;

/// What can be read.
pub(super) trait Source {
    /// Reads as of one moment. Whether there is a database yet. After a failure it may be tried again.
    fn read(&self, work: Work<'_>) -> Result<bool, StoreError>;

    /// As [`Source::read`], by a single statement.
    fn look(&self, work: Work<'_>) -> Result<bool, StoreError>;
}

/// A connection that writes.
pub(super) trait Writable: Source + Send {
    /// Makes changes that are seen together, while nobody else makes any. An error undoes them.
    fn write(&self, work: Work<'_>) -> Result<(), StoreError>;

    /// Overwrites what was removed, as far as that is this program's to do. Whether all of it is.
    fn erase(&self) -> bool;
}

/// Connections to a database, on demand.
pub(super) trait Database: Source + Send + Sync {
    /// Brings the tables to their newest version, if there are older ones. Whether the database could be asked.
    fn migrate(&self) -> Result<bool, OpenError>;

    /// Checks that all that is there is as it was written, if nobody else sees to that.
    fn check(&self) -> Result<(), OpenError>;

    /// Opens the connection that writes, and creates the database where there is none.
    fn open_for_writing(&self) -> Result<Box<dyn Writable>, StoreError>;

    /// Whether a change waits for who reads.
    fn writes_wait_for_reads(&self) -> bool;

    /// As [`Source::read`], for a read that may take long and whose rows wait for who takes them.
    fn read_long(&self, work: Work<'_>) -> Result<bool, StoreError>;

    /// Whether what was removed may not be overwritten yet.
    fn may_hold_removed(&self) -> bool;

    /// The folder that it is in, if it is a file.
    fn folder(&self) -> Option<&Path>;

    /// Fails if the database is not where it was opened any more.
    fn check_place(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether another process had the database open when this one opened it, as far as that can be known.
    fn has_others(&self) -> bool {
        false
    }

    /// Closes the connections that read, so that the one that writes is the last to be closed.
    fn close_readers(&self);

    /// Why the database cannot be used, of an error while it is opened.
    fn open_error(&self, error: StoreError) -> OpenError;
}
