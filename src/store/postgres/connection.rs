//! Implements [`Sql`] for a connection to PostgreSQL.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

use super::error::ConnectError;
use super::server::PostgresServer;
use super::tables::{
    CREATE_SCHEMA, HAS_SCHEMA, HAS_TABLES, LOCK_STATE, LOCK_TABLES, MIGRATIONS, REVISION, SETTINGS, STARTED,
    TABLES_VERSION, VERSION, WITHOUT_TIMEOUTS,
};
use crate::store::database::Work;
use crate::store::error::StoreError;
use crate::store::sql::{Revision, Row, Sql, SqlValue, one};

const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The number of statements of [`Sql::query_many`] that are in flight at once.
const AT_ONCE: usize = 128;

/// A connection. Every wait has a time limit. After a timeout, as after any error that makes the store unavailable, the
/// connection can no longer be used.
pub(super) struct Connection {
    client: Client,
    statements: RefCell<HashMap<&'static str, Statement>>,
    /// The time limit for each response.
    patience: Duration,
    /// When the server was started, in microseconds since 1970.
    server_started: i64,
    version: i64,
    /// Drives only this connection, while a caller waits for a response. Taken when the connection is dropped.
    runtime: Option<Runtime>,
}

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPurpose {
    Read,
    Write,
    /// A read whose rows wait for a slow receiver.
    LongRead,
}

impl ConnectionPurpose {
    /// Returns the time limit for each response. A write also waits for the lock, which another replica may hold for a
    /// large import. A long read waits for its first row, which may require sorting.
    fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Read => 5,
            Self::Write => 25,
            Self::LongRead => 120,
        })
    }

    /// Returns the settings for the server.
    fn settings(self) -> String {
        match self {
            // The server stops a statement whose client no longer waits for it.
            Self::Read | Self::Write => {
                format!("{SETTINGS} SET statement_timeout TO '{}s';", self.patience().as_secs() + 1)
            }
            Self::LongRead => format!("{SETTINGS} {WITHOUT_TIMEOUTS}"),
        }
    }
}

impl Connection {
    pub(super) fn open(server: &PostgresServer, purpose: ConnectionPurpose) -> Result<Self, ConnectError> {
        let patience = purpose.patience();
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ConnectError::Unavailable(error.to_string()))?;
        let connect = server.settings().config.connect(server.settings().tls.clone());
        // The servers are tried one after the other.
        let limit = patience + server.connect_timeout();
        let connected = runtime.block_on(async { timeout(limit, connect).await });
        let (client, connection) = connected
            .map_err(|_| ConnectError::Unavailable(no_answer(limit)))?
            .map_err(|error| ConnectError::from_postgres(&error))?;
        runtime.spawn(async move {
            // Callers that wait for a response receive the error.
            let _ = connection.await;
        });
        let mut connection = Self {
            client,
            statements: RefCell::default(),
            patience,
            server_started: 0,
            version: 0,
            runtime: Some(runtime),
        };
        connection.look_around(purpose).map_err(|error| match error {
            StoreError::Internal(reason) => ConnectError::Refused(reason),
            StoreError::Unavailable { reason } => ConnectError::Unavailable(reason),
            error => ConnectError::Refused(error.to_string()),
        })?;
        if connection.version > VERSION {
            return Err(ConnectError::Newer(connection.version));
        }
        Ok(connection)
    }

    fn look_around(&mut self, purpose: ConnectionPurpose) -> Result<(), StoreError> {
        self.batch(&purpose.settings())?;
        self.server_started = self.integer(STARTED)?;
        self.version = if self.integer(HAS_TABLES)? == 1 { self.integer(TABLES_VERSION)? } else { 0 };
        Ok(())
    }

    /// Returns whether the connection is still open, as far as known.
    pub(super) fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// Returns whether the server has the tables that this program knows.
    pub(super) fn has_tables(&self) -> bool {
        self.version == VERSION
    }

    /// Creates the tables, or brings them to their newest version.
    pub(super) fn make_tables(&mut self) -> Result<(), StoreError> {
        if self.has_tables() {
            return Ok(());
        }
        self.in_transaction("BEGIN", &mut |sql| {
            one(sql, LOCK_TABLES, &[], |_| Ok(()))?;
            if self.integer(HAS_SCHEMA)? == 0 {
                sql.batch(CREATE_SCHEMA)?;
            }
            let from = if self.integer(HAS_TABLES)? == 1 { self.integer(TABLES_VERSION)? } else { 0 };
            MIGRATIONS.iter().skip(from as usize).try_for_each(|migration| sql.batch(migration))
        })?;
        self.version = self.integer(TABLES_VERSION)?;
        Ok(())
    }

    /// Makes changes in one transaction, while no other connection makes any.
    pub(super) fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.in_transaction("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", &mut |sql| {
            let version = one(sql, LOCK_STATE, &[], |row| row.integer(0))?;
            if version != VERSION {
                return Err(ConnectError::Newer(version).into());
            }
            work(sql)
        })
    }

    /// Reads a consistent state. Returns whether the tables exist.
    pub(super) fn read(&self, work: Work<'_>) -> Result<bool, StoreError> {
        if self.has_tables() {
            self.in_transaction(BEGIN_READING, work)?;
        }
        Ok(self.has_tables())
    }

    /// Like [`Connection::read`], as the connection's last use. The rest of the response is not read.
    pub(super) fn read_at_last(self, work: Work<'_>) -> Result<bool, StoreError> {
        if self.has_tables() {
            self.batch(BEGIN_READING)?;
            work(&self)?;
        }
        Ok(self.has_tables())
    }

    fn in_transaction(&self, begin: &str, work: Work<'_>) -> Result<(), StoreError> {
        self.batch(begin)?;
        let outcome = work(self);
        match &outcome {
            Ok(()) => self.batch("COMMIT"),
            Err(StoreError::Unavailable { .. }) => outcome,
            // If the rollback fails, its error is returned instead.
            Err(_) => self.batch("ROLLBACK").and(outcome),
        }
    }

    fn integer(&self, statement: &'static str) -> Result<i64, StoreError> {
        one(self, statement, &[], |row| row.integer(0))
    }

    /// Waits for the server. Every response has a time limit.
    fn wait<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(answer),
            None => Err(StoreError::Internal("the connection is closed".into())),
        }
    }

    /// Waits for a response of the server until the time limit.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match timeout(self.patience, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Unavailable { reason: no_answer(self.patience) }),
        }
    }

    async fn prepared(&self, statement: &'static str) -> Result<Statement, StoreError> {
        let known = self.statements.borrow().get(statement).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let prepared = self.in_time(self.client.prepare(&statement.replace('?', "$"))).await?;
        self.statements.borrow_mut().insert(statement, prepared.clone());
        Ok(prepared)
    }
}

