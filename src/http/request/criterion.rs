//! What decides, in a request under /v1: a threshold, or a rate of errors that asks for one.

use super::threshold::check_threshold;
use crate::calibration::{Criterion, CriterionError};
use crate::http::error::ApiError;

/// The criterion of a request that may hold a threshold or a rate, by the rate's name.
pub(in crate::http) fn criterion(
    threshold: Option<f64>,
    rate: Option<f64>,
    name: &str,
) -> Result<Criterion, ApiError> {
    check_threshold(threshold)?;
    match (threshold, rate) {
        (Some(_), Some(_)) => Err(ApiError::field(name, &format!("Send threshold or {name}, not both"))),
        (None, Some(rate)) if !Criterion::RATES.contains(&rate) => {
            Err(ApiError::field(name, "Input should be from 0 to 1"))
        }
        (None, Some(rate)) => Ok(Criterion::Rate(rate)),
        (Some(threshold), None) => Ok(Criterion::Threshold(threshold)),
        (None, None) => Ok(Criterion::Default),
    }
}

/// The error of a rate that cannot be met.
pub(in crate::http) fn not_met(name: &str) -> impl Fn(CriterionError) -> ApiError {
    move |error| ApiError::field(name, &error.to_string())
}
