//! Ogg: pages -> packets of the first audio stream, and of streams chained behind it.
//!
//! symphonia 0.6 takes positions for lengths, so a stream cut from a longer one would seem to be an hour long.
//!
//! Sources: RFC 3533 (pages), RFC 7845 (Opus), Vorbis I specification, appendix A.

use std::borrow::Cow;

use super::bytes::Bytes;
use super::codec::{Codec, opus_packet_frames, read_opus_head};
use super::error::AudioError;
use super::stream::{Heard, Part, Stream};
use super::vorbis::VorbisHeaders;

const MAGIC: &[u8] = b"OggS";
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;

/// A position that says nothing: no packet ends on the page.
const NO_POSITION: u64 = u64::MAX;

struct Page<'a> {
    flags: u8,
    position: u64,
    serial: u32,
    lacing: &'a [u8],
    body: &'a [u8],
    /// The file ends within it.
    is_cut: bool,
    end: usize,
}

impl<'a> Page<'a> {
    /// The first page from a place on.
    fn next(file: &'a [u8], from: usize) -> Option<Self> {
        let rest = file.get(from..)?;
        let at = from + rest.windows(MAGIC.len()).position(|bytes| bytes == MAGIC)?;
        let bytes = Bytes(file);
        let n_segments = usize::from(bytes.u8(at + 26)?);
        let lacing = file.get(at + 27..at + 27 + n_segments)?;
        let len: usize = lacing.iter().map(|len| usize::from(*len)).sum();
        let body = bytes.up_to(at + 27 + n_segments, len);
        Some(Self {
            flags: bytes.u8(at + 5)?,
            position: bytes.u64_le(at + 6)?,
            serial: bytes.u32_le(at + 14)?,
            lacing,
            body,
            is_cut: body.len() < len,
            end: at + 27 + n_segments + len,
        })
    }

    /// The packets that lie on the page, and whether each ends on it.
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

/// One logical stream, as its packets come.
struct Logical<'a> {
    serial: u32,
    kind: Kind,
    packets: Vec<Cow<'a, [u8]>>,
    /// A packet that goes on on the next page.
    begun: Option<Vec<u8>>,
    /// Frames of all packets so far.
    n_frames: u64,
    /// Position of the first sample, known from the first page with audio that is not the last.
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
    /// FLAC as a file in packets.
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
            packets: Vec::new(),
            begun: None,
            n_frames: 0,
            start: None,
            last_position: None,
            previous_block: None,
        }))
    }

    fn page(&mut self, page: &Page<'a>) {
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
                // The end of a packet whose beginning is not there.
                (true, None) => continue,
                (false, _) => packet.into(),
            };
            if ends { self.packet(whole) } else { self.begun = Some(whole.into_owned()) }
        }
        if page.position != NO_POSITION && self.n_frames > 0 {
            self.last_position = Some(page.position);
            self.start.get_or_insert(page.position.saturating_sub(self.n_frames));
        }
    }

    fn packet(&mut self, packet: Cow<'a, [u8]>) {
        match &mut self.kind {
            Kind::Opus { n_headers_left, .. } | Kind::Flac { n_headers_left, .. } if *n_headers_left > 0 => {
                *n_headers_left -= 1;
            }
            Kind::Opus { .. } => {
                self.n_frames += opus_packet_frames(&packet);
                self.packets.push(packet);
            }
            Kind::Flac { .. } | Kind::OldFlac { .. } if packet.first() == Some(&0xff) => {
                self.packets.push(packet);
            }
            // Metadata, where the count of headers was not given.
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
                    return;
                }
                if let Some(block) = parsed.as_ref().and_then(|headers| headers.block_size(&packet)) {
                    self.n_frames += self.previous_block.map_or(0, |previous| (previous + block) / 4);
                    self.previous_block = Some(block);
                }
                self.packets.push(packet);
            }
        }
    }

    /// The stream, with what its last position leaves out.
    fn finish(self) -> Result<Part<'a>, AudioError> {
        let corrupt = || AudioError::Corrupt("its headers cannot be read".into());
        let (codec, skip) = match self.kind {
            Kind::Opus { codec, skip, .. } => (codec, skip),
            Kind::Vorbis { parsed, .. } => {
                let headers = parsed.ok_or_else(corrupt)?;
                super::recording::check_channels(headers.channels().into())?;
                (Codec::Vorbis(headers.for_decoder), 0)
            }
            Kind::Flac { info, .. } => (Codec::Flac(info), 0),
            Kind::OldFlac { info } => (Codec::Flac(info.ok_or_else(corrupt)?), 0),
        };
        let heard_frames = self.last_position.zip(self.start).map(|(last, start)| last.saturating_sub(start));
        let padding = heard_frames.map_or(0, |heard| self.n_frames.saturating_sub(heard));
        // More than some packets is no padding, but a position that is wrong.
        let padding = if padding < 48_000 { padding } else { 0 };
        Ok(Part { codec, packets: self.packets, heard: Heard::Trimmed { skip: skip.into(), padding } })
    }
}

/// Reads the pages of the file.
pub(super) fn demux(file: &[u8]) -> Result<Stream<'_>, AudioError> {
    let (mut parts, mut truncated, mut at) = (Vec::new(), false, 0);
    let mut current: Option<Logical> = None;
    let mut others = Vec::new();
    while let Some(page) = Page::next(file, at) {
        at = page.end;
        truncated |= page.is_cut;
        let first_packet = page.packets().next().map_or(&b""[..], |(packet, _)| packet);
        match &mut current {
            Some(logical) if logical.serial == page.serial && page.flags & FIRST == 0 => logical.page(&page),
            // Another stream beside the one that is read, or chained behind it.
            Some(logical) if page.flags & FIRST == 0 || logical.packets.is_empty() => {}
            current => match Logical::new(page.serial, first_packet)? {
                Some(next) => parts.extend(current.replace(next).map(Logical::finish)),
                None if page.flags & FIRST != 0 => others.push(first_packet),
                None => {}
            },
        }
    }
    let is_within_packet = current.as_ref().is_some_and(|logical| logical.begun.is_some());
    parts.extend(current.map(Logical::finish));
    if parts.is_empty() {
        return Err(match others.iter().find_map(|packet| name_of(packet)) {
            Some(name) => AudioError::unsupported("Ogg", name),
            None => AudioError::Corrupt("no stream of audio begins in it".into()),
        });
    }
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Stream { container: "Ogg", parts, truncated: truncated || is_within_packet })
}

/// The name of what a stream holds that is not decoded here.
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
