//! Writes all speakers as lines of JSON.

use std::io::{self, Write};

use super::lines::{EnrolmentLine, FORMAT, Head, ModelLine, SpeakerLine, Tail, base64};
use crate::notation::hex;
use crate::speakers::{Identifier, Speaker, SpeakerKey};
use crate::store::error::StoreError;
use crate::store::reads::{now, speaker_row, timestamp};
use crate::store::sql::{Row, Sql, SqlValue, all, codes, count, identifier};
use crate::store::statements::{EXPORT, EXPORT_COLLECTION, MODELS, MODELS_OF_COLLECTION};

/// The reason why an export has ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Writes the speakers of all permitted collections, or of one, as of a single moment. Returns their number.
pub(in crate::store) fn export(
    sql: &dyn Sql,
    collection: Option<&Identifier>,
    may_use: &dyn Fn(&Identifier) -> bool,
    out: &mut dyn Write,
) -> Result<usize, ExportError> {
    let of_collection = collection.map(|collection| [SqlValue::Text(collection.as_str())]);
    let values: &[SqlValue] = of_collection.as_ref().map_or(&[], |values| values);
    let models = if collection.is_some() { MODELS_OF_COLLECTION } else { MODELS };
    let models = all(sql, models, values, |row| {
        Ok(ModelLine { fingerprint: row.text(0)?.to_owned(), dimension: count(row, 1)? })
    })?;
    write_head(models, out)?;
    let mut lines = ExportLines { out, current: None, n: 0, failure: None };
    let statement = if collection.is_some() { EXPORT_COLLECTION } else { EXPORT };
    let read = sql.query(statement, values, &mut |row| {
        if may_use(&identifier(row, 1)?) { lines.take(row) } else { Ok(()) }
    });
    match (lines.failure.take(), read) {
        (Some(failure), _) => return Err(failure.into()),
        (None, read) => read?,
    }
    lines.finish_speaker()?;
    write_tail(lines.n, lines.out)?;
    Ok(lines.n)
}

/// Writes an export without speakers.
pub(in crate::store) fn export_nothing(out: &mut dyn Write) -> Result<(), ExportError> {
    write_head(Vec::new(), out)?;
    Ok(write_tail(0, out)?)
}

fn write_head(models: Vec<ModelLine>, out: &mut dyn Write) -> io::Result<()> {
    let head = Head { format: FORMAT.to_owned(), models, exported_at: timestamp(now()) };
    write_line(&head, out)
}

fn write_tail(speakers: usize, out: &mut dyn Write) -> io::Result<()> {
    write_line(&Tail { end: true, speakers }, out)?;
    out.flush()
}

fn write_line(line: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    // Metadata is stored as it was sent. Between its tokens, a space can replace a line break.
    line.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    out.write_all(&line)
}

/// Converts rows of enrolments to lines of speakers.
struct ExportLines<'a> {
    out: &'a mut dyn Write,
    current: Option<(SpeakerKey, SpeakerLine)>,
    n: usize,
    /// The reason why writing has failed.
    failure: Option<io::Error>,
}

impl ExportLines<'_> {
    fn take(&mut self, row: &dyn Row) -> Result<(), StoreError> {
        let key = row.integer(0)?;
        if self.current.as_ref().is_none_or(|(current, _)| *current != key) {
            if let Err(error) = self.finish_speaker() {
                self.failure = Some(error);
                return Err(StoreError::Internal("the export cannot be written".into()));
            }
            self.current = Some((key, speaker_row(row)?.speaker.into()));
        }
        // A speaker without enrolments has a row whose enrolment is empty.
        if let Some((_, speaker)) = &mut self.current
            && !row.text(7)?.is_empty()
        {
            speaker.enrolments.push(enrolment(row)?);
        }
        Ok(())
    }

    fn finish_speaker(&mut self) -> io::Result<()> {
        let Some((_, speaker)) = self.current.take() else { return Ok(()) };
        self.n += 1;
        write_line(&speaker, self.out)
    }
}

impl From<Speaker> for SpeakerLine {
    /// Leaves the enrolments empty.
    fn from(speaker: Speaker) -> Self {
        let Speaker { id, name, collection, metadata, created_at, updated_at, .. } = speaker;
        Self { id, name, collection, metadata, created_at, updated_at, enrolments: Vec::new() }
    }
}

fn enrolment(row: &dyn Row) -> Result<EnrolmentLine, StoreError> {
    Ok(EnrolmentLine {
        id: row.text(7)?.to_owned(),
        model: row.text(8)?.to_owned(),
        sha256: hex(row.bytes(9)?),
        embedding: base64(row.bytes(10)?),
        speech_seconds: row.real(11)?,
        similarity_to_profile: row.real(12)?,
        warnings: codes(row, 13)?.map(str::to_owned).collect(),
        created_at: timestamp(row.integer(14)?),
    })
}
