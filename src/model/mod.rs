//! Where the weights come from: a local file, the cache, or the network and then the cache.

mod cache;
mod convert;
mod fetch;
mod manifest;
mod progress;
mod remote;

use std::fmt;
use std::path::{Path, PathBuf};

use cache::Cache;
use remote::Format;

pub use convert::{ConvertError, convert};
pub use fetch::{FetchError, FetchPolicy};
pub use manifest::{Checkpoint, FileDigest, MANIFEST, Manifest, TensorPlace};
pub use remote::{Remote, RemoteError, checked_hash};

/// Where the model stands relative to the working directory and to the program.
pub const LOCAL_MODEL: &str = "models/resemblyzer.onnx";

/// An ONNX file, read, with the fingerprint that answers carry.
#[derive(Clone)]
pub struct Model {
    /// The file's bytes.
    pub onnx: Vec<u8>,
    /// Names weights and preprocessing: embeddings can be compared if this is equal.
    pub fingerprint: String,
    /// Where it was found.
    pub origin: Origin,
    sha256: String,
}

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
    /// This file and no other.
    pub explicit: Option<PathBuf>,
    /// What `explicit` must hash to, if that was said.
    pub explicit_sha256: Option<String>,
    /// Folders that may hold [`LOCAL_MODEL`].
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
        /// What the system said.
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
    /// Nothing local has it, and it cannot be fetched.
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
    /// The checkpoint converts to another file than the manifest says.
    #[error("the checkpoint converted to a file of SHA-256 {0}, not that of the manifest")]
    OtherConversion(String),
}

impl Model {
    /// Reads an ONNX file.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let onnx =
            std::fs::read(path).map_err(|reason| ModelError::Read { path: path.to_owned(), reason })?;
        Ok(Self::new(onnx, Origin::Local(path.to_owned())))
    }

    fn new(onnx: Vec<u8>, origin: Origin) -> Self {
        let digest = FileDigest::of(&onnx);
        let fingerprint = if digest == MANIFEST.onnx {
            format!("{}/{}", MANIFEST.name, MANIFEST.checkpoint.digest.short())
        } else {
            format!("custom/{}", digest.short())
        };
        Self { onnx, fingerprint, origin, sha256: digest.sha256 }
    }

    /// Hash of what the native encoder's check must give with this model, if that is known.
    pub fn native_check_sha256(&self) -> Option<&'static str> {
        (self.sha256 == MANIFEST.onnx.sha256).then_some(&MANIFEST.native_check_sha256)
    }

    fn checked(self, path: &Path, expected: &str) -> Result<Self, ModelError> {
        if self.sha256 == expected {
            return Ok(self);
        }
        Err(ModelError::WrongHash {
            path: path.to_owned(),
            found: self.sha256,
            expected: expected.to_owned(),
        })
    }
}

impl ModelSource {
    /// Finds the model: the named file, a local one, the cached one, or a fetched one.
    pub fn obtain(&self) -> Result<Model, ModelError> {
        match self.local() {
            Some(path) => self.read_local(&path),
            None => self.cached_or_fetched(),
        }
    }

    /// The file that [`ModelSource::obtain`] would read without the network, if there is one.
    pub fn path(&self) -> Option<PathBuf> {
        let cached = Cache(&self.cache).path(self.remote.onnx_sha256());
        self.local().or_else(|| cached.is_file().then_some(cached))
    }

    /// Reads that file and checks its hash: the one that was said or, without any, that of Resemblyzer's model.
    pub fn verify(&self) -> Result<Option<Model>, ModelError> {
        let Some(path) = self.path() else { return Ok(None) };
        let expected = match (&self.explicit_sha256, self.local()) {
            (Some(sha256), Some(_)) if self.explicit.is_some() => sha256,
            (_, Some(_)) => &MANIFEST.onnx.sha256,
            (_, None) => self.remote.onnx_sha256(),
        };
        Model::read(&path)?.checked(&path, expected).map(Some)
    }

    /// The model from the cache, or fetched into it; local files do not count.
    ///
    /// One process fetches at a time: those that waited find the cache filled. A cache that cannot be written is said,
    /// and done without.
    pub fn cached_or_fetched(&self) -> Result<Model, ModelError> {
        let cache = Cache(&self.cache);
        let sha256 = self.remote.onnx_sha256();
        let cached = || cache.read(sha256).map(|onnx| Model::new(onnx, Origin::Cache(cache.path(sha256))));
        if let Some(model) = cached() {
            return Ok(model);
        }
        let lock = cache.lock().inspect_err(|error| self.warn_of_cache(error)).ok();
        if lock.is_none() {
            return Ok(Model::new(self.fetch(None)?, Origin::Memory));
        }
        // Whoever held the lock has perhaps filled the cache.
        if let Some(model) = cached() {
            return Ok(model);
        }
        let part = cache.part_path(&self.remote.sha256);
        let onnx = self.fetch(Some(&part))?;
        let origin = match cache.store(sha256, &onnx) {
            Ok(path) => Origin::Fetched(path),
            Err(error) => {
                self.warn_of_cache(&error);
                Origin::Memory
            }
        };
        // What remains is a file that the next fetch would find complete.
        let _ = std::fs::remove_file(&part);
        Ok(Model::new(onnx, origin))
    }

    fn local(&self) -> Option<PathBuf> {
        let candidates = || self.directories.iter().map(|directory| directory.join(LOCAL_MODEL));
        self.explicit.clone().or_else(|| candidates().find(|path| path.is_file()))
    }

    fn read_local(&self, path: &Path) -> Result<Model, ModelError> {
        let model = Model::read(path)?;
        match &self.explicit_sha256 {
            Some(expected) if self.explicit.is_some() => model.checked(path, expected),
            _ => Ok(model),
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
        let onnx = convert(&bytes, &MANIFEST)?;
        match FileDigest::of(&onnx) {
            digest if digest == MANIFEST.onnx => Ok(onnx),
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
