//! Where the checkpoint is published, the offsets of the weights in it, and the hash of the converted file. The data is
//! `models/resemblyzer/manifest.json`.

use serde::Deserialize;

use crate::models::checkpoint::Checkpoint;
use crate::models::digest::FileDigest;

/// The parsed manifest.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Manifest {
    /// Model and version.
    pub(super) name: String,
    /// The PyTorch checkpoint that the model is made from.
    pub(super) checkpoint: Checkpoint,
    /// The ONNX file made from it.
    pub(super) onnx: FileDigest,
    /// SHA-256 of the native encoder's self-check with that file.
    pub(super) native_check_sha256: String,
}

impl Manifest {
    /// The manifest of the model that this version of the program is built for.
    pub(super) fn committed() -> Self {
        serde_json::from_str(include_str!("../../../models/resemblyzer/manifest.json"))
            .expect("the committed manifest is valid: a test reads it")
    }
}
