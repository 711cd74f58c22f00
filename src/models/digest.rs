//! The size and hash that identify a file.

use std::fmt::Write;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Size and SHA-256 of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FileDigest {
    /// Size in bytes.
    pub bytes: usize,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl FileDigest {
    /// Measures a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sha256 = String::new();
        for byte in Sha256::digest(bytes) {
            write!(sha256, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Self { bytes: bytes.len(), sha256 }
    }

    /// The first eight digits of the hash, for people.
    pub fn short(&self) -> &str {
        &self.sha256[..8]
    }
}
