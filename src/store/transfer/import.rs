//! An export, merged with what is there.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::check::{CheckedImport, ImportError};
use super::lines::{EnrolmentLine, SpeakerLine, bytes_of_base64, sha256_of_hex};
use crate::speakers::{Profile, Sample, SpeakerKey};
use crate::store::error::StoreError;
use crate::store::reads::milliseconds;
use crate::store::sql::{Value, first, identifier};
use crate::store::statements::{
    ADD_ENROLMENT, ADD_SPEAKER, BY_DIGEST, KEY, MODEL_DIMENSION, SET_PROFILE, SPEAKER_OF_ENROLMENT,
};
use crate::store::writes::{Known, ProfileRow, Transaction};

/// Speakers that are merged at once.
const CHUNK_SPEAKERS: usize = 256;

/// Their enrolments.
const CHUNK_ENROLMENTS: usize = 2_048;

/// What is done with a speaker who is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Nothing is imported.
    Fail,
    /// It stays as it is.
    Skip,
    /// It is removed, with all enrolments, and the imported one takes its place.
    Replace,
}

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The number of speakers, those that took another's place among them.
    pub speakers: usize,
    /// The number of their enrolments.
    pub enrolments: usize,
    /// The number of speakers that were there, and were replaced.
    pub replaced: usize,
    /// The number of speakers that were there, and stay as they are.
    pub skipped: usize,
}

/// Speakers that are merged at once, each with its line.
type Chunk = Vec<(usize, SpeakerLine)>;

