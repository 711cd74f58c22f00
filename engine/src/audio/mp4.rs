//! MP4, M4A and QuickTime: the samples of the first audio track.
//!
//! symphonia 0.6 reads edit lists but does not apply their ends, and parses `dOps` like an Opus header. It does not swap
//! the bytes of big-endian samples in QuickTime, and rejects files with large video headers or two sample entries.
//!
//! Sources: ISO/IEC 14496-12 (boxes, tables, fragments, edit lists), 14496-14 (`esds`), the QuickTime File Format Specification
//! (sample descriptions), "Encapsulation of Opus in ISO Base Media File Format" 0.8.1.

#![allow(clippy::single_range_in_vec_init, reason = "most edit lists have one stretch")]

use std::iter::Peekable;
use std::ops::Range;

use super::amr::AmrKind;
use super::bytes::Bytes;
use super::codec::{Adpcm, AdpcmKind, Codec, OpusLayout};
use super::demux::{AudibleFrames, DecoderPart, Demux, Item};
use super::error::AudioError;
use super::pcm::{BLOCK_FRAMES, Endian, RawFormat, SampleFormat};
use super::{amr_frames, mpeg};

/// Seconds between two fragments from which a fragment counts as missing.
const GAP_SECONDS: f64 = 0.1;

/// Largest number of stretches in an edit list. Editors write dozens.
const MAX_EDITS: usize = 10_000;

/// A box: its name and content.
#[derive(Clone, Copy)]
struct Atom<'a> {
    name: [u8; 4],
    content: &'a [u8],
    /// Position in the enclosing box or in the file.
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

/// Returns the boxes in a box or in the file. The last one may be cut.
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

/// Returns whether a file begins with a box of MP4 or QuickTime.
pub(super) fn is_mp4(file: &[u8]) -> bool {
    let first = file.get(4..8).unwrap_or_default();
    [b"ftyp", b"moov", b"mdat", b"wide", b"styp", b"moof", b"pnot"].iter().any(|name| first == *name)
        || ([b"free", b"skip"].iter().any(|name| first == *name)
            && atoms(file).any(|atom| atom.name == *b"moov"))
}

/// Returns the name of the container according to its brand.
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
pub(super) fn demux(file: &[u8]) -> Result<Box<dyn Demux<'_> + '_>, AudioError> {
    let container = container_of(file);
    let Some(moov) = atoms(file).find(|atom| atom.name == *b"moov" && !atom.is_cut) else {
        return Err(if atoms(file).any(|atom| atom.name == *b"moof") {
            AudioError::headless(container)
        } else {
            AudioError::Corrupt("the index at its end is missing".into())
        });
    };
    let tracks = || atoms(moov.content).filter(|atom| atom.name == *b"trak");
    let Some(track) = tracks().find_map(Mp4Track::read) else {
        let is_unread = tracks().any(|track| is_audio(track).unwrap_or(true));
        return Err(if is_unread {
            AudioError::Corrupt("the description of its audio track cannot be read".into())
        } else {
            AudioError::Unsupported(format!("{container} without an audio track is not supported"))
        });
    };
    track.samples(file, container, moov)
}

fn is_audio(track: Atom) -> Option<bool> {
    Some(track.path(&[*b"mdia", *b"hdlr"])?.content.get(8..12)? == b"soun")
}

/// An audio track.
struct Mp4Track<'a> {
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
    /// Flags of `lpcm` in version 2 of QuickTime's description.
    lpcm_flags: Option<u32>,
    boxes: &'a [u8],
}

/// Consecutive samples.
struct Chunk<'a> {
    at: usize,
    n_samples: usize,
    lens: Lens<'a>,
    /// Index of their description.
    entry: usize,
}

/// Lengths of samples.
#[derive(Clone, Copy)]
enum Lens<'a> {
    /// All lengths are equal.
    Equal(u32),
    /// The lengths are in a table, from `at` on, at a distance of `stride` bytes.
    Listed { table: Bytes<'a>, at: usize, stride: usize },
}

