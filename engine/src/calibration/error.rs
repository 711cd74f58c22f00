//! Why a file is no calibration.

/// Why a file is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// It is no JSON, or its fields are not those of a calibration.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It is written for another version of the program.
    #[error("its version is {found}; this program reads version {expected}")]
    Version {
        /// What it has.
        found: u32,
        /// What is read.
        expected: u32,
    },
    /// A number that no fit gives.
    #[error("{field} {reason}")]
    Field {
        /// Where it stands.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}
