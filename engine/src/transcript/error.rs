//! Why a text is no transcript of a recording.

/// Why a text is no transcript of a recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TranscriptError {
    /// It is in no format that is known.
    #[error(
        "The transcript is neither Whisper's JSON, nor a list of {{\"start\", \"end\", \"text\"}}, nor VTT, nor SRT"
    )]
    UnknownFormat,
    /// There is nothing in it.
    #[error("The transcript has no parts")]
    Empty,
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
