//! What can go wrong with kept speakers.

use std::path::PathBuf;

use crate::speakers::{Address, Identifier, Unfit};

/// Why speakers cannot be read or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such speaker in the collection.
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
    /// There is no speaker in the collection.
    #[error("There is no collection {collection:?}")]
    CollectionNotFound {
        /// The name.
        collection: String,
    },
    /// Another speaker has the id.
    #[error("There is a speaker {speaker:?} already", speaker = .speaker.as_str())]
    SpeakerExists {
        /// The id.
        speaker: Identifier,
    },
    /// What was sent is enrolled for another speaker.
    #[error("The same is enrolled already, for {}", speaker_text(.speaker.as_ref()))]
    DuplicateEnrolment {
        /// That speaker, unless it is a secret.
        speaker: Option<Identifier>,
    },
    /// The voice should not be enrolled.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The speaker has as many enrolments as there may be.
    #[error("The speaker has {max} enrolments, as many as one may have; remove some first")]
    TooManyEnrolments {
        /// The limit.
        max: usize,
    },
    /// There are as many speakers as there may be.
    #[error("There are {max} speakers, as many as may be kept")]
    TooManySpeakers {
        /// The limit.
        max: usize,
    },
    /// It is about one of several voices.
    #[error("voices[{index}]: {error}")]
    OfVoice {
        /// Which one.
        index: usize,
        /// What is wrong with it.
        error: Box<StoreError>,
    },
    /// Vectors of one model have two dimensions.
    #[error("Enrolments of the model {model} have another dimension here")]
    OtherDimension {
        /// The fingerprint.
        model: String,
    },
    /// It is about one line of an import.
    #[error("line {line}: {error}")]
    OfLine {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        error: Box<StoreError>,
    },
    /// The database cannot be read or written at the moment.
    #[error("The store of speakers is unavailable; try again shortly")]
    Unavailable {
        /// The database's reason, for the log.
        reason: String,
    },
    /// A bug, and what is known of it.
    #[error("Internal Server Error")]
    Internal(String),
}

fn speaker_text(speaker: Option<&Identifier>) -> String {
    speaker
        .map_or_else(|| "another speaker".to_owned(), |speaker| format!("the speaker {:?}", speaker.as_str()))
}

impl StoreError {
    /// There is no speaker at an address.
    pub(super) fn no_speaker(address: &Address) -> Self {
        let Address { collection, id } = address.clone();
        Self::SpeakerNotFound { speaker: id, collection }
    }

    /// What an error says to the operator.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Unavailable { reason } | Self::Internal(reason) => reason,
            error => error.to_string(),
        }
    }

    /// The error, of a line of an import.
    pub(super) fn of_line(self, line: usize) -> Self {
        Self::OfLine { line, error: Box::new(self) }
    }

    /// The error, of one of several voices; what is the store's own fault is no property of one.
    #[must_use]
    pub fn of_voice(self, index: usize) -> Self {
        match self {
            error @ (Self::Unavailable { .. } | Self::Internal(_)) => error,
            error => Self::OfVoice { index, error: Box::new(error) },
        }
    }
}

/// Why a database cannot be used at all. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is something else.
    #[error("{path} is no SQLite database", path = path.display())]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// It is a database, of another program.
    #[error("{path} is a database of another program", path = path.display())]
    OtherProgram {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program has made it.
    #[error(
        "{place} has version {version}, which this program does not know (it knows {known}); use a newer one"
    )]
    Newer {
        /// The file, or the server.
        place: String,
        /// Its version.
        version: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// It is not as the program has written it.
    #[error("{path} is damaged: {reason}; restore a backup, or move it away, with what SQLite has put beside it, to begin anew", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It is not there, but a part of it is.
    #[error("{path} is missing, but {file} is left of it; move that away too, or bring the database back", path = path.display(), file = file.display())]
    LeftOver {
        /// The file that is missing.
        path: PathBuf,
        /// What is left.
        file: PathBuf,
    },
    /// It cannot be opened.
    #[error("{place} cannot be opened: {reason}")]
    System {
        /// The file, or the server.
        place: String,
        /// The system's reason.
        reason: String,
    },
}
