//! MP4, M4A and QuickTime: the samples of the first audio track.
//!
//! symphonia 0.6 reads edit lists without applying their ends, takes `dOps` for an Opus header, swaps no bytes of big-endian
//! samples in QuickTime, and refuses files with large video headers or two sample entries.
//!
//! Sources: ISO/IEC 14496-12 (boxes, tables, fragments, edit lists), 14496-14 (`esds`), the QuickTime File Format Specification
//! (sample descriptions), "Encapsulation of Opus in ISO Base Media File Format" 0.8.1.

#![allow(clippy::single_range_in_vec_init, reason = "most edit lists have one stretch")]

use std::borrow::Cow;
use std::ops::Range;

use super::bytes::Bytes;
use super::codec::{Adpcm, AdpcmKind, Codec, OpusLayout};
use super::error::AudioError;
use super::pcm::{Endian, SampleFormat};
use super::stream::{Heard, Part, Stream};

/// What a track holds.
pub(super) enum Content<'a> {
    Packets(Stream<'a>),
    /// Samples that are not compressed.
    Samples {
        format: SampleFormat,
        sample_rate_hz: u32,
        channels: u16,
        data: Vec<u8>,
        truncated: bool,
    },
    /// MPEG audio, to be searched for frames.
    Mpeg {
        data: Vec<u8>,
        truncated: bool,
    },
}

/// A box: its name and content.
#[derive(Clone, Copy)]
struct Atom<'a> {
    name: [u8; 4],
    content: &'a [u8],
    /// Where it begins in what holds it.
    at: usize,
    is_cut: bool,
}

impl<'a> Atom<'a> {
    fn child(&self, name: [u8; 4]) -> Option<Atom<'a>> {
        atoms(self.content).find(|atom| atom.name == name)
    }

    fn path(&self, names: &[[u8; 4]]) -> Option<Atom<'a>> {
        names.iter().try_fold(*self, |atom, name| atom.child(*name))
    }

    fn bytes(&self) -> Bytes<'a> {
        Bytes(self.content)
    }
}

/// The boxes in a box, or in the file; the last one may be cut.
fn atoms(content: &[u8]) -> impl Iterator<Item = Atom<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = Bytes(content);
        let name = bytes.array(at + 4)?;
        let (header_len, len) = match bytes.u32_be(at)? {
            0 => (8, (content.len() - at) as u64),
            1 => (16, bytes.u64_be(at + 8)?),
            len => (8, u64::from(len)),
        };
        let body_len = usize::try_from(len.checked_sub(header_len)?).unwrap_or(usize::MAX);
        let begin = at + header_len as usize;
        let body = content.get(begin..)?;
        let atom =
            Atom { name, content: &body[..body_len.min(body.len())], at, is_cut: body_len > body.len() };
        at = begin + atom.content.len();
        Some(atom)
    })
}

/// Whether a file begins with boxes of such files.
pub(super) fn is_mp4(file: &[u8]) -> bool {
    let first = file.get(4..8).unwrap_or_default();
    [b"ftyp", b"moov", b"mdat", b"wide", b"styp", b"moof", b"pnot"].iter().any(|name| first == *name)
        || ([b"free", b"skip"].iter().any(|name| first == *name)
            && atoms(file).any(|atom| atom.name == *b"moov"))
}

/// The name of the container, by its brand.
fn container_of(file: &[u8]) -> &'static str {
    match file.get(4..12) {
        Some(b"ftypqt  ") => "QuickTime",
        Some(brand) if brand.starts_with(b"ftypM4A") => "M4A",
        Some(brand) if brand.starts_with(b"ftyp3g") => "3GP",
        Some(brand) if brand.starts_with(b"ftyp") => "MP4",
        _ => "QuickTime",
    }
}

/// Finds the first audio track and its samples.
pub(super) fn demux(file: &[u8]) -> Result<Content<'_>, AudioError> {
    let container = container_of(file);
    let Some(moov) = atoms(file).find(|atom| atom.name == *b"moov" && !atom.is_cut) else {
        return Err(AudioError::Corrupt("the index at its end is missing".into()));
    };
    let tracks = || atoms(moov.content).filter(|atom| atom.name == *b"trak");
    let Some(track) = tracks().find_map(Track::read) else {
        let is_unread = tracks().any(|track| is_audio(track).unwrap_or(true));
        return Err(if is_unread {
            AudioError::Corrupt("the description of its audio track cannot be read".into())
        } else {
            AudioError::Unsupported(format!("{container} without an audio track is not supported"))
        });
    };
    let mut chunks = track.chunks().unwrap_or_default();
    chunks.extend(fragments(file, moov, &track));
    let heard = track.heard(moov);
    track.content(file, container, &chunks, heard)
}

