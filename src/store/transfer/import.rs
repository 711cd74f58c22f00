//! Merges an export into the store.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::check::CheckedImport;
use super::lines::{EnrolmentLine, SpeakerLine, bytes_of_base64, sha256_of_hex};
use crate::speakers::{Profile, Sample, SpeakerKey};
use crate::store::error::StoreError;
use crate::store::reads::milliseconds;
use crate::store::sql::{SqlValue, first, identifier};
use crate::store::statements::{
    ADD_ENROLMENT, ADD_SPEAKER, BY_DIGEST, KEY, MODEL_DIMENSION, SET_PROFILE, SPEAKER_OF_ENROLMENT,
};
use crate::store::writes::{KnownEnrolment, ProfileRow, Transaction};

/// The number of speakers to merge at once.
const CHUNK_SPEAKERS: usize = 256;

/// The number of enrolments to merge at once.
const CHUNK_ENROLMENTS: usize = 2_048;

/// How to handle speakers that already exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// Import nothing.
    #[default]
    Fail,
    /// Keep the existing speaker.
    Skip,
    /// Remove the existing speaker and all its enrolments, and import the new one.
    Replace,
}

/// The result of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Imported {
    /// Number of imported speakers, including those that replaced an existing speaker.
    #[schema(example = 3)]
    pub speakers: usize,
    /// Number of imported enrolments.
    #[schema(example = 7)]
    pub enrolments: usize,
    /// Number of existing speakers that were replaced.
    #[schema(example = 0)]
    pub replaced: usize,
    /// Number of existing speakers that were kept.
    #[schema(example = 0)]
    pub skipped: usize,
}

/// Speakers that are merged at once, each with its line number.
type Chunk = Vec<(usize, SpeakerLine)>;

impl Transaction<'_> {
    /// Merges an export, either completely or not at all. An error names its line.
    pub fn import(&self, import: &mut CheckedImport, conflict: Conflict) -> Result<Imported, StoreError> {
        let mut imported = Imported::default();
        let existing = self.existing(import, conflict)?;
        match conflict {
            Conflict::Fail => {}
            Conflict::Skip => imported.skipped = existing.len(),
            Conflict::Replace => {
                imported.replaced = existing.len();
                self.remove_all(existing.values().copied())?;
            }
        }
        let mut models = HashMap::new();
        for (model, dimension) in &import.dimensions {
            models.insert(model.clone(), self.model(model, *dimension)?);
        }
        let (revision, _) = self.raise_revision(0)?;
        import.rewind()?;
        loop {
            let mut chunk = next_chunk(import)?;
            if chunk.is_empty() {
                break;
            }
            if conflict == Conflict::Skip {
                chunk.retain(|(line, _)| !existing.contains_key(line));
            }
            self.check_ids(&chunk)?;
            self.add(&chunk, revision, &models)?;
            imported.speakers += chunk.len();
            imported.enrolments += chunk.iter().map(|(_, speaker)| speaker.enrolments.len()).sum::<usize>();
        }
        let (_, count) = self.raise_revision(imported.speakers as i64)?;
        if count > self.max_speakers {
            return Err(StoreError::TooManySpeakers { max: self.max_speakers });
        }
        Ok(imported)
    }

    /// Returns the existing speakers of an export, by line. Returns an error if there are any and `conflict` forbids it.
    fn existing(
        &self,
        import: &mut CheckedImport,
        conflict: Conflict,
    ) -> Result<BTreeMap<usize, SpeakerKey>, StoreError> {
        let mut existing = BTreeMap::new();
        import.rewind()?;
        loop {
            let chunk = next_chunk(import)?;
            if chunk.is_empty() {
                return Ok(existing);
            }
            let addresses: Vec<Vec<SqlValue>> = chunk
                .iter()
                .map(|(_, one)| {
                    vec![SqlValue::Text(one.collection.as_str()), SqlValue::Text(one.id.as_str())]
                })
                .collect();
            self.sql.query_many(KEY, &addresses, &mut |place, row| {
                let (line, speaker) = &chunk[place];
                if conflict == Conflict::Fail {
                    return Err(StoreError::SpeakerExists { speaker: speaker.id.clone() }.of_line(*line));
                }
                existing.insert(*line, row.integer(0)?);
                Ok(())
            })?;
        }
    }

    /// Returns the key of a model, and checks its dimension.
    fn model(&self, fingerprint: &str, dimension: usize) -> Result<i64, StoreError> {
        let known = first(self.sql, MODEL_DIMENSION, &[SqlValue::Text(fingerprint)], |row| row.integer(0))?;
        if known.is_some_and(|known| known != dimension as i64) {
            return Err(StoreError::OtherDimension { model: fingerprint.to_owned() });
        }
        self.model_key(fingerprint, dimension)
    }

    /// Checks that none of the enrolments exists.
    fn check_ids(&self, chunk: &Chunk) -> Result<(), StoreError> {
        let enrolments: Vec<(usize, &SpeakerLine, &EnrolmentLine)> = chunk
            .iter()
            .flat_map(|(line, speaker)| speaker.enrolments.iter().map(move |one| (*line, speaker, one)))
            .collect();
        let mut seen = HashSet::new();
        for (line, speaker, enrolment) in &enrolments {
            if !seen.insert(&enrolment.id) {
                let speaker = Some(speaker.id.clone());
                return Err(StoreError::DuplicateEnrolment { speaker }.of_line(*line));
            }
        }
        let ids: Vec<Vec<SqlValue>> =
            enrolments.iter().map(|(_, _, enrolment)| vec![SqlValue::Text(&enrolment.id)]).collect();
        self.sql.query_many(SPEAKER_OF_ENROLMENT, &ids, &mut |place, row| {
            // The speaker is named only if it is in the same collection.
            let is_here = identifier(row, 0)? == enrolments[place].1.collection;
            let speaker = if is_here { Some(identifier(row, 1)?) } else { None };
            Err(StoreError::DuplicateEnrolment { speaker }.of_line(enrolments[place].0))
        })
    }

    /// Adds speakers, enrolments and profiles.
    fn add(&self, chunk: &Chunk, revision: i64, models: &HashMap<String, i64>) -> Result<(), StoreError> {
        let speakers: Vec<Vec<SqlValue>> = chunk
            .iter()
            .map(|(_, speaker)| {
                vec![
                    SqlValue::Text(speaker.collection.as_str()),
                    SqlValue::Text(speaker.id.as_str()),
                    SqlValue::Text(speaker.name.as_str()),
                    SqlValue::Text(speaker.metadata.as_str()),
                    SqlValue::Integer(milliseconds(&speaker.created_at).unwrap_or_default()),
                    SqlValue::Integer(milliseconds(&speaker.updated_at).unwrap_or_default()),
                    SqlValue::Integer(revision),
                ]
            })
            .collect();
        let mut keys = Vec::with_capacity(chunk.len());
        self.sql.query_many(ADD_SPEAKER, &speakers, &mut |_, row| {
            keys.push(row.integer(0)?);
            Ok(())
        })?;
        let mut added = Vec::new();
        let mut profiles = Vec::new();
        for ((line, speaker), key) in chunk.iter().zip(&keys) {
            let mut samples: BTreeMap<i64, Vec<Sample>> = BTreeMap::new();
            for enrolment in &speaker.enrolments {
                let row = EnrolmentRow::new(*line, *key, speaker, enrolment, models)?;
                samples.entry(row.model).or_default().push(row.sample());
                added.push(row);
            }
            profiles.extend(samples.into_iter().filter_map(|(model, samples)| {
                Some((*key, model, ProfileRow::from_profile(Profile::from_samples(&samples)?)))
            }));
        }
        let rows: Vec<Vec<SqlValue>> = added.iter().map(EnrolmentRow::values).collect();
        self.sql.query_many(ADD_ENROLMENT, &rows, &mut |_, _| Ok(()))?;
        // The same voice may belong to another speaker, stored earlier or just added.
        let digests: Vec<Vec<SqlValue>> =
            added.iter().map(|row| vec![SqlValue::Bytes(&row.digest)]).collect();
        self.sql.query_many(BY_DIGEST, &digests, &mut |place, row| {
            let (known, own) = (KnownEnrolment::from_row(row)?, &added[place]);
            if known.key == own.key || !known.is_of(&own.speaker.collection, &own.enrolment.model) {
                return Ok(());
            }
            Err(StoreError::DuplicateEnrolment { speaker: Some(known.speaker) }.of_line(own.line))
        })?;
        let rows: Vec<Vec<SqlValue>> =
            profiles.iter().map(|(key, model, row)| row.values(*key, *model)).collect();
        self.sql.query_many(SET_PROFILE, &rows, &mut |_, _| Ok(()))
    }
}

