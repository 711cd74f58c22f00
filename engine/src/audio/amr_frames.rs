//! Reads consecutive AMR frames from AMR files and from 3GP.
//!
//! Sources: RFC 4867, section 5 (files); 3GPP TS 26.244, annex D (3GP has the same frames).

use std::borrow::Cow;

use super::amr::AmrKind;
use super::codec::Codec;
use super::demux::{AudibleFrames, DecoderPart, Demux, Item};
use super::error::AudioError;

/// Number of bytes that are searched for a frame between two pauses.
const SEARCH_BYTES: usize = 1 << 18;

/// Reads the frames of a file or of a track's samples.
pub(super) struct AmrFrames<'a> {
    container: &'static str,
    data: Cow<'a, [u8]>,
    at: usize,
    part: Option<DecoderPart>,
    kind: AmrKind,
    truncated: bool,
}

impl<'a> AmrFrames<'a> {
    pub(super) fn new(container: &'static str, kind: AmrKind, data: Cow<'a, [u8]>) -> Self {
        let part = DecoderPart { codec: Codec::Amr(kind), heard: AudibleFrames::ALL };
        Self { container, data, at: 0, part: Some(part), kind, truncated: false }
    }

    /// Applies an edit list, which determines the frames that are heard, and sets whether the container is truncated.
    pub(super) fn edited(mut self, heard: AudibleFrames, truncated: bool) -> Self {
        self.part = Some(DecoderPart { codec: Codec::Amr(self.kind), heard });
        Self { truncated, ..self }
    }
}

impl<'a> Demux<'a> for AmrFrames<'a> {
    fn container(&self) -> &'static str {
        self.container
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        if let Some(part) = self.part.take() {
            return Ok(Some(Item::Part(part)));
        }
        let searched = self.data.len().min(self.at.saturating_add(SEARCH_BYTES));
        while let Some(header) = self.data[self.at..searched].first() {
            let Some(frame_type) = self.kind.frame_type(*header) else {
                // The bytes are damaged: skip one.
                self.truncated = true;
                self.at += 1;
                continue;
            };
            let end = self.at + 1 + frame_type.octet_aligned_bytes();
            let Some(frame) = self.data.get(self.at..end) else {
                self.truncated = true;
                return Ok(None);
            };
            self.at = end;
            return Ok(Some(Item::Packet(frame.to_vec().into())));
        }
        Ok((searched < self.data.len()).then_some(Item::Searching))
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}
