//! Matroska and WebM: the blocks of the first audio track.
//!
//! symphonia 0.6 refuses files with chapters, and does not notice that a file without lengths is cut.
//!
//! Sources: RFC 8794 (EBML), RFC 9559 (Matroska).

use std::borrow::Cow;

use super::bytes::Bytes;
use super::codec::{Codec, read_opus_head};
use super::error::AudioError;
use super::flac;
use super::pcm::{Endian, SampleFormat};
use super::stream::{Heard, Part, Stream};
use super::vorbis::VorbisHeaders;

/// What every file begins with.
pub(super) const EBML_ID: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

mod id {
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const CLUSTER: u32 = 0x1f43_b675;
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

/// Elements that hold others, and are walked through.
const MASTERS: [u32; 3] = [id::SEGMENT, id::CLUSTER, id::BLOCK_GROUP];

const AUDIO_TRACK: u64 = 2;

/// An element: its content, and whether the file ends within it.
struct Element<'a> {
    id: u32,
    content: &'a [u8],
    /// `None` for one of unknown length.
    announced: Option<u64>,
    /// Where its content begins.
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
        Some(Self { id, content: Bytes(file).up_to(begin, len), announced, begin })
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

/// A length of 1 to 8 bytes, and how many; all ones mean "unknown".
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
struct Track<'a> {
    number: u64,
    codec_id: &'a str,
    private: &'a [u8],
    delay_ns: u64,
    sample_rate_hz: u32,
    channels: u16,
    bit_depth: u32,
    /// Bytes that were taken off every block.
    stripped: &'a [u8],
    is_compressed: bool,
}

impl<'a> Track<'a> {
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

    /// The samples' format, if they are not compressed.
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
                (Codec::Vorbis(headers.for_decoder), 0)
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

/// Three packets in Xiph's lacing.
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

/// The name of the container, by its DocType.
fn container_of(file: &[u8]) -> &'static str {
    if file[..file.len().min(64)].windows(4).any(|bytes| bytes == b"webm") { "WebM" } else { "Matroska" }
}

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
}

/// Reads the tracks and blocks of a file.
pub(super) fn demux(file: &[u8]) -> Result<Content<'_>, AudioError> {
    let container = container_of(file);
    let mut reader =
        Reader { track: None, has_tracks: false, packets: Vec::new(), padding_ns: 0, truncated: false };
    reader.walk(file);
    let Some(track) = reader.track else {
        return Err(if reader.has_tracks {
            AudioError::Unsupported(format!("{container} without an audio track is not supported"))
        } else {
            AudioError::Corrupt("its tracks are missing".into())
        });
    };
    if track.is_compressed {
        return Err(AudioError::unsupported(container, "blocks that are compressed once more"));
    }
    let (sample_rate_hz, channels, truncated) = (track.sample_rate_hz, track.channels, reader.truncated);
    if let Some(format) = track.sample_format() {
        let data = reader.packets.concat();
        return Ok(Content::Samples { format, sample_rate_hz, channels, data, truncated });
    }
    let (codec, skip) = track.codec(container)?;
    let rate = if matches!(codec, Codec::Opus(_)) { super::codec::OPUS_RATE_HZ } else { sample_rate_hz };
    let padding = u128::from(reader.padding_ns) * u128::from(rate) / 1_000_000_000;
    let heard = Heard::Trimmed { skip, padding: u64::try_from(padding).unwrap_or(0).min(48_000) };
    let part = Part { codec, packets: reader.packets, heard };
    Ok(Content::Packets(Stream { container, parts: vec![part], truncated }))
}

struct Reader<'a> {
    track: Option<Track<'a>>,
    has_tracks: bool,
    packets: Vec<Cow<'a, [u8]>>,
    /// What the last block says of its end.
    padding_ns: u64,
    truncated: bool,
}

impl<'a> Reader<'a> {
    /// Walks through the elements, into those that hold blocks. One of unknown length ends where the next of its kind begins, so
    /// its content is read as if it stood beside it.
    fn walk(&mut self, file: &'a [u8]) {
        let mut at = 0;
        while let Some(element) = Element::read(file, at) {
            self.truncated |= element.is_cut();
            let is_entered = MASTERS.contains(&element.id);
            self.element(&element);
            at = if is_entered { element.begin } else { element.begin + element.content.len() };
        }
        // Less than an element's head is left.
        self.truncated |= at < file.len() && file[at..].iter().any(|byte| *byte != 0);
    }

    fn element(&mut self, element: &Element<'a>) {
        match element.id {
            id::TRACKS => {
                self.has_tracks = true;
                let mut entries = element.children().filter(|child| child.id == id::TRACK_ENTRY);
                self.track = self.track.take().or_else(|| entries.find_map(|entry| Track::read(&entry)));
            }
            id::SIMPLE_BLOCK | id::BLOCK if !element.is_cut() => {
                self.padding_ns = 0;
                self.block(element.content);
            }
            id::DISCARD_PADDING => self.padding_ns = element.number(),
            _ => {}
        }
    }

    /// A block: the track's number, a time, flags, and frames, perhaps in a lacing.
    fn block(&mut self, block: &'a [u8]) -> Option<()> {
        let track = self.track.as_ref()?;
        let (number, len) = read_length(block)?;
        if number? != track.number {
            return None;
        }
        let flags = *block.get(len + 2)?;
        let frames = block.get(len + 3..)?;
        let stripped = track.stripped;
        for frame in laced(frames, flags >> 1 & 3)? {
            self.packets.push(if stripped.is_empty() {
                frame.into()
            } else {
                [stripped, frame].concat().into()
            });
        }
        Some(())
    }
}

/// The frames of a block by its lacing (RFC 9559, section 10.3).
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
                // All but the first are differences, with a bias in the middle of their range.
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
