//! Why bytes are not a recording.

/// What the service decodes, as error messages name it.
pub const SUPPORTED_FORMATS: &str = "WAV (PCM, float, mu-law, A-law, IMA and MS ADPCM), FLAC, MP3, MP2, AAC (ADTS), Ogg (Vorbis, Opus, FLAC), WebM and Matroska, MP4, M4A and MOV (AAC, ALAC, Opus, MP3, PCM, AMR), AIFF, AU, CAF, AMR";

/// Why bytes are not a recording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AudioError {
    /// A container or codec that is not decoded here: what was recognised, as a sentence.
    #[error("{0}. Supported: {SUPPORTED_FORMATS}")]
    Unsupported(String),
    /// A known container that cannot be decoded, and why.
    #[error("The audio file is corrupt: {0}")]
    Corrupt(String),
    /// Longer than the limit.
    #[error("The audio is longer than the limit of {max_seconds} seconds")]
    TooLong {
        /// The limit that was passed.
        max_seconds: f64,
    },
    /// The work was cancelled while it was decoded: nobody waits for the recording.
    #[error("the work was cancelled")]
    Cancelled,
    /// A channel beyond the last was asked for.
    #[error("there is no channel {channel}: the recording has {channels}, counted from 0")]
    NoSuchChannel {
        /// The channel asked for.
        channel: u16,
        /// Channels of the recording.
        channels: u16,
    },
}

impl AudioError {
    /// An error about a container with something in it that is not decoded.
    pub(super) fn unsupported(container: &str, content: &str) -> Self {
        Self::Unsupported(format!("{container} with {content} is not supported"))
    }

    /// An error about a later piece of a recording.
    pub(super) fn headless(container: &str) -> Self {
        Self::Unsupported(format!(
            "The file is a piece of a {container} recording without the header that its first piece has: send the first piece, too, in front of it"
        ))
    }
}
