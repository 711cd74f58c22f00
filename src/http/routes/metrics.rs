//! `GET /metrics`: the metrics of the service, in Prometheus' format.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::http::error::ApiError;
use crate::http::live;
use crate::http::metrics::TEXT_FORMAT;
use crate::http::state::AppState;

/// Get the metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Operation", responses(
    (status = 200, body = String, content_type = "text/plain", description = "Counters and histograms; 404 if METRICS_ADDRESS is set"),
))]
pub(in crate::http) async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    if !state.config.has_metrics {
        return Err(ApiError::NotFound);
    }
    write_metrics(&state)
}

/// Returns the router for an address that serves only metrics.
pub(in crate::http) fn alone(state: AppState) -> Router {
    let route = async |State(state): State<AppState>| write_metrics(&state);
    Router::new().route("/metrics", get(route)).with_state(state)
}

fn write_metrics(state: &AppState) -> Result<Response, ApiError> {
    let metrics = &state.metrics;
    metrics.http.body_bytes.set(state.body_bytes.load(Ordering::Relaxed) as i64);
    if let Some(embedder) = state.embedder.get() {
        metrics.embedding.queue_depth.set(embedder.queue_depth() as i64);
        metrics.embedding.queue_capacity.set(embedder.queue_capacity() as i64);
        metrics.embedding.model_loaded.set(1);
        metrics.live.capacity.set(live::SessionPlace::capacity(state)? as i64);
        for model in embedder.models() {
            let build = [env!("CARGO_PKG_VERSION"), model.id().fingerprint(), model.encoder()];
            metrics.build_info.with_label_values(&build).set(1);
        }
    }
    if let Some(Some(store)) = state.store.get() {
        metrics.speakers.speakers.set(store.speaker_count() as i64);
        metrics.speakers.store_available.set(store.is_available().into());
    }
    let text = metrics.text();
    let text = text.map_err(|error| ApiError::Internal(format!("metrics cannot be written: {error}")))?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
