//! Where the checkpoint is published, the offsets of the weights in it, and the hash of the converted file. The data is
//! `models/resemblyzer/manifest.json`.

use serde::Deserialize;

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

/// A PyTorch checkpoint in the legacy (pickle) format.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Checkpoint {
    /// Where it is published.
    pub(super) url: String,
    /// Its size and hash.
    #[serde(flatten)]
    pub(super) digest: FileDigest,
    /// The weights in it.
    pub(super) tensors: Vec<TensorPlace>,
}

/// The place of a tensor in the checkpoint: little-endian `f32` in row-major order.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TensorPlace {
    /// Its name in the PyTorch module's state.
    pub(super) name: String,
    /// Its dimensions.
    pub(super) shape: Vec<usize>,
    /// Its first byte.
    pub(super) offset: usize,
}

impl Manifest {
    /// The manifest of the model that this version of the program is built for.
    pub(super) fn committed() -> Self {
        serde_json::from_str(include_str!("../../../models/resemblyzer/manifest.json"))
            .expect("the committed manifest is valid: a test reads it")
    }
}
