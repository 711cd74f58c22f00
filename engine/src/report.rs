//! The report on a recording, which accompanies its embedding.

use std::ops::Range;

use serde::{Serialize, Serializer};

use crate::notation::{milliseconds, round_to};

/// Duration in seconds below which speech is too short for a reliable embedding. It fills less than one window of
/// Resemblyzer's encoder.
const SHORT_SPEECH_SECONDS: f64 = 1.6;

/// Sample rate in Hz below which a recording lacks frequencies that the encoder was trained on.
const NARROWBAND_BELOW_HZ: u32 = 16_000;

/// Level in dBFS below which a recording is mostly noise after its level is raised to that of the encoder's training
/// data.
const LOW_LEVEL_DBFS: f64 = -50.0;

/// Properties of a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AudioReport {
    /// Duration of the recording.
    #[cfg_attr(feature = "schema", schema(example = 15.0))]
    pub duration_seconds: f64,
    /// Duration of the detected speech, the only part of the recording that Resemblyzer embeds.
    #[cfg_attr(feature = "schema", schema(example = 11.34))]
    pub speech_seconds: f64,
    /// Sample rate of the file.
    #[cfg_attr(feature = "schema", schema(example = 16_000))]
    pub sample_rate_hz: u32,
    /// Number of channels of the file.
    #[cfg_attr(feature = "schema", schema(example = 1))]
    pub channels: u16,
    /// RMS level of the decoded recording in dB relative to full scale, before any gain.
    #[cfg_attr(feature = "schema", schema(example = -24.31))]
    #[serde(serialize_with = "with_two_decimals")]
    pub level_dbfs: f64,
    /// Number of 1.6-second windows (Resemblyzer) or pieces (CAM++) that the encoder embedded.
    #[cfg_attr(feature = "schema", schema(example = 14))]
    pub windows: usize,
    /// Reasons to trust the embedding less.
    #[cfg_attr(feature = "schema", schema(schema_with = warnings_schema))]
    pub warnings: Vec<Warning>,
    /// Start and end of each stretch of speech, in seconds. The list is present if the request asks for it with `speech`.
    #[cfg_attr(feature = "schema", schema(required = false, value_type = Option<Vec<Vec<f64>>>, example = json!([[0.33, 5.97]])))]
    #[serde(serialize_with = "in_milliseconds", skip_serializing_if = "Option::is_none")]
    pub speech_segments: Option<Vec<Range<f64>>>,
}

impl AudioReport {
    /// Returns the report on a recording without samples.
    pub(crate) fn empty_report(sample_rate_hz: u32, channels: u16) -> Self {
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

    /// Returns whether the recording lacks frequencies that encoders were trained on.
    pub(crate) fn is_narrowband(&self) -> bool {
        Self::is_narrowband_rate(self.sample_rate_hz)
    }

    /// Returns whether recordings of this sample rate lack such frequencies.
    pub(crate) fn is_narrowband_rate(sample_rate_hz: u32) -> bool {
        sample_rate_hz < NARROWBAND_BELOW_HZ
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn with_two_decimals<S: Serializer>(level: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(round_to(*level, 2))
}

/// Serialises stretches as pairs of seconds, to three decimals.
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
    /// The recording contains less than 1.6 seconds of speech.
    ShortSpeech,
    /// The sample rate is below 16 kHz, which shifts similarities to other recordings.
    Narrowband,
    /// More than one sample in a thousand is at full scale.
    Clipped,
    /// The level is below -50 dBFS.
    LowLevel,
    /// The file proves that a part of it is missing.
    Truncated,
    /// Level and spectrum hardly change, so the recording most likely contains no voice.
    Noise,
    /// The embeddings of the windows form two groups, too different for a single voice.
    SeveralSpeakers,
}

impl Warning {
    /// All warnings.
    pub const ALL: [Self; 7] = [
        Self::ShortSpeech,
        Self::Narrowband,
        Self::Clipped,
        Self::LowLevel,
        Self::Truncated,
        Self::Noise,
        Self::SeveralSpeakers,
    ];

    /// Returns the warnings that follow from a report and from the findings of the decoder and the front end.
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

    /// Returns whether a recording of this level is mostly noise once its level is raised.
    pub(crate) fn is_low_level(level_dbfs: f64) -> bool {
        level_dbfs < LOW_LEVEL_DBFS
    }

    /// Returns the code that responses contain.
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

/// Returns the OpenAPI schema of a list of warnings.
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
