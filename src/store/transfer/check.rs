//! Checks that a file is an export that may be imported.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

use serde::de::DeserializeOwned;

use super::lines::{
    EnrolmentLine, FORMAT, Head, ModelLine, SpeakerLine, Tail, bytes_of_base64, sha256_of_hex,
};
use crate::models;
use crate::speakers::{Identifier, MAX_SPEECH_SECONDS};
use crate::store::error::StoreError;
use crate::store::reads::milliseconds;
use crate::store::writes::MAX_ENROLMENTS;

/// The maximum number of bytes in a line. A speaker with the most enrolments needs fewer.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// The maximum number of models in an export.
const MAX_MODELS: usize = 100;

/// The maximum number of bytes in a model's fingerprint.
const MAX_FINGERPRINT_BYTES: usize = 128;

/// How far an embedding's L2 norm may differ from 1.
const NORM_TOLERANCE: f64 = 1e-3;

/// The rules for an import.
pub struct ImportRules<'a> {
    /// Returns whether enrolments of a model are accepted, by its fingerprint.
    pub takes_model: &'a dyn Fn(&str) -> bool,
    /// Returns whether speakers of a collection may be imported.
    pub may_use: &'a dyn Fn(&Identifier) -> bool,
    /// The maximum number of speakers in the store.
    pub max_speakers: usize,
}

/// The reason why a file cannot be imported. Lines are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is an export that was cut off.
    #[error("The export ends after line {line} without its last line, {{\"end\":true}}; it was cut off")]
    Incomplete {
        /// The last complete line.
        line: usize,
    },
    /// A line does not follow the format of an export.
    #[error("line {line}: {reason}")]
    Malformed {
        /// The line.
        line: usize,
        /// The problem with the line.
        reason: String,
    },
    /// The enrolment's model is not loaded.
    #[error(
        "line {line}: an enrolment of the model {model}, which is not loaded here (unknown_models=keep keeps it)"
    )]
    UnknownModel {
        /// The line.
        line: usize,
        /// The fingerprint.
        model: String,
    },
    /// The client may not use the collection.
    #[error("line {line}: the key may not use the collection {collection:?}", collection = .collection.as_str())]
    Forbidden {
        /// The line.
        line: usize,
        /// The collection.
        collection: Identifier,
    },
    /// The export has more speakers than the store may hold.
    #[error("line {line}: the import has more than {max} speakers, the maximum (MAX_SPEAKERS)")]
    TooManySpeakers {
        /// The line of the first speaker beyond the limit.
        line: usize,
        /// The limit.
        max: usize,
    },
    /// The file cannot be read.
    #[error("the import cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// An export that has passed all checks.
#[derive(Debug)]
pub struct CheckedImport {
    lines: ImportLines,
    /// The dimension of each model with enrolments in the export.
    pub(super) dimensions: HashMap<String, usize>,
}

