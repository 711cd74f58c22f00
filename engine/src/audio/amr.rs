//! The two kinds of AMR (AMR and AMR-WB), and the decoder of their frames of 20 ms.
//!
//! Sources: RFC 4867, section 5 (files); 3GPP TS 26.244, annex D (3GP has the same frames).

use codec_core::codecs::amr::{AmrCodec, AmrFrameType, AmrVariant};
use codec_core::types::{CodecConfig, CodecType, CodedFrame, FrameKind, VariableRateCodec};

/// Frames per second.
pub(super) const FRAME_RATE_HZ: f64 = 50.0;

/// The magic bytes of each kind of file.
const MAGICS: [(&[u8], AmrKind); 2] = [(b"#!AMR\n", AmrKind::Narrow), (b"#!AMR-WB\n", AmrKind::Wide)];

/// Bits of a frame's header that are always zero.
const PADDING_BITS: u8 = 0b1000_0011;

/// Bit that is set in the header of an intact frame.
const IS_GOOD: u8 = 0b100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AmrKind {
    /// AMR at 8 kHz.
    Narrow,
    /// AMR-WB at 16 kHz.
    Wide,
}

impl AmrKind {
    /// Returns the kind of a file and the position at which its frames begin.
    pub(super) fn from_file(file: &[u8]) -> Option<(Self, usize)> {
        MAGICS.iter().find(|(magic, _)| file.starts_with(magic)).map(|(magic, kind)| (*kind, magic.len()))
    }

    pub(super) fn sample_rate_hz(self) -> u32 {
        match self {
            Self::Narrow => 8_000,
            Self::Wide => 16_000,
        }
    }

    fn variant(self) -> AmrVariant {
        match self {
            Self::Narrow => AmrVariant::NarrowBand,
            Self::Wide => AmrVariant::WideBand,
        }
    }

    /// Returns the type of the frame with this header, or `None` for a header that no encoder writes.
    pub(super) fn frame_type(self, header: u8) -> Option<AmrFrameType> {
        let is_written = header & PADDING_BITS == 0;
        AmrFrameType::from_index(self.variant(), header >> 3 & 15).ok().filter(|_| is_written)
    }
}

/// Decodes frames that include their headers.
pub(super) struct AmrDecoder {
    kind: AmrKind,
    codec: Box<AmrCodec>,
    /// The mode of the last frame with speech.
    mode: u8,
}

impl AmrDecoder {
    pub(super) fn new(kind: AmrKind) -> Option<Self> {
        let codec_type = match kind {
            AmrKind::Narrow => CodecType::AmrNb,
            AmrKind::Wide => CodecType::AmrWb,
        };
        let codec = Box::new(AmrCodec::new(&CodecConfig::new(codec_type)).ok()?);
        Some(Self { kind, codec, mode: 0 })
    }

    pub(super) fn sample_rate_hz(&self) -> u32 {
        self.kind.sample_rate_hz()
    }

    /// Returns the samples of a frame, or `None` if it is not a valid frame.
    pub(super) fn decode(&mut self, frame: &[u8]) -> Option<Vec<i16>> {
        let (header, data) = frame.split_first()?;
        let kind = match self.kind.frame_type(*header)? {
            AmrFrameType::Speech(mode) => {
                self.mode = mode.index();
                FrameKind::Speech
            }
            AmrFrameType::Sid(_) => FrameKind::ComfortNoise,
            AmrFrameType::SpeechLost => FrameKind::Lost,
            AmrFrameType::NoData => FrameKind::NoData,
        };
        let quality_ok = header & IS_GOOD != 0;
        self.codec.decode_frame(&CodedFrame { kind, mode: self.mode, quality_ok, data: data.to_vec() }).ok()
    }
}
