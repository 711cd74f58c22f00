//! Errors of fits.

use crate::calibration::CalibrationError;

/// The reason why a fit fails.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// There are no comparisons of different speakers.
    #[error("there are no comparisons of different speakers")]
    NoImpostors,
    /// There are no comparisons of one speaker, but the form needs some.
    #[error("there are no comparisons of one speaker")]
    NoTargets,
    /// The comparisons do not determine the coefficients, or the coefficients grow without limit.
    #[error("the comparisons do not determine {0}: there are too few, or too alike in length")]
    Undetermined(&'static str),
    /// The similarities do not separate speakers.
    #[error("comparisons of one speaker are no more similar than those of two: check the column `same`")]
    NotHigher,
    /// The result of the fit is not a valid calibration.
    #[error("the fit is not a usable calibration: {0}")]
    NoCalibration(#[from] CalibrationError),
}
