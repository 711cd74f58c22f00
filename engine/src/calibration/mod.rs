//! Turns a similarity into claims: how much more likely it is if both voices belong to one speaker than if they belong to
//! two, and how often different speakers score at least as high.
//!
//! Both depend on the seconds of speech of the two sides. Both hold only for recordings like those of the set that they
//! were fitted on, so a [`Calibration`] describes its set.
//!
//! # The file
//!
//! A calibration is a file of coefficients for one model. The program contains one for each model; `CALIBRATION_PATH`
//! replaces them. The file names its terms. `--terms refit` fits all of them again, as for the committed files. If your
//! own recordings have too few speakers to determine how scores depend on length, `--terms adjust` only shifts and
//! stretches their sum.
//!
//! Two terms were added because cross-validation over speakers required them: the square of ln h in Resemblyzer's mean
//! similarity of different speakers, and ln h beside 1/h in that of CAM++. With them, claims of 10 % are within 0.95 to 1.07
//! of the observed rate at every length; without them, within 0.86 to 1.12.
//!
//! # Claims
//!
//! `claims.rs` decides whether a rate may be reported. A profile's row in the index holds its seconds, its number of
//! enrolments and the first warning that rules a claim out, so a search reads nothing else from the database. A threshold
//! always exists, even where no rate may be reported.

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
