//! Where the weights come from: a local ONNX file, made from Resemblyzer's checkpoint.

mod convert;
mod manifest;
mod onnx;

use std::path::{Path, PathBuf};

pub use convert::{ConvertError, convert};
pub use manifest::{Checkpoint, FileDigest, MANIFEST, Manifest, TensorPlace};

/// Where the model stands relative to the working directory and to the program.
pub const LOCAL_MODEL: &str = "models/resemblyzer.onnx";

/// An ONNX file, read, with the fingerprint that answers carry.
#[derive(Clone)]
pub struct Model {
    /// The file's bytes.
    pub onnx: Vec<u8>,
    /// Names weights and preprocessing: embeddings can be compared if this is equal.
    pub fingerprint: String,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// None of the places has a model.
    #[error("no model found; looked at {}", display_list(.0))]
    NotFound(Vec<PathBuf>),
    /// The file cannot be read.
    #[error("cannot read the model {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Model {
    /// Reads an ONNX file.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let onnx =
            std::fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        let digest = FileDigest::of(&onnx);
        let fingerprint = if digest == MANIFEST.onnx {
            format!("{}/{}", MANIFEST.name, MANIFEST.checkpoint.digest.short())
        } else {
            format!("custom/{}", digest.short())
        };
        Ok(Self { onnx, fingerprint })
    }
}

/// Finds the model file: `explicit` if given (then nothing else is tried), else [`LOCAL_MODEL`] in the first of the
/// directories that has it.
pub fn locate(explicit: Option<&Path>, directories: &[PathBuf]) -> Result<PathBuf, ModelError> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    let candidates: Vec<PathBuf> = directories.iter().map(|directory| directory.join(LOCAL_MODEL)).collect();
    candidates.iter().find(|path| path.is_file()).cloned().ok_or(ModelError::NotFound(candidates))
}

fn display_list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
