//! Keeps the index in memory at the database's revision: it follows each write of this process, and before a search the
//! writes of other processes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::database::{Database, Reading};
use super::error::StoreError;
use super::sql::{Revision, Row, Sql, SqlValue, all, codes, count, identifier, vector};
use super::statements::{ALL_PROFILES, CHANGED_PROFILES, CHANGED_SPEAKERS, REMOVED_SPEAKERS};
use crate::calibration::Evidence;
use crate::embedding::ModelId;
use crate::speakers::{Identifier, Index, SpeakerKey};

/// The index, and the state needed to follow the database.
pub(super) struct FollowingIndex {
    index: RwLock<Index>,
    /// The models whose profiles are loaded.
    models: Vec<ModelId>,
    /// Held by a thread while it reads the database to update the index, so that later reads are newer. The index itself
    /// is locked only while changes are applied.
    turn: Mutex<()>,
    speakers: AtomicUsize,
}

/// The changes since a revision.
struct Changes {
    revision: Revision,
    removed: Vec<SpeakerKey>,
    speakers: Vec<(SpeakerKey, Identifier, Identifier, String)>,
    /// With the index of their model.
    profiles: Vec<(SpeakerKey, usize, Vec<f32>, Evidence)>,
}

/// The result of reading the database.
enum Read {
    /// The index is already up to date.
    Nothing,
    Changes(Changes),
    /// The whole database.
    Anew(Index),
}

impl FollowingIndex {
    pub(super) fn new(models: Vec<ModelId>) -> Self {
        Self { index: RwLock::default(), models, turn: Mutex::default(), speakers: AtomicUsize::new(0) }
    }

    /// Returns the models whose profiles are searched.
    pub(super) fn models(&self) -> &[ModelId] {
        &self.models
    }

    /// Returns the current index. Changes wait until the caller releases it.
    pub(super) fn get(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of speakers.
    pub(super) fn speakers(&self) -> usize {
        self.speakers.load(Ordering::Relaxed)
    }

    /// Returns whether another process has changed the database since the last update of the index. Rows that existed
    /// before the first read do not count as changes.
    pub(super) fn is_behind(&self, sql: &dyn Sql) -> Result<bool, StoreError> {
        Ok(!self.shows(sql)? && self.get().revision() > 0)
    }

    /// Returns whether the index corresponds to the current state of the database.
    fn shows(&self, sql: &dyn Sql) -> Result<bool, StoreError> {
        let Revision { number, origin, .. } = sql.revision()?;
        let index = self.get();
        Ok((index.revision(), index.origin()) == (number, origin))
    }

    /// Updates the index to the database's revision. Returns whether anything has changed since an earlier update.
    pub(super) fn follow(&self, database: &dyn Database) -> Result<bool, StoreError> {
        let mut is_shown = false;
        let is_there = database.read(Reading::SingleStatement, &mut |sql| {
            is_shown = self.shows(sql)?;
            Ok(())
        })?;
        if is_shown || (!is_there && self.get().revision() == 0) {
            return Ok(false);
        }
        self.update(database, Reading::Consistent)
    }

    /// Like [`FollowingIndex::follow`], if something is likely to have changed.
    pub(super) fn update(&self, database: &dyn Database, reading: Reading) -> Result<bool, StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = Read::Nothing;
        let is_there = database.read(reading, &mut |sql| {
            read = self.read(sql)?;
            Ok(())
        })?;
        if !is_there {
            tracing::warn!("the database of speakers no longer exists");
            read = Read::Anew(Index::default());
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let is_first = index.revision() == 0;
        match read {
            Read::Nothing => return Ok(false),
            Read::Changes(changes) => changes.put_into(&mut index, &self.models),
            Read::Anew(anew) => *index = anew,
        }
        self.speakers.store(index.speakers(), Ordering::Relaxed);
        Ok(!is_first)
    }

    fn read(&self, sql: &dyn Sql) -> Result<Read, StoreError> {
        let revision = sql.revision()?;
        let (known, origin) = {
            let index = self.get();
            (index.revision(), index.origin())
        };
        if (known, origin) == (revision.number, revision.origin) {
            return Ok(Read::Nothing);
        }
        // If the revision is lower or the origin differs, the database was restored or has lost changes.
        let is_other = known > revision.number || origin != revision.origin;
        if is_other || known == 0 || known < revision.forgotten {
            return self.read_all(sql, revision).map(Read::Anew);
        }
        let since = [SqlValue::Integer(known as i64)];
        let mut profiles = Vec::new();
        let removed = all(sql, REMOVED_SPEAKERS, &since, |row| row.integer(0))?;
        let speakers = all(sql, CHANGED_SPEAKERS, &since, |row| {
            Ok((row.integer(0)?, identifier(row, 1)?, identifier(row, 2)?, row.text(3)?.to_owned()))
        })?;
        sql.query(CHANGED_PROFILES, &since, &mut |row| {
            self.read_profile(row, &mut |key, model, vector, evidence| {
                profiles.push((key, model, vector, evidence));
            })
        })?;
        Ok(Read::Changes(Changes { revision, removed, speakers, profiles }))
    }

    /// Reads everything. This is fastest in the order in which the rows are stored.
    fn read_all(&self, sql: &dyn Sql, revision: Revision) -> Result<Index, StoreError> {
        let mut index = Index::default();
        sql.query(CHANGED_SPEAKERS, &[SqlValue::Integer(0)], &mut |row| {
            let (collection, id) = (identifier(row, 1)?, identifier(row, 2)?);
            index.put_speaker(row.integer(0)?, &collection, id, row.text(3)?);
            Ok(())
        })?;
        sql.query(ALL_PROFILES, &[], &mut |row| {
            self.read_profile(row, &mut |key, model, vector, evidence| {
                index.put_profile(key, &self.models[model], &vector, evidence);
            })
        })?;
        index.set_revision(revision.number, revision.origin);
        Ok(index)
    }

    /// Reads a profile, if its model is loaded.
    fn read_profile(
        &self,
        row: &dyn Row,
        put: &mut dyn FnMut(SpeakerKey, usize, Vec<f32>, Evidence),
    ) -> Result<(), StoreError> {
        let fingerprint = row.text(1)?;
        if let Some(model) = self.models.iter().position(|model| model.fingerprint() == fingerprint) {
            let vector = vector(row, 2)?;
            if vector.len() != self.models[model].dimension() {
                let reason = format!("a profile of {fingerprint} has {} components", vector.len());
                return Err(StoreError::Unavailable { reason });
            }
            let seconds = if row.integer(5)? == 0 { row.real(3)? } else { None };
            let evidence = Evidence::new(seconds, codes(row, 6)?, count(row, 4)?);
            put(row.integer(0)?, model, vector, evidence);
        }
        Ok(())
    }
}

impl Changes {
    fn put_into(self, index: &mut Index, models: &[ModelId]) {
        self.removed.into_iter().for_each(|key| index.remove_speaker(key));
        for (key, collection, id, name) in self.speakers {
            index.put_speaker(key, &collection, id, &name);
        }
        for (key, model, vector, evidence) in self.profiles {
            index.put_profile(key, &models[model], &vector, evidence);
        }
        index.set_revision(self.revision.number, self.revision.origin);
    }
}
