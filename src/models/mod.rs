//! Speaker models as values: what one is ([`ModelSpec`]), and one with its weights ([`Model`]).

mod digest;
mod error;
mod model;
pub mod resemblyzer;
mod spec;

pub use digest::FileDigest;
pub use error::ConvertError;
pub use model::Model;
pub use spec::{ModelFiles, ModelSpec};
