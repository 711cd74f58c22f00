//! FLAC files: STREAMINFO, and frames by their checksums.
//!
//! Frames are found here, not by symphonia 0.6: it refuses files with a CD's cue sheet, takes counts of samples as they are, and
//! stops at a tag behind the audio.
//!
//! Source: RFC 9639, sections 8 (metadata) and 9 (frames).

use std::borrow::Cow;

use super::bytes::Bytes;
use super::codec::Codec;
use super::error::AudioError;
use super::stream::{Heard, Part, Stream};

const MARKER: &[u8] = b"fLaC";

/// Bytes of a STREAMINFO block.
const STREAM_INFO_LEN: usize = 34;

/// A count of samples that writers put where they do not know it, besides 0.
const UNKNOWN_SAMPLES: u64 = (1 << 36) - 1;

/// What a STREAMINFO block says.
pub(super) struct StreamInfo<'a> {
    pub(super) block: &'a [u8],
    n_samples: Option<u64>,
}

/// Reads the metadata from the marker on: STREAMINFO, and where the frames begin.
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
            info = Some(StreamInfo { block, n_samples });
        }
        at += 4 + len;
        if kind & 0x80 != 0 {
            return Some((info?, at));
        }
    }
}

/// All frames of a file, and those of further files chained behind it.
pub(super) fn demux(file: &[u8], start: usize) -> Result<Stream<'_>, AudioError> {
    let (mut parts, mut truncated) = (Vec::new(), false);
    let mut next = Some(start);
    while let Some(start) = next {
        let Some((info, begin)) = read_metadata(file, start) else {
            truncated = true;
            break;
        };
        let frames = Frames::find(file, begin);
        let n_missing = info.n_samples.map_or(0, |announced| announced.saturating_sub(frames.n_samples));
        truncated |= frames.is_cut || n_missing > 0;
        next = frames.next_file;
        let codec = Codec::Flac(info.block.to_vec());
        parts.push(Part { codec, packets: frames.packets, heard: Heard::ALL });
    }
    if parts.iter().all(|part| part.packets.is_empty()) {
        return Err(AudioError::Corrupt("it holds no whole FLAC frame".into()));
    }
    Ok(Stream { container: "FLAC", parts, truncated })
}

struct Frames<'a> {
    packets: Vec<Cow<'a, [u8]>>,
    n_samples: u64,
    /// The file ends within a frame.
    is_cut: bool,
    /// Where another FLAC file begins behind this one.
    next_file: Option<usize>,
}

impl<'a> Frames<'a> {
    /// A frame begins with a header whose checksum is right, and ends where its own is: in front of another header, of
    /// another file, of a tag or at the end.
    fn find(file: &'a [u8], begin: usize) -> Self {
        let bytes = Bytes(file);
        let mut frames = Self { packets: Vec::new(), n_samples: 0, is_cut: false, next_file: None };
        let mut at = begin;
        while let Some(n_samples) = frame_samples(bytes, at) {
            let Some(end) = frame_end(bytes, at) else {
                frames.is_cut = true;
                return frames;
            };
            frames.packets.push(file[at..end].into());
            frames.n_samples += n_samples;
            at = end;
            if !bytes.has(at, &[0xff]) {
                break;
            }
        }
        let rest = &file[at.min(file.len())..];
        frames.next_file = rest.starts_with(MARKER).then_some(at);
        frames.is_cut = rest.first() == Some(&0xff);
        frames
    }
}

/// Samples of the frame whose header is at a place; `None` if there is none.
fn frame_samples(file: Bytes, at: usize) -> Option<u64> {
    let [sync, b1, b2, b3] = file.array(at)?;
    if sync != 0xff || b1 & 0xfe != 0xf8 || b2 >> 4 == 0 || b2 & 0x0f == 0x0f || b3 >> 4 > 10 || b3 & 1 == 1 {
        return None;
    }
    // The number of the frame or sample, coded as UTF-8 is.
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

/// Where the frame at a place ends.
fn frame_end(file: Bytes, at: usize) -> Option<usize> {
    let mut crc = 0_u16;
    let frame = &file.0[at..];
    // The checksum over a frame with its own at the end is zero.
    for (i, byte) in frame.iter().enumerate() {
        crc = crc << 8 ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)];
        let end = at + i + 1;
        if crc == 0 && i > 6 && (end == file.0.len() || ends_at(file, end)) {
            return Some(end);
        }
    }
    None
}

/// Whether something may begin at a place that only begins behind a frame.
fn ends_at(file: Bytes, end: usize) -> bool {
    frame_samples(file, end).is_some()
        || [MARKER, b"TAG", b"APETAGEX", b"ID3"].iter().any(|magic| file.has(end, magic))
        // Zeros fill up some files.
        || file.up_to(end, 64).iter().all(|byte| *byte == 0)
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc: u8, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// The polynomial of frames' checksums, x^16 + x^15 + x^2 + 1, for each byte.
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
