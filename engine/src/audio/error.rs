//! Errors of decoding.

/// The supported formats, as listed in error messages.
pub const SUPPORTED_FORMATS: &str = "WAV (PCM, float, mu-law, A-law, IMA and MS ADPCM), FLAC, MP3, MP2, AAC (ADTS), Ogg (Vorbis, Opus, FLAC), WebM and Matroska, MP4, M4A and MOV (AAC, ALAC, Opus, MP3, PCM, AMR), AIFF, AU, CAF, AMR";

/// The reason that bytes are not a recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AudioError {
    /// The container or codec is not supported. The text is a sentence that names the recognised format.
    #[error("{0}. Supported: {SUPPORTED_FORMATS}")]
    Unsupported(String),
    /// The container is known but cannot be decoded. The text gives the reason.
    #[error("The audio file is corrupt: {0}")]
    Corrupt(String),
    /// The recording is longer than the limit.
    #[error("The audio is longer than the limit of {max_seconds} seconds")]
    TooLong {
        /// The exceeded limit.
        max_seconds: f64,
    },
    /// The work was cancelled during decoding because no client waits for the recording.
    #[error("the work was cancelled")]
    Cancelled,
    /// The requested channel does not exist.
    #[error("there is no channel {channel}: the recording has {channels}, counted from 0")]
    NoSuchChannel {
        /// The requested channel.
        channel: u16,
        /// Number of channels of the recording.
        channels: u16,
    },
}

impl AudioError {
    /// Returns the error for a container with unsupported content.
    pub(super) fn unsupported(container: &str, content: &str) -> Self {
        Self::Unsupported(format!("{container} with {content} is not supported"))
    }

    /// Returns the error for a later piece of a recording, which lacks the header.
    pub(super) fn headless(container: &str) -> Self {
        Self::Unsupported(format!(
            "The file is a piece of a {container} recording without the header that its first piece has: send the first piece, too, in front of it"
        ))
    }
}
