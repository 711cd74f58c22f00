//! Speaker models as values: what one is ([`ModelSpec`]), and one with its weights ([`Model`]).

pub mod campplus;
mod checkpoint;
mod digest;
mod error;
mod manifest;
mod model;
mod onnx;
pub mod resemblyzer;
mod spec;

pub use digest::FileDigest;
pub use error::ConvertError;
pub use model::Model;
pub use spec::{ModelFiles, ModelSpec, TurnParameters};

/// All models that there are; the first is the default.
pub fn all() -> [ModelSpec; 2] {
    [resemblyzer::spec(), campplus::spec()]
}
