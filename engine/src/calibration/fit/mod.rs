//! Fits a calibration to comparisons of known speakers.

mod cross_validation;
mod error;
mod fitted;
mod metrics;
mod rates;
mod regression;
mod trials;

pub use cross_validation::{ClaimedAndObserved, CrossValidation, cross_validate};
pub use error::FitError;
pub use fitted::{About, How, fit, supported_rate};
pub use metrics::{ErrorRates, Interval, Quality, binomial_bound, det_curve, quality, seconds_of};
pub use rates::{det_by_seconds, rates_by_seconds};
pub use trials::{Trial, Trials, balanced_weights, share_of};
