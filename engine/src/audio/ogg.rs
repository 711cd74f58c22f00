//! Ogg: reads pages and returns the packets of the first audio stream and of streams chained after it.
//!
//! symphonia 0.6 interprets positions as lengths, so a stream cut from a longer one would seem to be an hour long.
//!
//! Sources: RFC 3533 (pages), RFC 7845 (Opus), Vorbis I specification, appendix A.

use std::borrow::Cow;
use std::collections::VecDeque;

use crc::{Algorithm, Crc, Table};

use super::bytes::Bytes;
use super::codec::{Codec, opus_packet_frames, read_opus_head};
use super::demux::{AudibleFrames, DecoderPart, Demux, Item};
use super::error::AudioError;
use super::vorbis::VorbisHeaders;

const MAGIC: &[u8] = b"OggS";

/// The checksum of a page. The checksum field itself counts as zeros.
const CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&Algorithm {
    width: 32,
    poly: 0x04c1_1db7,
    init: 0,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0x89a1_897f,
    residue: 0,
});

/// Position and length of the checksum in a page.
const CHECKSUM_AT: usize = 22;
const CHECKSUM_LEN: usize = 4;

const CONTINUED: u8 = 1;
const FIRST: u8 = 2;

/// The position of a page on which no packet ends.
const NO_POSITION: u64 = u64::MAX;

/// Number of frames beyond the last position from which they are not padding, but the position is wrong.
const MAX_PADDING: u64 = 48_000;

/// Number of bytes that are searched for a page between two pauses.
const SEARCH_BYTES: usize = 1 << 20;

struct Page<'a> {
    flags: u8,
    position: u64,
    serial: u32,
    number: u32,
    lacing: &'a [u8],
    body: &'a [u8],
    /// Whether the file ends within the page.
    is_cut: bool,
    /// Whether the checksum is correct.
    is_sound: bool,
    end: usize,
}

impl<'a> Page<'a> {
    /// Reads the page whose magic bytes are at `at`. Returns `None` if its header is incomplete.
    fn read(file: &'a [u8], at: usize) -> Option<Self> {
        let bytes = Bytes(file);
        let n_segments = usize::from(bytes.u8(at + 26)?);
        let lacing = file.get(at + 27..at + 27 + n_segments)?;
        let len: usize = lacing.iter().map(|len| usize::from(*len)).sum();
        let body = bytes.slice_at_most(at + 27 + n_segments, len);
        let mut checksum = CHECKSUM.digest();
        checksum.update(file.get(at..at + CHECKSUM_AT)?);
        checksum.update(&[0; CHECKSUM_LEN]);
        checksum.update(file.get(at + CHECKSUM_AT + CHECKSUM_LEN..at + 27 + n_segments)?);
        checksum.update(body);
        Some(Self {
            is_sound: checksum.finalize() == bytes.u32_le(at + CHECKSUM_AT)?,
            flags: bytes.u8(at + 5)?,
            position: bytes.u64_le(at + 6)?,
            serial: bytes.u32_le(at + 14)?,
            number: bytes.u32_le(at + 18)?,
            lacing,
            body,
            is_cut: body.len() < len,
            end: at + 27 + n_segments + len,
        })
    }

    /// Returns the packets on the page, and whether each ends on it.
    fn packets(&self) -> impl Iterator<Item = (&'a [u8], bool)> {
        let (mut lacing, mut body) = (self.lacing, self.body);
        std::iter::from_fn(move || {
            if lacing.is_empty() {
                return None;
            }
            let n_full = lacing.iter().take_while(|len| **len == 255).count();
            let ends = n_full < lacing.len();
            let n_segments = if ends { n_full + 1 } else { n_full };
            let len: usize = lacing[..n_segments].iter().map(|len| usize::from(*len)).sum();
            lacing = &lacing[n_segments..];
            let is_whole = len <= body.len();
            let (packet, rest) = body.split_at(len.min(body.len()));
            body = rest;
            is_whole.then_some((packet, ends))
        })
    }
}

/// A logical stream whose packets are being read.
struct Logical<'a> {
    serial: u32,
    kind: Kind,
    /// Items of the last page that have not been returned yet.
    found: VecDeque<Item<'a>>,
    has_packets: bool,
    /// The beginning of a packet that continues on the next page.
    begun: Option<Vec<u8>>,
    /// Number of frames in all packets so far.
    n_frames: u64,
    /// Number of the last page with audio.
    last_number: Option<u32>,
    /// Whether pages are missing between two pages with audio.
    lacks_pages: bool,
    /// Position of the first sample, derived from the first page with audio.
    start: Option<u64>,
    last_position: Option<u64>,
    previous_block: Option<u64>,
}

