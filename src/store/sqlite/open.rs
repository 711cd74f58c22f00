//! Opens connections to SQLite databases, and creates files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::tables::{APPLICATION_ID, MIGRATIONS, VERSION};
use crate::store::error::{OpenError, StoreError};
use crate::store::place::folder_of;

/// How long a connection waits for other processes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of cached prepared statements per connection. It is enough for all statements.
const STATEMENT_CACHE: usize = 96;

/// Follows links to the actual path. SQLite creates its other files beside that path.
pub(super) fn resolve_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // The number of links that systems follow.
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    path.canonicalize().unwrap_or(path)
}

/// Returns a file that is left of a missing database, and that SQLite would take for a part of a new one.
pub(super) fn left_over(path: &Path) -> Option<PathBuf> {
    let is_there = |file: &PathBuf| file.metadata().is_ok_and(|metadata| metadata.len() > 0);
    ["-wal", "-journal"].map(|ending| with_suffix(path, ending)).into_iter().find(is_there)
}

/// Creates the database, readable by its owner only, unless it exists. SQLite gives the files beside it the same
/// permissions. The database is created under another name, so that a killed process leaves no incomplete database. Only
/// SQLite may open it: closing any other descriptor of the file would drop this process's locks (POSIX).
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let unavailable =
        |error: std::io::Error| StoreError::Unavailable { reason: format!("{}: {error}", path.display()) };
    if let Some(file) = left_over(path) {
        let reason = format!("{} is left of another database", file.display());
        // Another process may have created the database meanwhile.
        return if path.exists() { Ok(()) } else { Err(StoreError::Unavailable { reason }) };
    }
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unavailable)?;
    let new = with_suffix(path, &format!(".{}", Uuid::now_v7()));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(unavailable)?;
    let made = make(&new).and_then(|()| {
        let placed = match std::fs::hard_link(&new, path) {
            // Some file systems have no links.
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => {
                std::fs::rename(&new, path)
            }
            placed => placed,
        };
        match placed {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            placed => placed.and_then(|()| File::open(folder)?.sync_all()).map_err(unavailable),
        }
    });
    // By now, the file has another name or is of no use.
    for ending in ["", "-journal", "-wal", "-shm"] {
        let _ = std::fs::remove_file(with_suffix(&new, ending));
    }
    made
}

pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    let connection = connection_for_writing(path)?;
    prepare_for_writing(&connection)?;
    connection.close().map_err(|(_, error)| error.into())
}

/// Appends an ending to a path.
pub(super) fn with_suffix(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Opens a connection to a database that exists and has tables.
pub(super) fn open_for_reading(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = connection_for_reading(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok((version(&connection)? > 0).then_some(connection))
}

/// Opens a connection that cannot write. Closing it changes nothing, whereas closing one that can write may.
pub(super) fn connection_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Opens a connection to an existing file.
pub(super) fn connection_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Configures a connection, and brings the tables to their newest version. The transaction's lock prevents other
/// processes from doing the same.
pub(super) fn prepare_for_writing(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    check_version(connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // SQLite copies pages to memory instead of temporary files, which containers often cannot write.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // 8 MB, which is enough for the indexes of 100,000 enrolments.
    connection.pragma_update(None, "cache_size", -8_000)?;
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    check_version(&transaction)?;
    let from = usize::try_from(version(&transaction)?).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

/// Rejects a database that now belongs to another program or a newer version.
pub(super) fn check_version(connection: &Connection) -> Result<(), StoreError> {
    let reason = match state_of(connection)? {
        FileState::Ours(version) if version > VERSION => {
            format!("it has version {version} by now, which this program does not know")
        }
        FileState::OtherPrograms => "it is a database of another program by now".to_owned(),
        FileState::Empty | FileState::Ours(_) => return Ok(()),
    };
    Err(StoreError::Unavailable { reason })
}

/// The owner of a database.
enum FileState {
    Empty,
    /// This program, with this version.
    Ours(i64),
    OtherPrograms,
}

fn state_of(connection: &Connection) -> rusqlite::Result<FileState> {
    let version = version(connection)?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application == APPLICATION_ID {
        return Ok(FileState::Ours(version));
    }
    let tables: i64 = connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_empty = version == 0 && application == 0 && tables == 0;
    Ok(if is_empty { FileState::Empty } else { FileState::OtherPrograms })
}

/// Checks that a file, if it exists, is a database of this program.
pub(super) fn check_file(path: &Path) -> Result<(), OpenError> {
    let own = || path.to_owned();
    if !path.exists() {
        return match left_over(path) {
            Some(file) if !path.exists() => Err(OpenError::LeftOver { path: own(), file }),
            _ => Ok(()),
        };
    }
    let connection = connection_for_reading(path).map_err(|error| open_error(path, &error))?;
    let state = state_of(&connection).or_else(|error| match error.sqlite_error_code() {
        // A write was interrupted before the database had a write-ahead log. A connection for writing undoes it.
        Some(ErrorCode::ReadOnly) => {
            state_of(&connection_for_writing(path)?)?;
            state_of(&connection)
        }
        _ => Err(error),
    });
    match state.map_err(|error| open_error(path, &error))? {
        FileState::OtherPrograms => Err(OpenError::OtherProgram { path: own() }),
        FileState::Ours(version) if version > VERSION => {
            Err(OpenError::Newer { place: path.display().to_string(), version, known: VERSION })
        }
        FileState::Empty | FileState::Ours(_) => Ok(()),
    }
}

pub(super) fn open_error(path: &Path, error: &Error) -> OpenError {
    let (path, place) = (path.to_owned(), path.display().to_string());
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NoDatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, reason },
        _ => OpenError::System { place, reason },
    }
}

impl From<Error> for StoreError {
    /// Errors of the disk, another process or the file are temporary or can be repaired. All others are bugs.
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
