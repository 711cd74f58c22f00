//! FLAC files: STREAMINFO, and frames, which are found by their checksums.
//!
//! This module finds the frames instead of symphonia 0.6, which rejects files with a CD's cue sheet, trusts counts of
//! samples, and stops at a tag after the audio.
//!
//! Source: RFC 9639, sections 8 (metadata) and 9 (frames).

use super::bytes::Bytes;
use super::codec::Codec;
use super::demux::{AudibleFrames, DecoderPart, Demux, Item};
use super::error::AudioError;

const MARKER: &[u8] = b"fLaC";

/// Length of a STREAMINFO block in bytes.
const STREAM_INFO_LEN: usize = 34;

/// Number of samples, besides 0, that writers store if they do not know it.
const UNKNOWN_SAMPLES: u64 = (1 << 36) - 1;

/// Number of positions per file that may look like the start of a frame without being one. Each costs a checksum over the
/// length of the longest frame.
const MAX_BAD_FRAMES: usize = 100;

/// Number of bytes to search for a frame between two pauses.
const SEARCH_BYTES: usize = 1 << 18;

/// Length of the longest frame: 65,535 samples of 8 channels, stored uncompressed in up to 33 bits, and its headers.
const MAX_FRAME_BYTES: usize = 65_535 * 8 * 33 / 8 + 1_024;

/// The contents of a STREAMINFO block.
pub(super) struct StreamInfo<'a> {
    pub(super) block: &'a [u8],
    n_samples: Option<u64>,
    /// Length of the longest frame in bytes.
    max_frame_bytes: usize,
}

/// Reads the metadata that begins with the marker. Returns STREAMINFO and the position of the first frame.
pub(super) fn read_metadata(file: &[u8], start: usize) -> Option<(StreamInfo<'_>, usize)> {
    let bytes = Bytes(file);
    let mut at = start + MARKER.len();
    let mut info = None;
    loop {
        let [kind, a, b, c] = bytes.array(at)?;
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, 0 | 0x80) {
            let block = file.get(at + 4..at + 4 + STREAM_INFO_LEN)?;
            let n_samples = Bytes(block).u64_be(10)? & UNKNOWN_SAMPLES;
            let n_samples = (n_samples != 0 && n_samples != UNKNOWN_SAMPLES).then_some(n_samples);
            let max_frame_bytes = match Bytes(block).u32_be(7)? >> 8 {
                0 => MAX_FRAME_BYTES,
                announced => MAX_FRAME_BYTES.min(announced as usize),
            };
            info = Some(StreamInfo { block, n_samples, max_frame_bytes });
        }
        at += 4 + len;
        if kind & 0x80 != 0 {
            return Some((info?, at));
        }
    }
}

/// Reads all frames of a file and of further files appended to it.
///
/// A frame begins with a header whose checksum is correct. It ends where the frame's checksum is correct and another
/// header, another file, a tag or the end of the file follows. After damage, the reader searches for the next whole
/// frame.
pub(super) struct FlacFrames<'a> {
    file: &'a [u8],
    at: usize,
    /// Number of samples that the part still lacks according to its STREAMINFO.
    n_missing: u64,
    max_frame_bytes: usize,
    /// Number of further positions that may look like a frame without being one.
    bad_frames_left: usize,
    state: FrameState,
    found_any: bool,
    truncated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameState {
    /// A marker is expected at the current position.
    Marker,
    /// A frame is expected at the current position.
    Frames,
    /// The current position contains no frame. The search for the next frame continues from this position.
    Damage(usize),
    Ended,
}

impl<'a> FlacFrames<'a> {
    /// Creates a reader for the file whose marker is at `start`.
    pub(super) fn new(file: &'a [u8], start: usize) -> Self {
        Self {
            file,
            at: start,
            n_missing: 0,
            max_frame_bytes: MAX_FRAME_BYTES,
            bad_frames_left: MAX_BAD_FRAMES,
            state: FrameState::Marker,
            found_any: false,
            truncated: false,
        }
    }

    /// Returns the next frame, if it is complete.
    fn frame(&mut self) -> Option<&'a [u8]> {
        let bytes = Bytes(self.file);
        let n_samples = frame_samples(bytes, self.at)?;
        let Some(end) = frame_end(bytes, self.at, self.max_frame_bytes) else {
            self.bad_frames_left = self.bad_frames_left.saturating_sub(1);
            return None;
        };
        let frame = &self.file[self.at..end];
        self.at = end;
        self.n_missing = self.n_missing.saturating_sub(n_samples);
        self.found_any = true;
        Some(frame)
    }

    /// Searches a stretch of bytes after damage for a whole frame. If it finds none, sets the state to continue or to end
    /// the search.
    fn next_frame(&mut self, from: usize) -> Option<Item<'a>> {
        let begin = self.at;
        for at in from + 1..self.file.len().min(from + SEARCH_BYTES) {
            if self.file[at] != 0xff {
                continue;
            }
            if self.bad_frames_left == 0 {
                self.state = FrameState::Ended;
                return None;
            }
            self.at = at;
            if let Some(frame) = self.frame() {
                self.state = FrameState::Frames;
                return Some(Item::Packet(frame.into()));
            }
            self.at = begin;
        }
        let next = from + SEARCH_BYTES - 1;
        self.state = if next < self.file.len() { FrameState::Damage(next) } else { FrameState::Ended };
        None
    }
}