enum Kind {
    Opus {
        codec: Codec,
        skip: u32,
        n_headers_left: usize,
    },
    Vorbis {
        headers: Vec<Vec<u8>>,
        parsed: Option<VorbisHeaders>,
    },
    Flac {
        info: Vec<u8>,
        n_headers_left: usize,
    },
    /// FLAC in the old mapping: a FLAC file that is split into packets.
    OldFlac {
        info: Option<Vec<u8>>,
    },
}

impl<'a> Logical<'a> {
    fn new(serial: u32, first: &[u8]) -> Result<Option<Self>, AudioError> {
        let kind = if first.starts_with(b"OpusHead") {
            let (layout, skip) = read_opus_head(first)?;
            Kind::Opus { codec: Codec::Opus(layout), skip, n_headers_left: 1 }
        } else if first.starts_with(b"\x01vorbis") {
            Kind::Vorbis { headers: vec![first.to_vec()], parsed: None }
        } else if first.starts_with(b"\x7fFLAC") {
            let n_headers_left = Bytes(first).u16_be(7).unwrap_or(0).into();
            let info = first.get(17..51);
            let info = info.ok_or_else(|| AudioError::Corrupt("its FLAC header is cut".into()))?;
            Kind::Flac { info: info.to_vec(), n_headers_left }
        } else if first.starts_with(b"fLaC") {
            Kind::OldFlac { info: None }
        } else {
            return Ok(None);
        };
        Ok(Some(Self {
            serial,
            kind,
            found: VecDeque::new(),
            has_packets: false,
            begun: None,
            n_frames: 0,
            last_number: None,
            lacks_pages: false,
            start: None,
            last_position: None,
            previous_block: None,
        }))
    }

    fn page(&mut self, page: &Page<'a>) -> Result<(), AudioError> {
        if page.flags & CONTINUED == 0 {
            self.begun = None;
        }
        let mut is_first = page.flags & CONTINUED != 0;
        for (packet, ends) in page.packets() {
            let continues = std::mem::replace(&mut is_first, false);
            let whole: Cow<'a, [u8]> = match (continues, self.begun.take()) {
                (true, Some(mut begun)) => {
                    begun.extend_from_slice(packet);
                    begun.into()
                }
                // The beginning of this packet is missing.
                (true, None) => continue,
                (false, _) => packet.into(),
            };
            if ends { self.packet(whole)? } else { self.begun = Some(whole.into_owned()) }
        }
        if self.has_packets {
            let before = self.last_number.replace(page.number);
            self.lacks_pages |= before.is_some_and(|before| page.number > before.saturating_add(1));
        }
        if page.position != NO_POSITION && self.n_frames > 0 {
            self.last_position = Some(page.position);
            self.start.get_or_insert(page.position.saturating_sub(self.n_frames));
        }
        Ok(())
    }

    fn packet(&mut self, packet: Cow<'a, [u8]>) -> Result<(), AudioError> {
        match &mut self.kind {
            Kind::Opus { n_headers_left, .. } | Kind::Flac { n_headers_left, .. } if *n_headers_left > 0 => {
                *n_headers_left -= 1;
            }
            Kind::Opus { .. } => {
                self.n_frames += opus_packet_frames(&packet);
                self.push(packet)?;
            }
            Kind::Flac { .. } | Kind::OldFlac { .. } if packet.first() == Some(&0xff) => self.push(packet)?,
            // The packet is metadata, in a stream that does not state the number of its headers.
            Kind::Flac { .. } => {}
            Kind::OldFlac { info } => {
                if packet.len() == 38 && matches!(packet[0], 0 | 0x80) {
                    *info = Some(packet[4..].to_vec());
                }
            }
            Kind::Vorbis { headers, parsed } => {
                if headers.len() < 3 {
                    headers.push(packet.into_owned());
                    if let [identification, _, setup] = &headers[..] {
                        *parsed = VorbisHeaders::read(identification, setup);
                    }
                    return Ok(());
                }
                if let Some(block) = parsed.as_ref().and_then(|headers| headers.block_size(&packet)) {
                    self.n_frames += self.previous_block.map_or(0, |previous| (previous + block) / 4);
                    self.previous_block = Some(block);
                }
                self.push(packet)?;
            }
        }
        Ok(())
    }

    /// Adds a packet of audio, and before the first packet the part that decodes it.
    fn push(&mut self, packet: Cow<'a, [u8]>) -> Result<(), AudioError> {
        if !std::mem::replace(&mut self.has_packets, true) {
            let part = self.part()?;
            self.found.push_back(Item::Part(part));
        }
        self.found.push_back(Item::Packet(packet));
        Ok(())
    }

    /// Returns the part that decodes the stream, according to its headers.
    fn part(&self) -> Result<DecoderPart, AudioError> {
        let corrupt = || AudioError::Corrupt("its headers cannot be read".into());
        let (codec, skip) = match &self.kind {
            Kind::Opus { codec, skip, .. } => (codec.clone(), *skip),
            Kind::Vorbis { parsed, .. } => {
                let headers = parsed.clone().ok_or_else(corrupt)?;
                super::recording::check_channels(headers.channels().into())?;
                (Codec::Vorbis(headers), 0)
            }
            Kind::Flac { info, .. } => (Codec::Flac(info.clone()), 0),
            Kind::OldFlac { info } => (Codec::Flac(info.clone().ok_or_else(corrupt)?), 0),
        };
        Ok(DecoderPart {
            codec,
            heard: AudibleFrames::Trimmed { skip: skip.into(), max_padding: MAX_PADDING },
        })
    }

    /// Returns the number of frames beyond the last position.
    fn padding(&self) -> u64 {
        let heard = self.last_position.zip(self.start).map(|(last, start)| last.saturating_sub(start));
        let padding = heard.map_or(0, |heard| self.n_frames.saturating_sub(heard));
        if padding < MAX_PADDING { padding } else { 0 }
    }

    /// Returns the remaining items of the stream and its end.
    fn finish(mut self) -> Result<VecDeque<Item<'a>>, AudioError> {
        if !self.has_packets {
            let part = self.part()?;
            self.found.push_back(Item::Part(part));
        }
        let padding = self.padding();
        self.found.push_back(Item::End { padding });
        Ok(self.found)
    }
}

