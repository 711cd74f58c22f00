//! Loads models and the encoders that run them. Each worker has a session of each model.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::calibration::Calibration;
use crate::encoder::native::NativeEncoder;
use crate::encoder::{EncoderError, Graph, InstructionSet, LazySession, Runtime, Session};
use crate::models::{
    FileDigest, Model, ModelFiles, ModelSpec, OnnxFile, segmentation as segmentation_network,
};

/// The choice of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderChoice {
    /// ONNX Runtime.
    Ort,
    /// The native encoder, which computes in 16-bit integers.
    Native,
    /// The native encoder if the CPU has instructions that make it fast, otherwise ONNX Runtime.
    Auto,
    /// Like [`Self::Auto`] for models whose default is the native encoder, like [`Self::Ort`] for others.
    ByModel,
}

/// The configuration for running models.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The encoder that runs the models.
    pub encoder: EncoderChoice,
    /// The library of ONNX Runtime: a path, or a bare name for the system's loader.
    pub onnx_runtime: PathBuf,
    /// The number of worker threads.
    pub workers: NonZeroUsize,
}

/// Loaded models that are ready to run.
pub struct Engine {
    /// The models.
    pub models: Vec<EngineModel>,
    /// For each worker, one session of each model, followed by a session of the segmentation network if it is loaded.
    pub workers: Vec<Vec<LazySession>>,
    /// The name of the segmentation network's encoder, like [`EngineModel::encoder`]. `None` if the network is not loaded.
    pub segmentation: Option<String>,
}

/// The name of ONNX Runtime in logs and metrics.
pub const ORT_NAME: &str = "ort";

/// A model and its encoder.
pub struct EngineModel {
    /// The model.
    pub model: Model,
    /// The encoder's name in logs and metrics: `ort`, or `native-` and the instruction set.
    pub encoder: String,
    /// The calibration: the model's own, unless another is given.
    pub calibration: Option<Calibration>,
}

/// A calibration for a model that is not loaded.
#[derive(Debug, thiserror::Error)]
#[error("the calibration {name} is for the model {model}; loaded: {loaded}")]
pub struct UnlikeCalibration {
    /// The calibration's name.
    pub name: String,
    /// The model that the calibration is for.
    pub model: String,
    /// The models that are loaded.
    pub loaded: String,
}

impl EngineConfig {
    /// Loads ONNX Runtime's library if one of the models certainly needs it. A missing library is thus found before
    /// anything else is loaded.
    pub fn check<'a>(&self, models: impl IntoIterator<Item = &'a ModelSpec>) -> Result<(), EncoderError> {
        models.into_iter().try_for_each(|spec| self.choose(&spec.files).map(drop))
    }

    /// Does the same as [`Self::check`] for the segmentation network.
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

/// The encoder that the configuration and the CPU determine.
enum Chosen {
    Ort(Runtime),
    Native(InstructionSet),
}

impl Engine {
    /// Loads the encoders. Each worker loads its sessions on first use. A session of a custom model file is loaded at
    /// once, because the file may be invalid.
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

    /// Adds a network to each worker and returns the name of its encoder.
    fn add(
        &mut self,
        config: &EngineConfig,
        files: &ModelFiles,
        onnx: &OnnxFile,
        graph: Graph,
    ) -> Result<String, EncoderError> {
        let is_own = *onnx.digest() != files.onnx;
        // Weights are packed on first use, unless they may turn out to be unusable.
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
    /// Replaces the calibration of the model that the new calibration is for.
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

/// An encoder that all workers share. It is loaded when a worker first needs it.
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

    /// Prepares the encoder that the configuration chooses for a network.
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

/// Creates sessions of one model. Cheap to clone.
#[derive(Clone)]
pub enum Encoder {
    /// ONNX Runtime.
    Ort(Runtime),
    /// The native encoder, with the model's weights.
    Native(NativeEncoder),
}

impl Encoder {
    /// Returns the native encoder for these instructions, after it has passed the self-check on this machine.
    pub fn native(files: &ModelFiles, onnx: &OnnxFile, set: InstructionSet) -> Result<Self, EncoderError> {
        checked_encoder(files, onnx, set).map(Self::Native)
    }

    /// Creates a session of the model's file.
    pub fn session(&self, onnx: &OnnxFile, graph: Graph) -> Result<Session, EncoderError> {
        match self {
            Self::Ort(runtime) => Session::new(runtime, onnx, graph),
            Self::Native(encoder) => Ok(encoder.session().into()),
        }
    }

    /// Returns the encoder's name in logs and metrics: `ort`, or `native-` and the instruction set.
    pub fn name(&self) -> String {
        match self {
            Self::Ort(_) => ORT_NAME.to_owned(),
            Self::Native(encoder) => native_name(encoder.instruction_set()),
        }
    }
}

/// Returns the native encoder, if it passes the self-check on this machine. The self-check compares the embedding of one window
/// with the known embedding. For a model without a known embedding, it compares with the result of plain instructions.
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
    FileDigest::compute(&encoder.self_check()).sha256
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
        // The known result differs from the computed one.
        let mut mistaken = files.clone();
        mistaken.native.as_mut().unwrap().check_sha256 = "0".repeat(64);
        assert!(matches!(
            checked_encoder(&mistaken, &committed().onnx, set),
            Err(EncoderError::SelfCheck(_))
        ));
    }
}