impl Transaction<'_> {
    /// Merges an export: all of it, or nothing. An error names its line.
    pub fn import(&self, import: &mut CheckedImport, conflict: Conflict) -> Result<Imported, StoreError> {
        import.rewind().map_err(unreadable)?;
        let (revision, _) = self.raise_revision(0)?;
        let mut models = HashMap::new();
        for (model, dimension) in &import.dimensions {
            models.insert(model.clone(), self.model(model, *dimension)?);
        }
        let mut imported = Imported::default();
        loop {
            let chunk = next_chunk(import).map_err(unreadable)?;
            if chunk.is_empty() {
                break;
            }
            let chunk = self.without_conflicts(chunk, conflict, &mut imported)?;
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

    /// The key of a model, which has that dimension.
    fn model(&self, fingerprint: &str, dimension: usize) -> Result<i64, StoreError> {
        let known = first(self.sql, MODEL_DIMENSION, &[Value::Text(fingerprint)], |row| row.integer(0))?;
        if known.is_some_and(|known| known != dimension as i64) {
            return Err(StoreError::OtherDimension { model: fingerprint.to_owned() });
        }
        self.model_key(fingerprint, dimension)
    }

    /// The speakers that are to be added, once those that are in their way are removed.
    fn without_conflicts(
        &self,
        mut chunk: Chunk,
        conflict: Conflict,
        imported: &mut Imported,
    ) -> Result<Chunk, StoreError> {
        let mut existing: BTreeMap<usize, SpeakerKey> = BTreeMap::new();
        let addresses: Vec<Vec<Value>> = chunk
            .iter()
            .map(|(_, speaker)| {
                vec![Value::Text(speaker.collection.as_str()), Value::Text(speaker.id.as_str())]
            })
            .collect();
        self.sql.query_many(KEY, &addresses, &mut |place, row| {
            existing.insert(place, row.integer(0)?);
            Ok(())
        })?;
        drop(addresses);
        match (conflict, existing.first_key_value()) {
            (_, None) => {}
            (Conflict::Fail, Some((place, _))) => {
                let (line, speaker) = &chunk[*place];
                return Err(StoreError::SpeakerExists { speaker: speaker.id.clone() }.of_line(*line));
            }
            (Conflict::Skip, Some(_)) => {
                imported.skipped += existing.len();
                let mut place = 0..;
                chunk.retain(|_| place.next().is_some_and(|place| !existing.contains_key(&place)));
            }
            (Conflict::Replace, Some(_)) => {
                imported.replaced += existing.len();
                existing.into_values().try_for_each(|key| self.remove_by_key(key))?;
            }
        }
        Ok(chunk)
    }

    /// Checks that no enrolment is there already.
    fn check_ids(&self, chunk: &Chunk) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        let enrolments = || {
            chunk
                .iter()
                .flat_map(|(line, speaker)| speaker.enrolments.iter().map(move |e| (*line, speaker, e)))
        };
        for (line, speaker, enrolment) in enrolments() {
            if !seen.insert(&enrolment.id) {
                let speaker = Some(speaker.id.clone());
                return Err(StoreError::DuplicateEnrolment { speaker }.of_line(line));
            }
        }
        let ids: Vec<Vec<Value>> =
            enrolments().map(|(_, _, enrolment)| vec![Value::Text(&enrolment.id)]).collect();
        let lines: Vec<usize> = enrolments().map(|(line, ..)| line).collect();
        self.sql.query_many(SPEAKER_OF_ENROLMENT, &ids, &mut |place, row| {
            let speaker = Some(identifier(row, 0)?);
            Err(StoreError::DuplicateEnrolment { speaker }.of_line(lines[place]))
        })
    }

    /// Adds speakers, enrolments and profiles.
    fn add(&self, chunk: &Chunk, revision: i64, models: &HashMap<String, i64>) -> Result<(), StoreError> {
        let speakers: Vec<Vec<Value>> = chunk
            .iter()
            .map(|(_, speaker)| {
                vec![
                    Value::Text(speaker.collection.as_str()),
                    Value::Text(speaker.id.as_str()),
                    Value::Text(speaker.name.as_str()),
                    Value::Text(speaker.metadata.as_str()),
                    Value::Integer(milliseconds(&speaker.created_at).unwrap_or_default()),
                    Value::Integer(milliseconds(&speaker.updated_at).unwrap_or_default()),
                    Value::Integer(revision),
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
            profiles.extend(
                samples.into_iter().filter_map(|(model, samples)| {
                    Some((*key, model, ProfileRow::of(Profile::of(&samples)?)))
                }),
            );
        }
        let rows: Vec<Vec<Value>> = added.iter().map(EnrolmentRow::values).collect();
        self.sql.query_many(ADD_ENROLMENT, &rows, &mut |_, _| Ok(()))?;
        // The same may be another's: of those that were there, or of those just added.
        let digests: Vec<Vec<Value>> = added.iter().map(|row| vec![Value::Bytes(&row.digest)]).collect();
        self.sql.query_many(BY_DIGEST, &digests, &mut |place, row| {
            let (known, own) = (Known::of(row)?, &added[place]);
            if known.key == own.key || !known.is_of(&own.speaker.collection, &own.enrolment.model) {
                return Ok(());
            }
            Err(StoreError::DuplicateEnrolment { speaker: Some(known.speaker) }.of_line(own.line))
        })?;
        let rows: Vec<Vec<Value>> =
            profiles.iter().map(|(key, model, row)| row.values(*key, *model)).collect();
        self.sql.query_many(SET_PROFILE, &rows, &mut |_, _| Ok(()))
    }
}

/// An enrolment as it is kept.
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

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Integer(self.key),
            Value::Text(&self.enrolment.id),
            Value::Integer(self.model),
            Value::Bytes(&self.digest),
            Value::Bytes(&self.vector),
            Value::Real(self.enrolment.speech_seconds),
            Value::Real(self.enrolment.similarity_to_profile),
            Value::Text(&self.warnings),
            Value::Integer(milliseconds(&self.enrolment.created_at).unwrap_or_default()),
        ]
    }
}

fn next_chunk(import: &mut CheckedImport) -> Result<Chunk, ImportError> {
    let (mut chunk, mut enrolments) = (Chunk::new(), 0);
    while chunk.len() < CHUNK_SPEAKERS && enrolments < CHUNK_ENROLMENTS {
        let Some((line, speaker)) = import.next_speaker()? else { break };
        enrolments += speaker.enrolments.len();
        chunk.push((line, speaker));
    }
    Ok(chunk)
}

/// It could be read before.
fn unreadable(error: ImportError) -> StoreError {
    StoreError::Internal(format!("a checked import cannot be read: {error}"))
}
