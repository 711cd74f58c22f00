//! Whether a file is an export that may be imported.

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

/// Bytes of a line at the most: more than a speaker with as many enrolments as there may be.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// Models of an export at the most.
const MAX_MODELS: usize = 100;

/// Bytes of a model's fingerprint at the most.
const MAX_FINGERPRINT_BYTES: usize = 128;

/// How far an embedding's L2 norm may be from 1.
const NORM_TOLERANCE: f64 = 1e-3;

/// What may be imported.
pub struct ImportRules<'a> {
    /// Whether enrolments of a model are taken, by its fingerprint.
    pub takes_model: &'a dyn Fn(&str) -> bool,
    /// Whether speakers of a collection may be imported.
    pub may_use: &'a dyn Fn(&Identifier) -> bool,
    /// Most speakers that may be kept.
    pub max_speakers: usize,
}

/// Why a file cannot be imported. Lines are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is the beginning of an export.
    #[error("The export ends after line {line} without its last line, {{\"end\":true}}; it was cut off")]
    Incomplete {
        /// The last line that is there.
        line: usize,
    },
    /// A line is not as an export has it.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Which one.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An enrolment of a model that is not loaded.
    #[error(
        "line {line}: an enrolment of the model {model}, which is not loaded here (unknown_models=keep keeps it)"
    )]
    UnknownModel {
        /// Which line.
        line: usize,
        /// The fingerprint.
        model: String,
    },
    /// A collection that may not be used.
    #[error("line {line}: the key may not use the collection {collection:?}", collection = .collection.as_str())]
    Forbidden {
        /// Which line.
        line: usize,
        /// The collection.
        collection: Identifier,
    },
    /// There are more speakers than may be kept.
    #[error("line {line}: an export of more than {max} speakers, which are as many as may be kept")]
    TooManySpeakers {
        /// The line of the first that is too many.
        line: usize,
        /// The limit.
        max: usize,
    },
    /// The file cannot be read.
    #[error("the import cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// An export that may be imported.
#[derive(Debug)]
pub struct CheckedImport {
    lines: Lines,
    /// The dimension of each model that has enrolments in it.
    pub(super) dimensions: HashMap<String, usize>,
}

impl CheckedImport {
    /// Reads all of a file, which nobody changes meanwhile.
    pub fn of_file(file: File, rules: &ImportRules<'_>) -> Result<Self, ImportError> {
        let mut lines = Lines::new(file)?;
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

    /// Begins anew with the first speaker.
    pub(super) fn rewind(&mut self) -> Result<(), StoreError> {
        let rewound = self.lines.rewind().map_err(ImportError::from);
        rewound.and_then(|()| self.lines.next_line().map(drop)).map_err(|error| unreadable(&error))
    }

    /// The next speaker with its line; `None` behind the last.
    pub(super) fn next_speaker(&mut self) -> Result<Option<(usize, SpeakerLine)>, StoreError> {
        let speaker = self.lines.next_line().and_then(|line| match line {
            Some(line) if !line.is_tail() => Ok(Some((line.number, line.parsed()?))),
            _ => Ok(None),
        });
        speaker.map_err(|error| unreadable(&error))
    }
}

/// It could be read before.
fn unreadable(error: &ImportError) -> StoreError {
    StoreError::Internal(format!("a checked import cannot be read: {error}"))
}

/// The dimension of a model that this program knows.
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
    // Without weight, an enrolment would make a profile that no search finds.
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
    // Of what is not finite it is no number.
    if (square.sqrt() - 1.0).abs() <= NORM_TOLERANCE {
        Ok(())
    } else {
        Err("embedding should be finite and have L2 norm 1".into())
    }
}

/// The lines of a file.
#[derive(Debug)]
struct Lines {
    file: BufReader<File>,
    /// That of the line read last, from 1.
    number: usize,
}

/// A line, without its end.
struct Line {
    number: usize,
    text: Vec<u8>,
    /// Whether the file ends within it.
    is_cut: bool,
}

impl Lines {
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

    /// Something is wrong with the line read last.
    fn malformed(&self, reason: String) -> ImportError {
        ImportError::Malformed { line: self.number, reason }
    }
}

impl Line {
    /// Whether it is the last of an export; no speaker begins like that.
    fn is_tail(&self) -> bool {
        self.text.starts_with(b"{\"end\"")
    }

    fn parsed<T: DeserializeOwned>(self) -> Result<T, ImportError> {
        serde_json::from_slice(&self.text).map_err(|error| {
            if self.is_cut {
                return ImportError::Incomplete { line: self.number - 1 };
            }
            // Its own line number would be that within the line.
            let reason = error.to_string().replace(" at line 1 column ", " at column ");
            ImportError::Malformed { line: self.number, reason }
        })
    }
}
