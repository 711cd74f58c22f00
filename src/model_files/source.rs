//! The places that may hold a model, and their order.

use std::fmt;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::fetch::{self, FetchError, FetchPolicy};
use super::remote::{FileFormat, Remote};
use crate::models::{ConvertError, FileDigest, ModelFiles, OnnxFile};

/// The place where a model was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An explicitly named file, or one beside the program or in the working directory.
    Local(PathBuf),
    /// A file in the cache.
    Cache(PathBuf),
    /// A file that was downloaded into the cache.
    Fetched(PathBuf),
    /// A download that could not be stored.
    Memory,
}

/// The places to search for a model, in the order of the fields.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// The description of the model's files.
    pub files: ModelFiles,
    /// If set, this file is used and no other place is searched.
    pub explicit: Option<PathBuf>,
    /// The required hash of `explicit`, if one is given.
    pub explicit_sha256: Option<String>,
    /// Folders that may contain the model's local file.
    pub directories: Vec<PathBuf>,
    /// The cache folder.
    pub cache: PathBuf,
    /// The download location.
    pub remote: Remote,
    /// The retries and time limits of the download.
    pub policy: FetchPolicy,
}

/// The reason why there is no model.
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
        /// The required hash.
        expected: String,
    },
    /// There is no local file, and the download failed.
    #[error(
        "cannot fetch the model from {url}: {reason}. Put a model where MODEL_PATH says, set HTTPS_PROXY, or copy \
         MODEL_CACHE_DIR from a machine where `voice-embedding-service model fetch` works"
    )]
    Fetch {
        /// The URL, without secrets.
        url: String,
        /// The reason.
        reason: FetchError,
    },
    /// The downloaded checkpoint cannot be converted, so the program and its manifest do not match.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The conversion result differs from the manifest.
    #[error("the checkpoint converted to a file of SHA-256 {0}, not that of the manifest")]
    OtherConversion(String),
}

impl ModelSource {
    /// Returns the same source with the download policy for a person who waits.
    #[must_use]
    pub fn for_command(self) -> Self {
        Self { policy: FetchPolicy::for_command(), ..self }
    }

    /// Obtains the model's ONNX file: the named file, a local one, the cached one, or a downloaded one.
    pub fn obtain(&self) -> Result<(Vec<u8>, Origin), ModelError> {
        match self.local() {
            Some(path) => Ok((self.read_local(&path)?, Origin::Local(path))),
            None => self.cached_or_fetched(),
        }
    }

    /// Like [`ModelSource::obtain`], but returns a file that is read again when needed, unless a download could not be stored.
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

    /// Checks in advance that the explicitly named file can be read, if there is one.
    pub fn check(&self) -> Result<(), ModelError> {
        let Some(path) = &self.explicit else { return Ok(()) };
        let opened = match std::fs::metadata(path) {
            // Opening a pipe would block until another process writes to it.
            Ok(metadata) if metadata.is_file() => std::fs::File::open(path).map(drop),
            Ok(metadata) if metadata.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
            Ok(_) => Ok(()),
            Err(reason) => Err(reason),
        };
        opened.map_err(|reason| ModelError::Read { path: path.clone(), reason })
    }

    /// Returns the file that [`ModelSource::obtain`] would read without the network, if there is one.
    pub fn path(&self) -> Option<PathBuf> {
        let cached = Cache(&self.cache).path(self.remote.onnx_sha256());
        self.local().or_else(|| cached.is_file().then_some(cached))
    }

    /// Reads the file of [`ModelSource::path`], and checks its hash. The expected hash is the given one or, without one,
    /// that of the model's own file.
    pub fn verify(&self) -> Result<Option<(Vec<u8>, Origin)>, ModelError> {
        let Some(path) = self.path() else { return Ok(None) };
        let (expected, origin) = match (&self.explicit_sha256, self.local()) {
            (Some(sha256), Some(_)) if self.explicit.is_some() => (&**sha256, Origin::Local(path.clone())),
            (_, Some(_)) => (&*self.files.onnx.sha256, Origin::Local(path.clone())),
            (_, None) => (self.remote.onnx_sha256(), Origin::Cache(path.clone())),
        };
        let onnx = check_hash(read(&path)?, &path, expected)?;
        Ok(Some((onnx, origin)))
    }

    /// Returns the model from the cache, or downloads it into the cache. Ignores local files.
    ///
    /// A single process downloads at a time; processes that have waited find the cache filled. If the cache cannot be
    /// written, this is logged and the model is kept in memory.
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
            // An empty partial file does not help the next download.
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
        // A remaining partial file would look complete to the next download.
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
            Some(expected) if self.explicit.is_some() => check_hash(onnx, path, expected),
            _ => Ok(onnx),
        }
    }

    /// Downloads the file, and converts it if necessary.
    fn fetch(&self, part: Option<&Path>) -> Result<Vec<u8>, ModelError> {
        tracing::info!(url = self.remote.display(), "fetching the model");
        let failed = |reason| ModelError::Fetch { url: self.remote.display(), reason };
        let bytes = fetch::fetch(&self.remote, part, &self.policy).map_err(failed)?;
        if self.remote.format == FileFormat::Onnx {
            return Ok(bytes);
        }
        let onnx = (self.files.convert)(&bytes)?;
        match FileDigest::compute(&onnx) {
            digest if digest == self.files.onnx => Ok(onnx),
            digest => Err(ModelError::OtherConversion(digest.sha256)),
        }
    }

    fn warn_of_cache(&self, error: &std::io::Error) {
        let folder = self.cache.display();
        tracing::warn!(%folder, %error, "the cache cannot be written; the model is kept in memory only");
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

fn check_hash(onnx: Vec<u8>, path: &Path, expected: &str) -> Result<Vec<u8>, ModelError> {
    let found = FileDigest::compute(&onnx).sha256;
    if found == expected {
        return Ok(onnx);
    }
    Err(ModelError::WrongHash { path: path.to_owned(), found, expected: expected.to_owned() })
}
