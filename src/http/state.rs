//! The state that the handlers share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Semaphore, watch};

use super::error::ApiError;
use super::keys::ApiKeys;
use super::metrics::Metrics;
use crate::config::{Config, CorsOrigins, HttpConfig};
use crate::embedder::{Embedder, EmbedderModel};
use crate::embedding::ModelId;
use crate::models::resemblyzer;
use crate::store::Store;

/// The state that the handlers share. It is cheap to clone.
#[derive(Clone)]
pub(super) struct AppState {
    pub(super) config: HttpConfig,
    pub(super) api_keys: Arc<ApiKeys>,
    /// The model of the root routes: Resemblyzer, unless only another model is loaded.
    pub(super) root_model: ModelId,
    /// The threshold of the root model.
    pub(super) root_threshold: f64,
    /// Empty until the models are loaded.
    pub(super) embedder: Arc<OnceLock<Embedder>>,
    /// The store of enrolled speakers, if the service has one. Empty until the store is open.
    pub(super) store: Arc<OnceLock<Option<Arc<Store>>>>,
    pub(super) shutting_down: Arc<AtomicBool>,
    /// Number of requests in progress, which shutdown waits for.
    pub(super) in_hand: Arc<watch::Sender<usize>>,
    /// Memory that request bodies use, in bytes.
    pub(super) body_bytes: Arc<AtomicUsize>,
    /// Memory that the bodies of long recordings use, in bytes.
    pub(super) diarize_body_bytes: Arc<AtomicUsize>,
    /// Limits concurrent exports and imports. Each of them uses a connection, and maybe a file.
    pub(super) transfers: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    /// The origins whose pages may open live sessions.
    pub(super) cors_origins: Arc<CorsOrigins>,
    /// Number of open live sessions.
    pub(super) live_sessions: Arc<AtomicUsize>,
}

/// Maximum number of concurrent exports and imports.
const MAX_TRANSFERS: usize = 2;

impl AppState {
    pub(super) fn new(config: &Config) -> Self {
        let resemblyzer = config.models.iter().find(|model| model.spec.id == resemblyzer::ID);
        let model = &resemblyzer.unwrap_or(&config.models[0]).spec;
        Self {
            config: config.http,
            api_keys: Arc::new(ApiKeys::new(config.api_keys.clone(), config.rate_limit_per_minute)),
            root_model: ModelId::new(model.id, model.release.clone(), model.dimension),
            root_threshold: model.threshold.similarity,
            embedder: Arc::default(),
            store: Arc::default(),
            shutting_down: Arc::default(),
            in_hand: Arc::default(),
            body_bytes: Arc::default(),
            diarize_body_bytes: Arc::default(),
            transfers: Arc::new(Semaphore::new(MAX_TRANSFERS)),
            metrics: Arc::new(Metrics::new()),
            cors_origins: Arc::new(config.cors_origins.clone()),
            live_sessions: Arc::default(),
        }
    }

    /// Returns the model of the root routes.
    pub(super) fn root_embedder_model(&self) -> Result<&Arc<EmbedderModel>, ApiError> {
        let embedder = self.embedder_in_hand()?;
        Ok(embedder.model(self.root_model.id()).unwrap_or_else(|| embedder.default_model()))
    }

    /// Returns the store of enrolled speakers.
    pub(super) fn store(&self) -> Result<Arc<Store>, ApiError> {
        let store = self.store.get().ok_or(ApiError::ModelNotReady)?;
        store.clone().ok_or(ApiError::NoStore)
    }

    /// Returns the embedder, for a request in progress, which shutdown waits for.
    pub(super) fn embedder_in_hand(&self) -> Result<&Embedder, ApiError> {
        self.embedder.get().ok_or(ApiError::ModelNotReady)
    }

    /// Returns the embedder, if it accepts work.
    pub(super) fn embedder(&self) -> Result<&Embedder, ApiError> {
        if self.shutting_down.load(Ordering::Relaxed) {
            return Err(ApiError::ShuttingDown);
        }
        self.embedder_in_hand()
    }
}
