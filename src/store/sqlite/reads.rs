//! What reads.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use std::num::NonZeroU8;

use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, Iso8601, TimePrecision};

use super::statements::{
    COLLECTIONS, ENROLMENT, ENROLMENT_COUNT, ENROLMENTS, ENROLMENTS_BY_MODEL, KEY, PROFILE,
    PROFILE_SUMMARIES, SPEAKER, SPEAKERS_AFTER,
};
use crate::embedding::ModelId;
use crate::speakers::{
    Address, Enrolment, Identifier, Metadata, ModelSummary, Profile, Speaker, SpeakerKey, SpeakerName,
};
use crate::store::error::StoreError;

/// Which speakers to list.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// Of which collection.
    pub collection: Identifier,
    /// Those behind this id.
    pub after: String,
    /// Those whose name contains this, in any case.
    pub name: String,
    /// How many.
    pub limit: usize,
}

/// Some speakers of a collection.
#[derive(Clone, Debug, Default)]
pub struct SpeakerPage {
    /// The speakers, by their ids.
    pub speakers: Vec<Speaker>,
    /// The id behind which the next page begins, if there is one.
    pub next: Option<Identifier>,
}

/// A speaker's voice.
#[derive(Clone, Debug)]
pub struct SpeakerVoice {
    /// The speaker's key.
    pub key: SpeakerKey,
    /// The profile; `None` if the speaker has none of the model.
    pub profile: Option<Profile>,
}

/// A collection, counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CollectionSummary {
    /// Its name.
    pub collection: Identifier,
    /// The number of speakers.
    pub speakers: usize,
    /// The number of their enrolments.
    pub enrolments: usize,
}

/// A row of a speaker, before it is completed.
pub(super) struct SpeakerRow {
    pub(super) key: SpeakerKey,
    pub(super) speaker: Speaker,
}

