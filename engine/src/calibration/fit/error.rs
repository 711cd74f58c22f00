//! Why nothing can be fitted.

use crate::calibration::CalibrationError;

/// Why nothing can be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// There are no comparisons of different speakers.
    #[error("there are no comparisons of different speakers")]
    NoImpostors,
    /// There are no comparisons of one speaker, and the form needs some.
    #[error("there are no comparisons of one speaker")]
    NoTargets,
    /// The coefficients are not determined, or grow without limit.
    #[error("the comparisons do not determine {0}: there are too few, or too alike in length")]
    Undetermined(&'static str),
    /// Similarities do not tell speakers apart.
    #[error("comparisons of one speaker are no more similar than those of two: is `same` what it should be?")]
    NotHigher,
    /// What was fitted is no calibration.
    #[error("what was fitted is no calibration: {0}")]
    NoCalibration(#[from] CalibrationError),
}