fn no_answer(patience: Duration) -> String {
    format!("the server has not answered within {} seconds", patience.as_secs())
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The connection may be dropped on a thread that must not block.
            runtime.shutdown_background();
        }
    }
}

impl Sql for Connection {
    fn execute(&self, statement: &'static str, values: &[SqlValue<'_>]) -> Result<usize, StoreError> {
        self.wait(async {
            let statement = self.prepared(statement).await?;
            let n = self.in_time(self.client.execute_raw(&statement, values)).await?;
            Ok(n as usize)
        })
    }

    fn query(
        &self,
        statement: &'static str,
        values: &[SqlValue<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.wait(async {
            let statement = self.prepared(statement).await?;
            let mut rows = pin!(self.in_time(self.client.query_raw(&statement, values)).await?);
            while let Some(row) = self.in_time(rows.try_next()).await? {
                each(&row)?;
            }
            Ok(())
        })
    }

    fn query_many(
        &self,
        statement: &'static str,
        sets: &[Vec<SqlValue<'_>>],
        each: &mut dyn FnMut(usize, &dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.wait(async {
            let statement = self.prepared(statement).await?;
            let query = async |values: &Vec<SqlValue<'_>>| {
                self.client.query_raw(&statement, values).await?.try_collect::<Vec<_>>().await
            };
            for (chunk, sets) in sets.chunks(AT_ONCE).enumerate() {
                // The statements are sent in order, and answered in order.
                let answers = self.in_time(try_join_all(sets.iter().map(query))).await?;
                for (place, rows) in answers.iter().enumerate() {
                    rows.iter().try_for_each(|row| each(chunk * AT_ONCE + place, row))?;
                }
            }
            Ok(())
        })
    }

    fn batch(&self, statements: &str) -> Result<(), StoreError> {
        self.wait(self.in_time(self.client.batch_execute(statements)))
    }

    fn is_in_transaction(&self) -> bool {
        self.is_open()
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        one(self, REVISION, &[], |row| {
            let (number, forgotten) = (row.integer(0)? as u64, row.integer(1)? as u64);
            Ok(Revision { number, forgotten, origin: self.server_started.wrapping_mul(31) ^ row.integer(2)? })
        })
    }
}

impl ToSql for SqlValue<'_> {
    fn to_sql(&self, of: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Integer(integer) => integer.to_sql(of, out),
            Self::Real(real) => real.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        [Type::INT8, Type::FLOAT8, Type::TEXT, Type::BYTEA].contains(of)
    }

    to_sql_checked!();
}

impl Row for tokio_postgres::Row {
    fn integer(&self, column: usize) -> Result<i64, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn real(&self, column: usize) -> Result<Option<f64>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: usize) -> Result<&[u8], StoreError> {
        Ok(self.try_get(column)?)
    }
}
