//! Matroska and WebM: the blocks of the first audio track.
//!
//! symphonia 0.6 rejects files with chapters, and does not detect that a file without lengths is cut.
//!
//! Sources: RFC 8794 (EBML), RFC 9559 (Matroska).

use std::borrow::Cow;
use std::collections::VecDeque;

use super::bytes::Bytes;
use super::codec::{Codec, read_opus_head};
use super::demux::{AudibleFrames, DecoderPart, Demux, Item};
use super::durations::packet_seconds;
use super::error::AudioError;
use super::flac;
use super::pcm::{Endian, RawFormat, SampleFormat};
use super::vorbis::VorbisHeaders;

/// The ID with which every file begins.
pub(super) const EBML_ID: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

mod id {
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const CLUSTER: u32 = 0x1f43_b675;
    pub(super) const INFO: u32 = 0x1549_a966;
    pub(super) const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
    pub(super) const TIMESTAMP: u32 = 0xe7;
    pub(super) const TRACKS: u32 = 0x1654_ae6b;
    pub(super) const TRACK_ENTRY: u32 = 0xae;
    pub(super) const TRACK_NUMBER: u32 = 0xd7;
    pub(super) const TRACK_TYPE: u32 = 0x83;
    pub(super) const CODEC_ID: u32 = 0x86;
    pub(super) const CODEC_PRIVATE: u32 = 0x63a2;
    pub(super) const CODEC_DELAY: u32 = 0x56aa;
    pub(super) const AUDIO: u32 = 0xe1;
    pub(super) const SAMPLING_FREQUENCY: u32 = 0xb5;
    pub(super) const CHANNELS: u32 = 0x9f;
    pub(super) const BIT_DEPTH: u32 = 0x6264;
    pub(super) const CONTENT_ENCODINGS: u32 = 0x6d80;
    pub(super) const CONTENT_COMPRESSION: u32 = 0x5034;
    pub(super) const CONTENT_COMP_ALGO: u32 = 0x4254;
    pub(super) const CONTENT_COMP_SETTINGS: u32 = 0x4255;
    pub(super) const SIMPLE_BLOCK: u32 = 0xa3;
    pub(super) const BLOCK_GROUP: u32 = 0xa0;
    pub(super) const BLOCK: u32 = 0xa1;
    pub(super) const DISCARD_PADDING: u32 = 0x75a2;
}

/// Other known elements: siblings of clusters, and elements within clusters and groups of blocks (RFC 9559, section 5.1).
const OTHERS: [u32; 21] = [
    0x1a45_dfa3,
    0xec,
    0xbf,
    0x114d_9b74,
    0x1c53_bb6b,
    0x1941_a469,
    0x1043_a770,
    0x1254_c367,
    0x5854,
    0xa7,
    0xab,
    0xaf,
    0xa2,
    0x75a1,
    0x9b,
    0xfa,
    0xfb,
    0xfd,
    0xa4,
    0x8e,
    0xc8,
];

/// After damage, this many consecutive known elements mark the beginning of intact data.
const ELEMENTS_IN_A_ROW: usize = 3;

/// Number of bytes to search for an element between two pauses.
const SEARCH_BYTES: usize = 1 << 18;

/// Elements that contain others and are entered.
const MASTERS: [u32; 3] = [id::SEGMENT, id::CLUSTER, id::BLOCK_GROUP];

const AUDIO_TRACK: u64 = 2;

/// Largest number of bytes that a muxer may have removed from every block. Real muxers remove a frame header of a few
/// bytes.
const MAX_STRIPPED_BYTES: usize = 64;

/// Number of elements without a block that are read between two pauses.
const SEARCH_ELEMENTS: usize = 16_384;

/// Longest gap between two blocks, in seconds, that does not count as missing audio. Encoders may omit 0.4 s without
/// speech.
const GAP_SECONDS: f64 = 0.5;

