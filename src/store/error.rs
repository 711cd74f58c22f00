//! Errors of the speaker store.

use std::path::PathBuf;

use crate::speakers::{Address, Identifier, Unfit};

/// The reason why speakers cannot be read or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The collection has no such speaker.
    #[error("There is no speaker {speaker:?} in the collection {collection:?}", speaker = .speaker.as_str(), collection = .collection.as_str())]
    SpeakerNotFound {
        /// The id.
        speaker: Identifier,
        /// The collection.
        collection: Identifier,
    },
    /// The speaker has no such enrolment.
    #[error("There is no enrolment {enrolment:?} of that speaker")]
    EnrolmentNotFound {
        /// The id.
        enrolment: String,
    },
    /// The collection has no speakers.
    #[error("There is no collection {collection:?}")]
    CollectionNotFound {
        /// The name.
        collection: String,
    },
    /// Another speaker has the id.
    #[error("The speaker {speaker:?} exists already", speaker = .speaker.as_str())]
    SpeakerExists {
        /// The id.
        speaker: Identifier,
    },
    /// The recording or embedding is already enrolled for another speaker.
    #[error("The same recording or embedding is already enrolled, for {}", speaker_text(.speaker.as_ref()))]
    DuplicateEnrolment {
        /// That speaker, unless the client may not know it.
        speaker: Option<Identifier>,
    },
    /// The voice is not suitable for enrolment.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The speaker has the maximum number of enrolments.
    #[error("The speaker has {max} enrolments, the maximum; remove some first")]
    TooManyEnrolments {
        /// The limit.
        max: usize,
    },
    /// The store has the maximum number of speakers.
    #[error("There are {max} speakers, the maximum (MAX_SPEAKERS)")]
    TooManySpeakers {
        /// The limit.
        max: usize,
    },
    /// The error concerns one of several voices.
    #[error("voices[{index}]: {error}")]
    OfVoice {
        /// The index of the voice.
        index: usize,
        /// The problem with the voice.
        error: Box<StoreError>,
    },
    /// The vectors of one model differ in dimension.
    #[error("Stored enrolments of the model {model} have another dimension")]
    OtherDimension {
        /// The fingerprint.
        model: String,
    },
    /// The error concerns one line of an import.
    #[error("line {line}: {error}")]
    OfLine {
        /// The line, counted from 1.
        line: usize,
        /// The problem with the line.
        error: Box<StoreError>,
    },
    /// The database currently cannot be read or written.
    #[error("The database of speakers is unavailable; try again shortly")]
    Unavailable {
        /// The database's reason, for the log.
        reason: String,
    },
    /// A bug, with the available details.
    #[error("Internal Server Error")]
    Internal(String),
}

fn speaker_text(speaker: Option<&Identifier>) -> String {
    speaker
        .map_or_else(|| "another speaker".to_owned(), |speaker| format!("the speaker {:?}", speaker.as_str()))
}

impl StoreError {
    /// Returns the error for an address without a speaker.
    pub(super) fn no_speaker(address: &Address) -> Self {
        let Address { collection, id } = address.clone();
        Self::SpeakerNotFound { speaker: id, collection }
    }

    /// Returns an error's text for the operator.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Unavailable { reason } | Self::Internal(reason) => reason,
            error => error.to_string(),
        }
    }

    /// Attributes the error to a line of an import.
    pub(super) fn of_line(self, line: usize) -> Self {
        Self::OfLine { line, error: Box::new(self) }
    }

    /// Attributes the error to one of several voices. Errors of the store itself are not attributed.
    #[must_use]
    pub fn of_voice(self, index: usize) -> Self {
        match self {
            error @ (Self::Unavailable { .. } | Self::Internal(_)) => error,
            error => Self::OfVoice { index, error: Box::new(error) },
        }
    }
}

/// The reason why a database cannot be used at all. The database is left unchanged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a database.
    #[error("{path} is not an SQLite database", path = path.display())]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program.
    #[error("{path} is a database of another program", path = path.display())]
    OtherProgram {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program created the database.
    #[error(
        "{place} has version {version}, which this program does not know (it knows {known}); use a newer one"
    )]
    Newer {
        /// The file, or the server.
        place: String,
        /// The database's version.
        version: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The file's content has been damaged.
    #[error("{path} is damaged: {reason}; restore a backup, or move it and the files beside it away to start empty", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem that was found.
        reason: String,
    },
    /// The file is missing, but a part of its database still exists.
    #[error("{path} is missing, but {file} remains of it; move that away too, or restore the database", path = path.display(), file = file.display())]
    LeftOver {
        /// The file that is missing.
        path: PathBuf,
        /// The file that still exists.
        file: PathBuf,
    },
    /// The database cannot be opened.
    #[error("{place} cannot be opened: {reason}")]
    System {
        /// The file, or the server.
        place: String,
        /// The system's reason.
        reason: String,
    },
}
