//! A SQLite database in a file or in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::open::{
    BUSY_TIMEOUT, check_file, check_version, connection_for_reading, connection_for_writing, create, make,
    open_error, open_for_reading, prepare_for_writing, resolve_links, version, with_suffix,
};
use super::opened::OpenedFile;
use super::tables::VERSION;
use crate::store::database::{self, Readable, Work, Writable};
use crate::store::error::{OpenError, StoreError};

/// The maximum number of idle connections for reading.
const MAX_IDLE: usize = 4;

/// How long emptying the log waits for readers.
const ERASE_TIMEOUT: Duration = Duration::from_millis(50);

/// A database of speakers, which opens connections on demand.
pub(in crate::store) struct SqliteDatabase {
    place: DatabasePlace,
    idle: Mutex<Vec<Connection>>,
    /// The file that was opened first.
    opened: Arc<OpenedFile>,
}

enum DatabasePlace {
    /// The file is created at the first write, together with its folder.
    File(PathBuf),
    Memory(Arc<Mutex<Connection>>),
}

/// The connection for writing.
enum WriteConnection {
    Own(Connection, Arc<OpenedFile>),
    Shared(Arc<Mutex<Connection>>),
}

impl SqliteDatabase {
    /// Checks that a file, if it exists, is a database of this program. Does not change it.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, OpenError> {
        let path = resolve_links(path);
        check_file(&path)?;
        let opened = Arc::new(OpenedFile::new(&path));
        Ok(Self { place: DatabasePlace::File(path), idle: Mutex::default(), opened })
    }

    /// Opens an empty database in memory.
    pub(in crate::store) fn in_memory() -> Result<Self, OpenError> {
        let system = |reason: String| OpenError::System { place: ":memory:".into(), reason };
        let connection = Connection::open_in_memory().map_err(|error| system(error.to_string()))?;
        prepare_for_writing(&connection).map_err(|error| system(format!("{error:?}")))?;
        let place = DatabasePlace::Memory(Arc::new(Mutex::new(connection)));
        Ok(Self { place, idle: Mutex::default(), opened: Arc::new(OpenedFile::none()) })
    }
}

impl Readable for SqliteDatabase {
    fn read(&self, work: Work<'_>) -> Result<bool, StoreError> {
        let path = match &self.place {
            DatabasePlace::Memory(connection) => {
                return in_one_moment(&lock_mutex(connection), work).map(|()| true);
            }
            DatabasePlace::File(path) => path,
        };
        self.opened.check()?;
        let idle = lock_mutex(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => match open_for_reading(path)? {
                Some(connection) => {
                    self.opened.remember();
                    connection
                }
                None => return Ok(false),
            },
        };
        in_one_moment(&connection, work)?;
        let mut idle = lock_mutex(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(true)
    }

    fn look(&self, work: Work<'_>) -> Result<bool, StoreError> {
        self.read(work)
    }
}

impl database::Database for SqliteDatabase {
    fn migrate(&self) -> Result<bool, OpenError> {
        let DatabasePlace::File(path) = &self.place else { return Ok(true) };
        let from_file = |error: StoreError| OpenError::System {
            place: path.display().to_string(),
            reason: format!("its tables cannot be brought to version {VERSION}: {}", error.reason()),
        };
        let found =
            open_for_reading(path).and_then(|connection| Ok(connection.map(|c| version(&c)).transpose()?));
        // A file that cannot be read is reported when it is checked.
        if found.is_ok_and(|version| version.is_some_and(|version| version < VERSION)) {
            make(path).map_err(from_file)?;
        }
        Ok(true)
    }

