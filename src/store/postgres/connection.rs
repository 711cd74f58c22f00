//! A connection to PostgreSQL as [`Sql`].

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
use super::server::Server;
use super::tables::{
    CREATE_SCHEMA, HAS_SCHEMA, HAS_TABLES, LOCK_STATE, LOCK_TABLES, MIGRATIONS, ORIGIN, SETTINGS,
    TABLES_VERSION, VERSION,
};
use crate::store::database::Work;
use crate::store::error::StoreError;
use crate::store::sql::{Row, Sql, Value, one};

/// Statements of [`Sql::query_many`] that are on their way at once.
const AT_ONCE: usize = 128;

/// A connection. What it waits for has a time limit; afterwards the connection is of no use, as after any error that makes the store
/// unavailable.
pub(super) struct Connection {
    client: Client,
    statements: RefCell<HashMap<&'static str, Statement>>,
    /// For each answer.
    patience: Duration,
    origin: i64,
    version: i64,
    /// It drives this connection alone, while somebody waits for an answer. Taken when the connection is dropped.
    runtime: Option<Runtime>,
}

impl Connection {
    pub(super) fn open(server: &Server, patience: Duration) -> Result<Self, ConnectError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ConnectError::Unavailable(error.to_string()))?;
        let connect = server.config.connect(server.tls.clone());
        let connected = runtime.block_on(async { timeout(patience, connect).await });
        let (client, connection) = connected
            .map_err(|_| ConnectError::Unavailable(no_answer(patience)))?
            .map_err(|error| ConnectError::of(&error))?;
        runtime.spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        let mut connection = Self {
            client,
            statements: RefCell::default(),
            patience,
            origin: 0,
            version: 0,
            runtime: Some(runtime),
        };
        connection.look_around().map_err(|error| match error {
            StoreError::Internal(reason) => ConnectError::Refused(reason),
            StoreError::Unavailable { reason } => ConnectError::Unavailable(reason),
            error => ConnectError::Refused(error.to_string()),
        })?;
        if connection.version > VERSION {
            return Err(ConnectError::Newer(connection.version));
        }
        Ok(connection)
    }

    fn look_around(&mut self) -> Result<(), StoreError> {
        self.batch(SETTINGS)?;
        self.origin = self.integer(ORIGIN)?;
        self.version = if self.integer(HAS_TABLES)? == 1 { self.integer(TABLES_VERSION)? } else { 0 };
        Ok(())
    }

    /// Whether there are the tables that this program knows.
    pub(super) fn has_tables(&self) -> bool {
        self.version == VERSION
    }

    /// Makes the tables, or brings them to their newest version.
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

    /// Makes changes that are seen together, while nobody else makes any.
    pub(super) fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.in_transaction("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", &mut |sql| {
            let version = one(sql, LOCK_STATE, &[], |row| row.integer(0))?;
            if version != VERSION {
                return Err(ConnectError::Newer(version).into());
            }
            work(sql)
        })
    }

    /// Reads as of one moment. Whether there are tables.
    pub(super) fn read(&self, work: Work<'_>) -> Result<bool, StoreError> {
        if self.has_tables() {
            self.in_transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", work)?;
        }
        Ok(self.has_tables())
    }

    fn in_transaction(&self, begin: &str, work: Work<'_>) -> Result<(), StoreError> {
        self.batch(begin)?;
        let outcome = work(self);
        match &outcome {
            Ok(()) => self.batch("COMMIT"),
            Err(StoreError::Unavailable { .. }) => outcome,
            // It is told whether that worked by the next who uses the connection.
            Err(_) => self.batch("ROLLBACK").and(outcome),
        }
    }

    fn integer(&self, statement: &'static str) -> Result<i64, StoreError> {
        one(self, statement, &[], |row| row.integer(0))
    }

    /// Waits for the server, though not for ever.
    fn wait<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(answer),
            None => Err(StoreError::Internal("the connection is closed".into())),
        }
    }

    /// An answer of the server, if it comes in time.
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
            // It may be dropped where nobody may wait.
            runtime.shutdown_background();
        }
    }
}

impl Sql for Connection {
    fn execute(&self, statement: &'static str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        self.wait(async {
            let statement = self.prepared(statement).await?;
            let n = self.in_time(self.client.execute_raw(&statement, values)).await?;
            Ok(n as usize)
        })
    }

    fn query(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
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
        sets: &[Vec<Value<'_>>],
        each: &mut dyn FnMut(usize, &dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.wait(async {
            let statement = self.prepared(statement).await?;
            let query = async |values: &Vec<Value<'_>>| {
                self.client.query_raw(&statement, values).await?.try_collect::<Vec<_>>().await
            };
            for (chunk, sets) in sets.chunks(AT_ONCE).enumerate() {
                // They are sent in order, and answered in order.
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
        !self.client.is_closed()
    }

    fn origin(&self) -> i64 {
        self.origin
    }
}

impl ToSql for Value<'_> {
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
