//! A SQLite database in a file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::open::{
    BUSY_TIMEOUT, check_file, connection_for_reading, connection_for_writing, create, make, open_error,
    open_for_reading, prepare_for_writing, resolve_links, version, with_suffix,
};
use super::opened::OpenedFile;
use super::sql::{read_consistently, write_immediately};
use super::tables::VERSION;
use crate::store::database::{Database, Reading, Work};
use crate::store::error::{OpenError, StoreError};

/// The maximum number of idle connections for reading.
const MAX_IDLE: usize = 4;

/// How long emptying the log waits for readers.
const ERASE_TIMEOUT: Duration = Duration::from_millis(50);

/// A database in a file, which is created at the first write, together with its folder.
pub(in crate::store) struct FileDatabase {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    writer: Mutex<Option<Connection>>,
    /// The file that was opened first.
    opened: OpenedFile,
}

impl FileDatabase {
    /// Checks that a file, if it exists, is a database of this program. Does not change it.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, OpenError> {
        let path = resolve_links(path);
        check_file(&path)?;
        let opened = OpenedFile::new(&path);
        Ok(Self { path, idle: Mutex::default(), writer: Mutex::default(), opened })
    }

    /// Opens a connection for writing, and creates the file if there is none. The caller has checked the place.
    fn open_writer(&self) -> Result<Connection, StoreError> {
        create(&self.path)?;
        let connection = connection_for_writing(&self.path)?;
        self.opened.remember();
        if connection.is_readonly("main")? {
            return Err(StoreError::Unavailable {
                reason: format!("{} cannot be written", self.path.display()),
            });
        }
        prepare_for_writing(&connection)?;
        Ok(connection)
    }

    /// Works on the connection that writes. Opens it if it is closed. If the file is gone, no other file must take its place
    /// unnoticed.
    fn with_writer<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.opened.check()?;
        let mut writer = lock(&self.writer);
        let connection = match writer.take() {
            Some(connection) => connection,
            None => self.open_writer()?,
        };
        work(writer.insert(connection))
    }
}

impl Database for FileDatabase {
    fn migrate(&self) -> Result<bool, OpenError> {
        let path = &self.path;
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
        let path = &self.path;
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

    fn read(&self, reading: Reading, work: Work<'_>) -> Result<bool, StoreError> {
        if reading == Reading::AfterWrite {
            return self.with_writer(|connection| read_consistently(connection, work)).map(|()| true);
        }
        self.opened.check()?;
        let idle = if reading == Reading::Long { None } else { lock(&self.idle).pop() };
        let connection = match idle {
            Some(connection) => connection,
            None => match open_for_reading(&self.path)? {
                Some(connection) => {
                    self.opened.remember();
                    connection
                }
                None => return Ok(false),
            },
        };
        read_consistently(&connection, work)?;
        let mut idle = lock(&self.idle);
        if reading != Reading::Long && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(true)
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        // If another file is at the path by now, the log would be written over that file.
        self.with_writer(|connection| write_immediately(connection, work, || self.opened.check()))
    }

    fn close_writer(&self) {
        *lock(&self.writer) = None;
    }

    fn close_readers(&self) {
        lock(&self.idle).clear();
    }

    /// Returns whether the write-ahead log contains changes, of this or an earlier process.
    fn may_hold_removed(&self) -> bool {
        let log = with_suffix(&self.path, "-wal");
        self.path.exists() && log.metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Moves the write-ahead log into the database, where removed rows are overwritten, and empties the log.
    fn erase(&self) -> bool {
        if self.opened.check().is_err() || !self.may_hold_removed() {
            return true;
        }
        let checkpoint = |connection: &Connection| {
            connection.busy_timeout(ERASE_TIMEOUT)?;
            let is_busy: rusqlite::Result<bool> =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            Ok(is_busy?)
        };
        !self.with_writer(checkpoint).unwrap_or(true)
    }

    fn folder(&self) -> Option<&Path> {
        self.path.parent()
    }

    fn check_place(&self) -> Result<(), StoreError> {
        self.opened.check()
    }

    fn has_others(&self) -> bool {
        self.opened.has_others()
    }

    fn open_error(&self, error: StoreError) -> OpenError {
        match error {
            StoreError::Unavailable { reason } => OpenError::Damaged { path: self.path.clone(), reason },
            error => OpenError::System { place: self.path.display().to_string(), reason: error.to_string() },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