/// Nanoseconds per unit of time, unless the file states another value.
const TIMESTAMP_SCALE_NS: u64 = 1_000_000;

/// Largest number of frames of padding in the last block.
const MAX_PADDING: u64 = 48_000;

/// An element and its content, which the end of the file may cut.
struct Element<'a> {
    id: u32,
    content: &'a [u8],
    /// The announced length; `None` if it is unknown.
    announced: Option<u64>,
    /// Position of the content.
    begin: usize,
}

impl<'a> Element<'a> {
    fn read(file: &'a [u8], at: usize) -> Option<Self> {
        let id_len = file.get(at)?.leading_zeros() as usize + 1;
        if id_len > 4 {
            return None;
        }
        let id = file.get(at..at + id_len)?.iter().fold(0_u32, |id, byte| id << 8 | u32::from(*byte));
        let (announced, len_len) = read_length(file.get(at + id_len..)?)?;
        let begin = at + id_len + len_len;
        let len = announced.map_or(usize::MAX, |len| usize::try_from(len).unwrap_or(usize::MAX));
        Some(Self { id, content: Bytes(file).slice_at_most(begin, len), announced, begin })
    }

    fn is_known(&self) -> bool {
        MASTERS.contains(&self.id)
            || OTHERS.contains(&self.id)
            || matches!(
                self.id,
                id::INFO | id::TIMESTAMP | id::TRACKS | id::SIMPLE_BLOCK | id::BLOCK | id::DISCARD_PADDING
            )
    }

    fn is_entered(&self) -> bool {
        MASTERS.contains(&self.id)
    }

    /// Returns the position of the next element. For an element that is entered, this is the first element in it.
    fn next_at(&self) -> usize {
        self.begin + if self.is_entered() { 0 } else { self.content.len() }
    }

    fn is_cut(&self) -> bool {
        self.announced.is_some_and(|announced| announced > self.content.len() as u64)
    }

    fn children(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        children(self.content)
    }

    fn child(&self, id: u32) -> Option<Element<'a>> {
        self.children().find(|child| child.id == id)
    }

    fn number(&self) -> u64 {
        self.content.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn float(&self) -> f64 {
        match self.content.len() {
            4 => f64::from(f32::from_bits(self.number() as u32)),
            _ => f64::from_bits(self.number()),
        }
    }
}

fn children(content: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let element = Element::read(content, at)?;
        at = element.begin + element.content.len();
        Some(element)
    })
}

/// Reads a length of 1 to 8 bytes, and returns it with the number of these bytes. A length of all ones means "unknown".
fn read_length(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let n_bytes = bytes.first()?.leading_zeros() as usize + 1;
    let encoded = bytes.get(..n_bytes)?;
    if n_bytes > 8 {
        return None;
    }
    let all_ones = (1_u64 << (7 * n_bytes)) - 1;
    let value = encoded.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)) & all_ones;
    Some(((value != all_ones).then_some(value), n_bytes))
}

/// An audio track.
struct MatroskaTrack<'a> {
    number: u64,
    codec_id: &'a str,
    private: &'a [u8],
    delay_ns: u64,
    sample_rate_hz: u32,
    channels: u16,
    bit_depth: u32,
    /// Bytes that were removed from the beginning of every block.
    stripped: &'a [u8],
    is_compressed: bool,
}

