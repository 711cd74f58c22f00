//! What is known of a recording, as answers carry it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::pipeline;

/// What was heard in a recording.
#[derive(Serialize, ToSchema)]
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
    /// Windows of 1.6 seconds that the encoder took.
    #[schema(example = 14)]
    windows: usize,
    /// Reasons to trust the embedding less: `short_speech`, `narrowband`, `clipped`, `low_level`, `truncated`.
    warnings: Vec<&'static str>,
}

impl From<&pipeline::AudioReport> for AudioReport {
    fn from(audio: &pipeline::AudioReport) -> Self {
        Self {
            duration_seconds: audio.duration_seconds,
            speech_seconds: audio.speech_seconds,
            sample_rate_hz: audio.sample_rate_hz,
            channels: audio.channels,
            level_dbfs: (audio.level_dbfs * 100.0).round() / 100.0,
            windows: audio.windows,
            warnings: audio.warnings.iter().map(|warning| warning.code()).collect(),
        }
    }
}
