//! A pool of a few connections to a server.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, ConnectionPurpose};
use super::error::ConnectError;
use super::server::PostgresServer;
use super::tables::VERSION;
use crate::store::database::{Database, Reading, Work};
use crate::store::error::{OpenError, StoreError};
use crate::store::sql::Sql;

/// The maximum number of connections for reading.
const MAX_READERS: usize = 4;

/// One more connection for reads of a single statement, so that searches do not wait for lists.
const MAX_LOOKERS: usize = MAX_READERS + 1;

/// How long a read waits for a connection.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// How long connecting is not tried again after a failure.
const REST: Duration = Duration::from_secs(1);

/// A database of speakers on a server.
pub(in crate::store) struct PostgresDatabase {
    server: PostgresServer,
    readers: Mutex<Readers>,
    freed: Condvar,
    writer: Mutex<Option<Connection>>,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    /// The number of connections, including idle ones.
    open: usize,
    /// The last attempt to connect, if it failed.
    failure: Option<(Instant, String)>,
}

/// A connection for reading. It counts as open until it is dropped.
struct Reader<'a> {
    connection: Option<Connection>,
    was_idle: bool,
    database: &'a PostgresDatabase,
}

impl PostgresDatabase {
    pub(in crate::store) fn new(server: PostgresServer) -> Self {
        Self { server, readers: Mutex::default(), freed: Condvar::new(), writer: Mutex::default() }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Connection>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_writer(&self) -> Result<Connection, StoreError> {
        let mut connection = Connection::open(&self.server, ConnectionPurpose::Write)?;
        connection.make_tables()?;
        Ok(connection)
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a connection for exclusive use.
    fn reader(&self, max: usize) -> Result<Reader<'_>, StoreError> {
        let deadline = Instant::now() + READER_PATIENCE;
        let mut readers = self.readers();
        loop {
            if let Some(connection) = readers.idle.pop() {
                return Ok(Reader { connection: Some(connection), was_idle: true, database: self });
            }
            if let Some((at, reason)) = &readers.failure
                && at.elapsed() < REST
            {
                return Err(StoreError::Unavailable { reason: reason.clone() });
            }
            if readers.open < max {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::Unavailable { reason: "all connections are in use".into() });
            }
            readers = self.freed.wait_timeout(readers, left).map_or_else(|e| e.into_inner().0, |(r, _)| r);
        }
        readers.open += 1;
        drop(readers);
        // From here on, dropping the reader frees its slot.
        let mut reader = Reader { connection: None, was_idle: false, database: self };
        let opened = Connection::open(&self.server, ConnectionPurpose::Read).map_err(StoreError::from);
        let failure = match &opened {
            Err(StoreError::Unavailable { reason }) => Some((Instant::now(), reason.clone())),
            _ => None,
        };
        self.readers().failure = failure;
        reader.connection = Some(opened?);
        Ok(reader)
    }

    fn with_reader(
        &self,
        max: usize,
        work: &mut dyn FnMut(&Connection) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        loop {
            let reader = self.reader(max)?;
            let Some(connection) = &reader.connection else { continue };
            match work(connection) {
                // The server may have been restarted meanwhile, in which case other idle connections are broken too.
                Err(StoreError::Unavailable { .. }) if reader.was_idle => self.close_idle(),
                outcome => {
                    // A connection that has found no tables does not check again, so it is not reused.
                    if connection.has_tables() && !matches!(outcome, Err(StoreError::Unavailable { .. })) {
                        reader.give_back();
                    }
                    return outcome;
                }
            }
        }
    }

    fn close_idle(&self) {
        let mut readers = self.readers();
        readers.open -= readers.idle.len();
        readers.idle.clear();
    }
}

impl Reader<'_> {
    fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            let mut readers = self.database.readers();
            readers.idle.push(connection);
            readers.open += 1;
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.database.readers().open -= 1;
        self.database.freed.notify_one();
    }
}

impl Database for PostgresDatabase {
    /// Creates missing tables.
    fn migrate(&self) -> Result<bool, OpenError> {
        let made = Connection::open(&self.server, ConnectionPurpose::Write).map(|mut connection| {
            let made = connection.make_tables();
            // If the server answers but cannot do this, retrying does not help.
            made.map_err(|error| (error, connection.is_open()))
        });
        match made {
            Ok(Ok(())) => Ok(true),
            Ok(Err((StoreError::Unavailable { .. }, false))) | Err(ConnectError::Unavailable(_)) => Ok(false),
            Ok(Err((error, _))) => Err(self.open_error(error)),
            Err(ConnectError::Refused(reason)) => Err(self.open_error(StoreError::Unavailable { reason })),
            Err(ConnectError::Newer(version)) => {
                Err(OpenError::Newer { place: self.server.name().to_owned(), version, known: VERSION })
            }
        }
    }

    fn read(&self, reading: Reading, work: Work<'_>) -> Result<bool, StoreError> {
        match reading {
            Reading::Consistent => self.with_reader(MAX_READERS, &mut |connection| connection.read(work)),
            Reading::SingleStatement => self.with_reader(MAX_LOOKERS, &mut |connection| {
                if connection.has_tables() {
                    work(connection)?;
                }
                Ok(connection.has_tables())
            }),
            // Uses a separate connection.
            Reading::Long => Connection::open(&self.server, ConnectionPurpose::LongRead)?.read_at_last(work),
            Reading::AfterWrite => match &*self.writer() {
                Some(connection) => connection.read(work),
                None => Err(StoreError::Unavailable { reason: "the connection is closed".into() }),
            },
        }
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        let mut writer = self.writer();
        let connection = match writer.take() {
            // If the server was restarted since the last change, the connection is broken.
            Some(connection) if connection.batch("SELECT 1").is_ok() => connection,
            _ => self.open_writer()?,
        };
        writer.insert(connection).write(work)
    }

    fn close_writer(&self) {
        *self.writer() = None;
    }

    fn close_readers(&self) {
        self.close_idle();
    }

    fn open_error(&self, error: StoreError) -> OpenError {
        OpenError::System { place: self.server.name().to_owned(), reason: error.reason() }
    }
}