impl<'a> MatroskaTrack<'a> {
    fn read(entry: &Element<'a>) -> Option<Self> {
        let number = |parent: &Element, id| parent.child(id).map(|child| child.number());
        if number(entry, id::TRACK_TYPE)? != AUDIO_TRACK {
            return None;
        }
        let audio = entry.child(id::AUDIO)?;
        let compression = entry
            .child(id::CONTENT_ENCODINGS)
            .and_then(|encodings| encodings.children().next()?.child(id::CONTENT_COMPRESSION));
        let algorithm = compression.as_ref().map(|c| number(c, id::CONTENT_COMP_ALGO).unwrap_or(0));
        let stripped = compression.and_then(|c| c.child(id::CONTENT_COMP_SETTINGS)).map(|c| c.content);
        Some(Self {
            number: number(entry, id::TRACK_NUMBER)?,
            codec_id: std::str::from_utf8(entry.child(id::CODEC_ID)?.content).ok()?.trim_end_matches('\0'),
            private: entry.child(id::CODEC_PRIVATE).map_or(&[], |child| child.content),
            delay_ns: number(entry, id::CODEC_DELAY).unwrap_or(0),
            sample_rate_hz: audio.child(id::SAMPLING_FREQUENCY).map_or(8_000.0, |child| child.float()) as u32,
            channels: number(&audio, id::CHANNELS).unwrap_or(1) as u16,
            bit_depth: number(&audio, id::BIT_DEPTH).unwrap_or(0) as u32,
            stripped: stripped.unwrap_or_default(),
            is_compressed: algorithm.is_some_and(|algorithm| algorithm != 3),
        })
    }

    /// Returns the format of the samples, if they are uncompressed.
    fn sample_format(&self) -> Option<SampleFormat> {
        let n_bytes = self.bit_depth.div_ceil(8) as usize;
        match self.codec_id {
            "A_PCM/INT/LIT" if n_bytes == 1 => Some(SampleFormat::U8),
            "A_PCM/INT/LIT" => SampleFormat::signed(n_bytes, Endian::Little),
            "A_PCM/INT/BIG" => SampleFormat::signed(n_bytes, Endian::Big),
            "A_PCM/FLOAT/IEEE" => SampleFormat::float(self.bit_depth, Endian::Little),
            _ => None,
        }
    }

    fn codec(&self, container: &str) -> Result<(Codec, u64), AudioError> {
        let corrupt = || AudioError::Corrupt("the header of its codec cannot be read".into());
        Ok(match self.codec_id {
            "A_OPUS" => {
                let (layout, skip) = read_opus_head(self.private)?;
                (Codec::Opus(layout), skip.into())
            }
            "A_VORBIS" => {
                let headers = xiph_packets(self.private).ok_or_else(corrupt)?;
                let headers = VorbisHeaders::read(headers[0], headers[2]).ok_or_else(corrupt)?;
                (Codec::Vorbis(headers), 0)
            }
            "A_FLAC" => {
                let (info, _) = flac::read_metadata(self.private, 0).ok_or_else(corrupt)?;
                (Codec::Flac(info.block.to_vec()), 0)
            }
            "A_MPEG/L3" => (Codec::Mpeg(3), 0),
            "A_MPEG/L2" => (Codec::Mpeg(2), 0),
            "A_MPEG/L1" => (Codec::Mpeg(1), 0),
            "A_ALAC" => (Codec::Alac(self.private.to_vec()), 0),
            "A_AAC" => {
                let skip = u128::from(self.delay_ns) * u128::from(self.sample_rate_hz) / 1_000_000_000;
                (Codec::Aac(self.private.to_vec()), skip as u64)
            }
            other => return Err(AudioError::unsupported(container, other)),
        })
    }
}

/// Returns three packets in Xiph's lacing.
fn xiph_packets(private: &[u8]) -> Option<[&[u8]; 3]> {
    let mut rest = private.strip_prefix(&[2])?;
    let mut len = || {
        let n_full = rest.iter().take_while(|byte| **byte == 255).count();
        let len = n_full * 255 + usize::from(*rest.get(n_full)?);
        rest = &rest[n_full + 1..];
        Some(len)
    };
    let (first, second) = (len()?, len()?);
    let (first, rest) = rest.split_at_checked(first)?;
    let (second, third) = rest.split_at_checked(second)?;
    Some([first, second, third])
}

