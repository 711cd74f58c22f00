//! A model with its weights.

use std::sync::Arc;

use super::spec::ModelSpec;
use crate::calibration::Calibration;
use crate::embedding::ModelId;
use crate::encoder::OnnxFile;

/// A model and the ONNX file that holds its weights.
#[derive(Clone)]
pub struct Model {
    /// The model's specification.
    pub spec: Arc<ModelSpec>,
    /// The ONNX file.
    pub onnx: OnnxFile,
    /// Identifies the weights and the preprocessing.
    pub id: ModelId,
}

impl Model {
    /// Creates a model with the weights of an ONNX file. If this is not the spec's own file, the model has a different
    /// fingerprint.
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

    /// Returns the calibration, if it was measured with these weights.
    pub fn calibration(&self) -> Option<&Calibration> {
        Some(&self.spec.calibration).filter(|calibration| calibration.model == self.id.fingerprint())
    }
}
