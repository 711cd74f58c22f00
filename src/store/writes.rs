//! Changes speakers and enrolments. Each function is one change: its caller undoes the partial effects of a change that fails.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use uuid::Uuid;

use super::error::StoreError;
use super::reads::{enrolment_by_id, first_of_enrolment, key_of, row_of, speaker, timestamp};
use super::sql::{Row, Sql, SqlValue, all, bytes_of, codes, count, first, identifier, one, vector};
use super::statements::{
    ADD_ENROLMENT, ADD_MODEL, ADD_SPEAKER, BY_DIGEST, CHANGE_SPEAKER, COUNT_SPEAKERS, ENROLMENT_COUNT,
    FORGET_REMOVALS, MODEL, MODEL_OF_ENROLMENT, MODELS_OF_SPEAKER, MOVE_ENROLMENT, MOVE_ENROLMENTS,
    RAISE_REVISION, REMEMBER_COLLECTION, REMEMBER_REMOVAL, REMOVE_COLLECTION, REMOVE_ENROLMENT,
    REMOVE_ENROLMENTS, REMOVE_PROFILE, REMOVE_SPEAKER, SAMPLES, SET_FORGOTTEN, SET_PROFILE, TOUCH_SPEAKER,
};
use crate::speakers::{
    Address, Details, Enrolment, EnrolmentRules, Identifier, Metadata, ModelSummary, NewVoice, Profile,
    Sample, Speaker, SpeakerKey, SpeakerName, check,
};

/// The number of changes for which removals are recorded. An index that is further behind reads everything again.
const REMEMBERED_CHANGES: i64 = 100_000;

/// The maximum number of enrolments of a speaker, because each change reads all of them.
pub(super) const MAX_ENROLMENTS: usize = 1_024;

/// A transaction in progress.
pub struct Transaction<'a> {
    pub(super) sql: &'a dyn Sql,
    /// Milliseconds since 1970.
    pub(super) now: i64,
    pub(super) max_speakers: usize,
    /// Whether data was removed that must be erased from the file.
    pub(super) has_removed: Cell<bool>,
}

/// A speaker to create.
#[derive(Clone, Debug)]
pub struct NewSpeaker {
    /// The collection.
    pub collection: Identifier,
    /// The id; if there is none, one is generated.
    pub id: Option<Identifier>,
    /// Name and metadata.
    pub details: Details,
    /// The voices to enrol.
    pub voices: Vec<NewVoice>,
}

/// A speaker that was created, or already existed as requested.
#[derive(Clone, Debug)]
pub struct Created {
    /// The speaker.
    pub speaker: Speaker,
    /// False if the same request came before.
    pub is_new: bool,
}

/// An enrolment that was made, or already existed.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The enrolment.
    pub enrolment: Enrolment,
    /// The speaker's key.
    pub key: SpeakerKey,
    /// False if the same request came before.
    pub is_new: bool,
}

/// A speaker's enrolments, while more are added.
#[derive(Default)]
struct SoFar {
    /// The number of enrolments of all models.
    enrolments: usize,
    /// By fingerprint. Contains at least the models of the new enrolments.
    models: BTreeMap<String, ModelSoFar>,
}

/// A speaker's enrolments of one model.
struct ModelSoFar {
    key: i64,
    samples: Vec<Sample>,
}

/// An existing enrolment, and its speaker.
pub(super) struct KnownEnrolment {
    enrolment: String,
    pub(super) key: SpeakerKey,
    pub(super) speaker: Identifier,
    collection: Identifier,
    fingerprint: String,
}

impl KnownEnrolment {
    /// Reads a row of [`BY_DIGEST`].
    pub(super) fn from_row(row: &dyn Row) -> Result<Self, StoreError> {
        Ok(Self {
            enrolment: row.text(0)?.to_owned(),
            key: row.integer(1)?,
            speaker: identifier(row, 2)?,
            collection: identifier(row, 3)?,
            fingerprint: row.text(4)?.to_owned(),
        })
    }

    /// Returns whether the enrolment is of a collection and model. A digest may be enrolled once for each collection and model.
    pub(super) fn is_of(&self, collection: &Identifier, fingerprint: &str) -> bool {
        self.collection == *collection && self.fingerprint == fingerprint
    }
}