/// Returns whether a file is a later piece of a recording: clusters or blocks without a header. Browsers deliver
/// recordings in such pieces.
pub(super) fn is_headless(file: &[u8]) -> bool {
    let mut at = 0;
    for n in 0..ELEMENTS_IN_A_ROW {
        let Some(element) = Element::read(file, at).filter(Element::is_known) else { return false };
        match element.id {
            id::CLUSTER if n == 0 => return true,
            id::SIMPLE_BLOCK | id::BLOCK_GROUP | id::CLUSTER => {}
            _ => return false,
        }
        at = element.next_at();
    }
    true
}

/// Returns the name of the container according to its DocType.
fn container_of(file: &[u8]) -> &'static str {
    if file[..file.len().min(64)].windows(4).any(|bytes| bytes == b"webm") { "WebM" } else { "Matroska" }
}

/// Reads the elements of a file and enters those that contain blocks. An element of unknown length ends where the next
/// element of the same kind begins, so its content is read as if it were on the same level.
#[allow(clippy::struct_excessive_bools, reason = "each is a state of its own")]
pub(super) struct Elements<'a> {
    container: &'static str,
    file: &'a [u8],
    at: usize,
    /// Position after damage from which to search for an element.
    search_from: Option<usize>,
    track: Option<MatroskaTrack<'a>>,
    has_tracks: bool,
    /// Frames of the last block that have not been returned.
    frames: VecDeque<&'a [u8]>,
    has_begun: bool,
    has_ended: bool,
    /// Rate of the frames in which padding is counted, in Hz.
    clock_hz: u32,
    /// Padding at the end of the last block, in nanoseconds.
    padding_ns: u64,
    /// Nanoseconds per unit of time.
    scale_ns: u64,
    /// The cluster's time, in units of `scale_ns`.
    cluster_time: u64,
    codec: Option<Codec>,
    /// End of the last block, in seconds.
    block_end: Option<f64>,
    truncated: bool,
}

