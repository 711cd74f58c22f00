//! What runs the encoder, as the configuration chooses it: model and program, loaded, one session a worker.

use std::sync::Mutex;

use crate::config::{Config, EncoderChoice};
use crate::encoder::{EncoderError, InstructionSet, NativeEncoder, Runtime, Session};
use crate::model::{FileDigest, Model, ModelError};

/// The model in sessions.
pub(super) struct Engine {
    pub(super) model: Model,
    pub(super) sessions: Vec<Session>,
    /// The encoder's name in logs and metrics: `ort`, or `native-` and the instructions.
    pub(super) encoder: String,
}

/// Why the service cannot work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It cannot be run.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
}

impl Engine {
    /// Finds the model and loads what runs it; takes a while. `native_code` is held while ONNX Runtime is at work.
    pub(super) fn load(config: &Config, native_code: &Mutex<()>) -> Result<Self, LoadError> {
        let set = match (config.encoder, InstructionSet::fast()) {
            (EncoderChoice::Ort, _) | (EncoderChoice::Auto, None) => {
                return Self::in_onnx_runtime(config, native_code, None);
            }
            (EncoderChoice::Native, None) => return Err(EncoderError::NoInstructions("AVX2").into()),
            (EncoderChoice::Native | EncoderChoice::Auto, Some(set)) => set,
        };
        let model = config.model.obtain()?;
        match checked_encoder(&model, set) {
            Ok(encoder) => Ok(Self::native(config, model, &encoder)),
            Err(error) if config.encoder == EncoderChoice::Auto => {
                tracing::warn!(%error, "the native encoder is not used");
                Self::in_onnx_runtime(config, native_code, Some(model))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn native(config: &Config, model: Model, encoder: &NativeEncoder) -> Self {
        let sessions = (0..config.workers.get()).map(|_| encoder.session()).collect();
        Self { model, sessions, encoder: format!("native-{}", encoder.instruction_set().name()) }
    }

    fn in_onnx_runtime(
        config: &Config,
        native_code: &Mutex<()>,
        model: Option<Model>,
    ) -> Result<Self, LoadError> {
        // The library first: a model that cannot be run need not be fetched.
        let at_work = native_code.lock();
        let runtime = Runtime::load(&config.onnx_runtime)?;
        drop(at_work);
        let model = model.map_or_else(|| config.model.obtain(), Ok)?;
        let _at_work = native_code.lock();
        let sessions = (0..config.workers.get()).map(|_| Session::new(&runtime, &model.onnx));
        Ok(Self { sessions: sessions.collect::<Result<_, _>>()?, model, encoder: "ort".to_owned() })
    }
}

/// The native encoder, once it has computed on this machine what it should: the embedding of one window is compared with what is
/// known of it or, for a model of which nothing is known, with the same on plain instructions.
fn checked_encoder(model: &Model, set: InstructionSet) -> Result<NativeEncoder, EncoderError> {
    let encoder = NativeEncoder::new(&model.onnx, set)?;
    let expected = match model.native_check_sha256() {
        Some(known) => known.to_owned(),
        None => check_sha256(&NativeEncoder::new(&model.onnx, InstructionSet::Portable)?),
    };
    if check_sha256(&encoder) == expected { Ok(encoder) } else { Err(EncoderError::SelfCheck(set.name())) }
}

fn check_sha256(encoder: &NativeEncoder) -> String {
    let components: Vec<[u8; 4]> = encoder.check_embedding().iter().map(|c| c.to_le_bytes()).collect();
    FileDigest::of(components.as_flattened()).sha256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::onnx::EncoderWeights;
    use crate::model::LOCAL_MODEL;

    #[test]
    fn every_instruction_set_computes_what_is_known_of_the_model() {
        let model = Model::read(LOCAL_MODEL.as_ref()).unwrap();
        for set in InstructionSet::available() {
            let computed = check_sha256(&NativeEncoder::new(&model.onnx, set).unwrap());
            assert_eq!(Some(&*computed), model.native_check_sha256(), "{}", set.name());
            checked_encoder(&model, set).unwrap();
        }
    }

    #[test]
    fn a_model_of_which_nothing_is_known_is_checked_with_plain_instructions() {
        let model = Model::read(LOCAL_MODEL.as_ref()).unwrap();
        let mut weights = EncoderWeights::from_onnx(&model.onnx).unwrap();
        weights.layers[0].bias[0] += 1.0;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("other.onnx");
        std::fs::write(&file, weights.to_onnx()).unwrap();
        let other = Model::read(&file).unwrap();
        assert_eq!(other.native_check_sha256(), None);
        let set = InstructionSet::available().next().unwrap();
        let encoder = checked_encoder(&other, set).unwrap();
        assert_ne!(Some(&*check_sha256(&encoder)), model.native_check_sha256());
        // Weights that are not those whose result is known.
        let mut mistaken = model;
        mistaken.onnx = other.onnx;
        assert!(matches!(checked_encoder(&mistaken, set), Err(EncoderError::SelfCheck(_))));
    }
}
