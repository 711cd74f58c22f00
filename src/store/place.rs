//! Where speakers are kept.

use std::path::{Path, PathBuf};

use super::postgres::Server;

/// Where speakers are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// In a file of SQLite.
    File(PathBuf),
    /// In PostgreSQL.
    Server(Server),
    /// In memory, until the process ends.
    Memory,
}

/// What is kept, and where.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where; `None` if nothing is kept.
    pub place: Option<StorePlace>,
    /// Why, if the operator may expect otherwise.
    pub note: Option<String>,
    /// Most speakers.
    pub max_speakers: usize,
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
