//! A network's file, in memory or on disk.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use super::digest::FileDigest;
use super::error::EncoderError;

/// An ONNX file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    contents: Contents,
    digest: FileDigest,
}

#[derive(Clone, Debug)]
enum Contents {
    Bytes(Arc<[u8]>),
    /// The file is read again each time its bytes are needed.
    At(PathBuf),
}

impl OnnxFile {
    /// Returns the file's size and hash.
    pub fn digest(&self) -> &FileDigest {
        &self.digest
    }

    /// Returns the file without its bytes, which are read again from `path` when they are needed.
    #[must_use]
    pub fn left_at(self, path: PathBuf) -> Self {
        Self { contents: Contents::At(path), ..self }
    }

    /// Returns the bytes, or an error if the file on disk is no longer the same.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, EncoderError> {
        let path = match &self.contents {
            Contents::Bytes(bytes) => return Ok(Cow::Borrowed(bytes)),
            Contents::At(path) => path,
        };
        let failed = |reason: String| EncoderError::Model(format!("{}: {reason}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        if FileDigest::compute(&bytes) != self.digest {
            return Err(failed("it is another file than at the start".to_owned()));
        }
        Ok(Cow::Owned(bytes))
    }
}

impl From<Vec<u8>> for OnnxFile {
    fn from(bytes: Vec<u8>) -> Self {
        Self { digest: FileDigest::compute(&bytes), contents: Contents::Bytes(bytes.into()) }
    }
}
