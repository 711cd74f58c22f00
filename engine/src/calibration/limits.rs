//! The limits within which a calibration applies.

use serde::{Deserialize, Serialize};

/// The limits within which a calibration applies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = CalibrationLimits))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The minimum of the seconds of speech. Fewer seconds count as this many.
    pub seconds_min: f64,
    /// The maximum of the seconds of speech. More seconds count as this many.
    pub seconds_max: f64,
    /// The calibration makes no claim for voices with fewer seconds of speech than this.
    pub least_seconds: f64,
    /// The smallest false-accept rate that the set supports.
    pub far_floor: f64,
    /// The smallest log-likelihood ratio that the set supports.
    pub llr_min: f64,
    /// The largest log-likelihood ratio that the set supports.
    pub llr_max: f64,
}

impl Limits {
    /// Returns the first field with a value that no fit produces, and the requirement on it.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        let Self { seconds_min, seconds_max, least_seconds, far_floor, llr_min, llr_max } = *self;
        if !(seconds_min > 0.0 && seconds_max > seconds_min) {
            return Some(("limits.seconds_min", "must be above 0 and below seconds_max"));
        }
        if least_seconds < 0.0 {
            return Some(("limits.least_seconds", "must not be negative"));
        }
        if !(far_floor > 0.0 && far_floor < 1.0) {
            return Some(("limits.far_floor", "must be between 0 and 1"));
        }
        (llr_min >= 0.0 || llr_max <= 0.0).then_some(("limits.llr_min", "must be below 0, and llr_max above"))
    }
}