/// Reads the pages of a file.
pub(super) struct Pages<'a> {
    file: &'a [u8],
    at: usize,
    current: Option<Logical<'a>>,
    /// The remaining items of a stream that has ended.
    ended: VecDeque<Item<'a>>,
    has_streams: bool,
    /// Whether the writer computes checksums, as determined from the first page.
    has_checksums: Option<bool>,
    /// The format of an unsupported stream.
    other: Option<&'static str>,
    truncated: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self {
            file,
            at: 0,
            current: None,
            ended: VecDeque::new(),
            has_streams: false,
            has_checksums: None,
            other: None,
            truncated: false,
        }
    }

    fn page(&mut self, page: &Page<'a>) -> Result<(), AudioError> {
        self.truncated |= page.is_cut;
        let has_checksums = *self.has_checksums.get_or_insert(page.is_sound);
        let has_packets = self.current.as_ref().is_some_and(|logical| logical.has_packets);
        if has_checksums && has_packets && !page.is_sound && !page.is_cut {
            self.truncated = true;
            return Ok(());
        }
        let first_packet = page.packets().next().map_or(&b""[..], |(packet, _)| packet);
        match &mut self.current {
            Some(logical) if logical.serial == page.serial && page.flags & FIRST == 0 => {
                logical.page(page)?;
            }
            // Pages of a stream that is interleaved with the current one are ignored. A stream chained after it is
            // handled below.
            Some(logical) if page.flags & FIRST == 0 || !logical.has_packets => {}
            current => match Logical::new(page.serial, first_packet)? {
                Some(next) => {
                    self.has_streams = true;
                    if let Some(before) = current.replace(next) {
                        self.truncated |= before.lacks_pages;
                        self.ended = before.finish()?;
                    }
                }
                None if page.flags & FIRST != 0 => self.other = self.other.or_else(|| name_of(first_packet)),
                None => {}
            },
        }
        Ok(())
    }
}

impl<'a> Demux<'a> for Pages<'a> {
    fn container(&self) -> &'static str {
        "Ogg"
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        loop {
            let found = self.current.as_mut().and_then(|logical| logical.found.pop_front());
            if let Some(item) = self.ended.pop_front().or(found) {
                return Ok(Some(item));
            }
            let rest = self.file.get(self.at..).unwrap_or_default();
            let searched = &rest[..rest.len().min(SEARCH_BYTES)];
            let Some(found) = searched.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) else {
                if searched.len() < rest.len() {
                    self.at += SEARCH_BYTES - MAGIC.len();
                    return Ok(Some(Item::Searching));
                }
                break;
            };
            let Some(page) = Page::read(self.file, self.at + found) else { break };
            self.at = page.end;
            self.page(&page)?;
        }
        self.at = self.file.len();
        if let Some(logical) = self.current.take() {
            self.truncated |= logical.begun.is_some() || logical.lacks_pages;
            self.ended = logical.finish()?;
            return Ok(self.ended.pop_front());
        }
        if self.has_streams {
            return Ok(None);
        }
        Err(match self.other {
            Some(name) => AudioError::unsupported("Ogg", name),
            None => AudioError::Corrupt("no stream of audio begins in it".into()),
        })
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Returns the format of an unsupported stream.
fn name_of(first_packet: &[u8]) -> Option<&'static str> {
    let names: [(&[u8], &str); 6] = [
        (b"Speex   ", "Speex"),
        (b"\x80theora", "Theora video alone"),
        (b"fishead\0", "a skeleton alone"),
        (b"BBCD\0", "Dirac video alone"),
        (b"\x7fCELT", "CELT"),
        (b"PCM     ", "PCM"),
    ];
    names.into_iter().find(|(magic, _)| first_packet.starts_with(magic)).map(|(_, name)| name)
}
