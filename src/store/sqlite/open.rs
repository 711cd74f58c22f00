//! Connections to the database.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::statements::{APPLICATION_ID, MIGRATIONS, VERSION};
use crate::store::error::{OpenError, StoreError};
use crate::store::place::StorePlace;

/// How a file of SQLite begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How long a connection waits for another process.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for reading that are kept open.
const MAX_IDLE: usize = 4;

/// Prepared statements that a connection keeps: all there are.
const STATEMENT_CACHE: usize = 64;

/// A database of speakers: connections to it, on demand.
pub(in crate::store) struct Database {
    source: Source,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Clone)]
enum Source {
    /// Created at the first write, and its folder with it.
    File(PathBuf),
    Memory(Arc<Mutex<Connection>>),
}

/// The connection that writes.
pub(super) enum WriteConnection {
    Own(Connection),
    Shared(Arc<Mutex<Connection>>),
}

impl Database {
    /// Checks a file, if it is there, and changes nothing.
    pub(in crate::store) fn open(place: &StorePlace) -> Result<Self, OpenError> {
        let source = match place {
            StorePlace::File(path) => {
                check_file(path)?;
                Source::File(path.clone())
            }
            StorePlace::Memory => {
                let system =
                    |error: Error| OpenError::System { path: ":memory:".into(), reason: error.to_string() };
                let connection = Connection::open_in_memory().map_err(system)?;
                prepare_for_writing(&connection).map_err(system)?;
                Source::Memory(Arc::new(Mutex::new(connection)))
            }
        };
        Ok(Self { source, idle: Mutex::default() })
    }

    /// Reads as of one moment; `None` if nothing has been written yet.
    pub(in crate::store) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let path = match &self.source {
            Source::Memory(connection) => return in_one_moment(&locked(connection), work).map(Some),
            Source::File(path) => path,
        };
        let idle = locked(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => match open_for_reading(path)? {
                Some(connection) => connection,
                None => return Ok(None),
            },
        };
        let outcome = in_one_moment(&connection, work)?;
        let mut idle = locked(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(Some(outcome))
    }

    /// Opens the connection that writes, and creates the database where there is none.
    pub(super) fn open_for_writing(&self) -> Result<WriteConnection, StoreError> {
        let path = match &self.source {
            Source::Memory(connection) => return Ok(WriteConnection::Shared(Arc::clone(connection))),
            Source::File(path) => path,
        };
        create(path)
            .map_err(|error| StoreError::Unavailable { reason: format!("{}: {error}", path.display()) })?;
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        prepare_for_writing(&connection)?;
        Ok(WriteConnection::Own(connection))
    }
}

impl WriteConnection {
    pub(super) fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        match self {
            Self::Own(connection) => work(connection),
            Self::Shared(connection) => work(&locked(connection)),
        }
    }

    /// Whether there is a file.
    pub(super) fn has_file(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads as of one moment.
pub(super) fn in_one_moment<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let outcome = work(&transaction)?;
    transaction.finish()?;
    Ok(outcome)
}

/// An empty file for its owner alone, unless there is one; SQLite gives the files beside it the same permissions.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

/// A connection to a database that is there and has tables.
fn open_for_reading(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.pragma_update(None, "query_only", true)?;
    Ok((version(&connection)? > 0).then_some(connection))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Sets a connection up, and brings the tables to their newest version. The lock of the transaction keeps other processes from
/// doing the same.
fn prepare_for_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // 8 MB: the indexes of 100,000 enrolments.
    connection.pragma_update(None, "cache_size", -8_000)?;
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let from = usize::try_from(version(&transaction)?).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Checks that a file, if it is there, is a database of this program and sound. It is opened for reading alone.
fn check_file(path: &Path) -> Result<(), OpenError> {
    let own = || path.to_owned();
    let system = |reason: String| OpenError::System { path: own(), reason };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error.to_string())),
    };
    let mut magic = Vec::new();
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut magic)
        .map_err(|error| system(error.to_string()))?;
    if magic.is_empty() {
        return Ok(());
    }
    if magic != MAGIC {
        return Err(OpenError::NoDatabase { path: own() });
    }
    let of_sqlite = |error: Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NoDatabase { path: own() },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path: own(), reason: error.to_string() },
        _ => system(error.to_string()),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(of_sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(of_sqlite)?;
    let version = version(&connection).map_err(of_sqlite)?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(of_sqlite)?;
    let tables: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(of_sqlite)?;
    let is_empty = version == 0 && application == 0 && tables == 0;
    if application != APPLICATION_ID && !is_empty {
        return Err(OpenError::OtherProgram { path: own() });
    }
    if version > VERSION {
        return Err(OpenError::Newer { path: own(), version, known: VERSION });
    }
    let found: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(of_sqlite)?;
    if found != "ok" {
        return Err(OpenError::Damaged { path: own(), reason: found });
    }
    Ok(())
}

impl From<Error> for StoreError {
    /// What the disk, another process or the file is to blame for passes, or is repaired; all else is a bug.
    fn from(error: Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NotADatabase
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure,
            ) => Self::Unavailable { reason: error.to_string() },
            _ => Self::Internal(error.to_string()),
        }
    }
}
