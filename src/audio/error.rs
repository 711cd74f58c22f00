//! Why bytes are not a recording.

/// What the service decodes, as error messages name it.
pub const SUPPORTED_FORMATS: &str = "WAV (PCM, float, mu-law, A-law, IMA ADPCM), FLAC, MP3, Ogg (Vorbis, Opus), WebM (Opus, Vorbis), M4A (AAC), AIFF and CAF";

/// Why bytes are not a recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AudioError {
    /// No container or codec that is decoded here.
    #[error("The audio format is not supported; supported: {SUPPORTED_FORMATS}")]
    Unsupported,
    /// A known container that cannot be decoded, and why.
    #[error("The audio file is corrupt: {0}")]
    Corrupt(String),
    /// Longer than the limit.
    #[error("The audio is longer than the limit of {max_seconds} seconds")]
    TooLong {
        /// The limit that was passed.
        max_seconds: f64,
    },
}