fn is_audio(track: Atom) -> Option<bool> {
    Some(track.path(&[*b"mdia", *b"hdlr"])?.content.get(8..12)? == b"soun")
}

/// An audio track.
struct Track<'a> {
    atom: Atom<'a>,
    id: u32,
    ticks_per_second: u32,
    table: Atom<'a>,
    entries: Vec<Entry<'a>>,
}

/// A description of samples.
struct Entry<'a> {
    name: [u8; 4],
    channels: u16,
    bits: u16,
    sample_rate_hz: u32,
    /// Of QuickTime's second version: bits and flags of `lpcm`.
    lpcm_flags: Option<u32>,
    boxes: &'a [u8],
}

/// Samples that lie in a row.
struct Chunk {
    bytes: Range<usize>,
    n_samples: usize,
    /// Lengths of the samples; empty if all have the same.
    lens: Vec<u32>,
    entry: usize,
}

impl<'a> Track<'a> {
    fn read(atom: Atom<'a>) -> Option<Self> {
        if !is_audio(atom)? {
            return None;
        }
        let header = atom.path(&[*b"mdia", *b"mdhd"])?.bytes();
        let id_at = if atom.child(*b"tkhd")?.bytes().u8(0)? == 1 { 20 } else { 12 };
        let table = atom.path(&[*b"mdia", *b"minf", *b"stbl"])?;
        let description = table.child(*b"stsd")?;
        let entries: Vec<Entry> = atoms(description.content.get(8..)?).filter_map(Entry::read).collect();
        (!entries.is_empty()).then_some(())?;
        Some(Self {
            atom,
            id: atom.child(*b"tkhd")?.bytes().u32_be(id_at)?,
            ticks_per_second: header.u32_be(if header.u8(0)? == 1 { 20 } else { 12 })?,
            table,
            entries,
        })
    }

    /// The chunks of the sample table.
    fn chunks(&self) -> Option<Vec<Chunk>> {
        let sizes = self.table.child(*b"stsz").map(|atom| atom.bytes());
        let (size, n_samples) = match sizes {
            Some(sizes) => (sizes.u32_be(4)?, sizes.u32_be(8)? as usize),
            None => (0, 0),
        };
        let offsets: Vec<u64> = match (self.table.child(*b"stco"), self.table.child(*b"co64")) {
            (Some(offsets), _) => offsets
                .content
                .get(8..)?
                .as_chunks()
                .0
                .iter()
                .map(|b| u32::from_be_bytes(*b).into())
                .collect(),
            (None, Some(offsets)) => {
                offsets.content.get(8..)?.as_chunks().0.iter().map(|b| u64::from_be_bytes(*b)).collect()
            }
            (None, None) => return None,
        };
        let runs = self.table.child(*b"stsc")?.content.get(8..)?;
        let runs: Vec<[u32; 3]> = runs
            .as_chunks::<12>()
            .0
            .iter()
            .map(|run| std::array::from_fn(|i| Bytes(run).u32_be(4 * i).unwrap_or(0)))
            .collect();
        let (mut chunks, mut sample, mut run) = (Vec::new(), 0, 0);
        for (number, offset) in (1..).zip(offsets) {
            while runs.get(run + 1).is_some_and(|next| next[0] <= number) {
                run += 1;
            }
            let [_, per_chunk, entry] = *runs.get(run)?;
            let n_left = n_samples.saturating_sub(sample);
            let n_here = (per_chunk as usize).min(n_left);
            let lens: Vec<u32> = match sizes {
                Some(sizes) if size == 0 => {
                    (sample..sample + n_here).map_while(|i| sizes.u32_be(12 + 4 * i)).collect()
                }
                _ => Vec::new(),
            };
            let len = if lens.is_empty() {
                n_here as u64 * u64::from(size)
            } else {
                lens.iter().map(|len| u64::from(*len)).sum()
            };
            let begin = usize::try_from(offset).ok()?;
            let end = begin.saturating_add(usize::try_from(len).ok()?);
            chunks.push(Chunk {
                bytes: begin..end,
                n_samples: n_here,
                lens,
                entry: (entry as usize).saturating_sub(1),
            });
            sample += n_here;
        }
        Some(chunks)
    }