/// An enrolment as it is stored.
struct EnrolmentRow<'a> {
    line: usize,
    key: SpeakerKey,
    speaker: &'a SpeakerLine,
    enrolment: &'a EnrolmentLine,
    model: i64,
    digest: [u8; 32],
    vector: Vec<u8>,
    warnings: String,
}

impl<'a> EnrolmentRow<'a> {
    fn new(
        line: usize,
        key: SpeakerKey,
        speaker: &'a SpeakerLine,
        enrolment: &'a EnrolmentLine,
        models: &HashMap<String, i64>,
    ) -> Result<Self, StoreError> {
        let changed = || StoreError::Internal(format!("line {line} has changed since it was checked"));
        Ok(Self {
            line,
            key,
            speaker,
            enrolment,
            model: *models.get(&enrolment.model).ok_or_else(changed)?,
            digest: sha256_of_hex(&enrolment.sha256).ok_or_else(changed)?,
            vector: bytes_of_base64(&enrolment.embedding).ok_or_else(changed)?,
            warnings: enrolment.warnings.join(" "),
        })
    }

    fn sample(&self) -> Sample {
        let (components, _) = self.vector.as_chunks();
        Sample {
            vector: components.iter().map(|c| f32::from_le_bytes(*c)).collect(),
            speech_seconds: self.enrolment.speech_seconds,
            warnings: self.enrolment.warnings.clone(),
        }
    }

    fn values(&self) -> Vec<SqlValue<'_>> {
        vec![
            SqlValue::Integer(self.key),
            SqlValue::Text(&self.enrolment.id),
            SqlValue::Integer(self.model),
            SqlValue::Bytes(&self.digest),
            SqlValue::Bytes(&self.vector),
            SqlValue::Real(self.enrolment.speech_seconds),
            SqlValue::Real(self.enrolment.similarity_to_profile),
            SqlValue::Text(&self.warnings),
            SqlValue::Integer(milliseconds(&self.enrolment.created_at).unwrap_or_default()),
        ]
    }
}

fn next_chunk(import: &mut CheckedImport) -> Result<Chunk, StoreError> {
    let (mut chunk, mut enrolments) = (Chunk::new(), 0);
    while chunk.len() < CHUNK_SPEAKERS && enrolments < CHUNK_ENROLMENTS {
        let Some((line, speaker)) = import.next_speaker()? else { break };
        enrolments += speaker.enrolments.len();
        chunk.push((line, speaker));
    }
    Ok(chunk)
}
