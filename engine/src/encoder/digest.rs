//! The size and hash that identify a file.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::notation::hex;

/// Size and SHA-256 of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FileDigest {
    /// Size in bytes.
    pub bytes: usize,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl FileDigest {
    /// Returns the size and hash of a file's bytes.
    pub fn compute(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), sha256: hex(&Sha256::digest(bytes)) }
    }

    /// Returns the first eight digits of the hash, for display.
    pub fn short(&self) -> &str {
        &self.sha256[..8]
    }
}