    /// What an edit list or iTunes' own comment leaves to be heard.
    fn heard(&self, moov: Atom) -> Heard {
        let ticks_per_second = self.ticks_per_second;
        let edited = |stretches| Heard::Edited { stretches, ticks_per_second };
        if let Some(stretches) = self.edits(moov) {
            return edited(stretches);
        }
        match itunes_gapless(moov.content) {
            Some([delay, _, len]) if len > 0 => edited(vec![delay..delay.saturating_add(len)]),
            _ => Heard::ALL,
        }
    }

    /// The stretches of an edit list, in ticks. Pauses are left out; a length of zero reaches to the end.
    fn edits(&self, moov: Atom) -> Option<Vec<Range<u64>>> {
        let movie = moov.child(*b"mvhd")?.bytes();
        let movie_ticks = u64::from(movie.u32_be(if movie.u8(0)? == 1 { 20 } else { 12 })?);
        let list = self.atom.path(&[*b"edts", *b"elst"])?.bytes();
        let is_long = list.u8(0)? == 1;
        let mut stretches = Vec::new();
        for i in 0..list.u32_be(4)? as usize {
            let (len, start) = if is_long {
                (list.u64_be(8 + 20 * i)?, list.u64_be(16 + 20 * i)?.cast_signed())
            } else {
                (list.u32_be(8 + 12 * i)?.into(), list.u32_be(12 + 12 * i)?.cast_signed().into())
            };
            let Ok(start) = u64::try_from(start) else { continue };
            let ticks = u128::from(len) * u128::from(self.ticks_per_second) / u128::from(movie_ticks.max(1));
            let end = if len == 0 {
                u64::MAX
            } else {
                start.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
            };
            stretches.push(start..end);
        }
        (!stretches.is_empty()).then_some(stretches)
    }

    fn content(
        &self,
        file: &'a [u8],
        container: &'static str,
        chunks: &[Chunk],
        heard: Heard,
    ) -> Result<Content<'a>, AudioError> {
        let first = chunks.first().map_or(0, |chunk| chunk.entry);
        let entry = self.entries.get(first).unwrap_or(&self.entries[0]);
        let mut truncated = atoms(file).any(|atom| atom.name == *b"mdat" && atom.is_cut);
        match entry.kind(container)? {
            EntryKind::Samples(format) => {
                let frame = format.n_bytes() * usize::from(entry.channels);
                let data = joined(file, chunks, |chunk| chunk.n_samples * frame, &mut truncated);
                let (sample_rate_hz, channels) = (entry.sample_rate_hz, entry.channels);
                Ok(Content::Samples { format, sample_rate_hz, channels, data, truncated })
            }
            EntryKind::Mpeg => {
                let data = joined(file, chunks, |chunk| chunk.bytes.len(), &mut truncated);
                Ok(Content::Mpeg { data, truncated })
            }
            EntryKind::Blocks { adpcm, block_len } => {
                let frames = adpcm.frames_per_block as usize;
                // Some writers count frames, others blocks.
                let len = |chunk: &Chunk| chunk.bytes.len().max(chunk.n_samples / frames * block_len);
                let data = joined(file, chunks, len, &mut truncated);
                let packets = data.chunks_exact(block_len).map(|block| block.to_vec().into()).collect();
                let part = Part { codec: Codec::Adpcm(adpcm), packets, heard };
                Ok(Content::Packets(Stream { container, parts: vec![part], truncated }))
            }
            EntryKind::Codec(codec) => {
                let heard = match (heard, &codec) {
                    // Without an edit list, the header alone says how long the decoder's delay is.
                    (Heard::Trimmed { .. }, Codec::Opus(_)) => {
                        let skip = entry.atom(*b"dOps").and_then(|atom| atom.bytes().u16_be(2)).unwrap_or(0);
                        Heard::Trimmed { skip: skip.into(), padding: 0 }
                    }
                    (heard, _) => heard,
                };
                let (mut packets, mut codecs): (Vec<Cow<[u8]>>, _) = (Vec::new(), vec![(0, codec)]);
                for chunk in chunks {
                    let other = self.entries.get(chunk.entry).unwrap_or(entry);
                    if let Ok(EntryKind::Codec(codec)) = other.kind(container)
                        && codecs.last().is_some_and(|(_, last)| *last != codec)
                    {
                        codecs.push((packets.len(), codec));
                    }
                    let (found, is_whole) = chunk.samples(file);
                    packets.extend(found.into_iter().map(Cow::from));
                    truncated |= !is_whole;
                }
                Ok(Content::Packets(Stream { container, parts: parts(codecs, packets, heard), truncated }))
            }
        }
    }
}

