//! Speaker models as values: what one is ([`ModelSpec`]), and one with its weights ([`Model`]).

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

/// The model that errs least: the default where there is a choice.
pub const PREFERRED: &str = campplus::ID;

/// All speaker models that there are.
pub fn all() -> [ModelSpec; 2] {
    [resemblyzer::spec(), campplus::spec()]
}