impl CheckedImport {
    /// Reads and checks a whole file, which must not change meanwhile.
    pub fn from_file(file: File, rules: &ImportRules<'_>) -> Result<Self, ImportError> {
        let mut lines = ImportLines::new(file)?;
        let head: Head = lines.next_line()?.ok_or(ImportError::Incomplete { line: 0 })?.parsed()?;
        if head.format != FORMAT {
            return Err(lines.malformed(format!("the format is {:?}, and not {FORMAT:?}", head.format)));
        }
        if head.models.len() > MAX_MODELS {
            return Err(lines.malformed(format!("there are more than {MAX_MODELS} models")));
        }
        let mut dimensions: HashMap<String, usize> = HashMap::new();
        for model in head.models {
            let ModelLine { fingerprint, dimension } = model;
            if dimension == 0 || released_dimension(&fingerprint).is_some_and(|known| known != dimension) {
                return Err(lines.malformed(format!("{fingerprint} has another dimension than {dimension}")));
            }
            let is_name = fingerprint.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_name || fingerprint.is_empty() || fingerprint.len() > MAX_FINGERPRINT_BYTES {
                let reason =
                    format!("a fingerprint has 1 to {MAX_FINGERPRINT_BYTES} visible characters of ASCII");
                return Err(lines.malformed(reason));
            }
            dimensions.insert(fingerprint, dimension);
        }
        let mut seen = HashSet::new();
        let mut used = HashSet::new();
        loop {
            let line = lines.next_line()?.ok_or(ImportError::Incomplete { line: lines.number })?;
            if line.is_tail() {
                let tail: Tail = line.parsed()?;
                if !tail.end || tail.speakers != seen.len() {
                    let reason =
                        format!("it tells of {} speakers, and there are {}", tail.speakers, seen.len());
                    return Err(lines.malformed(reason));
                }
                break;
            }
            let speaker: SpeakerLine = line.parsed()?;
            let number = lines.number;
            let malformed = |reason: String| ImportError::Malformed { line: number, reason };
            if !(rules.may_use)(&speaker.collection) {
                return Err(ImportError::Forbidden { line: number, collection: speaker.collection });
            }
            check_speaker(&speaker, &dimensions).map_err(malformed)?;
            for enrolment in &speaker.enrolments {
                if !(rules.takes_model)(&enrolment.model) {
                    return Err(ImportError::UnknownModel { line: number, model: enrolment.model.clone() });
                }
                if !used.contains(&enrolment.model) {
                    used.insert(enrolment.model.clone());
                }
            }
            if seen.len() == rules.max_speakers {
                return Err(ImportError::TooManySpeakers { line: number, max: rules.max_speakers });
            }
            let SpeakerLine { collection, id, .. } = speaker;
            let again = format!("the speaker {:?} is in an earlier line already", id.as_str());
            if !seen.insert((collection, id)) {
                return Err(malformed(again));
            }
        }
        if lines.next_line()?.is_some() {
            return Err(lines.malformed("there should be nothing behind the last line".into()));
        }
        dimensions.retain(|model, _| used.contains(model));
        Ok(Self { lines, dimensions })
    }

    /// Starts again at the first speaker.
    pub(super) fn rewind(&mut self) -> Result<(), StoreError> {
        let rewound = self.lines.rewind().map_err(ImportError::from);
        rewound.and_then(|()| self.lines.next_line().map(drop)).map_err(|error| unreadable(&error))
    }

    /// Returns the next speaker with its line, or `None` after the last one.
    pub(super) fn next_speaker(&mut self) -> Result<Option<(usize, SpeakerLine)>, StoreError> {
        let speaker = self.lines.next_line().and_then(|line| match line {
            Some(line) if !line.is_tail() => Ok(Some((line.number, line.parsed()?))),
            _ => Ok(None),
        });
        speaker.map_err(|error| unreadable(&error))
    }
}

/// Converts an error that is a bug, because the file could be read before.
fn unreadable(error: &ImportError) -> StoreError {
    StoreError::Internal(format!("a checked import cannot be read: {error}"))
}

/// Returns the dimension of a model that this program knows.
fn released_dimension(fingerprint: &str) -> Option<usize> {
    models::all().iter().find(|spec| spec.fingerprint() == fingerprint).map(|spec| spec.dimension)
}

fn check_speaker(speaker: &SpeakerLine, dimensions: &HashMap<String, usize>) -> Result<(), String> {
    if speaker.enrolments.len() > MAX_ENROLMENTS {
        return Err(format!("a speaker has {MAX_ENROLMENTS} enrolments at the most"));
    }
    for (field, time) in [("created_at", &speaker.created_at), ("updated_at", &speaker.updated_at)] {
        milliseconds(time).ok_or_else(|| format!("{field} is no time of RFC 3339"))?;
    }
    let mut seen = HashSet::new();
    speaker.enrolments.iter().enumerate().try_for_each(|(place, enrolment)| {
        let checked = check_enrolment(enrolment, dimensions).and_then(|()| {
            let is_new = seen.insert((&enrolment.model, &enrolment.sha256));
            if is_new { Ok(()) } else { Err("the same is enrolled already, by an earlier one".into()) }
        });
        checked.map_err(|reason| format!("enrolments[{place}]: {reason}"))
    })
}

