//! Models and the encoders that run them, loaded as configured: a session of each model for each worker.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::calibration::Calibration;
use crate::encoder::native::NativeEncoder;
use crate::encoder::{EncoderError, Graph, InstructionSet, LazySession, Runtime, Session};
use crate::models::resemblyzer::onnx;
use crate::models::{FileDigest, Model, ModelSpec, OnnxFile, segmentation as segmentation_network};

/// What runs the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderChoice {
    /// ONNX Runtime.
    Ort,
    /// The native encoder, in integers of 16 bits.
    Native,
    /// The native encoder where the CPU has instructions that make it fast, else ONNX Runtime.
    Auto,
}

/// How to run models.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What runs the encoder.
    pub encoder: EncoderChoice,
    /// ONNX Runtime's library: a path, or a bare name for the system's loader.
    pub onnx_runtime: PathBuf,
    /// Threads that compute.
    pub workers: NonZeroUsize,
}

/// Models, ready to run.
pub struct Engine {
    /// The models.
    pub models: Vec<EngineModel>,
    /// For each worker, a session of each model and, behind them, one of the segmentation network if there is one.
    pub workers: Vec<Vec<LazySession>>,
    /// Whether there is one.
    pub has_segmentation: bool,
}

/// A model, and what runs it.
pub struct EngineModel {
    /// The model.
    pub model: Model,
    /// The encoder's name in logs and metrics: `ort`, or `native-` and the instruction set.
    pub encoder: String,
    /// What is known of its errors: the model's own calibration, unless another is given.
    pub calibration: Option<Calibration>,
}

/// A calibration of a model that is not loaded.
#[derive(Debug, thiserror::Error)]
#[error("the calibration {name} is of the model {model}; there is {loaded}")]
pub struct UnlikeCalibration {
    /// The calibration's name.
    pub name: String,
    /// The model that it is of.
    pub model: String,
    /// The models that are loaded.
    pub loaded: String,
}

impl EngineConfig {
    /// Loads ONNX Runtime's library if one of the models needs it for sure: what can be found out before anything else.
    pub fn check<'a>(&self, models: impl IntoIterator<Item = &'a ModelSpec>) -> Result<(), EncoderError> {
        models.into_iter().try_for_each(|spec| self.choose(spec).map(drop))
    }

    /// Loads ONNX Runtime's library, which the segmentation network takes.
    pub fn check_onnx_runtime(&self) -> Result<(), EncoderError> {
        Runtime::load(&self.onnx_runtime).map(drop)
    }

    /// The native encoder runs one model alone: ONNX Runtime runs the others.
    fn choose(&self, spec: &ModelSpec) -> Result<Chosen, EncoderError> {
        let is_native = spec.files.native_check_sha256.is_some();
        match (self.encoder, InstructionSet::fast()) {
            (EncoderChoice::Ort, _) | (EncoderChoice::Auto, None) => {
                Runtime::load(&self.onnx_runtime).map(Chosen::Ort)
            }
            _ if !is_native => Runtime::load(&self.onnx_runtime).map(Chosen::Ort),
            (EncoderChoice::Native, None) => Err(EncoderError::NoInstructions("AVX2")),
            (EncoderChoice::Native | EncoderChoice::Auto, Some(set)) => Ok(Chosen::Native(set)),
        }
    }

    fn encoder(&self, model: &Model) -> Result<Encoder, EncoderError> {
        let set = match self.choose(&model.spec)? {
            Chosen::Ort(runtime) => return Ok(Encoder::Ort(runtime)),
            Chosen::Native(set) => set,
        };
        Encoder::native(model, set).or_else(|error| {
            if self.encoder != EncoderChoice::Auto {
                return Err(error);
            }
            tracing::warn!(%error, "the native encoder is not used");
            Runtime::load(&self.onnx_runtime).map(Encoder::Ort)
        })
    }
}

/// What runs models, by the configuration and the CPU.
enum Chosen {
    Ort(Runtime),
    Native(InstructionSet),
}

impl Engine {
    /// Loads what runs models. Sessions are loaded by each worker when they are first used, unless the file is of one's own and may not be
    /// what it should.
    pub fn load(
        config: &EngineConfig,
        models: Vec<Model>,
        segmentation: Option<OnnxFile>,
    ) -> Result<Self, EncoderError> {
        let has_segmentation = segmentation.is_some();
        let mut engine = Self { models: Vec::new(), workers: Vec::new(), has_segmentation };
        engine.workers.resize_with(config.workers.get(), Vec::new);
        for model in models {
            let encoder = config.encoder(&model)?;
            let (name, calibration) = (encoder.name(), model.calibration().cloned());
            let (id, onnx, graph) = (model.spec.id, model.onnx.clone(), model.spec.graph);
            let is_own = *onnx.digest() != model.spec.files.onnx;
            let lazy =
                LazySession::new(move || encoder.session(&onnx, graph).map_err(|error| error.of_model(id)));
            engine.add(&lazy, is_own)?;
            engine.models.push(EngineModel { model, encoder: name, calibration });
        }
        if let Some(onnx) = segmentation {
            let runtime = Runtime::load(&config.onnx_runtime)?;
            let files = segmentation_network::files();
            let (id, is_own) = (files.id, *onnx.digest() != files.onnx);
            let lazy = LazySession::new(move || {
                let session = Session::new(&runtime, &onnx, segmentation_network::GRAPH);
                session.map_err(|error| error.of_model(id))
            });
            engine.add(&lazy, is_own)?;
        }
        Ok(engine)
    }

