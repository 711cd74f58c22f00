//! Errors of transcripts.

const KNOWN_FORMS: &str = "Known are Whisper's JSON (segments, words), whisper.cpp's (transcription), Hugging Face's (chunks), Vosk's \
    (result), Deepgram's (results.channels), AWS's (results.items), AssemblyAI's (words, audio_url), and a list of {\"start\", \"end\", \"text\"}";

/// The reason why a text is not a transcript of a recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TranscriptError {
    /// The text is in no known form.
    #[error("The transcript is neither JSON in a known format nor VTT nor SRT: {}", KNOWN_FORMS)]
    UnknownForm,
    /// The text is JSON of no known form.
    #[error("The transcript has an unknown format: its keys are {}. {}", keys.join(", "), KNOWN_FORMS)]
    UnknownKeys {
        /// The keys of the text or of its first object. If there are many, only the first ones are listed.
        keys: Vec<String>,
    },
    /// The text is too large for a transcript of any recording.
    #[error("The transcript is larger than {max_bytes} bytes")]
    TooLarge {
        /// The maximum number of bytes.
        max_bytes: usize,
    },
    /// The transcript has too many parts or words for any recording.
    #[error("The transcript has more than {max_parts} parts or {max_words} words (those in parts included)")]
    TooLong {
        /// The maximum number of parts.
        max_parts: usize,
        /// The maximum number of words, in parts and outside of parts.
        max_words: usize,
    },
    /// A part does not match its format.
    #[error("Part {place} of the transcript {reason}")]
    Part {
        /// The number of the part, counted from 1.
        place: usize,
        /// The reason why it does not match.
        reason: String,
    },
    /// A part begins after the end of the recording.
    #[error(
        "Part {place} of the transcript begins at {start} s, but the recording is {duration_seconds:.3} s long: it is of another one"
    )]
    PastEnd {
        /// The number of the part, counted from 1.
        place: usize,
        /// The start of the part in seconds.
        start: f64,
        /// The length of the recording in seconds.
        duration_seconds: f64,
    },
}
