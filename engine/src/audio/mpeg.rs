//! MPEG audio (MP3, MP2) and AAC in ADTS: streams of frames without a container.
//!
//! This module finds the frames instead of symphonia 0.6. symphonia cuts files at the length that a Xing header or the
//! first bit rate suggests, and stops at the end of the first of several joined files.
//!
//! Sources: ISO/IEC 11172-3, section 2.4.1.3, and 13818-3 (MPEG audio header); ISO/IEC 13818-7, section 6.2 (ADTS);
//! LAME's `VbrTag.c` (LAME tag).

use std::borrow::Cow;

use super::bytes::Bytes;
use super::codec::Codec;
use super::demux::{AudibleFrames, DecoderPart, Demux, Item};
use super::error::AudioError;

/// Number of bytes that are searched for the first frame.
const MAX_JUNK_BYTES: usize = 256 << 10;

/// Number of consecutive frames that must be found for the first to count as a frame, if other bytes precede it.
const FRAMES_IN_A_ROW: usize = 4;

/// Delay of an MP3 decoder in frames, in addition to the encoder's delay in the LAME tag.
const MP3_DECODER_DELAY: u64 = 529;

/// Number of bytes that are searched for a frame between two pauses.
const SEARCH_BYTES: usize = 64 << 10;

/// The contents of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    codec: FrameCodec,
    sample_rate_hz: u32,
    channels: u8,
    /// Length of the frame in bytes, including its header.
    len: usize,
    n_frames: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameCodec {
    /// Version (1, 2, or 3 for 2.5) and layer.
    Mpeg { version: u8, layer: u8 },
    /// Audio object type and index of the sample rate.
    Adts { object_type: u8, rate_index: u8, header_len: usize },
}

impl Header {
    fn read(file: Bytes, at: usize) -> Option<Self> {
        let [b0, b1, b2, b3] = file.array(at)?;
        if b0 != 0xff || b1 & 0xe0 != 0xe0 {
            return None;
        }
        if b1 & 0xf6 == 0xf0 { Self::adts(file, at) } else { Self::mpeg(b1, b2, b3) }
    }

