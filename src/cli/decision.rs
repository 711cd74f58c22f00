//! What commands that compare take for the same speaker.

use clap::Args;

use crate::config::{self, ThresholdArgs};
use crate::models::ModelSpec;

/// What counts as the same speaker.
#[derive(Args, Clone, Debug)]
pub(super) struct DecisionArgs {
    /// Similarity that voices of the same speaker exceed, whatever the model [default: SAME_SPEAKER_THRESHOLD or the model's own].
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, value_parser = config::cosine)]
    threshold: Option<f64>,
    #[command(flatten)]
    thresholds: ThresholdArgs,
}

impl DecisionArgs {
    /// The threshold for a model's embeddings.
    pub(super) fn threshold(&self, spec: &ModelSpec) -> f64 {
        self.threshold.unwrap_or_else(|| self.thresholds.of(spec))
    }
}
