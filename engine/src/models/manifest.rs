//! The `manifest.json` of each model: the URL of the checkpoint, the offsets of the weights in it, and the hash of the
//! converted file.

use serde::Deserialize;

use super::checkpoint::Checkpoint;
use crate::encoder::FileDigest;

/// A parsed manifest.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Manifest {
    /// Model and version.
    pub(super) name: String,
    /// The PyTorch checkpoint that the model is made from.
    pub(super) checkpoint: Checkpoint,
    /// The ONNX file made from it.
    pub(super) onnx: FileDigest,
    /// SHA-256 of the native encoder's self-check with that file, if the native encoder runs the model.
    pub(super) native_check_sha256: Option<String>,
}

impl Manifest {
    /// Returns the manifest of the Resemblyzer model that this version of the program is built for.
    pub(super) fn resemblyzer() -> Self {
        Self::committed(include_str!("../../../models/resemblyzer/manifest.json"))
    }

    /// Returns CAM++'s manifest.
    pub(super) fn campplus() -> Self {
        Self::committed(include_str!("../../../models/campplus/manifest.json"))
    }

    /// Returns the segmentation network's manifest.
    pub(super) fn segmentation() -> Self {
        Self::committed(include_str!("../../../models/segmentation/manifest.json"))
    }

    fn committed(json: &str) -> Self {
        serde_json::from_str(json).expect("the committed manifests are valid: tests read them")
    }
}
