//! Errors of calibration files.

/// The reason why a file is not a valid calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The file is not JSON, or its fields are not those of a calibration.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The file was written for another version of the program.
    #[error("its version is {found}; this program reads version {expected}")]
    Version {
        /// The version of the file.
        found: u32,
        /// The version that this program reads.
        expected: u32,
    },
    /// A field has a value that no fit produces.
    #[error("{field} {reason}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// The reason why its value is invalid.
        reason: String,
    },
}