impl Lens<'_> {
    /// Returns the length of a sample, or `None` after the table's end.
    fn of(self, sample: usize) -> Option<usize> {
        match self {
            Self::Equal(len) => Some(len as usize),
            Self::Listed { table, at, stride } => {
                table.u32_be(at.checked_add(sample.checked_mul(stride)?)?).map(|len| len as usize)
            }
        }
    }

    /// Returns how many of the `announced` samples can exist: as many as fit in the table or, with equal lengths, in the
    /// file.
    fn count(self, announced: usize, file: &[u8]) -> usize {
        match self {
            Self::Equal(len) => announced.min(file.len().checked_div(len as usize).unwrap_or(0)),
            Self::Listed { table, at, stride } => {
                announced.min((table.0.len().saturating_sub(at) + stride - 4) / stride)
            }
        }
    }

    /// Returns the lengths without those of the first `n_samples` samples.
    fn skip(self, n_samples: usize) -> Self {
        match self {
            Self::Equal(_) => self,
            Self::Listed { table, at, stride } => Self::Listed { table, at: at + n_samples * stride, stride },
        }
    }
}

impl<'a> Mp4Track<'a> {
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

    /// Returns the chunks of the sample table one by one.
    fn chunks(&self, file: &'a [u8]) -> Option<impl Iterator<Item = Chunk<'a>> + use<'a>> {
        let (lens, announced) = match self.table.child(*b"stsz").map(|atom| atom.bytes()) {
            Some(sizes) => {
                let lens = match sizes.u32_be(4)? {
                    0 => Lens::Listed { table: sizes, at: 12, stride: 4 },
                    size => Lens::Equal(size),
                };
                (lens, sizes.u32_be(8)? as usize)
            }
            None => (Lens::Equal(0), 0),
        };
        let n_samples = lens.count(announced, file);
        let offsets = self.table.child(*b"stco").map(|atom| (atom, false));
        let (offsets, is_long) = offsets.or_else(|| Some((self.table.child(*b"co64")?, true)))?;
        let offsets = Bytes(offsets.content.get(8..)?);
        let offset = move |chunk: usize| {
            if is_long { offsets.u64_be(8 * chunk) } else { offsets.u32_be(4 * chunk).map(u64::from) }
        };
        let runs = Bytes(self.table.child(*b"stsc")?.content.get(8..)?);
        let (mut chunk, mut sample, mut run) = (0, 0, 0);
        Some(std::iter::from_fn(move || {
            let at = usize::try_from(offset(chunk)?).ok()?;
            chunk += 1;
            while runs.u32_be(12 * (run + 1)).is_some_and(|first| first as usize <= chunk) {
                run += 1;
            }
            let (per_chunk, entry) = (runs.u32_be(12 * run + 4)?, runs.u32_be(12 * run + 8)?);
            let n_here = (per_chunk as usize).min(n_samples - sample);
            let here = Chunk {
                at,
                n_samples: n_here,
                lens: lens.skip(sample),
                entry: (entry as usize).saturating_sub(1),
            };
            sample += n_here;
            Some(here)
        }))
    }

    /// Returns the frames that are heard according to an edit list or a comment of iTunes.
    fn find_heard(&self, moov: Atom) -> AudibleFrames {
        let ticks_per_second = self.ticks_per_second;
        let edited = |stretches| AudibleFrames::Edited { stretches, ticks_per_second };
        if let Some(stretches) = self.edits(moov) {
            return edited(stretches);
        }
        match itunes_gapless(moov.content) {
            Some([delay, _, len]) if len > 0 => edited(vec![delay..delay.saturating_add(len)]),
            _ => AudibleFrames::ALL,
        }
    }

