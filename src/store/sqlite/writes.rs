//! What writes. Each function is one change, all or nothing: its caller undoes what is left of one that fails.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::reads::{codes, enrolment_by_id, key_of, profile, row_of, speaker, vector};
use super::statements::{
    ADD_ENROLMENT, ADD_MODEL, ADD_SPEAKER, BY_DIGEST, CHANGE_SPEAKER, ENROLMENT_COUNT, FORGET_REMOVALS,
    MODEL, MODEL_OF_ENROLMENT, MODELS_OF_SPEAKER, MOVE_ENROLMENT, MOVE_ENROLMENTS, RAISE_REVISION,
    REMEMBER_COLLECTION, REMEMBER_REMOVAL, REMOVE_COLLECTION, REMOVE_ENROLMENT, REMOVE_ENROLMENTS,
    REMOVE_PROFILE, REMOVE_SPEAKER, SAMPLES, SET_FORGOTTEN, SET_PROFILE, SPEAKER_COUNT, TOUCH_SPEAKER,
};
use crate::embedding::ModelId;
use crate::speakers::{
    Address, Details, Enrolment, EnrolmentRules, Identifier, Metadata, Profile, Sample, Speaker, SpeakerKey,
    SpeakerName, Voice, check,
};
use crate::store::error::StoreError;

/// Changes for which removals are remembered: who is further behind reads everything anew.
const REMEMBERED_CHANGES: i64 = 100_000;

/// Enrolments of a speaker at the most: each change reads all of them.
const MAX_ENROLMENTS: usize = 1_024;

/// A transaction in work.
pub struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    /// Milliseconds since 1970.
    pub(super) now: i64,
    pub(super) max_speakers: usize,
    /// Whether something was removed whose bytes must be gone from the file.
    pub(super) has_removed: Cell<bool>,
}

/// A speaker to create.
#[derive(Clone, Debug)]
pub struct NewSpeaker {
    /// The collection.
    pub collection: Identifier,
    /// The id; one is made if there is none.
    pub id: Option<Identifier>,
    /// Name and metadata.
    pub details: Details,
    /// What to enrol.
    pub voices: Vec<Voice>,
}

/// A speaker that was created, or was there as wanted.
#[derive(Clone, Debug)]
pub struct Created {
    /// The speaker.
    pub speaker: Speaker,
    /// False if the same request came before.
    pub is_new: bool,
}

/// An enrolment that was made, or was there already.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The enrolment.
    pub enrolment: Enrolment,
    /// The speaker's key.
    pub key: SpeakerKey,
    /// False if the same request came before.
    pub is_new: bool,
}

/// An enrolment that is there, and whose it is.
struct Known {
    enrolment: String,
    key: SpeakerKey,
    speaker: Identifier,
}