impl Transaction<'_> {
    /// Creates a speaker and enrols voices. Each voice is checked against the profile of the voices before it. If the same
    /// request has created the speaker before, returns that speaker; without an id, finds it by the enrolled voices.
    pub fn create(&self, new: &NewSpeaker, rules: &EnrolmentRules) -> Result<Created, StoreError> {
        if let Some(speaker) = self.created_before(new)? {
            return Ok(Created { speaker, is_new: false });
        }
        let (revision, count) = self.raise_revision(1)?;
        if count > self.max_speakers {
            return Err(StoreError::TooManySpeakers { max: self.max_speakers });
        }
        let id = new.id.clone().map_or_else(|| Uuid::now_v7().to_string().parse(), Ok);
        let id = id.map_err(|error| StoreError::Internal(format!("a UUID is no identifier: {error}")))?;
        let address = Address { collection: new.collection.clone(), id };
        let Details { name, metadata } = &new.details;
        let values = [
            SqlValue::Text(address.collection.as_str()),
            SqlValue::Text(address.id.as_str()),
            SqlValue::Text(name.as_str()),
            SqlValue::Text(metadata.as_str()),
            SqlValue::Integer(self.now),
            SqlValue::Integer(self.now),
            SqlValue::Integer(revision),
        ];
        let key = one(self.sql, ADD_SPEAKER, &values, |row| row.integer(0))?;
        let mut so_far = SoFar::default();
        for (index, voice) in new.voices.iter().enumerate() {
            let enrolled = self.enrol_for(key, &address.collection, voice, rules, &mut so_far);
            enrolled.map_err(|error| error.of_voice(index))?;
        }
        let mut profiles = Vec::new();
        for (model, ModelSoFar { key: model_key, samples }) in so_far.models {
            if let Some(Profile { seconds, enrolments, .. }) = self.set_profile(key, model_key, &samples)? {
                profiles.push(ModelSummary { model, seconds, enrolments });
            }
        }
        let created_at = timestamp(self.now);
        let speaker = Speaker {
            id: address.id,
            name: name.clone(),
            collection: address.collection,
            metadata: metadata.clone(),
            enrolments: so_far.enrolments,
            profiles,
            created_at: created_at.clone(),
            updated_at: created_at,
        };
        Ok(Created { speaker, is_new: true })
    }

    fn created_before(&self, new: &NewSpeaker) -> Result<Option<Speaker>, StoreError> {
        let find_known = |voice: &NewVoice| self.find_known(&new.collection, voice);
        let id = match (&new.id, new.voices.first()) {
            (Some(id), _) => id.clone(),
            (None, Some(voice)) => match find_known(voice)? {
                Some(known) => known.speaker,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let address = Address { collection: new.collection.clone(), id };
        let found = match speaker(self.sql, &address) {
            Ok(found) => found,
            Err(StoreError::SpeakerNotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut is_same = found.name == new.details.name && found.metadata == new.details.metadata;
        for voice in &new.voices {
            is_same &= find_known(voice)?.is_some_and(|known| known.speaker == address.id);
        }
        match (is_same, &new.id) {
            (true, _) => Ok(Some(found)),
            (false, Some(_)) => Err(StoreError::SpeakerExists { speaker: address.id }),
            // Enrolling the voices reports which of them belongs to another speaker.
            (false, None) => Ok(None),
        }
    }

    /// Changes the name or the metadata of a speaker.
    pub fn change(
        &self,
        address: &Address,
        name: Option<&SpeakerName>,
        metadata: Option<&Metadata>,
    ) -> Result<(Speaker, bool), StoreError> {
        let row = row_of(self.sql, address)?;
        let name = name.unwrap_or(&row.speaker.name);
        let metadata = metadata.unwrap_or(&row.speaker.metadata);
        let is_change = *name != row.speaker.name || *metadata != row.speaker.metadata;
        if is_change {
            let values = [
                SqlValue::Integer(row.key),
                SqlValue::Text(name.as_str()),
                SqlValue::Text(metadata.as_str()),
                SqlValue::Integer(self.now),
                SqlValue::Integer(self.raise_revision(0)?.0),
            ];
            self.sql.execute(CHANGE_SPEAKER, &values)?;
        }
        Ok((speaker(self.sql, address)?, is_change))
    }

    /// Removes a speaker and all enrolments.
    pub fn remove(&self, address: &Address) -> Result<(), StoreError> {
        let key = key_of(self.sql, address)?;
        self.remove_all([key])
    }

    /// Removes several speakers.
    pub(super) fn remove_all(&self, keys: impl IntoIterator<Item = SpeakerKey>) -> Result<(), StoreError> {
        let keys: Vec<Vec<SqlValue>> = keys.into_iter().map(|key| vec![SqlValue::Integer(key)]).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let (revision, _) = self.raise_revision(-(keys.len() as i64))?;
        let removals: Vec<Vec<SqlValue>> =
            keys.iter().map(|key| [vec![SqlValue::Integer(revision)], key.clone()].concat()).collect();
        self.sql.query_many(REMEMBER_REMOVAL, &removals, &mut |_, _| Ok(()))?;
        self.sql.query_many(REMOVE_SPEAKER, &keys, &mut |_, _| Ok(()))?;
        self.removed(revision)
    }

    /// Removes all speakers of a collection. Returns their number.
    pub fn remove_collection(&self, collection: &Identifier) -> Result<usize, StoreError> {
        let (revision, _) = self.raise_revision(0)?;
        let of_collection = SqlValue::Text(collection.as_str());
        let n =
            self.sql.execute(REMEMBER_COLLECTION, &[of_collection.clone(), SqlValue::Integer(revision)])?;
        if n == 0 {
            return Err(StoreError::CollectionNotFound { collection: collection.to_string() });
        }
        self.sql.execute(REMOVE_COLLECTION, &[of_collection])?;
        self.sql.execute(COUNT_SPEAKERS, &[SqlValue::Integer(-(n as i64))])?;
        self.removed(revision)?;
        Ok(n)
    }

    fn removed(&self, revision: i64) -> Result<(), StoreError> {
        self.has_removed.set(true);
        let forgotten = [SqlValue::Integer(revision - REMEMBERED_CHANGES)];
        if revision > REMEMBERED_CHANGES && self.sql.execute(FORGET_REMOVALS, &forgotten)? > 0 {
            self.sql.execute(SET_FORGOTTEN, &forgotten)?;
        }
        Ok(())
    }

    /// Enrols a voice for a speaker, or returns the enrolment if the voice is already enrolled.
    pub fn enrol(
        &self,
        address: &Address,
        voice: &NewVoice,
        rules: &EnrolmentRules,
    ) -> Result<Enrolled, StoreError> {
        let key = key_of(self.sql, address)?;
        let model = voice.embedding.model();
        let model_key = self.model_key(model.fingerprint(), model.dimension())?;
        let samples = self.samples(key, model_key)?;
        let of_model = ModelSoFar { key: model_key, samples };
        let mut so_far = SoFar {
            enrolments: self.enrolment_count(key)?,
            models: BTreeMap::from([(model.fingerprint().to_owned(), of_model)]),
        };
        let enrolled = self.enrol_for(key, &address.collection, voice, rules, &mut so_far)?;
        if enrolled.is_new {
            for of_model in so_far.models.values() {
                self.set_profile(key, of_model.key, &of_model.samples)?;
            }
            self.touch(key)?;
        }
        Ok(enrolled)
    }

    /// Adds an enrolment unless it exists. The caller updates the profile and the speaker.
    fn enrol_for(
        &self,
        key: SpeakerKey,
        collection: &Identifier,
        voice: &NewVoice,
        rules: &EnrolmentRules,
        so_far: &mut SoFar,
    ) -> Result<Enrolled, StoreError> {
        match self.find_known(collection, voice)? {
            Some(known) if known.key == key => {
                let enrolment = enrolment_by_id(self.sql, key, &known.enrolment)?;
                return Ok(Enrolled { enrolment, key, is_new: false });
            }
            Some(known) => return Err(StoreError::DuplicateEnrolment { speaker: Some(known.speaker) }),
            None => {}
        }
        check_room(so_far.enrolments + 1)?;
        let model = voice.embedding.model();
        let of_model = match so_far.models.entry(model.fingerprint().to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let key = self.model_key(model.fingerprint(), model.dimension())?;
                place.insert(ModelSoFar { key, samples: Vec::new() })
            }
        };
        let similarity = check(voice, Profile::from_samples(&of_model.samples).as_ref(), rules)?;
        let id = Uuid::now_v7().to_string();
        let components: Vec<f32> = voice.embedding.components().iter().map(|c| *c as f32).collect();
        let (vector, warnings) = (bytes_of(&components), voice.warnings.join(" "));
        let values = [
            SqlValue::Integer(key),
            SqlValue::Text(&id),
            SqlValue::Integer(of_model.key),
            SqlValue::Bytes(&voice.digest),
            SqlValue::Bytes(&vector),
            SqlValue::Real(voice.speech_seconds),
            SqlValue::Real(similarity),
            SqlValue::Text(&warnings),
            SqlValue::Integer(self.now),
        ];
        self.sql.execute(ADD_ENROLMENT, &values)?;
        so_far.enrolments += 1;
        of_model.samples.push(Sample {
            vector: components,
            speech_seconds: voice.speech_seconds,
            warnings: voice.warnings.clone(),
        });
        let enrolment = Enrolment {
            id,
            model: model.fingerprint().to_owned(),
            speech_seconds: voice.speech_seconds,
            similarity_to_profile: similarity,
            warnings: voice.warnings.clone(),
            created_at: timestamp(self.now),
        };
        Ok(Enrolled { enrolment, key, is_new: true })
    }

    /// Removes an enrolment.
    pub fn remove_enrolment(&self, address: &Address, enrolment: &str) -> Result<(), StoreError> {
        let key = key_of(self.sql, address)?;
        let model = self.model_of(key, enrolment)?;
        self.sql.execute(REMOVE_ENROLMENT, &[SqlValue::Integer(key), SqlValue::Text(enrolment)])?;
        self.has_removed.set(true);
        self.refresh(key, model)?;
        self.touch(key)
    }

    /// Removes all enrolments of a speaker, but not the speaker. Returns their number.
    pub fn remove_enrolments(&self, address: &Address) -> Result<usize, StoreError> {
        let key = key_of(self.sql, address)?;
        let models = self.models_of(key)?;
        let n = self.sql.execute(REMOVE_ENROLMENTS, &[SqlValue::Integer(key)])?;
        if n > 0 {
            self.has_removed.set(true);
            models.into_iter().try_for_each(|model| self.refresh(key, model))?;
            self.touch(key)?;
        }
        Ok(n)
    }

    /// Moves an enrolment to another speaker, and returns that speaker.
    pub fn move_enrolment(
        &self,
        address: &Address,
        enrolment: &str,
        to: &Identifier,
    ) -> Result<Speaker, StoreError> {
        let from = key_of(self.sql, address)?;
        let to = Address { collection: address.collection.clone(), id: to.clone() };
        let target = key_of(self.sql, &to)?;
        let model = self.model_of(from, enrolment)?;
        if from != target {
            check_room(self.enrolment_count(target)? + 1)?;
            let values = [SqlValue::Integer(from), SqlValue::Text(enrolment), SqlValue::Integer(target)];
            self.sql.execute(MOVE_ENROLMENT, &values)?;
            for key in [from, target] {
                self.refresh(key, model)?;
                self.touch(key)?;
            }
        }
        speaker(self.sql, &to)
    }

    /// Moves all enrolments of another speaker to this one, and removes the other. Returns this speaker.
    pub fn merge(&self, address: &Address, from: &Identifier) -> Result<Speaker, StoreError> {
        let target = key_of(self.sql, address)?;
        let other = Address { collection: address.collection.clone(), id: from.clone() };
        let from = key_of(self.sql, &other)?;
        if from != target {
            let models = self.models_of(from)?;
            check_room(self.enrolment_count(target)? + self.enrolment_count(from)?)?;
            self.sql.execute(MOVE_ENROLMENTS, &[SqlValue::Integer(from), SqlValue::Integer(target)])?;
            self.remove_all([from])?;
            models.into_iter().try_for_each(|model| self.refresh(target, model))?;
            self.touch(target)?;
        }
        speaker(self.sql, address)
    }

    /// Returns the enrolment of the same voice by the same model in a collection.
    fn find_known(
        &self,
        collection: &Identifier,
        voice: &NewVoice,
    ) -> Result<Option<KnownEnrolment>, StoreError> {
        let fingerprint = voice.embedding.model().fingerprint();
        let mut found = None;
        self.sql.query(BY_DIGEST, &[SqlValue::Bytes(&voice.digest)], &mut |row| {
            let known = KnownEnrolment::from_row(row)?;
            if known.is_of(collection, fingerprint) {
                found = Some(known);
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn enrolment_count(&self, key: SpeakerKey) -> Result<usize, StoreError> {
        one(self.sql, ENROLMENT_COUNT, &[SqlValue::Integer(key)], |row| count(row, 0))
    }

    /// Recomputes a speaker's profile for a model.
    fn refresh(&self, key: SpeakerKey, model: i64) -> Result<(), StoreError> {
        let samples = self.samples(key, model)?;
        self.set_profile(key, model, &samples).map(drop)
    }

    /// Returns a speaker's enrolments of a model, in the order in which they were made.
    fn samples(&self, key: SpeakerKey, model: i64) -> Result<Vec<Sample>, StoreError> {
        all(self.sql, SAMPLES, &[SqlValue::Integer(key), SqlValue::Integer(model)], |row| {
            let warnings = codes(row, 2)?.map(str::to_owned).collect();
            Ok(Sample { vector: vector(row, 0)?, speech_seconds: row.real(1)?, warnings })
        })
    }

    /// Computes the profile from all enrolments of a speaker's model, and stores it. Returns `None` if there are none.
    fn set_profile(
        &self,
        key: SpeakerKey,
        model: i64,
        samples: &[Sample],
    ) -> Result<Option<Profile>, StoreError> {
        let Some(profile) = Profile::from_samples(samples) else {
            self.sql.execute(REMOVE_PROFILE, &[SqlValue::Integer(key), SqlValue::Integer(model)])?;
            return Ok(None);
        };
        let row = ProfileRow::from_profile(profile);
        self.sql.execute(SET_PROFILE, &row.values(key, model))?;
        Ok(Some(row.profile))
    }

    fn touch(&self, key: SpeakerKey) -> Result<(), StoreError> {
        let (revision, _) = self.raise_revision(0)?;
        let values = [SqlValue::Integer(key), SqlValue::Integer(self.now), SqlValue::Integer(revision)];
        self.sql.execute(TOUCH_SPEAKER, &values)?;
        Ok(())
    }

    /// Returns the revision of this change, and the number of speakers after adding `more_speakers`.
    pub(super) fn raise_revision(&self, more_speakers: i64) -> Result<(i64, usize), StoreError> {
        let values = [SqlValue::Integer(more_speakers)];
        one(self.sql, RAISE_REVISION, &values, |row| Ok((row.integer(0)?, count(row, 1)?)))
    }

    pub(super) fn model_key(&self, fingerprint: &str, dimension: usize) -> Result<i64, StoreError> {
        let by_fingerprint = [SqlValue::Text(fingerprint)];
        if let Some(key) = first(self.sql, MODEL, &by_fingerprint, |row| row.integer(0))? {
            return Ok(key);
        }
        self.sql.execute(ADD_MODEL, &[SqlValue::Text(fingerprint), SqlValue::Integer(dimension as i64)])?;
        one(self.sql, MODEL, &by_fingerprint, |row| row.integer(0))
    }

    fn model_of(&self, key: SpeakerKey, enrolment: &str) -> Result<i64, StoreError> {
        first_of_enrolment(self.sql, MODEL_OF_ENROLMENT, key, enrolment, |row| row.integer(0))
    }

    fn models_of(&self, key: SpeakerKey) -> Result<Vec<i64>, StoreError> {
        all(self.sql, MODELS_OF_SPEAKER, &[SqlValue::Integer(key)], |row| row.integer(0))
    }
}

/// Checks that a speaker may have `n` enrolments.
fn check_room(n: usize) -> Result<(), StoreError> {
    if n <= MAX_ENROLMENTS { Ok(()) } else { Err(StoreError::TooManyEnrolments { max: MAX_ENROLMENTS }) }
}

/// A profile as it is stored.
pub(super) struct ProfileRow {
    profile: Profile,
    vector: Vec<u8>,
    warnings: String,
}

impl ProfileRow {
    pub(super) fn from_profile(profile: Profile) -> Self {
        let warnings = profile.warnings.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        Self { vector: bytes_of(&profile.vector), warnings, profile }
    }

    pub(super) fn values(&self, key: SpeakerKey, model: i64) -> Vec<SqlValue<'_>> {
        vec![
            SqlValue::Integer(key),
            SqlValue::Integer(model),
            SqlValue::Bytes(&self.vector),
            SqlValue::Real(Some(self.profile.seconds)),
            SqlValue::Integer(self.profile.enrolments as i64),
            SqlValue::Integer(self.profile.without_seconds as i64),
            SqlValue::Text(&self.warnings),
        ]
    }
}
