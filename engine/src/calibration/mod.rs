//! From a similarity to a claim: how much more likely one speaker is than two, and how often different speakers score as much.
//!
//! Both depend on the seconds of speech of the two sides, and both hold for recordings like those that they were fitted on, which is
//! why a [`Calibration`] carries its set with it.

mod claims;
mod error;
mod file;
#[cfg(feature = "fit")]
pub mod fit;
mod knots;
mod limits;
mod search;
mod terms;

pub use claims::{
    Claim, Comparison, Criterion, CriterionError, DEFAULT_FALSE_IDENTIFICATION_RATE, Evidence, Judge,
    Threshold,
};
pub use error::CalibrationError;
pub use file::{Calibration, FalseAcceptCurve, Impostors, Rate, RatesBySeconds, SetDescription, VERSION};
pub use knots::Knots;
pub use limits::Limits;
pub use search::{rate_among, rate_of_one};
pub use terms::{Linear, Seconds, Term};
