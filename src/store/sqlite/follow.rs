//! The index in memory, brought to the database's revision: after each write of this process, and before a search after those of
//! another one.

use std::sync::{PoisonError, RwLock};

use rusqlite::{Connection, Row};

use super::reads::{codes, identifier, vector};
use super::statements::{ALL_PROFILES, CHANGED_PROFILES, CHANGED_SPEAKERS, REMOVED_SPEAKERS, REVISION};
use crate::claims::Evidence;
use crate::embedding::ModelId;
use crate::speakers::{Index, SpeakerKey};
use crate::store::error::StoreError;

/// Brings the index to the revision of the database as the connection sees it. Of the profiles, those of the given models are
/// taken. The caller reads as of one moment. Whether there were changes since an earlier look.
pub(in crate::store) fn follow(
    connection: &Connection,
    index: &RwLock<Index>,
    models: &[ModelId],
) -> Result<bool, StoreError> {
    let (revision, forgotten): (i64, i64) =
        connection.prepare_cached(REVISION)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (revision, forgotten) = (revision as u64, forgotten as u64);
    let known = index.read().unwrap_or_else(PoisonError::into_inner).revision();
    if known == revision {
        return Ok(false);
    }
    let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have been faster, and have seen more.
    if index.revision() >= revision {
        return Ok(false);
    }
    // What was there before the first look is nobody's change.
    let is_change = index.revision() > 0;
    if index.revision() < forgotten {
        *index = Index::default();
    }
    let since = index.revision() as i64;
    let mut statement = connection.prepare_cached(REMOVED_SPEAKERS)?;
    for key in statement.query_map([since], |row| row.get::<_, SpeakerKey>(0))? {
        index.remove_speaker(key?);
    }
    let mut statement = connection.prepare_cached(CHANGED_SPEAKERS)?;
    let mut rows = statement.query([since])?;
    while let Some(row) = rows.next()? {
        let (collection, id) = (identifier(row, 1)?, identifier(row, 2)?);
        index.put_speaker(
            row.get(0)?,
            &collection,
            id,
            row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?,
        );
    }
    // All at once are read faster in the order in which they lie.
    let mut statement =
        connection.prepare_cached(if since == 0 { ALL_PROFILES } else { CHANGED_PROFILES })?;
    let mut rows = if since == 0 { statement.query([])? } else { statement.query([since])? };
    while let Some(row) = rows.next()? {
        put_profile(&mut index, row, models)?;
    }
    index.set_revision(revision);
    Ok(is_change)
}

fn put_profile(index: &mut Index, row: &Row, models: &[ModelId]) -> Result<(), StoreError> {
    let fingerprint = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    if let Some(model) = models.iter().find(|model| model.fingerprint() == fingerprint) {
        let vector = vector(row, 2)?;
        if vector.len() != model.dimension() {
            let reason = format!("a profile of {fingerprint} has {} components", vector.len());
            return Err(StoreError::Unavailable { reason });
        }
        let enrolments = row.get::<_, i64>(4)? as usize;
        let seconds = if row.get::<_, i64>(5)? == 0 { row.get(3)? } else { None };
        let evidence = Evidence::new(seconds, codes(row, 6)?, enrolments);
        index.put_profile(row.get(0)?, model, &vector, evidence);
    }
    Ok(())
}
