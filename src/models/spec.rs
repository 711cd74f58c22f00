//! What is known of a model before its weights are read.

use super::digest::FileDigest;
use super::error::ConvertError;
use crate::encoder::Graph;
use crate::front_end::FrontEndParameters;

/// A speaker model: what it takes, what it makes, and where its weights come from.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// The name that people choose it by.
    pub id: &'static str,
    /// Name and version, as fingerprints begin.
    pub release: String,
    /// Components of an embedding.
    pub dimension: usize,
    /// How an utterance becomes features.
    pub front_end: FrontEndParameters,
    /// Input and output of its ONNX graph.
    pub graph: Graph,
    /// Cosine similarity above which two embeddings count as the same speaker, unless a request or the configuration sets
    /// another threshold.
    pub threshold: f64,
    /// What encoding a unit takes on one core, in microseconds: only the ratio between models counts.
    pub unit_cost_us: u32,
    /// Who published the weights.
    pub publisher: &'static str,
    /// When, in seconds since 1970.
    pub published: u64,
    /// Licence of the weights, as SPDX names it.
    pub licence: &'static str,
    /// The files that hold the weights.
    pub files: ModelFiles,
}

/// The files of a model.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// Path of the ONNX file, relative to the working directory and to the program.
    pub local: &'static str,
    /// The ONNX file that this version of the program is built for.
    pub onnx: FileDigest,
    /// Where the checkpoint that it is made from is published.
    pub checkpoint_url: String,
    /// That checkpoint.
    pub checkpoint: FileDigest,
    /// Converts the checkpoint to the ONNX file; the same bytes in give the same bytes out.
    pub convert: fn(&[u8]) -> Result<Vec<u8>, ConvertError>,
    /// SHA-256 of the native encoder's self-check with the ONNX file.
    pub native_check_sha256: String,
}