/// A part for each codec, from the packet on where it begins. An edit list counts from the beginning of the first.
fn parts(codecs: Vec<(usize, Codec)>, mut packets: Vec<Cow<'_, [u8]>>, heard: Heard) -> Vec<Part<'_>> {
    let mut parts: Vec<Part> = Vec::new();
    for (begin, codec) in codecs.into_iter().rev() {
        let packets = packets.split_off(begin);
        parts.push(Part { codec, packets, heard: Heard::ALL });
    }
    parts.reverse();
    if let [only] = &mut parts[..] {
        only.heard = heard;
    }
    parts
}

impl Chunk {
    /// The samples that are whole, and whether all are.
    fn samples<'a>(&self, file: &'a [u8]) -> (Vec<&'a [u8]>, bool) {
        let mut at = self.bytes.start;
        let mut samples = Vec::new();
        let same = self.bytes.len() / self.n_samples.max(1);
        let lens = (0..self.n_samples).map(|i| self.lens.get(i).map_or(same, |len| *len as usize));
        for len in lens {
            let Some(sample) = file.get(at..at.saturating_add(len)) else { return (samples, false) };
            samples.push(sample);
            at += len;
        }
        (samples, true)
    }
}

/// The bytes of all chunks, each of a length that the codec gives.
fn joined(file: &[u8], chunks: &[Chunk], len: impl Fn(&Chunk) -> usize, truncated: &mut bool) -> Vec<u8> {
    let mut data = Vec::new();
    for chunk in chunks {
        let wanted = len(chunk);
        let found = Bytes(file).up_to(chunk.bytes.start, wanted);
        *truncated |= found.len() < wanted;
        data.extend_from_slice(found);
    }
    data
}

/// What a description of samples names.
enum EntryKind {
    Codec(Codec),
    Samples(SampleFormat),
    Mpeg,
    Blocks { adpcm: Adpcm, block_len: usize },
}

impl<'a> Entry<'a> {
    fn read(atom: Atom<'a>) -> Option<Self> {
        let bytes = atom.bytes();
        let version = bytes.u16_be(8)?;
        let (channels, bits) = (bytes.u16_be(16)?, bytes.u16_be(18)?);
        let rate = bytes.u32_be(24)? >> 16;
        let (channels, bits, rate, lpcm_flags, boxes_at) = match version {
            1 => (channels, bits, rate, None, 28 + 16),
            2 => {
                let rate = bytes.f64_be(32)? as u32;
                let channels = u16::try_from(bytes.u32_be(40)?).ok()?;
                let bits = u16::try_from(bytes.u32_be(48)?).ok()?;
                (channels, bits, rate, Some(bytes.u32_be(52)?), 28 + 36)
            }
            _ => (channels, bits, rate, None, 28),
        };
        let boxes = atom.content.get(boxes_at..).unwrap_or_default();
        Some(Self { name: atom.name, channels, bits, sample_rate_hz: rate, lpcm_flags, boxes })
    }