impl<'a> Elements<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self {
            container: container_of(file),
            file,
            at: 0,
            search_from: None,
            track: None,
            has_tracks: false,
            frames: VecDeque::new(),
            has_begun: false,
            has_ended: false,
            clock_hz: 0,
            padding_ns: 0,
            scale_ns: TIMESTAMP_SCALE_NS,
            cluster_time: 0,
            codec: None,
            block_end: None,
            truncated: false,
        }
    }

    /// Returns whether an element is only damaged data: it is unknown or extends past the file, and no known element
    /// follows it.
    fn is_damage(&self, element: &Element<'a>) -> bool {
        let is_odd = !element.is_known() || (element.is_cut() && !element.is_entered());
        is_odd && !Element::read(self.file, element.next_at()).is_some_and(|next| next.is_known())
    }

    /// Searches a stretch of bytes for the next cluster or for several known elements in a row. Returns whether more can
    /// be read.
    fn search(&mut self, from: usize) -> bool {
        let end = self.file.len().min(from.saturating_add(SEARCH_BYTES));
        if let Some(found) = (from..end).find(|at| self.begins_elements(*at)) {
            self.truncated = true;
            (self.at, self.search_from) = (found, None);
            return true;
        }
        self.search_from = Some(end);
        end < self.file.len()
    }

    fn begins_elements(&self, mut at: usize) -> bool {
        for n in 0..ELEMENTS_IN_A_ROW {
            let Some(element) = Element::read(self.file, at).filter(Element::is_known) else { return false };
            if n == 0 && element.id == id::CLUSTER {
                return true;
            }
            if element.is_cut() && !element.is_entered() {
                return false;
            }
            at = element.next_at();
        }
        true
    }

    fn element(&mut self, element: &Element<'a>) {
        match element.id {
            id::INFO => {
                let scale = element.child(id::TIMESTAMP_SCALE).map(|scale| scale.number());
                self.scale_ns = scale.filter(|scale| *scale > 0).unwrap_or(TIMESTAMP_SCALE_NS);
            }
            id::TIMESTAMP => self.cluster_time = element.number(),
            id::TRACKS => {
                self.has_tracks = true;
                let mut entries = element.children().filter(|child| child.id == id::TRACK_ENTRY);
                self.track =
                    self.track.take().or_else(|| entries.find_map(|entry| MatroskaTrack::read(&entry)));
            }
            id::SIMPLE_BLOCK | id::BLOCK if !element.is_cut() => {
                self.padding_ns = 0;
                // If damage follows a block, it has most likely begun within the block.
                let next = Element::read(self.file, element.next_at());
                if next.is_none_or(|next| !self.is_damage(&next)) {
                    self.block(element.content);
                }
            }
            id::DISCARD_PADDING => self.padding_ns = element.number(),
            _ => {}
        }
    }

    /// Reads a block: the track's number, a time, flags, and frames, which may be laced.
    fn block(&mut self, block: &'a [u8]) -> Option<()> {
        let track = self.track.as_ref()?;
        let (number, len) = read_length(block)?;
        if number? != track.number {
            return None;
        }
        let time = i16::from_be_bytes([*block.get(len)?, *block.get(len + 1)?]);
        let flags = *block.get(len + 2)?;
        let frames = block.get(len + 3..)?;
        self.frames.extend(laced(frames, flags >> 1 & 3)?);
        self.follow_time(self.cluster_time as f64 + f64::from(time));
        Some(())
    }

    /// Updates the end of the last block. Marks the file as truncated if a gap precedes this block.
    fn follow_time(&mut self, time: f64) {
        let seconds = time * self.scale_ns as f64 / 1e9;
        self.truncated |= self.block_end.is_some_and(|end| seconds - end > GAP_SECONDS);
        self.block_end = Some(seconds);
    }

    /// Returns the part that decodes the track.
    fn part(&mut self) -> Result<DecoderPart, AudioError> {
        let Some(track) = &self.track else {
            return Err(if self.has_tracks {
                AudioError::Unsupported(format!("{} without an audio track is not supported", self.container))
            } else {
                AudioError::Corrupt("its tracks are missing".into())
            });
        };
        if track.is_compressed {
            return Err(AudioError::unsupported(self.container, "blocks that are compressed once more"));
        }
        if track.stripped.len() > MAX_STRIPPED_BYTES {
            return Err(AudioError::Corrupt(format!(
                "more than {MAX_STRIPPED_BYTES} bytes are taken off its blocks"
            )));
        }
        let (sample_rate_hz, channels) = (track.sample_rate_hz, track.channels);
        if let Some(format) = track.sample_format() {
            let codec = Codec::Pcm(RawFormat { format, sample_rate_hz, channels });
            self.codec = Some(codec.clone());
            return Ok(DecoderPart { codec, heard: AudibleFrames::ALL });
        }
        let (codec, skip) = track.codec(self.container)?;
        self.clock_hz =
            if matches!(codec, Codec::Opus(_)) { super::codec::OPUS_RATE_HZ } else { sample_rate_hz };
        self.codec = Some(codec.clone());
        Ok(DecoderPart { codec, heard: AudibleFrames::Trimmed { skip, max_padding: MAX_PADDING } })
    }

    fn packet(&mut self, frame: &'a [u8]) -> Cow<'a, [u8]> {
        let packet: Cow<'a, [u8]> = match self.track.as_ref().map_or(&[][..], |track| track.stripped) {
            [] => frame.into(),
            stripped => [stripped, frame].concat().into(),
        };
        let seconds = self.codec.as_ref().and_then(|codec| packet_seconds(codec, &packet));
        self.block_end = self.block_end.map(|end| end + seconds.unwrap_or(0.0));
        packet
    }
}

