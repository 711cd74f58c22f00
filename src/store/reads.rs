//! Reads speakers, enrolments and collections.

use std::num::NonZeroU8;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, Iso8601, TimePrecision};

use super::error::StoreError;
use super::sql::{Row, Sql, SqlValue, all, codes, count, first, identifier, vector};
use super::statements::{
    COLLECTIONS, ENROLMENT, ENROLMENT_COUNT, ENROLMENTS, ENROLMENTS_BY_MODEL, KEY, PROFILE,
    PROFILE_SUMMARIES, SPEAKER, SPEAKERS_AFTER,
};
use crate::embedding::ModelId;
use crate::speakers::{
    Address, Enrolment, Identifier, Metadata, ModelSummary, Profile, Speaker, SpeakerKey, SpeakerName,
};

/// The number of speakers to read at once when they are filtered by name.
const SEARCHED_AT_ONCE: usize = 1_000;

/// The speakers to list.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The collection.
    pub collection: Identifier,
    /// Lists speakers after this id.
    pub after: String,
    /// Lists speakers whose name contains this text, in any case.
    pub name: String,
    /// The maximum number of speakers.
    pub limit: usize,
}

/// A page of a collection's speakers.
#[derive(Clone, Debug, Default)]
pub struct SpeakerPage {
    /// The speakers, sorted by id.
    pub speakers: Vec<Speaker>,
    /// The last id of this page, if there is a next page.
    pub next: Option<Identifier>,
}

/// A speaker's voice.
#[derive(Clone, Debug)]
pub struct SpeakerVoice {
    /// The speaker's key.
    pub key: SpeakerKey,
    /// The profile; `None` if the speaker has no profile for the model.
    pub profile: Option<Profile>,
}

/// A collection with the numbers of its speakers and enrolments.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = Collection)]
pub struct CollectionSummary {
    /// Name of the collection.
    #[schema(value_type = String, example = "default")]
    pub collection: Identifier,
    /// Number of speakers in the collection.
    #[schema(example = 3)]
    pub speakers: usize,
    /// Number of enrolments of these speakers.
    #[schema(example = 7)]
    pub enrolments: usize,
}

/// A speaker's row, before counts are added.
pub(super) struct SpeakerRow {
    pub(super) key: SpeakerKey,
    pub(super) speaker: Speaker,
}

pub(super) fn row_of(sql: &dyn Sql, address: &Address) -> Result<SpeakerRow, StoreError> {
    first(sql, SPEAKER, &values_of(address), speaker_row)?.ok_or_else(|| StoreError::no_speaker(address))
}

/// Returns the key of a speaker.
pub(super) fn key_of(sql: &dyn Sql, address: &Address) -> Result<SpeakerKey, StoreError> {
    first(sql, KEY, &values_of(address), |row| row.integer(0))?.ok_or_else(|| StoreError::no_speaker(address))
}

fn values_of(address: &Address) -> [SqlValue<'_>; 2] {
    [SqlValue::Text(address.collection.as_str()), SqlValue::Text(address.id.as_str())]
}

/// Reads the first columns of a row, in the order of `SPEAKER`.
pub(super) fn speaker_row(row: &dyn Row) -> Result<SpeakerRow, StoreError> {
    let metadata = Metadata::from_store(row.text(4)?.to_owned())
        .map_err(|error| StoreError::Internal(format!("a speaker's metadata cannot be read: {error}")))?;
    let speaker = Speaker {
        collection: identifier(row, 1)?,
        id: identifier(row, 2)?,
        name: SpeakerName::from_store(row.text(3)?.to_owned()),
        metadata,
        enrolments: 0,
        profiles: Vec::new(),
        created_at: timestamp(row.integer(5)?),
        updated_at: timestamp(row.integer(6)?),
    };
    Ok(SpeakerRow { key: row.integer(0)?, speaker })
}

/// Returns a speaker with everything that responses contain.
pub(super) fn speaker(sql: &dyn Sql, address: &Address) -> Result<Speaker, StoreError> {
    let completed = completed(sql, vec![row_of(sql, address)?])?;
    completed.into_iter().next().ok_or_else(|| StoreError::no_speaker(address))
}

/// Adds the counts to speakers.
fn completed(sql: &dyn Sql, rows: Vec<SpeakerRow>) -> Result<Vec<Speaker>, StoreError> {
    let keys: Vec<Vec<SqlValue>> = rows.iter().map(|row| vec![SqlValue::Integer(row.key)]).collect();
    let mut speakers: Vec<Speaker> = rows.into_iter().map(|row| row.speaker).collect();
    sql.query_many(ENROLMENT_COUNT, &keys, &mut |place, row| {
        speakers[place].enrolments = count(row, 0)?;
        Ok(())
    })?;
    sql.query_many(PROFILE_SUMMARIES, &keys, &mut |place, row| {
        speakers[place].profiles.push(ModelSummary {
            model: row.text(0)?.to_owned(),
            seconds: row.real(1)?.unwrap_or_default(),
            enrolments: count(row, 2)?,
        });
        Ok(())
    })?;
    Ok(speakers)
}

