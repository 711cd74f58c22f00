//! `GET /health` and `GET /ready`: whether the process is alive, and whether it accepts work.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::error_table::error_responses;
use crate::http::state::AppState;

/// The state of the process.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Health {
    /// `healthy`, or `starting` until the model is loaded.
    #[schema(example = "healthy")]
    status: &'static str,
    /// Whether the model is loaded.
    #[schema(example = true)]
    model_loaded: bool,
    /// The program's version.
    #[schema(example = "1.0.0")]
    version: &'static str,
}

/// The readiness of the service.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Ready {
    /// Always `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// The state of the speaker store: `ok`, `unavailable` if speakers cannot be changed at the moment, or `none` if the
    /// service stores no speakers. Embedding does not need the store.
    #[schema(example = "ok")]
    store: &'static str,
}

/// Check whether the process is alive.
///
/// Returns 200 as long as the process is alive.
#[utoipa::path(get, path = "/health", tag = "Operation", responses(
    (status = 200, body = Health, description = "The process is alive"),
))]
pub(in crate::http) async fn health(State(state): State<AppState>) -> Json<Health> {
    let model_loaded = state.embedder.get().is_some();
    let status = if model_loaded { "healthy" } else { "starting" };
    Json(Health { status, model_loaded, version: env!("CARGO_PKG_VERSION") })
}

error_responses!(ReadyErrors, "model_not_ready", "shutting_down", "store_unavailable");

/// Check whether the service accepts work.
#[utoipa::path(get, path = "/ready", tag = "Operation", responses(
    (status = 200, body = Ready, description = "The service accepts work"),
    ReadyErrors,
))]
pub(in crate::http) async fn ready(State(state): State<AppState>) -> Result<Json<Ready>, ApiError> {
    state.embedder()?;
    let store = state.store.get().and_then(Option::as_ref);
    // A server may become reachable again, but a missing file does not come back without intervention.
    store.map_or(Ok(()), |store| store.check_place())?;
    let store = match store {
        None => "none",
        Some(store) if store.is_available() => "ok",
        Some(_) => "unavailable",
    };
    Ok(Json(Ready { status: "ready", store }))
}
