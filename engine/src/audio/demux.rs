//! What the readers of containers find, piece by piece: nothing grows with what a file claims to hold.

use std::borrow::Cow;
use std::ops::Range;

use super::codec::Codec;
use super::error::AudioError;

/// Most frames of a stream that may be its decoder's delay, or fill its last packet. The largest delay that a codec's
/// header can state is Opus' pre-skip of 16 bits (RFC 7845, section 5.1).
pub(super) const MAX_TRIMMED_FRAMES: u64 = 65_535;

/// Reads a container, one packet after the other.
pub(super) trait Demux<'a> {
    /// The container's name, for errors.
    fn container(&self) -> &'static str;

    /// The next piece; none at the end.
    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError>;

    /// Whether the container proves, in what has been read, that something is missing.
    fn is_truncated(&self) -> bool;
}

/// A piece of a container.
pub(super) enum Item<'a> {
    /// A new decoder begins here.
    Part(Part),
    /// A packet of the last part.
    Packet(Cow<'a, [u8]>),
    /// The last part has ended.
    End {
        /// Frames at its end that fill the last packet, at most the part's `max_padding`.
        padding: u64,
    },
    /// No packet within a stretch of bytes, so that a search through a long file can pause.
    Searching,
}

/// Packets for one decoder.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) codec: Codec,
    pub(super) heard: Heard,
}

/// Which of the frames that a part decodes to are heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// All but some at the beginning and at the end.
    Trimmed {
        /// Frames at the beginning that are the decoder's delay.
        skip: u64,
        /// Most frames at the end that may turn out to fill the last packet.
        max_padding: u64,
    },
    /// These stretches, in ticks of the media's clock.
    Edited {
        /// In order, apart from each other.
        stretches: Vec<Range<u64>>,
        ticks_per_second: u32,
    },
}

impl Heard {
    pub(super) const ALL: Self = Self::Trimmed { skip: 0, max_padding: 0 };
}

/// Bytes in one stretch that are cut into packets of one length.
pub(super) struct EqualPackets<'a> {
    container: &'static str,
    part: Option<Part>,
    data: &'a [u8],
    packet_len: usize,
    /// Whether the last packet may be shorter.
    takes_rest: bool,
    padding: u64,
    truncated: bool,
    has_ended: bool,
}

impl<'a> EqualPackets<'a> {
    /// Whole packets; a rest that is shorter is left out.
    pub(super) fn whole(container: &'static str, part: Part, data: &'a [u8], packet_len: usize) -> Self {
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

    /// Samples that are not compressed: all of them.
    pub(super) fn samples(container: &'static str, codec: Codec, data: &'a [u8], block_len: usize) -> Self {
        let part = Part { codec, heard: Heard::ALL };
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
