//! Resemblyzer's encoder as a [`ModelSpec`].

use super::convert::convert;
use super::hparams::{INPUT_NAME, MEL, N_FRAMES, OUTPUT_NAME, THRESHOLD, TURNS, WINDOWS};
use super::onnx;
use crate::calibration::Threshold;
use crate::encoder::Graph;
use crate::encoder::native::{EMBEDDING_DIM, N_MELS};
use crate::front_end::FrontEndParameters;
use crate::models::manifest::Manifest;
use crate::models::spec::{ModelFiles, ModelSpec, NativeFiles, committed_calibration};

/// The name that users select the model by.
pub const ID: &str = "resemblyzer";

/// Returns the spec of Resemblyzer 0.1.4: 256 dimensions, windows of 1.6 seconds.
pub fn spec() -> ModelSpec {
    let manifest = Manifest::resemblyzer();
    ModelSpec {
        id: ID,
        release: manifest.name,
        dimension: EMBEDDING_DIM,
        front_end: FrontEndParameters::Mel { mel: MEL, windows: WINDOWS },
        graph: Graph {
            input: INPUT_NAME,
            input_shape: &[Some(N_FRAMES), Some(N_MELS)],
            output: OUTPUT_NAME,
            output_shape: &[Some(EMBEDDING_DIM)],
        },
        threshold: Threshold::of_model(THRESHOLD),
        calibration: committed_calibration(include_bytes!("../../../../models/resemblyzer/calibration.json")),
        turns: TURNS,
        narrowband_turns: TURNS,
        frame_cost_ns: 13_750,
        several_speakers: true,
        publisher: "resemble-ai",
        // 2019-09-10, the first release on PyPI.
        published: 1_568_073_600,
        licence: "Apache-2.0",
        files: ModelFiles {
            id: ID,
            variables: "MODEL",
            local: "resemblyzer.onnx",
            onnx: manifest.onnx,
            checkpoint_url: manifest.checkpoint.url,
            checkpoint: manifest.checkpoint.digest,
            convert,
            native: manifest.native_check_sha256.map(|check_sha256| NativeFiles {
                read: onnx::read,
                check_sha256,
                is_default: false,
            }),
        },
    }
}
