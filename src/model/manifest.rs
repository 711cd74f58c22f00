//! What is known of the one model: where its checkpoint comes from, where the weights stand in it, and what the
//! converted file must be. The data is `models/manifest.json`.

use std::fmt::Write;
use std::sync::LazyLock;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The parsed manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Model and version, as fingerprints show it.
    pub name: String,
    /// The PyTorch checkpoint that the model is made from.
    pub checkpoint: Checkpoint,
    /// The ONNX file made from it.
    pub onnx: FileDigest,
    /// SHA-256 of the embedding, 256 little-endian `f32`, that the native encoder makes of its check's window with that file.
    pub native_check_sha256: String,
}

/// A PyTorch checkpoint in the legacy (pickle) format.
#[derive(Clone, Debug, Deserialize)]
pub struct Checkpoint {
    /// Where it is published.
    pub url: String,
    /// Its size and hash.
    #[serde(flatten)]
    pub digest: FileDigest,
    /// The weights in it.
    pub tensors: Vec<TensorPlace>,
}

/// Size and SHA-256 of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FileDigest {
    /// Size in bytes.
    pub bytes: usize,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// Where a tensor of little-endian `f32` in row-major order stands in the checkpoint.
#[derive(Clone, Debug, Deserialize)]
pub struct TensorPlace {
    /// Its name in the PyTorch module's state.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its first byte.
    pub offset: usize,
}

impl FileDigest {
    /// Measures a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sha256 = String::new();
        for byte in Sha256::digest(bytes) {
            write!(sha256, "{byte:02x}").expect("a string takes all that is written to it");
        }
        Self { bytes: bytes.len(), sha256 }
    }

    /// The first eight digits of the hash, for people.
    pub fn short(&self) -> &str {
        &self.sha256[..8]
    }
}

/// The manifest of the model that this version of the program is built for.
pub static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../models/manifest.json"))
        .expect("the manifest is checked by the tests")
});
