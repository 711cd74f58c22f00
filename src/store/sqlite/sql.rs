//! Implements [`Sql`] for a connection to SQLite, and its transactions.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior};

use super::open::check_version;
use super::tables::REVISION;
use crate::store::database::Work;
use crate::store::error::StoreError;
use crate::store::sql::{Revision, Row, Sql, SqlValue, one};

impl Sql for Connection {
    fn execute(&self, statement: &'static str, values: &[SqlValue<'_>]) -> Result<usize, StoreError> {
        Ok(self.prepare_cached(statement)?.execute(rusqlite::params_from_iter(values))?)
    }

    fn query(
        &self,
        statement: &'static str,
        values: &[SqlValue<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare_cached(statement)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            each(row)?;
        }
        Ok(())
    }

    fn query_many(
        &self,
        statement: &'static str,
        sets: &[Vec<SqlValue<'_>>],
        each: &mut dyn FnMut(usize, &dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        sets.iter()
            .enumerate()
            .try_for_each(|(place, values)| self.query(statement, values, &mut |row| each(place, row)))
    }

    fn batch(&self, statements: &str) -> Result<(), StoreError> {
        Ok(self.execute_batch(statements)?)
    }

    fn is_in_transaction(&self) -> bool {
        !self.is_autocommit()
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        one(self, REVISION, &[], |row| {
            let (number, forgotten) = (row.integer(0)? as u64, row.integer(1)? as u64);
            Ok(Revision { number, forgotten, origin: 0 })
        })
    }
}

impl ToSql for SqlValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Real(Some(real)) => ValueRef::Real(*real),
            Self::Real(None) => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Row for rusqlite::Row<'_> {
    fn integer(&self, column: usize) -> Result<i64, StoreError> {
        Ok(self.get(column)?)
    }

    fn real(&self, column: usize) -> Result<Option<f64>, StoreError> {
        Ok(self.get(column)?)
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        Ok(self.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
    }

    fn bytes(&self, column: usize) -> Result<&[u8], StoreError> {
        Ok(self.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?)
    }
}

/// Reads a consistent state.
pub(super) fn read_consistently(connection: &Connection, work: Work<'_>) -> Result<(), StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    work(&*transaction)?;
    Ok(transaction.finish()?)
}

/// Makes changes while no other connection makes any. `check` is asked before the commit.
pub(super) fn write_immediately(
    connection: &Connection,
    work: Work<'_>,
    check: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    check_version(&transaction)?;
    work(&*transaction)?;
    check()?;
    Ok(transaction.commit()?)
}