    fn add(&mut self, session: &LazySession, is_loaded: bool) -> Result<(), EncoderError> {
        for sessions in &mut self.workers {
            let mut session = session.clone();
            if is_loaded {
                session.get()?;
            }
            sessions.push(session);
        }
        Ok(())
    }
}

impl Engine {
    /// Uses a calibration instead of its model's own.
    pub fn calibrate(&mut self, calibration: Calibration) -> Result<(), UnlikeCalibration> {
        let is_its = |model: &&mut EngineModel| model.model.id.fingerprint() == calibration.model;
        if let Some(model) = self.models.iter_mut().find(is_its) {
            model.calibration = Some(calibration);
            return Ok(());
        }
        let loaded: Vec<&str> = self.models.iter().map(|model| model.model.id.fingerprint()).collect();
        let Calibration { name, model, .. } = calibration;
        Err(UnlikeCalibration { name, model, loaded: loaded.join(", ") })
    }
}

/// What makes sessions of one model. Cheap to clone.
#[derive(Clone)]
pub enum Encoder {
    /// ONNX Runtime.
    Ort(Runtime),
    /// The native encoder, with the model's weights.
    Native(NativeEncoder),
}

impl Encoder {
    /// The native encoder for these instructions, once it has computed what it should on this machine.
    pub fn native(model: &Model, set: InstructionSet) -> Result<Self, EncoderError> {
        checked_encoder(model, set).map(Self::Native)
    }

    /// A session of the model's file.
    pub fn session(&self, onnx: &OnnxFile, graph: Graph) -> Result<Session, EncoderError> {
        match self {
            Self::Ort(runtime) => Session::new(runtime, onnx, graph),
            Self::Native(encoder) => Ok(encoder.session().into()),
        }
    }

    /// Its name in logs and metrics: `ort`, or `native-` and the instruction set.
    pub fn name(&self) -> String {
        match self {
            Self::Ort(_) => "ort".to_owned(),
            Self::Native(encoder) => format!("native-{}", encoder.instruction_set().name()),
        }
    }
}

/// The native encoder, once it has computed what it should on this machine: the embedding of one window is compared with the
/// known one or, for a model without a known one, with that of plain instructions.
fn checked_encoder(model: &Model, set: InstructionSet) -> Result<NativeEncoder, EncoderError> {
    let weights = onnx::read(&model.onnx.bytes()?)?;
    let encoder = NativeEncoder::new(&weights, set)?;
    let expected = match model.native_check_sha256() {
        Some(known) => known.to_owned(),
        None => check_sha256(&NativeEncoder::new(&weights, InstructionSet::Portable)?),
    };
    if check_sha256(&encoder) == expected { Ok(encoder) } else { Err(EncoderError::SelfCheck(set.name())) }
}

fn check_sha256(encoder: &NativeEncoder) -> String {
    FileDigest::of(&encoder.self_check()).sha256
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::models::resemblyzer;

    fn model(onnx: Vec<u8>) -> Model {
        Model::new(Arc::new(resemblyzer::spec()), onnx)
    }

    fn committed() -> Model {
        model(std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/resemblyzer.onnx")).unwrap())
    }

    #[test]
    fn every_instruction_set_passes_the_self_check() {
        let model = committed();
        let weights = onnx::read(&model.onnx.bytes().unwrap()).unwrap();
        for set in InstructionSet::available() {
            let computed = check_sha256(&NativeEncoder::new(&weights, set).unwrap());
            assert_eq!(Some(&*computed), model.native_check_sha256(), "{}", set.name());
            checked_encoder(&model, set).unwrap();
        }
    }

    #[test]
    fn a_model_without_a_known_result_is_checked_with_plain_instructions() {
        let mut weights = onnx::read(&committed().onnx.bytes().unwrap()).unwrap();
        weights.layers[0].bias[0] += 1.0;
        let other = model(onnx::write(&weights));
        assert_eq!(other.native_check_sha256(), None);
        let set = InstructionSet::available().next().unwrap();
        let encoder = checked_encoder(&other, set).unwrap();
        assert_ne!(Some(&*check_sha256(&encoder)), committed().native_check_sha256());
        // A result other than the known one.
        let mut mistaken = committed();
        Arc::make_mut(&mut mistaken.spec).files.native_check_sha256 = Some("0".repeat(64));
        assert!(matches!(checked_encoder(&mistaken, set), Err(EncoderError::SelfCheck(_))));
    }
}
