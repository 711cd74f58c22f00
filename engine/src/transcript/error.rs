//! Why a text is no transcript of a recording.

const KNOWN_FORMS: &str = "Known are Whisper's JSON (segments, words), whisper.cpp's (transcription), Hugging Face's (chunks), Vosk's \
    (result), Deepgram's (results.channels), AWS's (results.items), AssemblyAI's (words, audio_url), and a list of {\"start\", \"end\", \"text\"}";

/// Why a text is no transcript of a recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TranscriptError {
    /// It is in no form that is known.
    #[error("The transcript is neither JSON of a known form, nor VTT, nor SRT: {}", KNOWN_FORMS)]
    UnknownForm,
    /// It is JSON of no form that is known.
    #[error("The transcript is in no known form: its keys are {}. {}", keys.join(", "), KNOWN_FORMS)]
    UnknownKeys {
        /// Its keys, or those of its first object; not all of many.
        keys: Vec<String>,
    },
    /// It is larger than any recording's.
    #[error("The transcript is larger than {max_bytes} bytes")]
    TooLarge {
        /// Bytes that it may have.
        max_bytes: usize,
    },
    /// There is more than any recording has.
    #[error("The transcript has more than {max_parts} parts or {max_words} words (those in parts included)")]
    TooLong {
        /// Parts that it may have.
        max_parts: usize,
        /// Words that it may have, in its parts and beside them.
        max_words: usize,
    },
    /// A part is not what its format says.
    #[error("Part {place} of the transcript {reason}")]
    Part {
        /// Its place, counted from 1.
        place: usize,
        /// What is wrong.
        reason: String,
    },
    /// A part begins behind the recording's end.
    #[error(
        "Part {place} of the transcript begins at {start} s, but the recording is {duration_seconds:.3} s long: it is of another one"
    )]
    PastEnd {
        /// Its place, counted from 1.
        place: usize,
        /// When it begins.
        start: f64,
        /// Length of the recording.
        duration_seconds: f64,
    },
}
