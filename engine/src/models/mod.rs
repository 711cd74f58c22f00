//! Speaker models as values. A [`ModelSpec`] describes a model, and a [`Model`] adds its weights.

pub mod campplus;
mod checkpoint;
mod error;
mod graph;
mod manifest;
mod model;
mod onnx;
pub mod resemblyzer;
pub mod segmentation;
mod spec;

pub use crate::encoder::{FileDigest, OnnxFile};
pub use error::ConvertError;
pub use model::Model;
pub use spec::{ModelFiles, ModelSpec, TurnParameters};

/// The most accurate model, which is the default where there is a choice.
pub const PREFERRED: &str = campplus::ID;

/// Returns all speaker models.
pub fn all() -> [ModelSpec; 2] {
    [resemblyzer::spec(), campplus::spec()]
}
