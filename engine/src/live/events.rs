//! What a session tells.

use serde::Serialize;

use crate::speakers::Identifier;

/// What a session tells. Times are seconds of its audio.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveEvent {
    /// Speech starts or stops.
    Speech {
        /// When.
        at: f64,
        /// Whether somebody speaks from then on.
        active: bool,
    },
    /// A turn starts, goes on or ends.
    Turn {
        /// The turn's number.
        id: u64,
        /// Whose it is.
        label: String,
        /// When it begins.
        start: f64,
        /// When it ends, as far as it is known. A turn that turns out to be none ends where it starts.
        end: f64,
        /// Whether it is final.
        settled: bool,
    },
    /// An enrolled speaker is recognised, or not any more.
    Speaker {
        /// Whose voice it is.
        label: String,
        /// The speaker's id; null if nobody can be named any more.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        speaker: Option<Identifier>,
        /// The speaker's name.
        name: Option<String>,
        /// Cosine similarity to the profile.
        similarity: Option<f64>,
        /// The share of searches with as much speech in which a stranger scores as much; null where that cannot be told.
        false_identification_rate: Option<f64>,
        /// Seconds of speech that the decision is made on.
        seconds: f64,
    },
    /// Two labels turn out to be one person.
    Merged {
        /// The label that is not used any more.
        from: String,
        /// The one that stays.
        into: String,
    },
    /// What was said, with speakers.
    Transcript {
        /// The parts, split where the speaker changes.
        segments: Vec<LiveSaid>,
    },
    /// The audio is hard to tell speakers by.
    Warning {
        /// Why.
        code: LiveWarning,
        /// The same in words.
        message: &'static str,
    },
    /// Everything up to here is settled.
    Flushed {
        /// Seconds received so far.
        at: f64,
    },
}

/// A part of a transcript with its speaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LiveSaid {
    /// When it begins.
    pub start: f64,
    /// When it ends.
    pub end: f64,
    /// What was said.
    pub text: String,
    /// Who said it; null if nobody has spoken.
    pub label: Option<String>,
    /// The enrolled speaker's id, if that is known.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub speaker: Option<Identifier>,
    /// The enrolled speaker's name.
    pub name: Option<String>,
}

/// Why the audio is hard to tell speakers by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LiveWarning {
    /// Mostly noise or music.
    Noise,
    /// More than one sample in a thousand is at full scale.
    Clipped,
    /// Below -50 dBFS.
    LowLevel,
    /// The last sample is not whole.
    Truncated,
    /// Audio arrives faster than it can be processed.
    Behind,
    /// Enrolled speakers cannot be looked up at the moment.
    NamesUnavailable,
}

impl LiveWarning {
    /// The event.
    pub fn event(self) -> LiveEvent {
        let message = match self {
            Self::Noise => "Most of what sounds like speech is noise or music.",
            Self::Clipped => {
                "More than one sample in a thousand is at full scale. Lower the microphone's gain."
            }
            Self::LowLevel => "The level is below -50 dBFS. Raise the microphone's gain.",
            Self::Truncated => "The audio ended within a sample, which was left out.",
            Self::Behind => "Audio arrives faster than it can be processed, so events come late.",
            Self::NamesUnavailable => "Enrolled speakers cannot be looked up at the moment. Turns go on.",
        };
        LiveEvent::Warning { code: self, message }
    }
}
