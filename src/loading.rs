//! Loads the service's dependencies: the models on the embedder's workers, and the store.

use std::sync::Arc;

use crate::config::{Config, ConfiguredModel};
use crate::embedder::Embedder;
use crate::encoder::{EncoderError, InstructionSet};
use crate::engine::{Engine, ORT_NAME, UnlikeCalibration};
use crate::memory::give_back_memory;
use crate::model_files::{ModelError, ModelSource};
use crate::models::Model;
use crate::queue::OnBatch;
use crate::store::{OpenError, Store, StoreConfig, StorePlace};

/// The reason why the service cannot work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A model cannot be obtained.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model cannot be run.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A calibration belongs to a model that is not loaded.
    #[error("CALIBRATION_PATH: {0}")]
    Calibration(#[from] UnlikeCalibration),
    /// The database of speakers cannot be used.
    #[error("DATABASE_URL: {0}")]
    Store(#[from] OpenError),
}

/// Runs the checks that take no time, before the service listens.
pub(crate) fn check(config: &Config) -> Result<(), LoadError> {
    let needed = config.models.iter().filter(|model| !model.is_optional);
    config.engine.check(needed.map(|model| &*model.spec))?;
    let sources = config.models.iter().map(|model| &model.source);
    Ok(sources.chain([&config.segmentation]).try_for_each(ModelSource::check)?)
}

/// Opens the speaker store for the embedder's models, unless the configuration disables it.
pub(crate) fn open_store(config: &StoreConfig, embedder: &Embedder) -> Result<Option<Arc<Store>>, LoadError> {
    let StoreConfig { place, note, max_speakers } = config;
    let Some(place) = place else {
        tracing::info!(note, "speakers are not kept");
        return Ok(None);
    };
    let models = embedder.models().iter().map(|model| model.id().clone()).collect();
    let store = Store::open(place, *max_speakers, models)?;
    let (place, speakers) = (place_name(place), store.speaker_count());
    if store.has_others() {
        tracing::warn!(
            place,
            speakers,
            "speakers are kept in a database that another process has open too: both see all changes"
        );
    } else {
        tracing::info!(place, speakers, "speakers are kept");
    }
    for (model, enrolments) in store.unsearched().unwrap_or_default() {
        tracing::warn!(model, enrolments, "enrolments of a model that is not loaded are not searched");
    }
    Ok(Some(Arc::new(store)))
}

fn place_name(place: &StorePlace) -> String {
    match place {
        StorePlace::File(path) => path.display().to_string(),
        StorePlace::Server(server) => server.name().to_owned(),
        StorePlace::Memory => "memory, until the process ends".into(),
    }
}

/// Obtains and loads the models, and starts the workers. This takes a while. `on_batch` is called with the number of
/// units in each call of an encoder.
pub(crate) fn load(config: &Config, on_batch: OnBatch) -> Result<Embedder, LoadError> {
    let (mut models, mut origins) = (Vec::new(), Vec::new());
    for ConfiguredModel { spec, source, is_optional } in &config.models {
        let found = match source.obtain_file() {
            Ok(found) => config.engine.check([&**spec]).map(|()| found).map_err(LoadError::from),
            Err(error) => Err(error.into()),
        };
        match found {
            Ok((onnx, origin)) => {
                models.push(Model::new(Arc::clone(spec), onnx));
                origins.push(origin.to_string());
            }
            Err(error) if *is_optional => {
                tracing::warn!(%error, model = spec.id, "the service continues without this model");
            }
            Err(error) => return Err(error),
        }
    }
    let segmentation = match config.engine.check_segmentation() {
        Ok(()) => config.segmentation.obtain_file().map_err(LoadError::from),
        Err(error) => Err(error.into()),
    };
    let segmentation = segmentation
        .inspect_err(|error| tracing::warn!(%error, "the service continues without /v1/diarize"))
        .map(|(onnx, _)| onnx)
        .ok();
    let mut engine = Engine::load(&config.engine, models, segmentation)?;
    config.calibrations.iter().cloned().try_for_each(|calibration| engine.calibrate(calibration))?;
    // Frees the memory of the model files, and of the data derived from them while loading.
    give_back_memory();
    let embedder = Embedder::start(engine, config.embedder, on_batch);
    for (model, origin) in embedder.models().iter().zip(origins) {
        let may_be_native = model.spec().files.native.is_some() && model.encoder() == ORT_NAME;
        let hint = InstructionSet::fast().filter(|_| may_be_native).map(|set| {
            format!("this CPU has {}: ENCODER=native would embed about twice as fast", set.name())
        });
        tracing::info!(
            model = model.id().fingerprint(),
            origin,
            encoder = model.encoder(),
            workers = config.engine.workers,
            calibration = model.calibration().map(|calibration| &*calibration.name),
            hint,
            "model loaded"
        );
    }
    Ok(embedder)
}