    /// Returns the stretches of an edit list, in ticks, in the media's order and without repetition. Pauses are omitted.
    /// A length of zero extends to the end.
    fn edits(&self, moov: Atom) -> Option<Vec<Range<u64>>> {
        let movie = moov.child(*b"mvhd")?.bytes();
        let movie_ticks = u64::from(movie.u32_be(if movie.u8(0)? == 1 { 20 } else { 12 })?);
        let list = self.atom.path(&[*b"edts", *b"elst"])?.bytes();
        let is_long = list.u8(0)? == 1;
        let mut stretches = Vec::new();
        let n_edits = list.u32_be(4)? as usize;
        for i in 0..n_edits.min(MAX_EDITS) {
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
        stretches.sort_unstable_by_key(|stretch| stretch.start);
        stretches.dedup_by(|next, last| {
            let overlaps = next.start <= last.end;
            last.end = if overlaps { last.end.max(next.end) } else { last.end };
            overlaps
        });
        (!stretches.is_empty()).then_some(stretches)
    }

    /// Returns a reader for the samples of the track, chosen by their description.
    fn samples(
        self,
        file: &'a [u8],
        container: &'static str,
        moov: Atom<'a>,
    ) -> Result<Box<dyn Demux<'a> + 'a>, AudioError> {
        // Computed once per description, because chunks may alternate between descriptions.
        let kinds: Vec<Result<EntryKind, AudioError>> =
            self.entries.iter().map(|entry| entry.kind(container)).collect();
        let place = |chunk: &Chunk| if chunk.entry < kinds.len() { chunk.entry } else { 0 };
        let fragments = Fragments::new(moov, &self);
        let chunks = || self.chunks(file).into_iter().flatten().chain(fragments.chunks(file));
        let first = chunks().next().map_or(0, |chunk| place(&chunk));
        let mut is_cut = atoms(file).any(|atom| atom.name == *b"mdat" && atom.is_cut)
            || fragments.lack_one(file, self.ticks_per_second);
        match kinds[first].clone()? {
            EntryKind::Samples(pcm) => {
                let frame_len = pcm.frame_len();
                let chunks = chunks().map(move |chunk| (chunk.at, chunk.n_samples.saturating_mul(frame_len)));
                Ok(Box::new(Stretches {
                    file,
                    container,
                    part: Some(DecoderPart { codec: Codec::Pcm(pcm), heard: self.find_heard(moov) }),
                    chunks,
                    block_len: frame_len.max(1) * BLOCK_FRAMES,
                    rest: &[],
                    truncated: is_cut,
                }))
            }
            EntryKind::Mpeg => {
                let data = join_parts(file, chunks().map(|chunk| (chunk.at, chunk.len())), &mut is_cut)?;
                Ok(Box::new(mpeg::MpegFrames::found_in(data.into(), is_cut)?.edited(self.find_heard(moov))))
            }
            EntryKind::Amr(kind) => {
                let data = join_parts(file, chunks().map(|chunk| (chunk.at, chunk.len())), &mut is_cut)?;
                Ok(Box::new(
                    amr_frames::AmrFrames::new(container, kind, data.into())
                        .edited(self.find_heard(moov), is_cut),
                ))
            }
            EntryKind::Blocks { adpcm, block_len } => {
                let frames = adpcm.frames_per_block as usize;
                // Some writers count frames, others blocks.
                let len =
                    |chunk: &Chunk| chunk.len().max((chunk.n_samples / frames).saturating_mul(block_len));
                let data = join_parts(file, chunks().map(|chunk| (chunk.at, len(&chunk))), &mut is_cut)?;
                let heard = Some(self.find_heard(moov));
                Ok(Box::new(JoinedBlocks {
                    container,
                    adpcm,
                    heard,
                    data,
                    block_len,
                    at: 0,
                    truncated: is_cut,
                }))
            }
            EntryKind::Codec(codec) => {
                let entry = &self.entries[first];
                let codecs: Vec<Option<Codec>> = kinds
                    .iter()
                    .map(|kind| match kind {
                        Ok(EntryKind::Codec(codec)) => Some(codec.clone()),
                        _ => None,
                    })
                    .collect();
                // An edit list counts from the beginning of the first decoder, so it is ignored if another decoder
                // follows.
                let is_other =
                    |chunk: Chunk| codecs[place(&chunk)].as_ref().is_some_and(|other| *other != codec);
                let heard = if codecs.len() > 1 && chunks().any(is_other) {
                    AudibleFrames::ALL
                } else {
                    match (self.find_heard(moov), &codec) {
                        // Without an edit list, only the header states the length of the decoder's delay.
                        (AudibleFrames::Trimmed { .. }, Codec::Opus(_)) => {
                            let skip =
                                entry.atom(*b"dOps").and_then(|atom| atom.bytes().u16_be(2)).unwrap_or(0);
                            AudibleFrames::Trimmed { skip: skip.into(), max_padding: 0 }
                        }
                        (heard, _) => heard,
                    }
                };
                let chunks = chunks().peekable();
                Ok(Box::new(ChunkPackets {
                    file,
                    container,
                    codecs,
                    entry: first,
                    part: Some(DecoderPart { codec, heard }),
                    chunks,
                    chunk: None,
                    truncated: is_cut,
                }))
            }
        }
    }
}

impl Chunk<'_> {
    /// Returns the number of bytes of all samples.
    fn len(&self) -> usize {
        match self.lens {
            Lens::Equal(len) => self.n_samples.saturating_mul(len as usize),
            lens @ Lens::Listed { .. } => {
                (0..self.n_samples).map_while(|i| lens.of(i)).fold(0, usize::saturating_add)
            }
        }
    }
}

