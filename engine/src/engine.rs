//! Models and the encoders that run them, loaded as configured: a session of each model for each worker.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::calibration::Calibration;
use crate::encoder::native::NativeEncoder;
use crate::encoder::{EncoderError, Graph, InstructionSet, LazySession, Runtime, Session};
use crate::models::{
    FileDigest, Model, ModelFiles, ModelSpec, OnnxFile, segmentation as segmentation_network,
};

/// What runs the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderChoice {
    /// ONNX Runtime.
    Ort,
    /// The native encoder, in integers of 16 bits.
    Native,
    /// The native encoder where the CPU has instructions that make it fast, else ONNX Runtime.
    Auto,
    /// As [`Self::Auto`] for the models of which that is the default, as [`Self::Ort`] for others.
    ByModel,
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
    /// What runs it, if there is one, as [`EngineModel::encoder`].
    pub segmentation: Option<String>,
}

/// What ONNX Runtime is called in logs and metrics.
pub const ORT_NAME: &str = "ort";

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
        models.into_iter().try_for_each(|spec| self.choose(&spec.files).map(drop))
    }

    /// As [`Self::check`], for the segmentation network.
    pub fn check_segmentation(&self) -> Result<(), EncoderError> {
        self.choose(&segmentation_network::files()).map(drop)
    }

    fn choose(&self, files: &ModelFiles) -> Result<Chosen, EncoderError> {
        let native = files.native.as_ref();
        let is_native = match self.encoder {
            EncoderChoice::Ort => false,
            EncoderChoice::Native | EncoderChoice::Auto => native.is_some(),
            EncoderChoice::ByModel => native.is_some_and(|native| native.is_default),
        };
        let set = match self.encoder {
            EncoderChoice::Native => InstructionSet::vectorised(),
            _ => InstructionSet::fast(),
        };
        match set.filter(|_| is_native) {
            Some(set) => Ok(Chosen::Native(set)),
            None if is_native && self.encoder == EncoderChoice::Native => {
                Err(EncoderError::NoInstructions("AVX2 or NEON"))
            }
            None => Runtime::load(&self.onnx_runtime).map(Chosen::Ort),
        }
    }

    fn encoder(&self, files: &ModelFiles, onnx: &OnnxFile) -> Result<Encoder, EncoderError> {
        let set = match self.choose(files)? {
            Chosen::Ort(runtime) => return Ok(Encoder::Ort(runtime)),
            Chosen::Native(set) => set,
        };
        Encoder::native(files, onnx, set).or_else(|error| {
            if self.encoder == EncoderChoice::Native {
                return Err(error);
            }
            tracing::warn!(%error, model = files.id, "the native encoder is not used");
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
        let mut engine = Self { models: Vec::new(), workers: Vec::new(), segmentation: None };
        engine.workers.resize_with(config.workers.get(), Vec::new);
        for model in models {
            let name = engine.add(config, &model.spec.files, &model.onnx, model.spec.graph)?;
            let calibration = model.calibration().cloned();
            engine.models.push(EngineModel { model, encoder: name, calibration });
        }
        if let Some(onnx) = segmentation {
            let (files, graph) = (segmentation_network::files(), segmentation_network::GRAPH);
            engine.segmentation = Some(engine.add(config, &files, &onnx, graph)?);
        }
        Ok(engine)
    }

    /// Adds a network to each worker; what runs it.
    fn add(
        &mut self,
        config: &EngineConfig,
        files: &ModelFiles,
        onnx: &OnnxFile,
        graph: Graph,
    ) -> Result<String, EncoderError> {
        let is_own = *onnx.digest() != files.onnx;
        // Weights are packed when they are first needed, unless they may turn out not to be what they should.
        let encoder = if is_own || config.encoder != EncoderChoice::ByModel {
            LazyEncoder::of(config.encoder(files, onnx)?)
        } else {
            LazyEncoder::new(config, files, onnx)?
        };
        let (name, id, onnx) = (encoder.name.clone(), files.id, onnx.clone());
        let session = move || encoder.get()?.session(&onnx, graph);
        let lazy = LazySession::new(move || session().map_err(|error| error.of_model(id)));
        for sessions in &mut self.workers {
            let mut session = lazy.clone();
            if is_own {
                session.get()?;
            }
            sessions.push(session);
        }
        Ok(name)
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

/// An encoder that all workers share, once one of them needs it.
struct LazyEncoder {
    name: String,
    encoder: Mutex<Option<Encoder>>,
    load: Box<dyn Fn() -> Result<Encoder, EncoderError> + Send + Sync>,
}

impl LazyEncoder {
    fn of(encoder: Encoder) -> Self {
        let name = encoder.name();
        Self { name, encoder: Mutex::new(None), load: Box::new(move || Ok(encoder.clone())) }
    }

    /// What the configuration chooses for a network.
    fn new(config: &EngineConfig, files: &ModelFiles, onnx: &OnnxFile) -> Result<Self, EncoderError> {
        match config.choose(files)? {
            Chosen::Ort(runtime) => Ok(Self::of(Encoder::Ort(runtime))),
            Chosen::Native(set) => {
                let (config, files, onnx) = (config.clone(), files.clone(), onnx.clone());
                let load = Box::new(move || config.encoder(&files, &onnx));
                Ok(Self { name: native_name(set), encoder: Mutex::new(None), load })
            }
        }
    }

    fn get(&self) -> Result<Encoder, EncoderError> {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        match &*encoder {
            Some(encoder) => Ok(encoder.clone()),
            None => Ok(encoder.insert((self.load)()?).clone()),
        }
    }
}

fn native_name(set: InstructionSet) -> String {
    format!("native-{}", set.name())
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
    pub fn native(files: &ModelFiles, onnx: &OnnxFile, set: InstructionSet) -> Result<Self, EncoderError> {
        checked_encoder(files, onnx, set).map(Self::Native)
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
            Self::Ort(_) => ORT_NAME.to_owned(),
            Self::Native(encoder) => native_name(encoder.instruction_set()),
        }
    }
}

/// The native encoder, once it has computed what it should on this machine: the embedding of one window is compared with the
/// known one or, for a model without a known one, with that of plain instructions.
fn checked_encoder(
    files: &ModelFiles,
    onnx: &OnnxFile,
    set: InstructionSet,
) -> Result<NativeEncoder, EncoderError> {
    let native = files.native.as_ref();
    let read = native.ok_or_else(|| EncoderError::other_graph("ONNX Runtime alone runs it"))?.read;
    let weights = read(&onnx.bytes()?)?;
    let encoder = NativeEncoder::new(&weights, set)?;
    let expected = match files.native_check_sha256(onnx) {
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
    use crate::encoder::native::NetworkWeights;
    use crate::models::campplus;
    use crate::models::resemblyzer::{self, onnx};

    fn model(onnx: Vec<u8>) -> Model {
        Model::new(Arc::new(resemblyzer::spec()), onnx)
    }

    fn committed() -> Model {
        model(std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/resemblyzer.onnx")).unwrap())
    }

    #[test]
    fn every_instruction_set_passes_the_self_check() {
        let campplus =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/campplus.onnx")).unwrap();
        let segmentation =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/segmentation.onnx")).unwrap();
        let networks: [(ModelFiles, OnnxFile); 3] = [
            (resemblyzer::spec().files, committed().onnx),
            (campplus::spec().files, campplus.into()),
            (segmentation_network::files(), segmentation.into()),
        ];
        for (files, onnx) in networks {
            let read = files.native.as_ref().unwrap().read;
            let weights = read(&onnx.bytes().unwrap()).unwrap();
            for set in InstructionSet::available() {
                let computed = check_sha256(&NativeEncoder::new(&weights, set).unwrap());
                let expected = files.native_check_sha256(&onnx);
                assert_eq!(Some(&*computed), expected, "{}, {}", files.id, set.name());
                checked_encoder(&files, &onnx, set).unwrap();
            }
        }
    }

    #[test]
    fn a_model_without_a_known_result_is_checked_with_plain_instructions() {
        let weights = onnx::read(&committed().onnx.bytes().unwrap()).unwrap();
        let NetworkWeights::Lstm(mut weights) = weights else { panic!("it is an LSTM") };
        weights.layers[0].bias[0] += 1.0;
        let other = model(onnx::write(&weights));
        let files = &other.spec.files;
        assert_eq!(files.native_check_sha256(&other.onnx), None);
        let set = InstructionSet::available().next().unwrap();
        let encoder = checked_encoder(files, &other.onnx, set).unwrap();
        assert_ne!(Some(&*check_sha256(&encoder)), files.native_check_sha256(&committed().onnx));
        // A result other than the known one.
        let mut mistaken = files.clone();
        mistaken.native.as_mut().unwrap().check_sha256 = "0".repeat(64);
        assert!(matches!(
            checked_encoder(&mistaken, &committed().onnx, set),
            Err(EncoderError::SelfCheck(_))
        ));
    }
}