impl Transaction<'_> {
    /// Creates a speaker and enrols voices, checked in order against the profile so far. What was created just so before is found
    /// again, without an id by what was enrolled.
    pub fn create(&self, new: &NewSpeaker, rules: &EnrolmentRules) -> Result<Created, StoreError> {
        if let Some(speaker) = self.created_before(new)? {
            return Ok(Created { speaker, is_new: false });
        }
        let count: i64 = self.connection.prepare_cached(SPEAKER_COUNT)?.query_row([], |row| row.get(0))?;
        if count as usize >= self.max_speakers {
            return Err(StoreError::TooManySpeakers { max: self.max_speakers });
        }
        let id = new.id.clone().map_or_else(|| Uuid::now_v7().to_string().parse(), Ok);
        let id = id.map_err(|error| StoreError::Internal(format!("a UUID is no identifier: {error}")))?;
        let Details { name, metadata } = &new.details;
        let values = params![
            new.collection.as_str(),
            id.as_str(),
            name.as_str(),
            metadata.as_str(),
            self.now,
            self.raise_revision()?
        ];
        let key = self.connection.prepare_cached(ADD_SPEAKER)?.insert(values)?;
        let address = Address { collection: new.collection.clone(), id };
        for (index, voice) in new.voices.iter().enumerate() {
            self.enrol_for(key, &address.collection, voice, rules).map_err(|error| error.of_voice(index))?;
        }
        Ok(Created { speaker: speaker(self.connection, &address)?, is_new: true })
    }

    fn created_before(&self, new: &NewSpeaker) -> Result<Option<Speaker>, StoreError> {
        let known = |voice: &Voice| self.known(&new.collection, voice);
        let id = match (&new.id, new.voices.first()) {
            (Some(id), _) => id.clone(),
            (None, Some(voice)) => match known(voice)? {
                Some(known) => known.speaker,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let address = Address { collection: new.collection.clone(), id };
        let found = match speaker(self.connection, &address) {
            Ok(found) => found,
            Err(StoreError::SpeakerNotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut is_same = found.name == new.details.name && found.metadata == new.details.metadata;
        for voice in &new.voices {
            is_same &= known(voice)?.is_some_and(|known| known.speaker == address.id);
        }
        match (is_same, &new.id) {
            (true, _) => Ok(Some(found)),
            (false, Some(_)) => Err(StoreError::SpeakerExists { speaker: address.id }),
            // It will be told which voice is another's.
            (false, None) => Ok(None),
        }
    }

    /// Changes what is known of a speaker.
    pub fn change(
        &self,
        address: &Address,
        name: Option<&SpeakerName>,
        metadata: Option<&Metadata>,
    ) -> Result<(Speaker, bool), StoreError> {
        let row = row_of(self.connection, address)?;
        let name = name.unwrap_or(&row.speaker.name);
        let metadata = metadata.unwrap_or(&row.speaker.metadata);
        let is_change = *name != row.speaker.name || *metadata != row.speaker.metadata;
        if is_change {
            let values = params![row.key, name.as_str(), metadata.as_str(), self.now, self.raise_revision()?];
            self.connection.prepare_cached(CHANGE_SPEAKER)?.execute(values)?;
        }
        Ok((speaker(self.connection, address)?, is_change))
    }

    /// Removes a speaker with all enrolments.
    pub fn remove(&self, address: &Address) -> Result<(), StoreError> {
        let key = key_of(self.connection, address)?;
        self.remove_by_key(key)
    }

    fn remove_by_key(&self, key: SpeakerKey) -> Result<(), StoreError> {
        let revision = self.raise_revision()?;
        self.connection.prepare_cached(REMEMBER_REMOVAL)?.execute([revision, key])?;
        self.connection.prepare_cached(REMOVE_SPEAKER)?.execute([key])?;
        self.removed(revision)
    }

    /// Removes all speakers of a collection; how many there were.
    pub fn remove_collection(&self, collection: &Identifier) -> Result<usize, StoreError> {
        let revision = self.raise_revision()?;
        let n = self
            .connection
            .prepare_cached(REMEMBER_COLLECTION)?
            .execute(params![collection.as_str(), revision])?;
        if n == 0 {
            return Err(StoreError::CollectionNotFound { collection: collection.to_string() });
        }
        self.connection.prepare_cached(REMOVE_COLLECTION)?.execute([collection.as_str()])?;
        self.removed(revision)?;
        Ok(n)
    }

    fn removed(&self, revision: i64) -> Result<(), StoreError> {
        self.has_removed.set(true);
        let forgotten = revision - REMEMBERED_CHANGES;
        if forgotten > 0 && self.connection.prepare_cached(FORGET_REMOVALS)?.execute([forgotten])? > 0 {
            self.connection.prepare_cached(SET_FORGOTTEN)?.execute([forgotten])?;
        }
        Ok(())
    }

    /// Enrols a voice for a speaker, or finds that it was enrolled before.
    pub fn enrol(
        &self,
        address: &Address,
        voice: &Voice,
        rules: &EnrolmentRules,
    ) -> Result<Enrolled, StoreError> {
        let key = key_of(self.connection, address)?;
        self.enrol_for(key, &address.collection, voice, rules)
    }

    fn enrol_for(
        &self,
        key: SpeakerKey,
        collection: &Identifier,
        voice: &Voice,
        rules: &EnrolmentRules,
    ) -> Result<Enrolled, StoreError> {
        match self.known(collection, voice)? {
            Some(known) if known.key == key => {
                let enrolment = enrolment_by_id(self.connection, key, &known.enrolment)?;
                return Ok(Enrolled { enrolment, key, is_new: false });
            }
            Some(known) => return Err(StoreError::DuplicateEnrolment { speaker: Some(known.speaker) }),
            None => {}
        }
        self.check_room(key, 1)?;
        let model = voice.embedding.model();
        let so_far = profile(self.connection, key, model.fingerprint())?;
        let similarity = check(voice, so_far.as_ref(), rules)?;
        let model = self.model_key(model)?;
        let id = Uuid::now_v7().to_string();
        let components: Vec<f32> = voice.embedding.components().iter().map(|c| *c as f32).collect();
        let values = params![
            key,
            id,
            model,
            voice.digest,
            bytes_of(&components),
            voice.speech_seconds,
            similarity,
            voice.warnings.join(" "),
            self.now,
        ];
        self.connection.prepare_cached(ADD_ENROLMENT)?.execute(values)?;
        self.refresh(key, model)?;
        self.touch(key)?;
        Ok(Enrolled { enrolment: enrolment_by_id(self.connection, key, &id)?, key, is_new: true })
    }

    /// Removes an enrolment.
    pub fn remove_enrolment(&self, address: &Address, enrolment: &str) -> Result<(), StoreError> {
        let key = key_of(self.connection, address)?;
        let model = self.model_of(key, enrolment)?;
        self.connection.prepare_cached(REMOVE_ENROLMENT)?.execute(params![key, enrolment])?;
        self.has_removed.set(true);
        self.refresh(key, model)?;
        self.touch(key)
    }

    /// Removes all enrolments of a speaker, who stays; how many there were.
    pub fn remove_enrolments(&self, address: &Address) -> Result<usize, StoreError> {
        let key = key_of(self.connection, address)?;
        let models = self.models_of(key)?;
        let n = self.connection.prepare_cached(REMOVE_ENROLMENTS)?.execute([key])?;
        if n > 0 {
            self.has_removed.set(true);
            models.into_iter().try_for_each(|model| self.refresh(key, model))?;
            self.touch(key)?;
        }
        Ok(n)
    }

    /// Makes an enrolment another speaker's; that speaker.
    pub fn move_enrolment(
        &self,
        address: &Address,
        enrolment: &str,
        to: &Identifier,
    ) -> Result<Speaker, StoreError> {
        let from = key_of(self.connection, address)?;
        let to = Address { collection: address.collection.clone(), id: to.clone() };
        let target = key_of(self.connection, &to)?;
        let model = self.model_of(from, enrolment)?;
        if from != target {
            self.check_room(target, 1)?;
            self.connection.prepare_cached(MOVE_ENROLMENT)?.execute(params![from, enrolment, target])?;
            for key in [from, target] {
                self.refresh(key, model)?;
                self.touch(key)?;
            }
        }
        speaker(self.connection, &to)
    }

    /// Makes all enrolments of another speaker this one's, and removes the other; the ids of what was moved.
    pub fn merge(&self, address: &Address, from: &Identifier) -> Result<Speaker, StoreError> {
        let target = key_of(self.connection, address)?;
        let other = Address { collection: address.collection.clone(), id: from.clone() };
        let from = key_of(self.connection, &other)?;
        if from != target {
            let models = self.models_of(from)?;
            self.check_room(target, self.enrolment_count(from)?)?;
            self.connection.prepare_cached(MOVE_ENROLMENTS)?.execute([from, target])?;
            self.remove_by_key(from)?;
            models.into_iter().try_for_each(|model| self.refresh(target, model))?;
            self.touch(target)?;
        }
        speaker(self.connection, address)
    }

    /// The enrolment of the same by the same model in a collection.
    fn known(&self, collection: &Identifier, voice: &Voice) -> Result<Option<Known>, StoreError> {
        let mut statement = self.connection.prepare_cached(BY_DIGEST)?;
        let values = params![voice.digest, voice.embedding.model().fingerprint(), collection.as_str()];
        let known = statement.query_row(values, |row| {
            let speaker = super::reads::identifier(row, 2)?;
            Ok(Known { enrolment: row.get(0)?, key: row.get(1)?, speaker })
        });
        Ok(known.optional()?)
    }

    /// Whether a speaker may have so many enrolments more.
    fn check_room(&self, key: SpeakerKey, n: usize) -> Result<(), StoreError> {
        if self.enrolment_count(key)? + n <= MAX_ENROLMENTS {
            return Ok(());
        }
        Err(StoreError::TooManyEnrolments { max: MAX_ENROLMENTS })
    }

    fn enrolment_count(&self, key: SpeakerKey) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(ENROLMENT_COUNT)?;
        Ok(statement.query_row([key], |row| row.get::<_, i64>(0))? as usize)
    }

    /// Makes the profile of a speaker for a model anew.
    fn refresh(&self, key: SpeakerKey, model: i64) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(SAMPLES)?;
        let samples = statement
            .query_map([key, model], |row| {
                let warnings = codes(row, 2)?.map(str::to_owned).collect();
                Ok(Sample { vector: vector(row, 0)?, speech_seconds: row.get(1)?, warnings })
            })?
            .collect::<Result<Vec<_>, _>>()?;
        match Profile::of(&samples) {
            Some(profile) => {
                let values = params![
                    key,
                    model,
                    bytes_of(&profile.vector),
                    profile.seconds,
                    profile.enrolments as i64,
                    profile.without_seconds as i64,
                    Vec::from_iter(profile.warnings).join(" "),
                ];
                self.connection.prepare_cached(SET_PROFILE)?.execute(values)?;
            }
            None => {
                self.connection.prepare_cached(REMOVE_PROFILE)?.execute([key, model])?;
            }
        }
        Ok(())
    }

    fn touch(&self, key: SpeakerKey) -> Result<(), StoreError> {
        let values = [key, self.now, self.raise_revision()?];
        self.connection.prepare_cached(TOUCH_SPEAKER)?.execute(values)?;
        Ok(())
    }

    fn raise_revision(&self) -> Result<i64, StoreError> {
        Ok(self.connection.prepare_cached(RAISE_REVISION)?.query_row([], |row| row.get(0))?)
    }

    fn model_key(&self, model: &ModelId) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached(MODEL)?;
        if let Some(key) = statement.query_row([model.fingerprint()], |row| row.get(0)).optional()? {
            return Ok(key);
        }
        let values = params![model.fingerprint(), model.dimension() as i64];
        Ok(self.connection.prepare_cached(ADD_MODEL)?.insert(values)?)
    }

    fn model_of(&self, key: SpeakerKey, enrolment: &str) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached(MODEL_OF_ENROLMENT)?;
        let model = statement.query_row(params![key, enrolment], |row| row.get(0)).optional()?;
        model.ok_or_else(|| StoreError::EnrolmentNotFound { enrolment: enrolment.to_owned() })
    }

    fn models_of(&self, key: SpeakerKey) -> Result<Vec<i64>, StoreError> {
        let mut statement = self.connection.prepare_cached(MODELS_OF_SPEAKER)?;
        Ok(statement.query_map([key], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }
}

/// Little-endian `f32`.
fn bytes_of(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}