/// Reads uncompressed samples: the bytes of all chunks, each with its position and length.
struct Stretches<'a, C> {
    file: &'a [u8],
    container: &'static str,
    part: Option<DecoderPart>,
    chunks: C,
    block_len: usize,
    /// The rest of the last chunk.
    rest: &'a [u8],
    truncated: bool,
}

impl<'a, C: Iterator<Item = (usize, usize)>> Demux<'a> for Stretches<'a, C> {
    fn container(&self) -> &'static str {
        self.container
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        if let Some(part) = self.part.take() {
            return Ok(Some(Item::Part(part)));
        }
        if self.rest.is_empty() {
            let Some((at, len)) = self.chunks.next() else { return Ok(None) };
            self.rest = Bytes(self.file).slice_at_most(at, len);
            self.truncated |= self.rest.len() < len;
        }
        let (block, rest) = self.rest.split_at(self.block_len.min(self.rest.len()));
        self.rest = rest;
        Ok(Some(Item::Packet(block.into())))
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Reads blocks of ADPCM, which may extend across chunks.
struct JoinedBlocks {
    container: &'static str,
    adpcm: Adpcm,
    /// The frames that are heard, until the part is returned.
    heard: Option<AudibleFrames>,
    data: Vec<u8>,
    block_len: usize,
    at: usize,
    truncated: bool,
}