fn check_enrolment(enrolment: &EnrolmentLine, dimensions: &HashMap<String, usize>) -> Result<(), String> {
    let Some(dimension) = dimensions.get(&enrolment.model) else {
        return Err(format!("the model {:?} is not in the first line", enrolment.model));
    };
    if enrolment.id.parse::<Identifier>().is_err() {
        return Err("id is no identifier".into());
    }
    sha256_of_hex(&enrolment.sha256).ok_or("sha256 should be 64 hexadecimal digits")?;
    milliseconds(&enrolment.created_at).ok_or("created_at is no time of RFC 3339")?;
    // Without weight, an enrolment would result in a profile that no search finds.
    if enrolment.speech_seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds <= MAX_SPEECH_SECONDS)) {
        return Err(format!("speech_seconds should be above 0 and at most {MAX_SPEECH_SECONDS}"));
    }
    if enrolment.similarity_to_profile.is_some_and(|similarity| !(-1.0..=1.0).contains(&similarity)) {
        return Err("similarity_to_profile should be from -1 to 1".into());
    }
    let is_code = |code: &String| {
        !code.is_empty()
            && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if !enrolment.warnings.iter().all(is_code) {
        return Err("warnings should be codes".into());
    }
    let bytes = bytes_of_base64(&enrolment.embedding).ok_or("embedding is no base64")?;
    let (components, rest) = bytes.as_chunks();
    if components.len() != *dimension || !rest.is_empty() {
        return Err(format!("embedding should have {dimension} components of 4 bytes"));
    }
    let square: f64 = components.iter().map(|c| f64::from(f32::from_le_bytes(*c)).powi(2)).sum();
    // The comparison also rejects components that are not finite.
    if (square.sqrt() - 1.0).abs() <= NORM_TOLERANCE {
        Ok(())
    } else {
        Err("embedding should be finite and have L2 norm 1".into())
    }
}

/// Reads the lines of a file.
#[derive(Debug)]
struct ImportLines {
    file: BufReader<File>,
    /// The number of the last line read, from 1.
    number: usize,
}

/// A line without its line break.
struct Line {
    number: usize,
    text: Vec<u8>,
    /// Whether the file ends within the line.
    is_cut: bool,
}

impl ImportLines {
    fn new(file: File) -> io::Result<Self> {
        let mut lines = Self { file: BufReader::with_capacity(1 << 16, file), number: 0 };
        lines.rewind()?;
        Ok(lines)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.number = 0;
        self.file.rewind()
    }

    fn next_line(&mut self) -> Result<Option<Line>, ImportError> {
        let mut text = Vec::new();
        let n = (&mut self.file).take(MAX_LINE_BYTES).read_until(b'\n', &mut text)?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        let is_cut = text.pop_if(|byte| *byte == b'\n').is_none();
        if is_cut && n as u64 == MAX_LINE_BYTES {
            return Err(self.malformed(format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        Ok(Some(Line { number: self.number, text, is_cut }))
    }

    /// Reports a problem with the last line read.
    fn malformed(&self, reason: String) -> ImportError {
        ImportError::Malformed { line: self.number, reason }
    }
}

impl Line {
    /// Returns whether this is the last line of an export. No speaker's line begins like this.
    fn is_tail(&self) -> bool {
        self.text.starts_with(b"{\"end\"")
    }

    fn parsed<T: DeserializeOwned>(self) -> Result<T, ImportError> {
        serde_json::from_slice(&self.text).map_err(|error| {
            if self.is_cut {
                return ImportError::Incomplete { line: self.number - 1 };
            }
            // The parser's line number refers to the text of this line only.
            let reason = error.to_string().replace(" at line 1 column ", " at column ");
            ImportError::Malformed { line: self.number, reason }
        })
    }
}
