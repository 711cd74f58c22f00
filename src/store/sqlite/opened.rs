//! Whether the file that was opened is still the one at its path.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::store::error::StoreError;

/// The file of a database, remembered by device and inode once it exists. SQLite keeps writing to a file that was removed, and those
/// writes are lost. If another file took its place, the write-ahead log of the first would overwrite it.
pub(super) struct OpenedFile {
    path: Option<PathBuf>,
    identity: Mutex<Option<(u64, u64)>>,
}

impl OpenedFile {
    /// The file at a path, if it is there.
    pub(super) fn new(path: &Path) -> Self {
        let opened = Self { path: Some(path.to_owned()), identity: Mutex::default() };
        opened.remember();
        opened
    }

    /// Of a database that is no file.
    pub(super) fn none() -> Self {
        Self { path: None, identity: Mutex::default() }
    }

    /// Remembers the file at the path, unless one is remembered.
    pub(super) fn remember(&self) {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        *identity = identity.or_else(|| identity_of(self.path.as_deref()?));
    }

    /// Fails if the file that is remembered is not at its path any more.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        let expected = *self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(expected) = expected else { return Ok(()) };
        let what = match identity_of(path) {
            Some(found) if found == expected => return Ok(()),
            Some(_) => "replaced by another file",
            None => "removed",
        };
        let reason = format!("{} was {what}; put it back, or restart the service", path.display());
        Err(StoreError::Unavailable { reason })
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_or_another_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speakers.db");
        let opened = OpenedFile::new(&path);
        assert!(opened.check().is_ok(), "there is none yet");
        std::fs::write(&path, "one").unwrap();
        opened.remember();
        assert!(opened.check().is_ok());
        let aside = folder.path().join("aside.db");
        std::fs::rename(&path, &aside).unwrap();
        assert!(format!("{:?}", opened.check()).contains("removed"));
        std::fs::write(&path, "another").unwrap();
        opened.remember();
        assert!(format!("{:?}", opened.check()).contains("replaced"));
        std::fs::rename(&aside, &path).unwrap();
        assert!(opened.check().is_ok());
        assert!(OpenedFile::none().check().is_ok());
    }
}