impl<'a> Demux<'a> for JoinedBlocks {
    fn container(&self) -> &'static str {
        self.container
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        if let Some(heard) = self.heard.take() {
            return Ok(Some(Item::Part(DecoderPart { codec: Codec::Adpcm(self.adpcm), heard })));
        }
        let block = self.data.get(self.at..self.at + self.block_len).filter(|block| !block.is_empty());
        self.at += self.block_len;
        Ok(block.map(|block| Item::Packet(block.to_vec().into())))
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Reads packets, which are the samples of all chunks. A chunk whose description has another codec begins a new part.
struct ChunkPackets<'a, C: Iterator<Item = Chunk<'a>>> {
    file: &'a [u8],
    container: &'static str,
    /// The codec of each description.
    codecs: Vec<Option<Codec>>,
    /// Index of the current description.
    entry: usize,
    part: Option<DecoderPart>,
    chunks: Peekable<C>,
    /// The current chunk and the number of its samples that were returned.
    chunk: Option<(Chunk<'a>, usize)>,
    truncated: bool,
}

impl<'a, C: Iterator<Item = Chunk<'a>>> ChunkPackets<'a, C> {
    /// Takes the next chunk and returns whether another decoder begins with it.
    fn next_chunk(&mut self) -> Option<bool> {
        let chunk = self.chunks.next()?;
        let entry = if chunk.entry < self.codecs.len() { chunk.entry } else { self.entry };
        self.chunk = Some((chunk, 0));
        let is_other = self.codecs[entry].is_some() && self.codecs[entry] != self.codecs[self.entry];
        self.entry = if is_other { entry } else { self.entry };
        Some(is_other)
    }
}

impl<'a, C: Iterator<Item = Chunk<'a>>> Demux<'a> for ChunkPackets<'a, C> {
    fn container(&self) -> &'static str {
        self.container
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        if let Some(part) = self.part.take() {
            return Ok(Some(Item::Part(part)));
        }
        loop {
            if let Some((chunk, taken)) = &mut self.chunk
                && *taken < chunk.n_samples
                && let Some(len) = chunk.lens.of(*taken)
            {
                let end = chunk.at.saturating_add(len);
                if let Some(sample) = self.file.get(chunk.at..end) {
                    (chunk.at, *taken) = (end, *taken + 1);
                    return Ok(Some(Item::Packet(sample.into())));
                }
                self.truncated = true;
            }
            match self.next_chunk() {
                Some(true) => {
                    let codec = self.codecs[self.entry].clone();
                    return Ok(
                        codec.map(|codec| Item::Part(DecoderPart { codec, heard: AudibleFrames::ALL }))
                    );
                }
                // A chunk without samples yields an empty packet, so that it counts as a step of the work.
                Some(false) if self.chunk.as_ref().is_some_and(|(chunk, _)| chunk.n_samples == 0) => {
                    return Ok(Some(Item::Packet((&[][..]).into())));
                }
                Some(false) => {}
                None => return Ok(None),
            }
        }
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Returns the bytes of all chunks, given the position and length of each.
fn join_parts(
    file: &[u8],
    chunks: impl Iterator<Item = (usize, usize)>,
    is_cut: &mut bool,
) -> Result<Vec<u8>, AudioError> {
    let mut data = Vec::new();
    for (at, len) in chunks {
        let found = Bytes(file).slice_at_most(at, len);
        *is_cut |= found.len() < len;
        if data.len() + found.len() > file.len() {
            return Err(AudioError::Corrupt("its tables list more bytes than it holds".into()));
        }
        data.extend_from_slice(found);
    }
    Ok(data)
}

/// The kind of samples according to their description.
#[derive(Clone)]
enum EntryKind {
    Codec(Codec),
    Samples(RawFormat),
    Mpeg,
    Amr(AmrKind),
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

    /// Returns a box of the entry or of its `wave` box, where QuickTime places it.
    fn atom(&self, name: [u8; 4]) -> Option<Atom<'a>> {
        let find = |content: &'a [u8]| atoms(content).find(|atom| atom.name == name);
        find(self.boxes).or_else(|| find(atoms(self.boxes).find(|atom| atom.name == *b"wave")?.content))
    }

    fn kind(&self, container: &str) -> Result<EntryKind, AudioError> {
        let unsupported = |content: &str| AudioError::unsupported(container, content);
        let corrupt = || AudioError::Corrupt("the header of its codec cannot be read".into());
        if let Some(format) = self.sample_format() {
            let (sample_rate_hz, channels) = (self.sample_rate_hz, self.channels);
            return Ok(EntryKind::Samples(RawFormat { format, sample_rate_hz, channels }));
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
                // A version and flags precede metadata blocks as in a FLAC file. STREAMINFO is the first of these.
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
            b"samr" => EntryKind::Amr(AmrKind::Narrow),
            b"sawb" => EntryKind::Amr(AmrKind::Wide),
            b"enca" => return Err(unsupported("encrypted audio")),
            b"dtsc" | b"dtsh" | b"dtsl" | b"dtse" => return Err(unsupported("DTS")),
            name => return Err(unsupported(&format!("the codec {:?}", String::from_utf8_lossy(name)))),
        })
    }

    /// Determines the codec of `mp4a` from its descriptors.
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

    /// Reads `dOps`, which resembles an Opus header with the opposite byte order and without the magic bytes.
    fn opus(&self) -> Option<OpusLayout> {
        let content = self.atom(*b"dOps")?.content;
        OpusLayout::new(*content.get(1)?, *content.get(10)?, content.get(11..).unwrap_or_default())
    }

