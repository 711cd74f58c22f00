//! The location of the speaker store.

use std::path::{Path, PathBuf};

use super::postgres::PostgresServer;

/// The location of the speaker store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A file of SQLite.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(PostgresServer),
    /// Memory, until the process ends.
    Memory,
}

/// The configuration of the speaker store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The location; `None` if speakers are not stored.
    pub place: Option<StorePlace>,
    /// The reason why speakers are not stored, if the operator may expect otherwise.
    pub note: Option<String>,
    /// The maximum number of speakers.
    pub max_speakers: usize,
}

/// Returns the folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
