//! What is known of a recording, as the OpenAPI document describes it.

use utoipa::ToSchema;
use utoipa::openapi::{Array, ObjectBuilder, Type};

use crate::pipeline::Warning;

/// What was heard in a recording.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes the pipeline's report to OpenAPI")]
pub(in crate::http) struct AudioReport {
    /// Length of the recording.
    #[schema(example = 15.0)]
    duration_seconds: f64,
    /// Length of the speech in it, which is all that the encoder takes.
    #[schema(example = 11.34)]
    speech_seconds: f64,
    /// Sample rate of the file.
    #[schema(example = 16_000)]
    sample_rate_hz: u32,
    /// Channels of the file.
    #[schema(example = 1)]
    channels: u16,
    /// Level of the recording as decoded, before any gain, in dB relative to full scale, as RMS.
    #[schema(example = -24.31)]
    level_dbfs: f64,
    /// Windows of 1.6 seconds that the encoder took, or with CAM++ pieces.
    #[schema(example = 14)]
    windows: usize,
    /// Reasons to trust the embedding less.
    #[schema(schema_with = warnings_schema)]
    warnings: Vec<String>,
    /// Where speech is, as pairs of seconds, if it was asked for with `speech`.
    #[schema(required = false, example = json!([[0.33, 5.97]]))]
    speech_segments: Option<Vec<Vec<f64>>>,
}

/// A list of warnings.
fn warnings_schema() -> Array {
    let codes = Warning::ALL.map(Warning::code);
    let warning = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).build();
    let mut warnings = Array::new(warning);
    warnings.description = Some("Reasons to trust the embedding less.".into());
    warnings
}