    fn sample_format(&self) -> Option<SampleFormat> {
        // In QuickTime's `enda`, 1 means that the least significant byte comes first.
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
                // Flag 1 means float, flag 2 big-endian, flag 4 signed.
                let flags = self.lpcm_flags.unwrap_or(6);
                let endian = if flags & 2 == 0 { Endian::Little } else { Endian::Big };
                match flags & 1 {
                    1 => SampleFormat::float(self.bits.into(), endian),
                    _ if self.bits == 8 && flags & 4 == 0 => Some(SampleFormat::U8),
                    _ => SampleFormat::signed(n_bytes, endian),
                }
            }
            b"ipcm" | b"fpcm" => {
                // ISO/IEC 23003-5: bit 0 of the flags means little-endian. The number of bits follows the flags.
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

/// Returns the object type and the decoder's configuration from elementary stream descriptors.
pub(super) fn read_descriptors(content: &[u8]) -> Option<(u8, Option<&[u8]>)> {
    let es = descriptor(content, 3)?;
    let flags = *es.get(2)?;
    let depends = if flags & 0x80 != 0 { 2 } else { 0 };
    let url = if flags & 0x40 != 0 { usize::from(*es.get(3 + depends)?) + 1 } else { 0 };
    let clock = if flags & 0x20 != 0 { 2 } else { 0 };
    let config = descriptor(es.get(3 + depends + url + clock..)?, 4)?;
    Some((*config.first()?, config.get(13..).and_then(|rest| descriptor(rest, 5))))
}

/// Returns the content of the first descriptor, if it has this tag.
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

/// Returns the encoder's delay, its padding and the length between them, in samples, from a comment of iTunes.
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
#[derive(Clone, Copy)]
struct Fragments {
    track_id: u32,
    /// Length of the samples in bytes, for fragments that do not state it.
    default_size: u32,
    /// Duration of the samples in ticks, for fragments that do not state it.
    default_duration: u32,
}

impl Fragments {
    fn new(moov: Atom, track: &Mp4Track) -> Self {
        let defaults = moov.child(*b"mvex").and_then(|mvex| {
            let mut all = atoms(mvex.content).filter(|atom| atom.name == *b"trex");
            all.find(|trex| trex.bytes().u32_be(4) == Some(track.id))
        });
        let default = |at| defaults.and_then(|trex| trex.bytes().u32_be(at)).unwrap_or(0);
        Self { track_id: track.id, default_size: default(16), default_duration: default(12) }
    }

    /// Returns whether a fragment begins later than the previous one ends.
    fn lack_one(self, file: &[u8], ticks_per_second: u32) -> bool {
        let max_gap = (GAP_SECONDS * f64::from(ticks_per_second)) as u64;
        let mut last_end: Option<u64> = None;
        let moofs = atoms(file).filter(|atom| atom.name == *b"moof");
        for fragment in moofs.flat_map(|moof| atoms(moof.content).filter(|atom| atom.name == *b"traf")) {
            let Some(time) = self.time(fragment) else { continue };
            if last_end.is_some_and(|end| time.start > end.saturating_add(max_gap)) {
                return true;
            }
            last_end = Some(time.end);
        }
        false
    }

    /// Returns the start and end of a fragment of the track, in ticks.
    fn time(self, fragment: Atom) -> Option<Range<u64>> {
        let header = TrackHeader::read(fragment)?;
        if header.track_id != self.track_id {
            return None;
        }
        let time = fragment.child(*b"tfdt")?.bytes();
        let start = if time.u8(0)? == 1 { time.u64_be(4)? } else { time.u32_be(4)?.into() };
        let default = u64::from(header.duration.unwrap_or(self.default_duration));
        let runs = atoms(fragment.content).filter(|atom| atom.name == *b"trun");
        let durations = runs.map(|run| {
            let bytes = run.bytes();
            let flags = bytes.u32_be(0).unwrap_or(0);
            let n_samples = u64::from(bytes.u32_be(4).unwrap_or(0));
            if flags & 0x100 == 0 {
                return default.saturating_mul(n_samples);
            }
            let first = 8 + [1, 4].iter().filter(|bit| flags & **bit != 0).count() * 4;
            let stride = 4 * (flags & 0xf00).count_ones() as usize;
            let listed = (first..bytes.0.len()).step_by(stride).map_while(|at| bytes.u32_be(at));
            listed.take(usize::try_from(n_samples).unwrap_or(usize::MAX)).map(u64::from).sum()
        });
        Some(start..durations.fold(start, u64::saturating_add))
    }

    fn chunks(self, file: &[u8]) -> impl Iterator<Item = Chunk<'_>> + use<'_> {
        let moofs = atoms(file).filter(|atom| atom.name == *b"moof");
        moofs.flat_map(move |moof| {
            let fragments = atoms(moof.content).filter(|atom| atom.name == *b"traf");
            fragments.filter_map(move |fragment| self.runs(fragment, moof.at, file)).flatten()
        })
    }

    /// Returns the runs of samples of a fragment. A run follows the previous one unless it states its position.
    fn runs<'a>(
        self,
        fragment: Atom<'a>,
        moof_at: usize,
        file: &'a [u8],
    ) -> Option<impl Iterator<Item = Chunk<'a>> + use<'a>> {
        let header = TrackHeader::read(fragment)?;
        if header.track_id != self.track_id {
            return None;
        }
        let base = header.base.unwrap_or(moof_at as u64);
        let default_size = header.size.unwrap_or(self.default_size);
        let entry = (header.entry.unwrap_or(1) as usize).saturating_sub(1);
        let mut next = usize::try_from(base).ok()?;
        let runs = atoms(fragment.content).filter(|atom| atom.name == *b"trun");
        Some(runs.map_while(move |run| {
            let bytes = run.bytes();
            let flags = bytes.u32_be(0)? & 0x00ff_ffff;
            let announced = bytes.u32_be(4)? as usize;
            let mut at = 8;
            if flags & 1 != 0 {
                let offset = i64::from(bytes.u32_be(at)?.cast_signed());
                next = usize::try_from(base.cast_signed().checked_add(offset)?).ok()?;
                at += 4;
            }
            at += if flags & 4 != 0 { 4 } else { 0 };
            let fields = [0x100, 0x200, 0x400, 0x800].map(|bit| usize::from(flags & bit != 0));
            let lens = match fields[1] {
                1 => {
                    let stride = 4 * fields.iter().sum::<usize>();
                    Lens::Listed { table: bytes, at: at + 4 * fields[0], stride }
                }
                _ => Lens::Equal(default_size),
            };
            let chunk = Chunk { at: next, n_samples: lens.count(announced, file), lens, entry };
            next = next.saturating_add(chunk.len());
            Some(chunk)
        }))
    }
}

/// The values that the header of a track's fragment gives for all its samples.
struct TrackHeader {
    track_id: u32,
    /// Position from which offsets count.
    base: Option<u64>,
    entry: Option<u32>,
    duration: Option<u32>,
    size: Option<u32>,
}

impl TrackHeader {
    fn read(fragment: Atom) -> Option<Self> {
        let header = fragment.child(*b"tfhd")?.bytes();
        let flags = header.u32_be(0)? & 0x00ff_ffff;
        let mut at = 8;
        let mut field = |bit: u32, len: usize| {
            let present = flags & bit != 0;
            let here = at;
            at += if present { len } else { 0 };
            present.then_some(here)
        };
        Some(Self {
            track_id: header.u32_be(4)?,
            base: field(1, 8).and_then(|at| header.u64_be(at)),
            entry: field(2, 4).and_then(|at| header.u32_be(at)),
            duration: field(8, 4).and_then(|at| header.u32_be(at)),
            size: field(0x10, 4).and_then(|at| header.u32_be(at)),
        })
    }
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
                atoms(moov.content).filter(|atom| atom.name == *b"trak").find_map(Mp4Track::read).unwrap();
            assert_eq!(track.edits(moov), expected, "{name}");
        }
    }
}
