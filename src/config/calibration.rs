//! Calibrations instead of the models' own.

use std::path::PathBuf;

use clap::Args;

use super::error::ConfigError;
use crate::calibration::Calibration;

/// The variable's flag.
#[derive(Args, Clone, Debug)]
pub struct CalibrationArgs {
    /// A file that `calibrate` has written, to be used instead of the calibration that comes with its model; several with commas.
    #[arg(long, env, value_delimiter = ',')]
    calibration_path: Vec<PathBuf>,
}

impl CalibrationArgs {
    /// The calibrations, each of another model.
    pub fn calibrations(&self) -> Result<Vec<Calibration>, ConfigError> {
        let mut calibrations: Vec<Calibration> = Vec::new();
        for path in &self.calibration_path {
            let unusable = |reason: String| ConfigError::Calibration { path: path.clone(), reason };
            let json = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let calibration = Calibration::of_json(&json).map_err(|error| unusable(error.to_string()))?;
            if calibrations.iter().any(|other| other.model == calibration.model) {
                return Err(unusable(format!("there is another one of {}", calibration.model)));
            }
            calibrations.push(calibration);
        }
        Ok(calibrations)
    }
}
