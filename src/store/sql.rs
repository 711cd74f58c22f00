//! The interface to both databases: statements with `?1`, `?2` and so on for values, and rows.

use crate::speakers::Identifier;
use crate::store::error::StoreError;

/// A connection to a database.
pub(super) trait Sql {
    /// Runs a statement, and returns how many rows it has changed.
    fn execute(&self, statement: &'static str, values: &[SqlValue<'_>]) -> Result<usize, StoreError>;

    /// Runs a statement, and passes on its rows as they arrive. `each` must not use the connection.
    fn query(
        &self,
        statement: &'static str,
        values: &[SqlValue<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs a statement for each set of values without waiting for each response. Passes on the rows with the set's index.
    fn query_many(
        &self,
        statement: &'static str,
        sets: &[Vec<SqlValue<'_>>],
        each: &mut dyn FnMut(usize, &dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs statements without values.
    fn batch(&self, statements: &str) -> Result<(), StoreError>;

    /// Returns whether the transaction is still active.
    fn is_in_transaction(&self) -> bool;

    /// Returns the revision of the database.
    fn revision(&self) -> Result<Revision, StoreError>;
}

/// The revision of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// A number that rises with every change.
    pub(super) number: u64,
    /// Removals up to this revision are no longer recorded.
    pub(super) forgotten: u64,
    /// If the origin differs, knowledge of earlier revisions may be wrong.
    pub(super) origin: i64,
}

/// A value of a statement.
#[derive(Clone, Debug)]
pub(super) enum SqlValue<'a> {
    Integer(i64),
    Real(Option<f64>),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A row of a result.
pub(super) trait Row {
    fn integer(&self, column: usize) -> Result<i64, StoreError>;
    fn real(&self, column: usize) -> Result<Option<f64>, StoreError>;
    fn text(&self, column: usize) -> Result<&str, StoreError>;
    fn bytes(&self, column: usize) -> Result<&[u8], StoreError>;
}

/// Returns the first row of a result, if it has one.
pub(super) fn first<T>(
    sql: &dyn Sql,
    statement: &'static str,
    values: &[SqlValue<'_>],
    mut read: impl FnMut(&dyn Row) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut found = None;
    sql.query(statement, values, &mut |row| {
        if found.is_none() {
            found = Some(read(row)?);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Returns the only row of a result.
pub(super) fn one<T>(
    sql: &dyn Sql,
    statement: &'static str,
    values: &[SqlValue<'_>],
    read: impl FnMut(&dyn Row) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    first(sql, statement, values, read)?
        .ok_or_else(|| StoreError::Internal(format!("there is no row: {statement}")))
}

/// Returns all rows of a result.
pub(super) fn all<T>(
    sql: &dyn Sql,
    statement: &'static str,
    values: &[SqlValue<'_>],
    mut read: impl FnMut(&dyn Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = Vec::new();
    sql.query(statement, values, &mut |row| {
        rows.push(read(row)?);
        Ok(())
    })?;
    Ok(rows)
}

/// Reads a number that is not negative.
pub(super) fn count(row: &dyn Row, column: usize) -> Result<usize, StoreError> {
    Ok(row.integer(column)?.max(0) as usize)
}

pub(super) fn identifier(row: &dyn Row, column: usize) -> Result<Identifier, StoreError> {
    let text = row.text(column)?;
    text.parse().map_err(|error| StoreError::Internal(format!("{text:?} is kept as an identifier: {error}")))
}

/// Reads the codes of warnings.
pub(super) fn codes(row: &dyn Row, column: usize) -> Result<impl Iterator<Item = &str>, StoreError> {
    Ok(row.text(column)?.split_whitespace())
}

/// Reads a vector from little-endian `f32`.
pub(super) fn vector(row: &dyn Row, column: usize) -> Result<Vec<f32>, StoreError> {
    let (components, _) = row.bytes(column)?.as_chunks();
    Ok(components.iter().map(|component| f32::from_le_bytes(*component)).collect())
}

/// Writes a vector as little-endian `f32`.
pub(super) fn bytes_of(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}
