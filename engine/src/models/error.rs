//! Errors of the conversion of checkpoints.

use crate::encoder::FileDigest;

/// The reason why a checkpoint was not converted.
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
    /// The manifest does not name this tensor, or places it beyond the file's end.
    #[error("the manifest has no usable tensor {0}")]
    Tensor(String),
}
