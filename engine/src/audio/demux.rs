//! The interface of container readers. They return a file piece by piece, so that memory does not grow with the length
//! that the file announces.

use std::borrow::Cow;
use std::ops::Range;

use super::codec::Codec;
use super::error::AudioError;

/// Largest number of frames of a stream that may be its decoder's delay or padding in its last packet. The largest delay
/// that a codec's header can state is Opus' pre-skip of 16 bits (RFC 7845, section 5.1).
pub(super) const MAX_TRIMMED_FRAMES: u64 = 65_535;

/// Reads a container, packet by packet.
pub(super) trait Demux<'a> {
    /// Returns the container's name, for errors.
    fn container(&self) -> &'static str;

    /// Returns the next piece, or `None` at the end.
    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError>;

    /// Returns whether the part of the container that has been read proves that something is missing.
    fn is_truncated(&self) -> bool;
}

/// A piece of a container.
pub(super) enum Item<'a> {
    /// A new decoder begins here.
    Part(DecoderPart),
    /// A packet of the current part.
    Packet(Cow<'a, [u8]>),
    /// The current part has ended.
    End {
        /// Number of frames of padding at the end of the last packet, at most the part's `max_padding`.
        padding: u64,
    },
    /// The last stretch of bytes contained no packet. This item lets a search through a long file pause.
    Searching,
}

/// Packets for one decoder.
#[derive(Debug)]
pub(super) struct DecoderPart {
    pub(super) codec: Codec,
    pub(super) heard: AudibleFrames,
}

/// The decoded frames of a part that are heard.
#[derive(Debug)]
pub(super) enum AudibleFrames {
    /// All frames except some at the beginning and at the end.
    Trimmed {
        /// Number of frames at the beginning that are the decoder's delay.
        skip: u64,
        /// Largest possible number of frames of padding at the end. The item `End` states the actual number.
        max_padding: u64,
    },
    /// Only these stretches, in ticks of the media's clock.
    Edited {
        /// The stretches, in order and without overlap.
        stretches: Vec<Range<u64>>,
        ticks_per_second: u32,
    },
}

impl AudibleFrames {
    pub(super) const ALL: Self = Self::Trimmed { skip: 0, max_padding: 0 };
}

/// A stretch of bytes that is cut into packets of equal length.
pub(super) struct EqualPackets<'a> {
    container: &'static str,
    part: Option<DecoderPart>,
    data: &'a [u8],
    packet_len: usize,
    /// Whether the last packet may be shorter.
    takes_rest: bool,
    padding: u64,
    truncated: bool,
    has_ended: bool,
}

impl<'a> EqualPackets<'a> {
    /// Cuts data into whole packets. A shorter remainder is ignored.
    pub(super) fn whole(
        container: &'static str,
        part: DecoderPart,
        data: &'a [u8],
        packet_len: usize,
    ) -> Self {
        Self {
            container,
            part: Some(part),
            data,
            packet_len: packet_len.max(1),
            takes_rest: false,
            padding: 0,
            truncated: false,
            has_ended: false,
        }
    }

    /// Cuts uncompressed samples into packets. The last packet may be shorter.
    pub(super) fn samples(container: &'static str, codec: Codec, data: &'a [u8], block_len: usize) -> Self {
        let part = DecoderPart { codec, heard: AudibleFrames::ALL };
        Self { takes_rest: true, ..Self::whole(container, part, data, block_len) }
    }

    pub(super) fn with_padding(self, padding: u64) -> Self {
        Self { padding, ..self }
    }

    pub(super) fn truncated(self, truncated: bool) -> Self {
        Self { truncated, ..self }
    }
}

impl<'a> Demux<'a> for EqualPackets<'a> {
    fn container(&self) -> &'static str {
        self.container
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        if let Some(part) = self.part.take() {
            return Ok(Some(Item::Part(part)));
        }
        let len = if self.takes_rest { self.packet_len.min(self.data.len()) } else { self.packet_len };
        if let Some((packet, rest)) = self.data.split_at_checked(len).filter(|_| len > 0) {
            self.data = rest;
            return Ok(Some(Item::Packet(packet.into())));
        }
        let is_last = std::mem::replace(&mut self.has_ended, true);
        Ok((!is_last).then_some(Item::End { padding: self.padding }))
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}
