//! What is known of a recording besides its embedding.

use std::ops::Range;

use serde::{Serialize, Serializer};

use crate::notation::{milliseconds, rounded};

/// Speech shorter than this, in seconds, is little to tell a voice from; it fills less than one window of Resemblyzer's encoder.
const SHORT_SPEECH_SECONDS: f64 = 1.6;

/// Rate, in Hz, below which a recording lacks frequencies that the encoder was trained on.
const NARROWBAND_BELOW_HZ: u32 = 16_000;

/// Level, in dBFS, below which a recording is mostly noise once it is raised to the encoder's level.
const LOW_LEVEL_DBFS: f64 = -50.0;

/// What is known of a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AudioReport {
    /// Length of the recording.
    #[cfg_attr(feature = "schema", schema(example = 15.0))]
    pub duration_seconds: f64,
    /// Length of the speech in it, which is all that the encoder takes.
    #[cfg_attr(feature = "schema", schema(example = 11.34))]
    pub speech_seconds: f64,
    /// Sample rate of the file.
    #[cfg_attr(feature = "schema", schema(example = 16_000))]
    pub sample_rate_hz: u32,
    /// Channels of the file.
    #[cfg_attr(feature = "schema", schema(example = 1))]
    pub channels: u16,
    /// Level of the recording as decoded, before any gain, in dB relative to full scale, as RMS.
    #[cfg_attr(feature = "schema", schema(example = -24.31))]
    #[serde(serialize_with = "with_two_decimals")]
    pub level_dbfs: f64,
    /// Windows of 1.6 seconds that the encoder took, or with CAM++ pieces.
    #[cfg_attr(feature = "schema", schema(example = 14))]
    pub windows: usize,
    /// Reasons to trust the embedding less.
    #[cfg_attr(feature = "schema", schema(schema_with = warnings_schema))]
    pub warnings: Vec<Warning>,
    /// Where speech is, as pairs of seconds, if it was asked for with `speech`.
    #[cfg_attr(feature = "schema", schema(required = false, value_type = Option<Vec<Vec<f64>>>, example = json!([[0.33, 5.97]])))]
    #[serde(serialize_with = "in_milliseconds", skip_serializing_if = "Option::is_none")]
    pub speech_segments: Option<Vec<Range<f64>>>,
}

impl AudioReport {
    /// A recording without a sample.
    pub(crate) fn of_nothing(sample_rate_hz: u32, channels: u16) -> Self {
        Self {
            duration_seconds: 0.0,
            speech_seconds: 0.0,
            sample_rate_hz,
            channels,
            level_dbfs: f64::NEG_INFINITY,
            windows: 0,
            warnings: Vec::new(),
            speech_segments: None,
        }
    }

    /// Whether the recording lacks frequencies that encoders were trained on.
    pub(crate) fn is_narrowband(&self) -> bool {
        Self::is_narrowband_rate(self.sample_rate_hz)
    }

    /// Whether recordings of a rate do.
    pub(crate) fn is_narrowband_rate(sample_rate_hz: u32) -> bool {
        sample_rate_hz < NARROWBAND_BELOW_HZ
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn with_two_decimals<S: Serializer>(level: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*level, 2))
}

/// Stretches as pairs of seconds, to three decimals.
#[allow(clippy::ref_option, reason = "serde calls it so")]
fn in_milliseconds<S: Serializer>(
    stretches: &Option<Vec<Range<f64>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let pair = |stretch: &Range<f64>| [milliseconds(stretch.start), milliseconds(stretch.end)];
    serializer.collect_seq(stretches.iter().flatten().map(pair))
}

/// A reason to trust an embedding less than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Less than 1.6 seconds of speech.
    ShortSpeech,
    /// Sampled below 16 kHz: similarities to other recordings shift.
    Narrowband,
    /// More than one sample in a thousand is at full scale.
    Clipped,
    /// Below -50 dBFS.
    LowLevel,
    /// The file proves that something is missing from it.
    Truncated,
    /// Level and spectrum hardly move: no voice, most likely.
    Noise,
    /// The windows fall into two voices.
    SeveralSpeakers,
}

impl Warning {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ShortSpeech,
        Self::Narrowband,
        Self::Clipped,
        Self::LowLevel,
        Self::Truncated,
        Self::Noise,
        Self::SeveralSpeakers,
    ];

    /// The warnings for a report, and for what the decoder and the front end noticed.
    pub(crate) fn that_apply(
        report: &AudioReport,
        is_clipped: bool,
        is_truncated: bool,
        is_noise: bool,
    ) -> Vec<Self> {
        let warnings = [
            (Self::ShortSpeech, report.speech_seconds < SHORT_SPEECH_SECONDS),
            (Self::Narrowband, report.is_narrowband()),
            (Self::Clipped, is_clipped),
            (Self::LowLevel, Self::is_low_level(report.level_dbfs)),
            (Self::Truncated, is_truncated),
            (Self::Noise, is_noise),
        ];
        warnings.into_iter().filter_map(|(warning, applies)| applies.then_some(warning)).collect()
    }

    /// Whether a recording of a level is mostly noise once it is raised.
    pub(crate) fn is_low_level(level_dbfs: f64) -> bool {
        level_dbfs < LOW_LEVEL_DBFS
    }

    /// The code that answers carry.
    pub fn code(self) -> &'static str {
        match self {
            Self::ShortSpeech => "short_speech",
            Self::Narrowband => "narrowband",
            Self::Clipped => "clipped",
            Self::LowLevel => "low_level",
            Self::Truncated => "truncated",
            Self::Noise => "noise",
            Self::SeveralSpeakers => "several_speakers",
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// A list of warnings, for OpenAPI.
#[cfg(feature = "schema")]
fn warnings_schema() -> utoipa::openapi::Array {
    let codes = Warning::ALL.map(Warning::code);
    let warning = utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::Type::String)
        .enum_values(Some(codes))
        .build();
    let mut warnings = utoipa::openapi::Array::new(warning);
    warnings.description = Some("Reasons to trust the embedding less.".into());
    warnings
}