    fn mpeg(b1: u8, b2: u8, b3: u8) -> Option<Self> {
        const RATES_HZ: [u32; 3] = [44_100, 48_000, 32_000];
        const KBPS: [[[u32; 15]; 3]; 2] = [
            [
                [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
                [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
                [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
            ],
            [
                [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
                [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
                [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
            ],
        ];
        let version = [3, 0, 2, 1][usize::from(b1 >> 3 & 3)];
        let layer = 4 - (b1 >> 1 & 3);
        let (rate_index, kbps_index) = (usize::from(b2 >> 2 & 3), usize::from(b2 >> 4));
        // Frames in a free format do not state their length. No such files are known.
        if version == 0 || layer == 4 || rate_index == 3 || !(1..=14).contains(&kbps_index) || b3 & 3 == 2 {
            return None;
        }
        let is_low_rate = usize::from(version > 1);
        let sample_rate_hz = RATES_HZ[rate_index] >> (version - 1);
        let bits_per_second = KBPS[is_low_rate][usize::from(layer) - 1][kbps_index] * 1_000;
        let padding = u32::from(b2 >> 1 & 1);
        let (n_frames, len) = match (layer, version) {
            (1, _) => (384, (12 * bits_per_second / sample_rate_hz + padding) * 4),
            (3, 2 | 3) => (576, 72 * bits_per_second / sample_rate_hz + padding),
            _ => (1_152, 144 * bits_per_second / sample_rate_hz + padding),
        };
        let channels = if b3 >> 6 == 3 { 1 } else { 2 };
        Some(Self {
            codec: FrameCodec::Mpeg { version, layer },
            sample_rate_hz,
            channels,
            len: len as usize,
            n_frames,
        })
    }

    fn adts(file: Bytes, at: usize) -> Option<Self> {
        const RATES_HZ: [u32; 13] = [
            96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
            7_350,
        ];
        let [_, b1, b2, b3, b4, b5, b6]: [u8; 7] = file.array(at)?;
        let header_len = if b1 & 1 == 1 { 7 } else { 9 };
        let rate_index = b2 >> 2 & 0x0f;
        let len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
        let codec = FrameCodec::Adts { object_type: (b2 >> 6) + 1, rate_index, header_len };
        Some(Self {
            codec,
            sample_rate_hz: *RATES_HZ.get(usize::from(rate_index))?,
            channels: (b2 & 1) << 2 | b3 >> 6,
            len: (len > header_len).then_some(len)?,
            n_frames: (u32::from(b6 & 3) + 1) * 1_024,
        })
    }

    /// Returns whether frames with both headers belong to the same stream. Some encoders alternate between joint stereo
    /// and mono; such frames count as different streams.
    fn continues(&self, before: &Self) -> bool {
        (self.codec, self.sample_rate_hz, self.channels)
            == (before.codec, before.sample_rate_hz, before.channels)
    }
}

/// Returns the position of the first frame within the first bytes of a file: a frame directly after the tags, or several
/// in a row.
pub(super) fn find_start(file: &[u8]) -> Option<usize> {
    let bytes = Bytes(file);
    let begin = skip_tags(bytes, 0);
    let end = file.len().min(begin.saturating_add(MAX_JUNK_BYTES));
    (begin..end).find(|at| file[*at] == 0xff && begins_frames(bytes, *at, *at == begin))
}

/// Returns whether frames begin at `at`. If no junk precedes the first frame, it must be followed by another frame or by
/// the file's end. Otherwise, several frames in a row are required.
fn begins_frames(file: Bytes, at: usize, is_first: bool) -> bool {
    let wanted = if is_first { 2 } else { FRAMES_IN_A_ROW };
    let Some(first) = Header::read(file, at) else { return false };
    let mut next = at + first.len;
    for _ in 1..wanted {
        match Header::read(file, next) {
            Some(header) if header.continues(&first) => next += header.len,
            // In a file of one or two frames, no further frame follows.
            None if is_first && next >= file.0.len() => return true,
            _ => return false,
        }
    }
    true
}

/// Returns the position after the tags at the beginning of a file, or `None` without tags.
pub(super) fn behind_tags(file: &[u8]) -> Option<usize> {
    let at = skip_tags(Bytes(file), 0);
    (at > 0).then_some(at)
}

/// Returns the position after the tags at `at`: ID3v2 and APE.
fn skip_tags(file: Bytes, mut at: usize) -> usize {
    loop {
        if file.has(at, b"ID3") {
            let Some(size) = file.array::<4>(at + 6) else { return at };
            let size = size.iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
            let footer = if file.u8(at + 5).is_some_and(|flags| flags & 0x10 != 0) { 10 } else { 0 };
            at = at.saturating_add(10 + size + footer);
        } else if file.has(at, b"APETAGEX") {
            let Some(size) = file.u32_le(at + 12) else { return at };
            let is_header = file.u32_le(at + 20).is_some_and(|flags| flags & 0x2000_0000 != 0);
            at = at.saturating_add(size as usize + if is_header { 32 } else { 0 }).max(at + 32);
        } else {
            return at;
        }
    }
}

/// Returns the number of samples per channel and the sample rate of an MPEG audio frame according to its header.
pub(super) fn frame_length(frame: &[u8]) -> Option<(u32, u32)> {
    Header::read(Bytes(frame), 0).map(|header| (header.n_frames, header.sample_rate_hz))
}

/// Reads the frames of a file from a position on.
///
/// 1. Read frame after frame. Where no frame follows, search for the next ones.
/// 2. A Xing, Info or VBRI header in the first frame contains no audio, and states how much to trim. Further such headers
///    occur in joined files, where they decode to a frame of silence. In that case nothing is trimmed at the end.
/// 3. The file is truncated if its last frame is.
pub(super) struct MpegFrames<'a> {
    file: Cow<'a, [u8]>,
    at: usize,
    /// Whether there is no frame at `at`, so that the search for one continues there.
    searching: bool,
    /// The header of the last frame.
    last: Option<Header>,
    /// Delays of the first part.
    delays: Option<Delays>,
    /// The frames of the first part that are heard according to another container's edit list.
    edited: Option<AudibleFrames>,
    n_parts: usize,
    /// The header of the first frame of a part that has begun. That frame is returned next.
    begun: Option<Header>,
    truncated: bool,
    has_ended: bool,
}

impl<'a> MpegFrames<'a> {
    /// Creates a reader for the frames from `start` on. `truncated` says whether the enclosing container proves that some
    /// are missing.
    pub(super) fn new(file: Cow<'a, [u8]>, start: usize, truncated: bool) -> Self {
        let bytes = Bytes(&file);
        let (mut at, mut delays) = (start, None);
        if start == skip_tags(bytes, 0)
            && let Some(header) = Header::read(bytes, start)
        {
            delays = Delays::read(bytes.slice_at_most(start, header.len), header);
            at += if delays.is_some() { header.len } else { 0 };
        }
        Self {
            file,
            at,
            searching: false,
            last: None,
            delays,
            edited: None,
            n_parts: 0,
            begun: None,
            truncated,
            has_ended: false,
        }
    }

    /// Creates a reader for the frames of a stretch of bytes, and searches its beginning for the first frame.
    pub(super) fn found_in(file: Cow<'a, [u8]>, truncated: bool) -> Result<Self, AudioError> {
        let start = find_start(&file).ok_or_else(no_frames)?;
        Ok(Self::new(file, start, truncated))
    }

    /// Applies an edit list, if there is one, which determines the frames that are heard.
    pub(super) fn edited(self, heard: AudibleFrames) -> Self {
        let edited = matches!(heard, AudibleFrames::Edited { .. }).then_some(heard);
        Self { edited, ..self }
    }

    /// Returns the header of the frame at the current position, if there is one.
    fn header(&self) -> Option<Header> {
        let bytes = Bytes(&self.file);
        Header::read(bytes, self.at).filter(|header| {
            self.last.is_none_or(|last| header.continues(&last)) || begins_frames(bytes, self.at, false)
        })
    }

    /// Searches a stretch of bytes for the next frame: a frame of the current stream that another frame follows, or
    /// several frames in a row of any stream.
    fn search(&mut self) {
        let file = Bytes(&self.file);
        if !std::mem::replace(&mut self.searching, true) {
            self.at = skip_tags(file, self.at) + 1;
        }
        let end = self.at.saturating_add(SEARCH_BYTES).min(file.0.len());
        let candidates = (self.at..end).filter(|at| file.0[*at] == 0xff);
        let found = candidates.into_iter().find(|at| {
            let Some(header) = Header::read(file, *at) else { return false };
            let next = Header::read(file, *at + header.len);
            let is_stream = self.last.is_some_and(|last| header.continues(&last));
            (is_stream && next.is_some_and(|next| next.continues(&header))) || begins_frames(file, *at, false)
        });
        self.searching = found.is_none();
        self.at = found.unwrap_or(end.max(self.at));
    }

    fn packet(&mut self, header: Header) -> Cow<'a, [u8]> {
        let range = match header.codec {
            FrameCodec::Mpeg { .. } => self.at..self.at + header.len,
            FrameCodec::Adts { header_len, .. } => self.at + header_len..self.at + header.len,
        };
        let frame = &self.file[self.at..self.at + header.len];
        if Delays::read(frame, header).is_some() {
            self.delays = self.delays.map(|delays| Delays { padding: 0, ..delays });
        }
        self.at += header.len;
        self.last = Some(header);
        match &self.file {
            Cow::Borrowed(file) => Cow::Borrowed(&file[range]),
            Cow::Owned(file) => Cow::Owned(file[range].to_vec()),
        }
    }

    /// Returns the end of the part. The padding is known only after the whole part has been read.
    fn end(&self) -> Item<'a> {
        let padding = if self.n_parts == 1 { self.delays.unwrap_or_default().padding } else { 0 };
        Item::End { padding }
    }

    fn part(&mut self, header: Header) -> Item<'a> {
        self.n_parts += 1;
        self.begun = Some(header);
        let delays = self.delays.filter(|_| self.n_parts == 1).unwrap_or_default();
        let trimmed = AudibleFrames::Trimmed { skip: delays.start, max_padding: delays.padding };
        Item::Part(DecoderPart { codec: codec_of(header), heard: self.edited.take().unwrap_or(trimmed) })
    }
}

impl<'a> Demux<'a> for MpegFrames<'a> {
    fn container(&self) -> &'static str {
        match self.last.or(self.begun).map(|header| header.codec) {
            Some(FrameCodec::Adts { .. }) => "ADTS",
            _ => "MPEG audio",
        }
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        if let Some(header) = self.begun.take() {
            return Ok(Some(Item::Packet(self.packet(header))));
        }
        while self.at < self.file.len() && !self.has_ended {
            if self.searching {
                self.search();
                return Ok(Some(Item::Searching));
            }
            let Some(header) = self.header() else {
                self.search();
                continue;
            };
            if self.file.len() - self.at < header.len {
                self.truncated = true;
                break;
            }
            if self.last.is_some_and(|last| header.continues(&last)) {
                return Ok(Some(Item::Packet(self.packet(header))));
            }
            if self.last.take().is_some() {
                return Ok(Some(self.end()));
            }
            return Ok(Some(self.part(header)));
        }
        if self.n_parts == 0 {
            return Err(no_frames());
        }
        let is_ended = std::mem::replace(&mut self.has_ended, true);
        Ok((!is_ended).then(|| self.end()))
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

fn no_frames() -> AudioError {
    AudioError::Corrupt("it holds no audio frames".into())
}

fn codec_of(header: Header) -> Codec {
    match header.codec {
        FrameCodec::Mpeg { layer, .. } => Codec::Mpeg(layer),
        FrameCodec::Adts { object_type, rate_index, .. } => {
            // The AudioSpecificConfig contains type, rate, channels, and three flags that are zero.
            let config =
                u16::from(object_type) << 11 | u16::from(rate_index) << 7 | u16::from(header.channels) << 3;
            Codec::Aac(config.to_be_bytes().to_vec())
        }
    }
}

/// The numbers of frames without audio according to a Xing, Info or VBRI header. The header's counts of frames and bytes
/// are not used, because programs that cut or join files do not update them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Delays {
    start: u64,
    padding: u64,
}

impl Delays {
    /// Reads the header that a frame contains. Returns `None` for a frame of audio.
    fn read(frame: &[u8], header: Header) -> Option<Self> {
        let FrameCodec::Mpeg { version, layer: 3 } = header.codec else { return None };
        let bytes = Bytes(frame);
        let side_info = match (version, header.channels) {
            (1, 1) => 17,
            (1, _) => 32,
            (_, 1) => 9,
            _ => 17,
        };
        if bytes.has(4 + 32, b"VBRI") {
            return Some(Self::default());
        }
        // If a checksum follows the header, some encoders place the tag two bytes later.
        let at = [4 + side_info, 6 + side_info]
            .into_iter()
            .find(|at| bytes.has(*at, b"Xing") || bytes.has(*at, b"Info"))?;
        let flags = bytes.u32_be(at + 4)?;
        let fields = [(1, 4), (2, 4), (4, 100), (8, 4)];
        let lame =
            at + 8 + fields.iter().map(|(flag, len)| if flags & flag != 0 { *len } else { 0 }).sum::<usize>();
        let Some([a, b, c]) = bytes.array(lame + 21) else { return Some(Self::default()) };
        let (delay, padding) =
            (u64::from(a) << 4 | u64::from(b >> 4), u64::from(b & 0x0f) << 8 | u64::from(c));
        let has_encoder = bytes.array::<4>(lame).is_some_and(|name| name.iter().all(u8::is_ascii_graphic));
        if !has_encoder || delay == 0 {
            return Some(Self::default());
        }
        let padding = padding.saturating_sub(MP3_DECODER_DELAY);
        Some(Self { start: delay + MP3_DECODER_DELAY, padding })
    }
}
