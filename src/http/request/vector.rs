//! Embeddings in responses: numbers, or base64 of little-endian `f32`.

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use crate::notation::base64_of;

/// The format of embeddings.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum EncodingFormat {
    /// Lists of numbers.
    #[default]
    Float,
    /// Base64 of little-endian `f32`.
    Base64,
}

/// An embedding, and the format in which to write it.
pub(in crate::http) struct Vector {
    pub(in crate::http) components: Vec<f32>,
    pub(in crate::http) format: EncodingFormat,
}

impl Vector {
    pub(in crate::http) fn new(components: &[f64], format: EncodingFormat) -> Self {
        Self { components: components.iter().map(|component| *component as f32).collect(), format }
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.format {
            EncodingFormat::Float => serializer.collect_seq(&self.components),
            EncodingFormat::Base64 => serializer.serialize_str(&base64_of(&self.components)),
        }
    }
}
