//! The places where a model may be, and the order in which they are tried.

use std::fmt;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::fetch::{self, FetchError, FetchPolicy};
use super::remote::{Format, Remote};
use crate::models::{ConvertError, FileDigest, ModelFiles, OnnxFile};

/// Where a model was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file that was named, or one beside the program or in the working directory.
    Local(PathBuf),
    /// The cache had it.
    Cache(PathBuf),
    /// It was fetched into the cache.
    Fetched(PathBuf),
    /// It was fetched, and could not be kept.
    Memory,
}

/// Where to look for a model, in the order of the fields.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// What is known of its files.
    pub files: ModelFiles,
    /// This file and no other.
    pub explicit: Option<PathBuf>,
    /// The hash that `explicit` must have, if one was given.
    pub explicit_sha256: Option<String>,
    /// Folders that may hold the model's local file.
    pub directories: Vec<PathBuf>,
    /// The cache folder.
    pub cache: PathBuf,
    /// Where to fetch it.
    pub remote: Remote,
    /// How patiently.
    pub policy: FetchPolicy,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file is not the one that `MODEL_SHA256` describes.
    #[error("the model {} has the SHA-256 {found}, expected {expected}", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash that was asked for.
        expected: String,
    },
    /// There is no local file, and it cannot be fetched.
    #[error(
        "cannot fetch the model from {url}: {reason}. Put a model where MODEL_PATH says, set HTTPS_PROXY, or copy \
         MODEL_CACHE_DIR from a machine where `voice-embedding-service model fetch` works"
    )]
    Fetch {
        /// Where from, without secrets.
        url: String,
        /// Why.
        reason: FetchError,
    },
    /// The fetched checkpoint does not convert: the program and its manifest do not fit.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The checkpoint converts to another file than the manifest's.
    #[error("the checkpoint converted to a file of SHA-256 {0}, not that of the manifest")]
    OtherConversion(String),
}

impl ModelSource {
    /// The same for a person who waits.
    #[must_use]
    pub fn for_command(self) -> Self {
        Self { policy: FetchPolicy::for_command(), ..self }
    }

    /// Finds the model's ONNX file: the named file, a local one, the cached one, or a fetched one.
    pub fn obtain(&self) -> Result<(Vec<u8>, Origin), ModelError> {
        match self.local() {
            Some(path) => Ok((self.read_local(&path)?, Origin::Local(path))),
            None => self.cached_or_fetched(),
        }
    }

    /// The same as a file that is read again when it is needed, unless it was fetched and could not be kept.
    pub fn obtain_file(&self) -> Result<(OnnxFile, Origin), ModelError> {
        let (bytes, origin) = self.obtain()?;
        let onnx = OnnxFile::from(bytes);
        let onnx = match &origin {
            // A pipe can be read only once.
            Origin::Local(path) | Origin::Cache(path) | Origin::Fetched(path) if path.is_file() => {
                onnx.left_at(path.clone())
            }
            _ => onnx,
        };
        Ok((onnx, origin))
    }

    /// Whether the file that was named can be read, if one was: what can be found out before anything else.
    pub fn check(&self) -> Result<(), ModelError> {
        let Some(path) = &self.explicit else { return Ok(()) };
        let opened = match std::fs::metadata(path) {
            // Opening a pipe would wait for whoever writes into it.
            Ok(metadata) if metadata.is_file() => std::fs::File::open(path).map(drop),
            Ok(metadata) if metadata.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
            Ok(_) => Ok(()),
            Err(reason) => Err(reason),
        };
        opened.map_err(|reason| ModelError::Read { path: path.clone(), reason })
    }

    /// The file that [`ModelSource::obtain`] would read without the network, if there is one.
    pub fn path(&self) -> Option<PathBuf> {
        let cached = Cache(&self.cache).path(self.remote.onnx_sha256());
        self.local().or_else(|| cached.is_file().then_some(cached))
    }