/// Returns a page of speakers, sorted by id.
pub(super) fn speakers(
    sql: &dyn Sql,
    PageRequest { collection, after, name, limit }: &PageRequest,
) -> Result<SpeakerPage, StoreError> {
    // Without a name filter, one row more than requested shows whether there is a next page.
    let at_once = if name.is_empty() { limit + 1 } else { SEARCHED_AT_ONCE };
    let mut rows: Vec<SpeakerRow> = Vec::new();
    let mut after = after.clone();
    loop {
        let values =
            [SqlValue::Text(collection.as_str()), SqlValue::Text(&after), SqlValue::Integer(at_once as i64)];
        let (mut n_read, mut last) = (0, None);
        sql.query(SPEAKERS_AFTER, &values, &mut |row| {
            n_read += 1;
            last = Some(row.text(2)?.to_owned());
            if rows.len() <= *limit && SpeakerName::from_store(row.text(3)?.to_owned()).contains(name) {
                rows.push(speaker_row(row)?);
            }
            Ok(())
        })?;
        match last {
            Some(last) if n_read == at_once && rows.len() <= *limit => after = last,
            _ => break,
        }
    }
    let has_more = rows.len() > *limit;
    rows.truncate(*limit);
    let next = if has_more { rows.last().map(|row| row.speaker.id.clone()) } else { None };
    Ok(SpeakerPage { speakers: completed(sql, rows)?, next })
}

/// Returns a speaker's voice for a model.
pub(super) fn voice(sql: &dyn Sql, address: &Address, model: &ModelId) -> Result<SpeakerVoice, StoreError> {
    let key = key_of(sql, address)?;
    let profile = profile(sql, key, model.fingerprint())?;
    Ok(SpeakerVoice { key, profile })
}

fn profile(sql: &dyn Sql, key: SpeakerKey, fingerprint: &str) -> Result<Option<Profile>, StoreError> {
    first(sql, PROFILE, &[SqlValue::Integer(key), SqlValue::Text(fingerprint)], |row| {
        Ok(Profile {
            vector: vector(row, 0)?,
            seconds: row.real(1)?.unwrap_or_default(),
            enrolments: count(row, 2)?,
            without_seconds: count(row, 3)?,
            warnings: codes(row, 4)?.map(str::to_owned).collect(),
        })
    })
}

/// Returns a speaker's enrolments in the order in which they were made.
pub(super) fn enrolments(sql: &dyn Sql, address: &Address) -> Result<Vec<Enrolment>, StoreError> {
    let key = key_of(sql, address)?;
    all(sql, ENROLMENTS, &[SqlValue::Integer(key)], enrolment_of)
}

/// Returns one of a speaker's enrolments.
pub(super) fn enrolment(sql: &dyn Sql, address: &Address, id: &str) -> Result<Enrolment, StoreError> {
    enrolment_by_id(sql, key_of(sql, address)?, id)
}

pub(super) fn enrolment_by_id(sql: &dyn Sql, key: SpeakerKey, id: &str) -> Result<Enrolment, StoreError> {
    first_of_enrolment(sql, ENROLMENT, key, id, enrolment_of)
}

/// Returns the row that a statement finds for a speaker's enrolment.
pub(super) fn first_of_enrolment<T>(
    sql: &dyn Sql,
    statement: &'static str,
    key: SpeakerKey,
    id: &str,
    read: impl FnMut(&dyn Row) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let not_found = || StoreError::EnrolmentNotFound { enrolment: id.to_owned() };
    // PostgreSQL cannot store texts with U+0000, so no enrolment has such an id.
    if id.contains('\0') {
        return Err(not_found());
    }
    first(sql, statement, &[SqlValue::Integer(key), SqlValue::Text(id)], read)?.ok_or_else(not_found)
}

fn enrolment_of(row: &dyn Row) -> Result<Enrolment, StoreError> {
    Ok(Enrolment {
        id: row.text(0)?.to_owned(),
        model: row.text(1)?.to_owned(),
        speech_seconds: row.real(2)?,
        similarity_to_profile: row.real(3)?,
        warnings: codes(row, 4)?.map(str::to_owned).collect(),
        created_at: timestamp(row.integer(5)?),
    })
}

/// Returns all collections, sorted by name.
pub(super) fn collections(sql: &dyn Sql) -> Result<Vec<CollectionSummary>, StoreError> {
    all(sql, COLLECTIONS, &[], |row| {
        Ok(CollectionSummary {
            collection: identifier(row, 0)?,
            speakers: count(row, 1)?,
            enrolments: count(row, 2)?,
        })
    })
}

/// Returns the number of enrolments of each model, by fingerprint.
pub(super) fn enrolments_by_model(sql: &dyn Sql) -> Result<Vec<(String, usize)>, StoreError> {
    all(sql, ENROLMENTS_BY_MODEL, &[], |row| Ok((row.text(0)?.to_owned(), count(row, 1)?)))
}

/// RFC 3339 with three decimals, so that sorting the texts sorts the times.
const MILLISECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();

/// Formats milliseconds since 1970 as RFC 3339.
pub(super) fn timestamp(milliseconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok();
    moment.and_then(|moment| moment.format(&Iso8601::<MILLISECONDS>).ok()).unwrap_or_default()
}

/// Parses RFC 3339 as milliseconds since 1970. Returns `None` if the text is invalid, or if [`timestamp`] could not
/// write the time.
pub(super) fn milliseconds(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let milliseconds = i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()?;
    (!timestamp(milliseconds).is_empty()).then_some(milliseconds)
}

/// Returns the current time in milliseconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
