//! What is known of a model before its weights are read.

use super::error::ConvertError;
use crate::calibration::{Calibration, Threshold};
use crate::encoder::native::NetworkWeights;
use crate::encoder::{EncoderError, FileDigest, Graph, OnnxFile};
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
    /// What counts as the same speaker.
    pub threshold: Threshold,
    /// How to tell from a similarity how sure a decision is; of the model's own weights.
    pub calibration: Calibration,
    /// How it tells speakers of a recording apart.
    pub turns: TurnParameters,
    /// And those of a recording that was sampled below 16 kHz.
    pub narrowband_turns: TurnParameters,
    /// What encoding a frame takes on one core, in nanoseconds: only the ratio between models counts.
    pub frame_cost_ns: u32,
    /// Whether its windows tell if there is more than one voice in a recording.
    pub several_speakers: bool,
    /// Who published the weights.
    pub publisher: &'static str,
    /// When, in seconds since 1970.
    pub published: u64,
    /// Licence of the weights, as SPDX names it.
    pub licence: &'static str,
    /// The files that hold the weights.
    pub files: ModelFiles,
}

impl ModelSpec {
    /// Whether a name is the model's id, its release or the fingerprint of its own file.
    pub fn is_named(&self, name: &str) -> bool {
        name == self.id || name == self.release || name == self.fingerprint()
    }

    /// How it tells the speakers of a recording apart.
    pub fn turns_of(&self, is_narrowband: bool) -> TurnParameters {
        if is_narrowband { self.narrowband_turns } else { self.turns }
    }

    /// The fingerprint of its own file.
    pub fn fingerprint(&self) -> String {
        format!("{}/{}", self.release, self.files.checkpoint.short())
    }
}

/// How a model's embeddings tell speakers apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TurnParameters {
    /// Feature frames of a piece at the most.
    pub max_piece_frames: usize,
    /// Clusters whose mean cosine is at least this are one speaker; so are two of one window.
    pub joined_from: f64,
    /// What the network hears as one speaker of a window are two, if the mean cosine of their pieces is below this.
    pub split_below: f64,
    /// A piece goes to another speaker than the network says if it is more alike to that one by this.
    pub moved_from: f64,
}

/// The calibration that is committed for a model.
pub(super) fn committed_calibration(json: &[u8]) -> Calibration {
    Calibration::of_json(json).expect("the committed calibrations are valid: tests read them")
}

/// The files of a network.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The network's name.
    pub id: &'static str,
    /// What the names of its variables begin with.
    pub variables: &'static str,
    /// Name of the ONNX file in a folder of models.
    pub local: &'static str,
    /// The ONNX file that this version of the program is built for.
    pub onnx: FileDigest,
    /// Where the checkpoint that it is made from is published.
    pub checkpoint_url: String,
    /// That checkpoint.
    pub checkpoint: FileDigest,
    /// Converts the checkpoint to the ONNX file; the same bytes in give the same bytes out.
    pub convert: fn(&[u8]) -> Result<Vec<u8>, ConvertError>,
    /// How the native encoder runs it; none if ONNX Runtime alone does.
    pub native: Option<NativeFiles>,
}

impl ModelFiles {
    /// Hash of what the native encoder's self-check must give with a file, if that is known.
    pub fn native_check_sha256(&self, onnx: &OnnxFile) -> Option<&str> {
        let is_own = *onnx.digest() == self.onnx;
        self.native.as_ref().filter(|_| is_own).map(|native| &*native.check_sha256)
    }
}

/// What the native encoder must know of a network's files.
#[derive(Clone, Debug)]
pub struct NativeFiles {
    /// Reads the weights of the ONNX file.
    pub read: fn(&[u8]) -> Result<NetworkWeights, EncoderError>,
    /// SHA-256 of the self-check with the network's own file.
    pub check_sha256: String,
    /// Whether it runs the network unless another choice is made.
    pub is_default: bool,
}
