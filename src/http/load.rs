//! The models, found and loaded, on the embedder's workers.

use std::sync::Arc;

use super::metrics::Metrics;
use crate::config::Config;
use crate::embedder::Embedder;
use crate::encoder::{EncoderError, InstructionSet};
use crate::engine::{EncoderChoice, Engine};
use crate::model_files::ModelError;

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

/// Checks what takes no time, before anything listens.
pub(super) fn check(config: &Config) -> Result<(), LoadError> {
    config.engine.check()?;
    Ok(config.model.check()?)
}

/// Finds and loads the models and starts the workers; takes a while.
pub(super) fn load(config: &Config, metrics: &Arc<Metrics>) -> Result<Embedder, LoadError> {
    let mut origin = None;
    let engine = Engine::load(&config.engine, |_| {
        let (model, found) = config.model.obtain()?;
        origin = Some(found);
        Ok::<_, LoadError>(model)
    })?;
    let metrics = Arc::clone(metrics);
    let on_batch = move |n_windows: usize| {
        metrics.embedding.batch_windows.observe(n_windows as f64);
        metrics.embedding.windows.inc_by(n_windows as u64);
    };
    let embedder = Embedder::start(engine, config.embedder, Box::new(on_batch));
    let (model, origin) = (embedder.default_model(), origin.map(|origin| origin.to_string()));
    let hint = match (config.engine.encoder, InstructionSet::fast()) {
        (EncoderChoice::Ort, Some(set)) => {
            Some(format!("this CPU has {}: ENCODER=native would embed about twice as fast", set.name()))
        }
        _ => None,
    };
    tracing::info!(
        model = model.id().fingerprint(),
        origin,
        encoder = model.encoder(),
        workers = config.engine.workers,
        hint,
        "model loaded"
    );
    Ok(embedder)
}