impl<'a> Demux<'a> for FlacFrames<'a> {
    fn container(&self) -> &'static str {
        "FLAC"
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        match self.state {
            FrameState::Marker => {
                if let Some((info, begin)) = read_metadata(self.file, self.at) {
                    self.at = begin;
                    self.n_missing = info.n_samples.unwrap_or(0);
                    self.max_frame_bytes = info.max_frame_bytes;
                    self.state = FrameState::Frames;
                    let codec = Codec::Flac(info.block.to_vec());
                    return Ok(Some(Item::Part(DecoderPart { codec, heard: AudibleFrames::ALL })));
                }
                self.truncated = true;
                self.state = FrameState::Ended;
            }
            FrameState::Frames => {
                if let Some(frame) = self.frame() {
                    return Ok(Some(Item::Packet(frame.into())));
                }
                if Bytes(self.file).has(self.at, MARKER) {
                    self.truncated |= self.n_missing > 0;
                    self.state = FrameState::Marker;
                    return Ok(Some(Item::End { padding: 0 }));
                }
                self.state = FrameState::Damage(self.at);
                return Ok(Some(Item::Searching));
            }
            FrameState::Damage(from) => {
                if let Some(frame) = self.next_frame(from) {
                    self.truncated = true;
                    return Ok(Some(frame));
                }
                if let FrameState::Damage(_) = self.state {
                    return Ok(Some(Item::Searching));
                }
                // The file ends within a frame or lacks samples that it announces.
                let ends_in_frame = self.file.get(self.at) == Some(&0xff);
                self.truncated |= ends_in_frame || self.n_missing > 0;
                return Ok(Some(Item::End { padding: 0 }));
            }
            FrameState::Ended => {}
        }
        if self.found_any {
            Ok(None)
        } else {
            Err(AudioError::Corrupt("it holds no whole FLAC frame".into()))
        }
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Returns the number of samples in the frame whose header is at `at`, or `None` if there is no header.
pub(super) fn frame_samples(file: Bytes, at: usize) -> Option<u64> {
    let [sync, b1, b2, b3] = file.array(at)?;
    if sync != 0xff || b1 & 0xfe != 0xf8 || b2 >> 4 == 0 || b2 & 0x0f == 0x0f || b3 >> 4 > 10 || b3 & 1 == 1 {
        return None;
    }
    // The number of the frame or sample is encoded like a UTF-8 character.
    let number_len = match file.u8(at + 4)?.leading_ones() {
        0 => 1,
        n @ 2..=7 => n as usize,
        _ => return None,
    };
    let mut end = at + 4 + number_len;
    let n_samples = match b2 >> 4 {
        1 => 192,
        code @ 2..=5 => 144 << code,
        6 => u64::from(file.u8(end)?) + 1,
        7 => u64::from(file.u16_be(end)?) + 1,
        code => 1 << code,
    };
    end += match b2 >> 4 {
        6 => 1,
        7 => 2,
        _ => 0,
    };
    end += match b2 & 0x0f {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    (crc8(file.0.get(at..end)?) == file.u8(end)?).then_some(n_samples)
}

/// Returns the end of the frame at `at`.
fn frame_end(file: Bytes, at: usize, max_bytes: usize) -> Option<usize> {
    let mut crc = 0_u16;
    let frame = file.slice_at_most(at, max_bytes);
    // The checksum over a whole frame, including its stored checksum, is zero.
    for (i, byte) in frame.iter().enumerate() {
        crc = crc << 8 ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)];
        let end = at + i + 1;
        if crc == 0 && i > 6 && (end == file.0.len() || ends_at(file, end)) {
            return Some(end);
        }
    }
    None
}

/// Returns whether a frame may end here, because something that follows a frame begins.
fn ends_at(file: Bytes, end: usize) -> bool {
    frame_samples(file, end).is_some()
        || [MARKER, b"TAG", b"APETAGEX", b"ID3"].iter().any(|magic| file.has(end, magic))
        // Some files are padded with zeros.
        || file.slice_at_most(end, 64).iter().all(|byte| *byte == 0)
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc: u8, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// Lookup table of the frames' checksum for each byte. The polynomial is x^16 + x^15 + x^2 + 1.
static CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
