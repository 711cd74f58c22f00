//! Why a checkpoint was not converted.

use crate::encoder::FileDigest;

/// Why a checkpoint was not converted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The file is not the checkpoint of the manifest.
    #[error(
        "not the expected checkpoint: {} bytes with SHA-256 {}, expected {} bytes with {}",
        found.bytes, found.sha256, expected.bytes, expected.sha256
    )]
    WrongCheckpoint {
        /// Size and hash of the file.
        found: FileDigest,
        /// Size and hash of the checkpoint.
        expected: FileDigest,
    },
    /// The manifest names no such tensor, or one beyond the file's end.
    #[error("the manifest has no usable tensor {0}")]
    Tensor(String),
}