pub(super) fn row_of(connection: &Connection, address: &Address) -> Result<SpeakerRow, StoreError> {
    let mut statement = connection.prepare_cached(SPEAKER)?;
    let mut rows = statement.query([address.collection.as_str(), address.id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Err(StoreError::no_speaker(address));
    };
    speaker_row(row)
}

/// The key of a speaker.
pub(super) fn key_of(connection: &Connection, address: &Address) -> Result<SpeakerKey, StoreError> {
    let mut statement = connection.prepare_cached(KEY)?;
    let key = statement
        .query_row([address.collection.as_str(), address.id.as_str()], |row| row.get(0))
        .optional()?;
    key.ok_or_else(|| StoreError::no_speaker(address))
}

fn speaker_row(row: &Row) -> Result<SpeakerRow, StoreError> {
    let metadata = Metadata::kept(row.get(4)?)
        .map_err(|error| StoreError::Internal(format!("a speaker's metadata cannot be read: {error}")))?;
    let speaker = Speaker {
        collection: identifier(row, 1)?,
        id: identifier(row, 2)?,
        name: SpeakerName::kept(row.get(3)?),
        metadata,
        enrolments: 0,
        profiles: Vec::new(),
        created_at: timestamp(row.get(5)?),
        updated_at: timestamp(row.get(6)?),
    };
    Ok(SpeakerRow { key: row.get(0)?, speaker })
}

/// A speaker with everything that answers show.
pub(in crate::store) fn speaker(connection: &Connection, address: &Address) -> Result<Speaker, StoreError> {
    completed(connection, row_of(connection, address)?)
}

fn completed(
    connection: &Connection,
    SpeakerRow { key, mut speaker }: SpeakerRow,
) -> Result<Speaker, StoreError> {
    let count: i64 = connection.prepare_cached(ENROLMENT_COUNT)?.query_row([key], |row| row.get(0))?;
    speaker.enrolments = count as usize;
    let summary = |row: &Row| {
        Ok(ModelSummary {
            model: row.get(0)?,
            seconds: row.get(1)?,
            enrolments: row.get::<_, i64>(2)? as usize,
        })
    };
    let mut statement = connection.prepare_cached(PROFILE_SUMMARIES)?;
    speaker.profiles = statement.query_map([key], summary)?.collect::<Result<_, _>>()?;
    Ok(speaker)
}

/// A page of speakers, by their ids.
pub(in crate::store) fn speakers(
    connection: &Connection,
    PageRequest { collection, after, name, limit }: &PageRequest,
) -> Result<SpeakerPage, StoreError> {
    let mut statement = connection.prepare_cached(SPEAKERS_AFTER)?;
    let mut rows = statement.query([collection.as_str(), after.as_str()])?;
    let mut page = SpeakerPage::default();
    while let Some(row) = rows.next()? {
        if !name.is_empty() && !SpeakerName::kept(row.get(3)?).contains(name) {
            continue;
        }
        if page.speakers.len() == *limit {
            page.next = page.speakers.last().map(|speaker| speaker.id.clone());
            break;
        }
        page.speakers.push(completed(connection, speaker_row(row)?)?);
    }
    Ok(page)
}

/// A speaker's voice, as a model knows it.
pub(in crate::store) fn voice(
    connection: &Connection,
    address: &Address,
    model: &ModelId,
) -> Result<SpeakerVoice, StoreError> {
    let key = key_of(connection, address)?;
    let profile = profile(connection, key, model.fingerprint())?;
    Ok(SpeakerVoice { key, profile })
}

pub(super) fn profile(
    connection: &Connection,
    key: SpeakerKey,
    fingerprint: &str,
) -> Result<Option<Profile>, StoreError> {
    let mut statement = connection.prepare_cached(PROFILE)?;
    let profile = |row: &Row| {
        Ok(Profile {
            vector: vector(row, 0)?,
            seconds: row.get(1)?,
            enrolments: row.get::<_, i64>(2)? as usize,
            without_seconds: row.get::<_, i64>(3)? as usize,
            warnings: codes(row, 4)?.map(str::to_owned).collect(),
        })
    };
    Ok(statement.query_row(rusqlite::params![key, fingerprint], profile).optional()?)
}

/// A speaker's enrolments, in the order in which they came.
pub(in crate::store) fn enrolments(
    connection: &Connection,
    address: &Address,
) -> Result<Vec<Enrolment>, StoreError> {
    let key = key_of(connection, address)?;
    let mut statement = connection.prepare_cached(ENROLMENTS)?;
    Ok(statement.query_map([key], enrolment_of)?.collect::<Result<_, _>>()?)
}

/// One of them.
pub(in crate::store) fn enrolment(
    connection: &Connection,
    address: &Address,
    id: &str,
) -> Result<Enrolment, StoreError> {
    let key = key_of(connection, address)?;
    enrolment_by_id(connection, key, id)
}

pub(super) fn enrolment_by_id(
    connection: &Connection,
    key: SpeakerKey,
    id: &str,
) -> Result<Enrolment, StoreError> {
    let mut statement = connection.prepare_cached(ENROLMENT)?;
    let enrolment = statement.query_row(rusqlite::params![key, id], enrolment_of).optional()?;
    enrolment.ok_or_else(|| StoreError::EnrolmentNotFound { enrolment: id.to_owned() })
}

fn enrolment_of(row: &Row) -> rusqlite::Result<Enrolment> {
    Ok(Enrolment {
        id: row.get(0)?,
        model: row.get(1)?,
        speech_seconds: row.get(2)?,
        similarity_to_profile: row.get(3)?,
        warnings: codes(row, 4)?.map(str::to_owned).collect(),
        created_at: timestamp(row.get(5)?),
    })
}

/// All collections, by name.
pub(in crate::store) fn collections(connection: &Connection) -> Result<Vec<CollectionSummary>, StoreError> {
    let mut statement = connection.prepare_cached(COLLECTIONS)?;
    let summary = |row: &Row| {
        Ok(CollectionSummary {
            collection: identifier(row, 0)?,
            speakers: row.get::<_, i64>(1)? as usize,
            enrolments: row.get::<_, i64>(2)? as usize,
        })
    };
    Ok(statement.query_map([], summary)?.collect::<Result<_, _>>()?)
}

/// The number of enrolments of each model, by its fingerprint.
pub(in crate::store) fn enrolments_by_model(
    connection: &Connection,
) -> Result<Vec<(String, usize)>, StoreError> {
    let mut statement = connection.prepare_cached(ENROLMENTS_BY_MODEL)?;
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as usize)))?;
    Ok(counts.collect::<Result<_, _>>()?)
}

pub(super) fn identifier(row: &Row, column: usize) -> rusqlite::Result<Identifier> {
    let text = row.get_ref(column)?;
    let text = text.as_str()?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Codes of warnings.
pub(super) fn codes<'a>(row: &'a Row, column: usize) -> rusqlite::Result<impl Iterator<Item = &'a str>> {
    Ok(row.get_ref(column)?.as_str()?.split_whitespace())
}

/// Little-endian `f32`.
pub(super) fn vector(row: &Row, column: usize) -> rusqlite::Result<Vec<f32>> {
    let bytes = row.get_ref(column)?;
    let (components, _) = bytes.as_blob()?.as_chunks();
    Ok(components.iter().map(|component| f32::from_le_bytes(*component)).collect())
}

/// RFC 3339 with three decimals, so that texts sort as times.
const MILLISECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();

/// RFC 3339, of milliseconds since 1970.
fn timestamp(milliseconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok();
    moment.and_then(|moment| moment.format(&Iso8601::<MILLISECONDS>).ok()).unwrap_or_default()
}
