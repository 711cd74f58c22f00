//! Detects whether the opened file is still the one at its path, and whether another process has it open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::open::with_suffix;
use crate::store::error::StoreError;

/// The file of a database, identified by device and inode once it exists. SQLite keeps writing to a file that was removed, and
/// those writes are lost. If another file took its place, the write-ahead log of the first would overwrite it.
pub(super) struct OpenedFile {
    path: PathBuf,
    identity: Mutex<Option<(u64, u64)>>,
    presence: OnceLock<Presence>,
}

/// Marks this process as one that has the database open: each such process holds a shared lock on an empty file beside
/// the database. (SQLite's own locks would be lost if this process opened and closed the database in another way.)
struct Presence {
    /// Locked until the process ends.
    _file: Option<File>,
    has_others: bool,
}

impl Presence {
    /// Checks for other processes, and makes this one visible to them. Without a lock, assumes that there are no others.
    fn show(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        let lock = options.create(true).append(true).mode(0o600).open(with_suffix(path, "-lock"));
        let Ok(file) = lock else { return Self { _file: None, has_others: false } };
        let has_others = flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        let is_locked = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        Self { _file: is_locked.then_some(file), has_others }
    }
}

impl OpenedFile {
    /// Remembers the file at a path, if it exists.
    pub(super) fn new(path: &Path) -> Self {
        let opened = Self { path: path.to_owned(), identity: Mutex::default(), presence: OnceLock::new() };
        opened.remember();
        opened
    }

    /// Remembers the file at the path, unless one is already remembered.
    pub(super) fn remember(&self) {
        let path = &self.path;
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        *identity = identity.or_else(|| identity_of(path));
        if identity.is_some() {
            self.presence.get_or_init(|| Presence::show(path));
        }
    }

    /// Returns whether another process had the file open when this one opened it.
    pub(super) fn has_others(&self) -> bool {
        self.presence.get().is_some_and(|presence| presence.has_others)
    }

    /// Returns an error if the remembered file is no longer at its path.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let path = &self.path;
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
    fn the_second_who_opens_a_file_sees_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speakers.db");
        let [before, first] = [(); 2].map(|()| OpenedFile::new(&path));
        assert!(!first.has_others(), "there is no file yet");
        std::fs::write(&path, "one").unwrap();
        first.remember();
        let second = OpenedFile::new(&path);
        assert_eq!([before.has_others(), first.has_others(), second.has_others()], [false, false, true]);
        drop((first, second));
        assert!(!OpenedFile::new(&path).has_others());
    }

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
    }
}