    /// Reads that file and checks its hash: the one that was given or, without one, that of the model's own file.
    pub fn verify(&self) -> Result<Option<(Vec<u8>, Origin)>, ModelError> {
        let Some(path) = self.path() else { return Ok(None) };
        let (expected, origin) = match (&self.explicit_sha256, self.local()) {
            (Some(sha256), Some(_)) if self.explicit.is_some() => (&**sha256, Origin::Local(path.clone())),
            (_, Some(_)) => (&*self.files.onnx.sha256, Origin::Local(path.clone())),
            (_, None) => (self.remote.onnx_sha256(), Origin::Cache(path.clone())),
        };
        let onnx = checked(read(&path)?, &path, expected)?;
        Ok(Some((onnx, origin)))
    }

    /// The model from the cache, or fetched into it; local files do not count.
    ///
    /// One process fetches at a time: those that waited find the cache filled. Without a cache that can be written, which is
    /// logged, the model is kept in memory.
    pub fn cached_or_fetched(&self) -> Result<(Vec<u8>, Origin), ModelError> {
        let cache = Cache(&self.cache);
        let sha256 = self.remote.onnx_sha256();
        let cached = || Some((cache.read(sha256)?, Origin::Cache(cache.path(sha256))));
        if let Some(found) = cached() {
            return Ok(found);
        }
        let lock = cache.lock().inspect_err(|error| self.warn_of_cache(error)).ok();
        if lock.is_none() {
            return Ok((self.fetch(None)?, Origin::Memory));
        }
        // Another process may have filled the cache while it held the lock.
        if let Some(found) = cached() {
            return Ok(found);
        }
        let part = cache.part_path(&self.remote.sha256);
        let onnx = self.fetch(Some(&part)).inspect_err(|_| {
            // An empty partial file does not help the next fetch.
            if std::fs::metadata(&part).is_ok_and(|part| part.len() == 0) {
                let _ = std::fs::remove_file(&part);
            }
        })?;
        let origin = match cache.store(sha256, &onnx) {
            Ok(path) => Origin::Fetched(path),
            Err(error) => {
                self.warn_of_cache(&error);
                Origin::Memory
            }
        };
        // A part file that remains would be found complete by the next fetch.
        let _ = std::fs::remove_file(&part);
        Ok((onnx, origin))
    }

    fn local(&self) -> Option<PathBuf> {
        let candidates = || self.directories.iter().map(|directory| directory.join(self.files.local));
        self.explicit.clone().or_else(|| candidates().find(|path| path.is_file()))
    }

    fn read_local(&self, path: &Path) -> Result<Vec<u8>, ModelError> {
        let onnx = read(path)?;
        match &self.explicit_sha256 {
            Some(expected) if self.explicit.is_some() => checked(onnx, path, expected),
            _ => Ok(onnx),
        }
    }

    /// Fetches and, if need be, converts.
    fn fetch(&self, part: Option<&Path>) -> Result<Vec<u8>, ModelError> {
        tracing::info!(url = self.remote.display(), "fetching the model");
        let failed = |reason| ModelError::Fetch { url: self.remote.display(), reason };
        let bytes = fetch::fetch(&self.remote, part, &self.policy).map_err(failed)?;
        if self.remote.format == Format::Onnx {
            return Ok(bytes);
        }
        let onnx = (self.files.convert)(&bytes)?;
        match FileDigest::of(&onnx) {
            digest if digest == self.files.onnx => Ok(onnx),
            digest => Err(ModelError::OtherConversion(digest.sha256)),
        }
    }

    fn warn_of_cache(&self, error: &std::io::Error) {
        let folder = self.cache.display();
        tracing::warn!(%folder, %error, "the cache cannot be written; the model is kept in memory alone");
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "file {}", path.display()),
            Self::Cache(path) => write!(f, "cache {}", path.display()),
            Self::Fetched(path) => write!(f, "fetched into {}", path.display()),
            Self::Memory => f.write_str("fetched into memory"),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|reason| ModelError::Read { path: path.to_owned(), reason })
}

fn checked(onnx: Vec<u8>, path: &Path, expected: &str) -> Result<Vec<u8>, ModelError> {
    let found = FileDigest::of(&onnx).sha256;
    if found == expected {
        return Ok(onnx);
    }
    Err(ModelError::WrongHash { path: path.to_owned(), found, expected: expected.to_owned() })
}
