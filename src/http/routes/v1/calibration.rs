//! `GET /v1/calibration`: how a similarity becomes a claim.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::calibration::Calibration;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::model::resolve;
use crate::http::request::parts::query;
use crate::http::state::AppState;

/// Which calibration.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CalibrationQuery {
    /// The model, by id or fingerprint; the default one if missing.
    #[param(example = "resemblyzer", nullable = false)]
    model: Option<String>,
}

/// How a similarity becomes a log-likelihood ratio and a false-accept rate, what that was measured on, and how often it errs there.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a calibration to OpenAPI")]
#[schema(as = Calibration)]
pub(in crate::http) struct CalibrationAnswer {
    /// Of the format.
    #[schema(example = 1)]
    version: u32,
    /// What answers call it.
    #[schema(example = "librispeech-2026")]
    name: String,
    /// The model, by its fingerprint.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    set: SetAnswer,
    limits: LimitsAnswer,
    /// Coefficients of the terms of the natural log-likelihood ratio: `1`, `s` (the cosine), `ln h`, `s*ln h` and so on, where h is the harmonic
    /// mean of both sides' seconds of speech. Null without recordings of one speaker.
    log_likelihood_ratio: Option<BTreeMap<String, f64>>,
    false_accept_rate: CurveAnswer,
    /// Error rates on the set, by the seconds of speech of the shorter side.
    rates: Vec<RatesAnswer>,
}

/// What it was measured on.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a calibration to OpenAPI")]
#[schema(as = CalibrationSet)]
struct SetAnswer {
    /// What the recordings are.
    description: String,
    /// What they are not.
    not_measured: String,
    speakers: usize,
    /// Speakers with two recordings or more.
    speakers_of_same_pairs: usize,
    /// Pairs of different speakers.
    speaker_pairs: usize,
    /// Comparisons of one speaker.
    same_trials: usize,
    /// Comparisons of different speakers.
    different_trials: usize,
    /// Whose comparisons the false-accept rate is of: `same_sex` or `all`.
    #[schema(example = "same_sex")]
    impostors: String,
}

/// How far it goes.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a calibration to OpenAPI")]
#[schema(as = CalibrationLimits)]
struct LimitsAnswer {
    /// Seconds of speech that less counts as.
    seconds_min: f64,
    /// Seconds of speech that more counts as.
    seconds_max: f64,
    /// Seconds of speech below which nothing is claimed.
    least_seconds: f64,
    /// The smallest false-accept rate that is claimed.
    far_floor: f64,
    /// The smallest log-likelihood ratio that is claimed.
    llr_min: f64,
    /// The largest.
    llr_max: f64,
}

/// The similarities of different speakers.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a calibration to OpenAPI")]
#[schema(as = FalseAcceptCurve)]
struct CurveAnswer {
    /// Coefficients of their mean.
    mean: BTreeMap<String, f64>,
    /// Coefficients of the natural logarithm of their standard deviation.
    ln_sd: BTreeMap<String, f64>,
    knots: KnotsAnswer,
}

/// How often a similarity, less the mean and divided by the deviation, is exceeded; the logarithm of the rate is linear between knots.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a calibration to OpenAPI")]
#[schema(as = FalseAcceptKnots)]
struct KnotsAnswer {
    z: Vec<f64>,
    far: Vec<f64>,
}

/// Error rates for some seconds of speech.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a calibration to OpenAPI")]
#[schema(as = RatesBySeconds)]
struct RatesAnswer {
    /// The shorter side has at least this.
    seconds_from: f64,
    /// The shorter side has less than this; null for any number.
    seconds_to: Option<f64>,
    same_trials: usize,
    different_trials: usize,
    /// Where false accepts and misses are equally frequent.
    equal_error_rate: Option<f64>,
    /// A threshold that ignores the seconds: the model's own.
    threshold: f64,
    /// At that threshold.
    false_accept_rate: f64,
    /// At that threshold.
    miss_rate: Option<f64>,
    /// Where 1 % are claimed.
    false_accept_rate_at_1_percent: f64,
    /// Where 1 % of false accepts are claimed.
    miss_rate_at_1_percent: Option<f64>,
}

/// Describe the calibration of a model.
///
/// It is what `log_likelihood_ratio` and `false_accept_rate` are computed with. `voice-embedding-service calibrate` makes one of your own recordings.
#[utoipa::path(get, path = "/v1/calibration", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    params(CalibrationQuery),
    responses(
        (status = 200, body = CalibrationAnswer, description = "The calibration in force"),
        (status = 401, body = ErrorBody, description = "`invalid_api_key`"),
        (status = 404, body = ErrorBody, description = "`model_not_found`, or `no_calibration`: the model has weights of its own"),
        (status = 409, body = ErrorBody, description = "`model_mismatch`: other weights of it are loaded"),
        (status = 422, body = ErrorBody, description = "`validation_error`"),
        (status = 429, body = ErrorBody, description = "`rate_limited`"),
        (status = 503, body = ErrorBody, description = "`model_not_ready` or `shutting_down`"),
    ),
)]
pub(in crate::http) async fn calibration(
    State(state): State<AppState>,
    uri: Uri,
) -> Result<Json<Calibration>, ApiError> {
    let wanted: CalibrationQuery = query(&uri)?;
    let model = resolve(state.embedder()?, wanted.model.as_deref().into_iter())?;
    let calibration = model.calibration().cloned();
    calibration
        .map(Json)
        .ok_or_else(|| ApiError::NoCalibration { model: model.id().fingerprint().to_owned() })
}
