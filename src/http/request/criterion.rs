//! The criterion for a decision under /v1: a threshold, or an error rate from which a threshold follows.

use super::threshold::check_threshold;
use crate::calibration::{Criterion, CriterionError};
use crate::http::error::ApiError;

/// Returns the criterion of a request that may contain a threshold or an error rate. `name` is the name of the rate.
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

/// Returns a function that creates the error for a rate that cannot be met.
pub(in crate::http) fn not_met(name: &str) -> impl Fn(CriterionError) -> ApiError {
    move |error| ApiError::field(name, &error.to_string())
}