impl<'a> Demux<'a> for Elements<'a> {
    fn container(&self) -> &'static str {
        self.container
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        let mut n_elements = 0;
        while self.frames.is_empty() {
            if let Some(from) = self.search_from {
                if self.search(from) {
                    return Ok(Some(Item::Searching));
                }
                break;
            }
            let Some(element) = Element::read(self.file, self.at) else {
                self.search_from = (self.at < self.file.len()).then_some(self.at + 1);
                if self.search_from.is_some() {
                    continue;
                }
                break;
            };
            n_elements += 1;
            if n_elements > SEARCH_ELEMENTS {
                return Ok(Some(Item::Searching));
            }
            if self.is_damage(&element) {
                self.search_from = Some(self.at + 1);
                continue;
            }
            self.truncated |= element.is_cut();
            self.element(&element);
            self.at = element.next_at();
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            return Ok(Some(Item::Part(self.part()?)));
        }
        if let Some(frame) = self.frames.pop_front() {
            return Ok(Some(Item::Packet(self.packet(frame))));
        }
        if std::mem::replace(&mut self.has_ended, true) {
            return Ok(None);
        }
        // The rest of the file contains no element. If it is not all zeros, something is missing.
        self.truncated |= self.file.get(self.at..).unwrap_or_default().iter().any(|byte| *byte != 0);
        let padding = u128::from(self.padding_ns) * u128::from(self.clock_hz) / 1_000_000_000;
        Ok(Some(Item::End { padding: u64::try_from(padding).unwrap_or(0).min(MAX_PADDING) }))
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Returns the frames of a block according to its lacing (RFC 9559, section 10.3).
fn laced(content: &[u8], lacing: u8) -> Option<Vec<&[u8]>> {
    if lacing == 0 {
        return Some(vec![content]);
    }
    let (n_frames, mut rest) = content.split_first()?;
    let n_frames = usize::from(*n_frames) + 1;
    let mut lens: Vec<usize> = Vec::new();
    match lacing {
        1 => {
            for _ in 1..n_frames {
                let n_full = rest.iter().take_while(|byte| **byte == 255).count();
                lens.push(n_full * 255 + usize::from(*rest.get(n_full)?));
                rest = &rest[n_full + 1..];
            }
        }
        3 => {
            for i in 1..n_frames {
                let (value, n_bytes) = read_length(rest)?;
                let value = value? as i64;
                rest = &rest[n_bytes..];
                let before = lens.last().map_or(0, |len| *len as i64);
                // All lengths except the first are differences, with a bias in the middle of their range.
                let bias = (1_i64 << (7 * n_bytes - 1)) - 1;
                lens.push(usize::try_from(if i == 1 { value } else { before + value - bias }).ok()?);
            }
        }
        _ => lens = vec![rest.len() / n_frames; n_frames - 1],
    }
    let mut frames = Vec::new();
    for len in lens {
        let (frame, after) = rest.split_at_checked(len)?;
        frames.push(frame);
        rest = after;
    }
    frames.push(rest);
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_one_to_eight_bytes_are_read() {
        let cases = [
            (vec![0x85], Some((Some(5), 1))),
            (vec![0x40, 6], Some((Some(6), 2))),
            (vec![0xff], Some((None, 1))),
            (vec![1, 255, 255, 255, 255, 255, 255, 255], Some((None, 8))),
            (vec![0x40], None),
            (vec![0; 9], None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_length(&bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn frames_of_every_lacing_are_found() {
        let frames: Vec<&[u8]> = vec![b"a", b"bb", b"ccc"];
        let cases: [(&str, u8, Vec<u8>); 3] = [
            ("Xiph", 1, b"\x02\x01\x02abbccc".to_vec()),
            ("EBML", 3, b"\x02\x81\xc0abbccc".to_vec()),
            ("none", 0, b"abbccc".to_vec()),
        ];
        for (name, lacing, block) in cases {
            let expected = if lacing == 0 { vec![&b"abbccc"[..]] } else { frames.clone() };
            assert_eq!(laced(&block, lacing), Some(expected), "{name}");
        }
        assert_eq!(laced(b"\x01aabb", 2), Some(vec![&b"aa"[..], b"bb"]));
    }
}
