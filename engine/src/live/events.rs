//! The events of a session.

use serde::Serialize;

use crate::speakers::Identifier;

/// An event of a session. Times are in seconds of its audio.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveEvent {
    /// Speech starts or stops.
    Speech {
        /// The time at which speech starts or stops.
        at: f64,
        /// True if speech starts, false if it stops.
        active: bool,
    },
    /// A turn starts, continues or ends.
    Turn {
        /// The turn's number.
        id: u64,
        /// The label of the speaker.
        label: String,
        /// The start of the turn.
        start: f64,
        /// The end of the turn so far. A retracted turn ends where it starts.
        end: f64,
        /// Whether the turn is final.
        settled: bool,
    },
    /// An enrolled speaker is recognised, or is no longer recognised.
    Speaker {
        /// The label of the voice.
        label: String,
        /// The speaker's id. Null if the voice no longer matches an enrolled speaker.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        speaker: Option<Identifier>,
        /// The speaker's name.
        name: Option<String>,
        /// The cosine similarity to the profile.
        similarity: Option<f64>,
        /// How often a search for a person who is not enrolled scores at least this high, for the same seconds of speech.
        /// Null if it is not known.
        false_identification_rate: Option<f64>,
        /// The seconds of speech that the decision is based on.
        seconds: f64,
    },
    /// Two labels turn out to be the same person.
    Merged {
        /// The label that is no longer used.
        from: String,
        /// The label that remains.
        into: String,
    },
    /// A transcript with speakers.
    Transcript {
        /// The parts, split where the speaker changes.
        segments: Vec<LiveSaid>,
    },
    /// A problem that affects the recognition of speakers.
    Warning {
        /// The code of the problem.
        code: LiveWarning,
        /// A description of the problem.
        message: &'static str,
    },
    /// Everything received so far is settled.
    Flushed {
        /// The seconds of audio received so far.
        at: f64,
    },
}

/// A part of a transcript and its speaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LiveSaid {
    /// The start of the part.
    pub start: f64,
    /// The end of the part.
    pub end: f64,
    /// The text of the part.
    pub text: String,
    /// The label of the speaker. Null if no speaker has been heard.
    pub label: Option<String>,
    /// The id of the enrolled speaker, if it is known.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub speaker: Option<Identifier>,
    /// The name of the enrolled speaker.
    pub name: Option<String>,
}

/// A problem that affects the recognition of speakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LiveWarning {
    /// Most of the audio that sounds like speech is noise or music.
    Noise,
    /// More than one sample in a thousand is at full scale.
    Clipped,
    /// The level is below -50 dBFS.
    LowLevel,
    /// The audio ends in the middle of a sample.
    Truncated,
    /// Audio arrives faster than it can be processed.
    Behind,
    /// Enrolled speakers cannot be looked up at the moment.
    NamesUnavailable,
}

impl LiveWarning {
    /// Returns the event that reports the problem.
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
