//! A model with its weights.

use std::sync::Arc;

use super::spec::ModelSpec;
use crate::calibration::Calibration;
use crate::embedding::ModelId;
use crate::encoder::OnnxFile;

/// A model and the ONNX file that holds its weights.
#[derive(Clone)]
pub struct Model {
    /// What is known of it.
    pub spec: Arc<ModelSpec>,
    /// The ONNX file.
    pub onnx: OnnxFile,
    /// Names weights and preprocessing.
    pub id: ModelId,
}

impl Model {
    /// The model with the weights of an ONNX file. One that is not the spec's own file has a fingerprint of its own.
    pub fn new(spec: Arc<ModelSpec>, onnx: impl Into<OnnxFile>) -> Self {
        let onnx = onnx.into();
        let digest = onnx.digest();
        let fingerprint = if *digest == spec.files.onnx {
            spec.fingerprint()
        } else {
            format!("custom/{}", digest.short())
        };
        let id = ModelId::new(spec.id, fingerprint, spec.dimension);
        Self { spec, onnx, id }
    }

    /// What is known of the errors of these weights, if anything is.
    pub fn calibration(&self) -> Option<&Calibration> {
        Some(&self.spec.calibration).filter(|calibration| calibration.model == self.id.fingerprint())
    }
}
