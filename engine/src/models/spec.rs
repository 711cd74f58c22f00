//! Specifications of models, which are known before the weights are read.

use super::error::ConvertError;
use crate::calibration::{Calibration, Threshold};
use crate::encoder::native::NetworkWeights;
use crate::encoder::{EncoderError, FileDigest, Graph, OnnxFile};
use crate::front_end::FrontEndParameters;

/// A speaker model: its input, its output and the source of its weights.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// The name that users select the model by.
    pub id: &'static str,
    /// Name and version, with which fingerprints begin.
    pub release: String,
    /// The number of components of an embedding.
    pub dimension: usize,
    /// Parameters of the front end, which turns an utterance into features.
    pub front_end: FrontEndParameters,
    /// Input and output of the ONNX graph.
    pub graph: Graph,
    /// The cosine similarity above which two embeddings count as the same speaker.
    pub threshold: Threshold,
    /// Shows how certain a decision is at a similarity. It applies to the model's own weights.
    pub calibration: Calibration,
    /// Parameters for separating the speakers of a recording.
    pub turns: TurnParameters,
    /// The same, for a recording that was sampled below 16 kHz.
    pub narrowband_turns: TurnParameters,
    /// The cost of encoding a frame on one core, in nanoseconds. Only the ratio between models matters.
    pub frame_cost_ns: u32,
    /// Whether the embeddings of the model's windows can show that a recording has more than one voice.
    pub several_speakers: bool,
    /// The publisher of the weights.
    pub publisher: &'static str,
    /// The time of publication, in seconds since 1970.
    pub published: u64,
    /// The licence of the weights, as an SPDX identifier.
    pub licence: &'static str,
    /// The files that hold the weights.
    pub files: ModelFiles,
}

impl ModelSpec {
    /// Returns whether `name` is the model's ID, its release or the fingerprint of its own file.
    pub fn is_named(&self, name: &str) -> bool {
        name == self.id || name == self.release || name == self.fingerprint()
    }

    /// Returns the parameters for separating the speakers of a recording.
    pub fn turns_of(&self, is_narrowband: bool) -> TurnParameters {
        if is_narrowband { self.narrowband_turns } else { self.turns }
    }

    /// Returns the fingerprint of the model's own file.
    pub fn fingerprint(&self) -> String {
        format!("{}/{}", self.release, self.files.checkpoint.short())
    }
}

/// Parameters for separating the speakers of a recording by their embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TurnParameters {
    /// The maximum number of feature frames in a piece.
    pub max_piece_frames: usize,
    /// Clusters with a mean cosine of at least this are joined into one speaker, even if they are from the same window.
    pub joined_from: f64,
    /// A speaker that the network hears in a window is split in two if the mean cosine of the speaker's pieces is below this.
    pub split_below: f64,
    /// A piece moves from the network's speaker to another if its cosine to the other speaker is higher by more than this.
    pub moved_from: f64,
}

/// Reads the calibration that is committed for a model.
pub(super) fn committed_calibration(json: &[u8]) -> Calibration {
    Calibration::from_json(json).expect("the committed calibrations are valid: tests read them")
}

/// The files of a network.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The network's name.
    pub id: &'static str,
    /// The prefix of the network's environment variables.
    pub variables: &'static str,
    /// Name of the ONNX file in a folder of models.
    pub local: &'static str,
    /// The ONNX file that this version of the program is built for.
    pub onnx: FileDigest,
    /// The URL of the checkpoint that the ONNX file is made from.
    pub checkpoint_url: String,
    /// The size and hash of that checkpoint.
    pub checkpoint: FileDigest,
    /// Converts the checkpoint to the ONNX file. The same input bytes always give the same output bytes.
    pub convert: fn(&[u8]) -> Result<Vec<u8>, ConvertError>,
    /// How the native encoder runs the network; `None` if only ONNX Runtime runs it.
    pub native: Option<NativeFiles>,
}

impl ModelFiles {
    /// Returns the expected hash of the native encoder's self-check with a file, if it is known.
    pub fn native_check_sha256(&self, onnx: &OnnxFile) -> Option<&str> {
        let is_own = *onnx.digest() == self.onnx;
        self.native.as_ref().filter(|_| is_own).map(|native| &*native.check_sha256)
    }
}

/// The data that the native encoder needs about a network's files.
#[derive(Clone, Debug)]
pub struct NativeFiles {
    /// Reads the weights of the ONNX file.
    pub read: fn(&[u8]) -> Result<NetworkWeights, EncoderError>,
    /// SHA-256 of the self-check with the network's own file.
    pub check_sha256: String,
    /// Whether the native encoder runs the network by default.
    pub is_default: bool,
}
