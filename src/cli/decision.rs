//! How the comparing commands decide whether two voices are the same speaker.

use anyhow::bail;
use clap::Args;

use crate::calibration::{Calibration, Criterion, Judge, Rate, Threshold};
use crate::config::{self, CalibrationArgs, ThresholdArgs};
use crate::embedder::EmbedderModel;
use crate::models::ModelSpec;

/// The threshold options of a command.
#[derive(Args, Clone, Debug)]
pub(super) struct DecisionArgs {
    /// Similarity above which two voices count as the same speaker, for any model [default: SAME_SPEAKER_THRESHOLD,
    /// else the calibrated threshold for this amount of speech, else the model's own].
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, value_parser = config::cosine)]
    threshold: Option<f64>,
    #[command(flatten, next_help_heading = "Decisions")]
    thresholds: ThresholdArgs,
}

/// The criterion and the calibration on which decisions are based.
pub(super) struct Decider {
    calibration: Option<Calibration>,
    threshold: Threshold,
    pub(super) criterion: Criterion,
}

impl DecisionArgs {
    /// Returns the threshold for a model's embeddings.
    pub(super) fn threshold(&self, spec: &ModelSpec) -> f64 {
        self.threshold.unwrap_or_else(|| self.thresholds.threshold_for(spec).similarity)
    }

    /// Returns the decider for a model's embeddings. It uses the given threshold or the wanted error rate.
    pub(super) fn decider(
        &self,
        model: &EmbedderModel,
        calibrations: &CalibrationArgs,
        rate: Option<f64>,
    ) -> anyhow::Result<Decider> {
        let given = calibrations.calibrations()?;
        let fingerprint = model.id().fingerprint();
        let calibration = match given.iter().find(|calibration| calibration.model == fingerprint) {
            None if given.is_empty() => model.calibration(),
            None => bail!("CALIBRATION_PATH: the calibration is of {}, not {fingerprint}", given[0].model),
            its => its,
        };
        let criterion = match (self.threshold, rate) {
            (Some(threshold), _) => Criterion::Threshold(threshold),
            (None, Some(rate)) => Criterion::Rate(rate),
            (None, None) => Criterion::Default,
        };
        let threshold = self.thresholds.threshold_for(model.spec());
        Ok(Decider { calibration: calibration.cloned(), threshold, criterion })
    }
}

impl Decider {
    pub(super) fn judge(&self) -> Judge<'_> {
        Judge { calibration: self.calibration.as_ref(), threshold: self.threshold }
    }
}

/// Formats an error rate for people, for example `; fewer than 1 in 1000 others score as much`.
pub(super) fn rate_text(value: Option<f64>, is_bound: bool, what: &str) -> String {
    value.map_or_else(String::new, |value| format!("; {} {what}", Rate { value, is_bound }.frequency()))
}
