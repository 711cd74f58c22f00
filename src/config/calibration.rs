//! Calibrations that replace those of the models.

use std::path::PathBuf;

use clap::Args;

use super::error::ConfigError;
use crate::calibration::Calibration;

/// The option for calibrations.
#[derive(Args, Clone, Debug)]
pub struct CalibrationArgs {
    /// Calibration file from `calibrate` that replaces the calibration of its model; separate several files by commas.
    #[arg(long, env, value_delimiter = ',')]
    calibration_path: Vec<PathBuf>,
}

impl CalibrationArgs {
    /// Returns the calibrations, at most one per model.
    pub fn calibrations(&self) -> Result<Vec<Calibration>, ConfigError> {
        let mut calibrations: Vec<Calibration> = Vec::new();
        for path in &self.calibration_path {
            let unusable = |reason: String| ConfigError::Calibration { path: path.clone(), reason };
            let json = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let calibration = Calibration::from_json(&json).map_err(|error| unusable(error.to_string()))?;
            if calibrations.iter().any(|other| other.model == calibration.model) {
                return Err(unusable(format!("there is another one of {}", calibration.model)));
            }
            calibrations.push(calibration);
        }
        Ok(calibrations)
    }
}