    /// A box of the entry, or of its `wave`, where QuickTime puts them.
    fn atom(&self, name: [u8; 4]) -> Option<Atom<'a>> {
        let find = |content: &'a [u8]| atoms(content).find(|atom| atom.name == name);
        find(self.boxes).or_else(|| find(atoms(self.boxes).find(|atom| atom.name == *b"wave")?.content))
    }

    fn kind(&self, container: &str) -> Result<EntryKind, AudioError> {
        let unsupported = |content: &str| AudioError::unsupported(container, content);
        let corrupt = || AudioError::Corrupt("the header of its codec cannot be read".into());
        if let Some(format) = self.sample_format() {
            return Ok(EntryKind::Samples(format));
        }
        Ok(match &self.name {
            b"mp4a" => self.elementary_stream(container)?,
            b".mp3" | b"ms\0\x55" | b".mp2" | b"ms\0\x50" => EntryKind::Mpeg,
            b"alac" => {
                let cookie =
                    self.atom(*b"alac").and_then(|atom| atom.content.get(4..)).ok_or_else(corrupt)?;
                EntryKind::Codec(Codec::Alac(cookie.to_vec()))
            }
            b"Opus" => EntryKind::Codec(Codec::Opus(self.opus().ok_or_else(corrupt)?)),
            b"fLaC" => {
                // A version and flags, then metadata blocks as in a file; STREAMINFO is the first.
                let info =
                    self.atom(*b"dfLa").and_then(|atom| atom.content.get(8..42)).ok_or_else(corrupt)?;
                EntryKind::Codec(Codec::Flac(info.to_vec()))
            }
            b"ima4" => {
                let adpcm = Adpcm {
                    kind: AdpcmKind::ImaQuickTime,
                    channels: self.channels,
                    sample_rate_hz: self.sample_rate_hz,
                    frames_per_block: 64,
                };
                EntryKind::Blocks { adpcm, block_len: 34 * usize::from(self.channels) }
            }
            b"ac-3" | b"sac3" => return Err(unsupported("AC-3")),
            b"ec-3" => return Err(unsupported("E-AC-3")),
            b"ac-4" => return Err(unsupported("AC-4")),
            b"samr" => return Err(unsupported("AMR")),
            b"sawb" => return Err(unsupported("AMR-WB")),
            b"enca" => return Err(unsupported("encrypted audio")),
            b"dtsc" | b"dtsh" | b"dtsl" | b"dtse" => return Err(unsupported("DTS")),
            name => return Err(unsupported(&format!("the codec {:?}", String::from_utf8_lossy(name)))),
        })
    }

    /// `mp4a`: the descriptors say which codec it is.
    fn elementary_stream(&self, container: &str) -> Result<EntryKind, AudioError> {
        let corrupt = || AudioError::Corrupt("the header of its codec cannot be read".into());
        let esds = self.atom(*b"esds").and_then(|atom| atom.content.get(4..)).ok_or_else(corrupt)?;
        let (object_type, config) = read_descriptors(esds).ok_or_else(corrupt)?;
        match object_type {
            0x40 | 0x66..=0x68 => Ok(EntryKind::Codec(Codec::Aac(config.ok_or_else(corrupt)?.to_vec()))),
            0x69 | 0x6b => Ok(EntryKind::Mpeg),
            0xa5 => Err(AudioError::unsupported(container, "AC-3")),
            0xa6 => Err(AudioError::unsupported(container, "E-AC-3")),
            other => Err(AudioError::unsupported(container, &format!("MPEG-4 audio of type {other:#x}"))),
        }
    }

    /// `dOps`: as an Opus header, but with numbers of the other byte order and without its magic.
    fn opus(&self) -> Option<OpusLayout> {
        let content = self.atom(*b"dOps")?.content;
        OpusLayout::new(*content.get(1)?, *content.get(10)?, content.get(11..).unwrap_or_default())
    }

    fn sample_format(&self) -> Option<SampleFormat> {
        // QuickTime's `enda`: 1 for the least significant byte first.
        let is_little = self.atom(*b"enda").and_then(|atom| atom.bytes().u16_be(0)).unwrap_or(0) == 1;
        let endian = if is_little { Endian::Little } else { Endian::Big };
        let n_bytes = usize::from(self.bits.div_ceil(8));
        match &self.name {
            b"raw " | b"NONE" if self.bits <= 8 => Some(SampleFormat::U8),
            b"twos" | b"NONE" => SampleFormat::signed(n_bytes.max(1), Endian::Big),
            b"sowt" => SampleFormat::signed(n_bytes.max(1), Endian::Little),
            b"in24" => Some(SampleFormat::S24(endian)),
            b"in32" => Some(SampleFormat::S32(endian)),
            b"fl32" => Some(SampleFormat::F32(endian)),
            b"fl64" => Some(SampleFormat::F64(endian)),
            b"ulaw" | b"ms\0\x07" => Some(SampleFormat::MuLaw),
            b"alaw" | b"ms\0\x06" => Some(SampleFormat::ALaw),
            b"lpcm" => {
                // Flags: 1 float, 2 big-endian, 4 signed.
                let flags = self.lpcm_flags.unwrap_or(6);
                let endian = if flags & 2 == 0 { Endian::Little } else { Endian::Big };
                match flags & 1 {
                    1 => SampleFormat::float(self.bits.into(), endian),
                    _ if self.bits == 8 && flags & 4 == 0 => Some(SampleFormat::U8),
                    _ => SampleFormat::signed(n_bytes, endian),
                }
            }
            b"ipcm" | b"fpcm" => {
                // ISO/IEC 23003-5: flags with bit 0 for little-endian, then the bits.
                let config = self.atom(*b"pcmC")?.bytes();
                let endian = if config.u8(4)? & 1 == 1 { Endian::Little } else { Endian::Big };
                let bits = config.u8(5)?;
                match &self.name {
                    b"fpcm" => SampleFormat::float(bits.into(), endian),
                    _ => SampleFormat::signed(usize::from(bits.div_ceil(8)), endian),
                }
            }
            _ => None,
        }
    }
}

