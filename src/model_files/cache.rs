//! The cache folder of downloaded models. A file in the cache is always complete: it is written under another name,
//! flushed to the disk and then renamed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::models::FileDigest;

/// A folder of models whose names derive from their hashes.
#[derive(Clone, Debug)]
pub(super) struct Cache<'a>(pub(super) &'a Path);

impl Cache<'_> {
    /// Returns the path of the model with a hash, whether or not it exists.
    pub(super) fn path(&self, sha256: &str) -> PathBuf {
        self.0.join(format!("model-{}.onnx", &sha256[..16]))
    }

    /// Returns the path of a partial download of the file with a hash.
    pub(super) fn part_path(&self, sha256: &str) -> PathBuf {
        self.0.join(format!("fetch-{}.part", &sha256[..16]))
    }

    /// Returns the model with a hash, if it exists and is intact.
    pub(super) fn read(&self, sha256: &str) -> Option<Vec<u8>> {
        let path = self.path(sha256);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the cached model cannot be read; it is downloaded again");
                return None;
            }
        };
        let digest = FileDigest::compute(&bytes);
        if digest.sha256 != sha256 {
            tracing::warn!(
                path = %path.display(), found = digest.sha256, expected = sha256,
                "the cached model is corrupt; it is downloaded again"
            );
            return None;
        }
        Some(bytes)
    }

    /// Creates the folder, and waits until no other process downloads into it. The lock ends when the file is closed or
    /// the process ends.
    pub(super) fn lock(&self) -> io::Result<File> {
        std::fs::create_dir_all(self.0)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.0.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!(folder = %self.0.display(), "another process is downloading the model; waiting for it");
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(file)
    }

    /// Stores a model. The caller must hold the lock.
    pub(super) fn store(&self, sha256: &str, onnx: &[u8]) -> io::Result<PathBuf> {
        let path = self.path(sha256);
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(onnx)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        // The new name is durable once the folder is flushed.
        File::open(self.0)?.sync_all()?;
        Ok(path)
    }
}
