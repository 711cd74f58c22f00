//! The threshold of a request under /v1.

use crate::calibration::Criterion;
use crate::http::error::ApiError;

/// Checks that a threshold, if there is one, is a cosine from -1 to 1.
pub(in crate::http) fn check_threshold(threshold: Option<f64>) -> Result<(), ApiError> {
    match threshold {
        Some(threshold) if !Criterion::THRESHOLDS.contains(&threshold) => {
            Err(ApiError::field("threshold", "Input should be from -1 to 1"))
        }
        _ => Ok(()),
    }
}
