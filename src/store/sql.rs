//! What both databases are asked by: statements with `?1`, `?2` and so on for values, and rows.

use crate::speakers::Identifier;
use crate::store::error::StoreError;

/// A connection to a database.
pub(super) trait Sql {
    /// Runs a statement; how many rows it has changed.
    fn execute(&self, statement: &'static str, values: &[Value<'_>]) -> Result<usize, StoreError>;

    /// Runs a statement, and hands over its rows, as they come. What takes them does not use the connection.
    fn query(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs a statement for each set of values without waiting for each answer, and hands over the rows with the set's number.
    fn query_many(
        &self,
        statement: &'static str,
        sets: &[Vec<Value<'_>>],
        each: &mut dyn FnMut(usize, &dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs statements without values.
    fn batch(&self, statements: &str) -> Result<(), StoreError>;

    /// Whether the transaction that was begun is still there.
    fn is_in_transaction(&self) -> bool;

    /// How far the database is.
    fn revision(&self) -> Result<Revision, StoreError>;
}

/// How far a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// It rises with every change.
    pub(super) number: u64,
    /// That up to which removals are not remembered.
    pub(super) forgotten: u64,
    /// With another origin, what is known of earlier revisions may not hold.
    pub(super) origin: i64,
}

/// A value of a statement.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Integer(i64),
    Real(Option<f64>),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A row of an answer.
pub(super) trait Row {
    fn integer(&self, column: usize) -> Result<i64, StoreError>;
    fn real(&self, column: usize) -> Result<Option<f64>, StoreError>;
    fn text(&self, column: usize) -> Result<&str, StoreError>;
    fn bytes(&self, column: usize) -> Result<&[u8], StoreError>;
}

/// The first row of an answer, if there is one.
pub(super) fn first<T>(
    sql: &dyn Sql,
    statement: &'static str,
    values: &[Value<'_>],
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

/// The row of an answer that has one.
pub(super) fn one<T>(
    sql: &dyn Sql,
    statement: &'static str,
    values: &[Value<'_>],
    read: impl FnMut(&dyn Row) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    first(sql, statement, values, read)?
        .ok_or_else(|| StoreError::Internal(format!("there is no row: {statement}")))
}

/// All rows of an answer.
pub(super) fn all<T>(
    sql: &dyn Sql,
    statement: &'static str,
    values: &[Value<'_>],
    mut read: impl FnMut(&dyn Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = Vec::new();
    sql.query(statement, values, &mut |row| {
        rows.push(read(row)?);
        Ok(())
    })?;
    Ok(rows)
}

/// Not negative.
pub(super) fn count(row: &dyn Row, column: usize) -> Result<usize, StoreError> {
    Ok(row.integer(column)?.max(0) as usize)
}

pub(super) fn identifier(row: &dyn Row, column: usize) -> Result<Identifier, StoreError> {
    let text = row.text(column)?;
    text.parse().map_err(|error| StoreError::Internal(format!("{text:?} is kept as an identifier: {error}")))
}

/// Codes of warnings.
pub(super) fn codes(row: &dyn Row, column: usize) -> Result<impl Iterator<Item = &str>, StoreError> {
    Ok(row.text(column)?.split_whitespace())
}

/// Little-endian `f32`.
pub(super) fn vector(row: &dyn Row, column: usize) -> Result<Vec<f32>, StoreError> {
    let (components, _) = row.bytes(column)?.as_chunks();
    Ok(components.iter().map(|component| f32::from_le_bytes(*component)).collect())
}

/// Little-endian `f32`.
pub(super) fn bytes_of(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}