/// The object type and the decoder's configuration in elementary stream descriptors.
pub(super) fn read_descriptors(content: &[u8]) -> Option<(u8, Option<&[u8]>)> {
    let es = descriptor(content, 3)?;
    let flags = *es.get(2)?;
    let depends = if flags & 0x80 != 0 { 2 } else { 0 };
    let url = if flags & 0x40 != 0 { usize::from(*es.get(3 + depends)?) + 1 } else { 0 };
    let clock = if flags & 0x20 != 0 { 2 } else { 0 };
    let config = descriptor(es.get(3 + depends + url + clock..)?, 4)?;
    Some((*config.first()?, config.get(13..).and_then(|rest| descriptor(rest, 5))))
}

/// The content of the first descriptor, if it has this tag.
fn descriptor(content: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = content.strip_prefix(&[tag])?;
    let mut len = 0_usize;
    for _ in 0..4 {
        let (byte, after) = rest.split_first()?;
        rest = after;
        len = len << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(&rest[..len.min(rest.len())])
}

/// iTunes' comment on the encoder's delay, its padding and the length between, in samples.
fn itunes_gapless(moov: &[u8]) -> Option<[u64; 3]> {
    let at = moov.windows(8).position(|bytes| bytes == b"iTunSMPB")?;
    let text = moov.get(at + 8..)?;
    let text = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
    let words = text.split([' ', '\0']).filter(|word| word.len() >= 8);
    let mut numbers = words.filter_map(|word| u64::from_str_radix(word, 16).ok());
    let _unused = numbers.next()?;
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

/// The chunks of a track in movie fragments.
fn fragments(file: &[u8], moov: Atom, track: &Track) -> Vec<Chunk> {
    let defaults = moov.child(*b"mvex").and_then(|mvex| {
        let mut all = atoms(mvex.content).filter(|atom| atom.name == *b"trex");
        all.find(|trex| trex.bytes().u32_be(4) == Some(track.id))
    });
    let default_size = defaults.and_then(|trex| trex.bytes().u32_be(16)).unwrap_or(0);
    let mut chunks = Vec::new();
    for moof in atoms(file).filter(|atom| atom.name == *b"moof") {
        for fragment in atoms(moof.content).filter(|atom| atom.name == *b"traf") {
            read_fragment(fragment, moof.at, track.id, default_size, &mut chunks);
        }
    }
    chunks
}

/// The runs of samples of a track's fragment, one behind the other unless they say where they are.
fn read_fragment(
    fragment: Atom,
    moof_at: usize,
    track_id: u32,
    default_size: u32,
    chunks: &mut Vec<Chunk>,
) -> Option<()> {
    let header = fragment.child(*b"tfhd")?.bytes();
    if header.u32_be(4)? != track_id {
        return None;
    }
    let flags = header.u32_be(0)? & 0x00ff_ffff;
    let mut at = 8;
    let mut field = |bit: u32, len: usize| {
        let present = flags & bit != 0;
        let here = at;
        at += if present { len } else { 0 };
        present.then_some(here)
    };
    let base = field(1, 8).and_then(|at| header.u64_be(at)).map_or(moof_at as u64, |base| base);
    let entry = field(2, 4).and_then(|at| header.u32_be(at)).unwrap_or(1);
    field(8, 4);
    let default_size = field(0x10, 4).and_then(|at| header.u32_be(at)).unwrap_or(default_size);
    let mut next = usize::try_from(base).ok()?;
    for run in atoms(fragment.content).filter(|atom| atom.name == *b"trun") {
        let bytes = run.bytes();
        let flags = bytes.u32_be(0)? & 0x00ff_ffff;
        let n_samples = bytes.u32_be(4)? as usize;
        let mut at = 8;
        if flags & 1 != 0 {
            let offset = i64::from(bytes.u32_be(at)?.cast_signed());
            next = usize::try_from(base.cast_signed().checked_add(offset)?).ok()?;
            at += 4;
        }
        at += if flags & 4 != 0 { 4 } else { 0 };
        let fields = [0x100, 0x200, 0x400, 0x800].map(|bit| usize::from(flags & bit != 0));
        let stride = 4 * fields.iter().sum::<usize>();
        let lens: Vec<u32> = match fields[1] {
            1 => (0..n_samples).map_while(|i| bytes.u32_be(at + i * stride + 4 * fields[0])).collect(),
            _ => vec![default_size; n_samples.min(1 << 20)],
        };
        let end = lens.iter().fold(next, |end, len| end.saturating_add(*len as usize));
        let (n_samples, entry) = (lens.len(), (entry as usize).saturating_sub(1));
        chunks.push(Chunk { bytes: next..end, n_samples, lens, entry });
        next = end;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(name: [u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], &name, content].concat()
    }

    fn file(edits: &[u8]) -> Vec<u8> {
        let times = |ticks: u32| [&[0; 12][..], &ticks.to_be_bytes(), &[0; 4]].concat();
        let description = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &atom(*b"alac", &[0; 28])].concat();
        let media = [
            atom(*b"mdhd", &times(24_000)),
            atom(*b"hdlr", b"\0\0\0\0\0\0\0\0soun"),
            atom(*b"minf", &atom(*b"stbl", &atom(*b"stsd", &description))),
        ];
        let track = [
            atom(*b"tkhd", &[0; 24]),
            atom(*b"edts", &atom(*b"elst", edits)),
            atom(*b"mdia", &media.concat()),
        ];
        let video = atom(*b"trak", &atom(*b"mdia", &atom(*b"hdlr", b"\0\0\0\0\0\0\0\0vide")));
        let movie = [atom(*b"mvhd", &times(1_000)), video, atom(*b"trak", &track.concat())].concat();
        [atom(*b"ftyp", b"M4A "), atom(*b"moov", &movie)].concat()
    }

    #[test]
    fn edits_are_stretches_of_the_media() {
        let short =
            |len: u32, time: i32| [&len.to_be_bytes()[..], &time.to_be_bytes(), &[0, 1, 0, 0]].concat();
        let list = |entries: &[Vec<u8>]| {
            [&[0, 0, 0, 0][..], &(entries.len() as u32).to_be_bytes(), &entries.concat()].concat()
        };
        let long =
            [&[1, 0, 0, 0, 0, 0, 0, 1][..], &500_u64.to_be_bytes(), &1_056_i64.to_be_bytes(), &[0, 1, 0, 0]];
        let cases = [
            ("one", list(&[short(2_000, 1_056)]), Some(vec![1_056..49_056])),
            ("behind a pause", list(&[short(9, -1), short(1_000, 600)]), Some(vec![600..24_600])),
            ("two", list(&[short(1_000, 0), short(1_000, 48_000)]), Some(vec![0..24_000, 48_000..72_000])),
            ("to the end", list(&[short(0, 600)]), Some(vec![600..u64::MAX])),
            ("long", long.concat(), Some(vec![1_056..13_056])),
            ("none", list(&[]), None),
            ("cut", vec![0, 0], None),
        ];
        for (name, edits, expected) in cases {
            let file = file(&edits);
            let moov = atoms(&file).find(|atom| atom.name == *b"moov").unwrap();
            let track =
                atoms(moov.content).filter(|atom| atom.name == *b"trak").find_map(Track::read).unwrap();
            assert_eq!(track.edits(moov), expected, "{name}");
        }
    }
}