    /// Reads the whole file.
    fn check(&self) -> Result<(), OpenError> {
        let DatabasePlace::File(path) = &self.place else { return Ok(()) };
        if path.metadata().map_or(0, |metadata| metadata.len()) == 0 {
            return Ok(());
        }
        let found = connection_for_reading(path)
            .and_then(|connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)));
        match found.map_err(|error| open_error(path, &error))? {
            ok if ok == "ok" => Ok(()),
            reason => Err(OpenError::Damaged { path: path.clone(), reason }),
        }
    }

    fn open_for_writing(&self) -> Result<Box<dyn Writable>, StoreError> {
        let path = match &self.place {
            DatabasePlace::Memory(connection) => {
                return Ok(Box::new(WriteConnection::Shared(Arc::clone(connection))));
            }
            DatabasePlace::File(path) => path,
        };
        // If the file is gone, no other file must take its place unnoticed.
        self.opened.check()?;
        create(path)?;
        let connection = connection_for_writing(path)?;
        self.opened.remember();
        if connection.is_readonly("main")? {
            return Err(StoreError::Unavailable { reason: format!("{} cannot be written", path.display()) });
        }
        prepare_for_writing(&connection)?;
        Ok(Box::new(WriteConnection::Own(connection, Arc::clone(&self.opened))))
    }

    fn writes_wait_for_reads(&self) -> bool {
        matches!(self.place, DatabasePlace::Memory(_))
    }

    /// Uses a separate connection.
    fn read_long(&self, work: Work<'_>) -> Result<bool, StoreError> {
        let DatabasePlace::File(path) = &self.place else { return self.read(work) };
        let Some(connection) = open_for_reading(path)? else { return Ok(false) };
        in_one_moment(&connection, work).map(|()| true)
    }

    /// Returns whether the write-ahead log contains changes, of this or an earlier process.
    fn may_hold_removed(&self) -> bool {
        let DatabasePlace::File(path) = &self.place else { return false };
        let log = with_suffix(path, "-wal");
        path.exists() && log.metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    fn folder(&self) -> Option<&Path> {
        match &self.place {
            DatabasePlace::File(path) => path.parent(),
            DatabasePlace::Memory(_) => None,
        }
    }

    fn check_place(&self) -> Result<(), StoreError> {
        self.opened.check()
    }

    fn has_others(&self) -> bool {
        self.opened.has_others()
    }

    fn close_readers(&self) {
        lock_mutex(&self.idle).clear();
    }

    fn open_error(&self, error: StoreError) -> OpenError {
        match (&self.place, error) {
            (DatabasePlace::File(path), StoreError::Unavailable { reason }) => {
                OpenError::Damaged { path: path.clone(), reason }
            }
            (DatabasePlace::File(path), error) => {
                OpenError::System { place: path.display().to_string(), reason: error.to_string() }
            }
            (DatabasePlace::Memory(_), error) => {
                OpenError::System { place: ":memory:".into(), reason: error.to_string() }
            }
        }
    }
}

impl WriteConnection {
    fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        match self {
            Self::Own(connection, _) => work(connection),
            Self::Shared(connection) => work(&lock_mutex(connection)),
        }
    }
}

impl Readable for WriteConnection {
    fn read(&self, work: Work<'_>) -> Result<bool, StoreError> {
        self.with(|connection| in_one_moment(connection, work)).map(|()| true)
    }

    fn look(&self, work: Work<'_>) -> Result<bool, StoreError> {
        self.read(work)
    }
}

impl Writable for WriteConnection {
    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        let check = || match self {
            Self::Own(_, opened) => opened.check(),
            Self::Shared(_) => Ok(()),
        };
        // If another file is at the path by now, the log would be written over that file.
        check()?;
        self.with(|connection| {
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            check_version(&transaction)?;
            work(&*transaction)?;
            check()?;
            Ok(transaction.commit()?)
        })
    }

    /// Moves the write-ahead log into the database, where removed rows are overwritten, and empties the log.
    fn erase(&self) -> bool {
        let checkpoint = |connection: &Connection| {
            connection.busy_timeout(ERASE_TIMEOUT)?;
            let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            is_busy
        };
        match self {
            Self::Own(_, opened) if opened.check().is_err() => true,
            Self::Own(connection, _) => !checkpoint(connection).unwrap_or(true),
            Self::Shared(_) => true,
        }
    }
}

fn lock_mutex<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a consistent state.
fn in_one_moment(connection: &Connection, work: Work<'_>) -> Result<(), StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    work(&*transaction)?;
    Ok(transaction.finish()?)
}
