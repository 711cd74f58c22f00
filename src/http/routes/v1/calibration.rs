//! `GET /v1/calibration`: the calibration that turns a similarity into a likelihood ratio and an error rate.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::calibration::Calibration;
use crate::http::error::ApiError;
use crate::http::error_table::error_responses;
use crate::http::request::model::resolve;
use crate::http::request::parts::options_of_query;
use crate::http::state::AppState;

/// The query for a calibration.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CalibrationQuery {
    /// The model, by id or fingerprint; the default model if missing.
    #[param(example = "resemblyzer", nullable = false)]
    model: Option<String>,
}

error_responses!(
    CalibrationErrors,
    "invalid_api_key",
    "model_not_found",
    "no_calibration",
    "model_mismatch",
    "validation_error",
    "rate_limited",
    "model_not_ready",
    "shutting_down"
);

/// Describe the calibration of a model.
///
/// The service computes `log_likelihood_ratio` and `false_accept_rate` from the calibration.
/// `voice-embedding-service calibrate` creates a calibration from your own recordings.
#[utoipa::path(get, path = "/v1/calibration", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    params(CalibrationQuery),
    responses(
        (status = 200, body = Calibration, description = "The calibration in force"),
        CalibrationErrors,
    ),
)]
pub(in crate::http) async fn calibration(
    State(state): State<AppState>,
    uri: Uri,
) -> Result<Json<Calibration>, ApiError> {
    let wanted: CalibrationQuery = options_of_query(&uri)?;
    let model = resolve(state.embedder()?, wanted.model.as_deref().into_iter())?;
    let calibration = model.calibration().cloned();
    calibration
        .map(Json)
        .ok_or_else(|| ApiError::NoCalibration { model: model.id().fingerprint().to_owned() })
}
