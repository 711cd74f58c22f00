//! AIFF and AIFF-C.
//!
//! Source: Apple's Audio Interchange File Format specifications of 1989 (AIFF) and 1991 (AIFF-C).

use super::bytes::Bytes;
use super::codec::{Adpcm, AdpcmKind, Codec};
use super::demux::{AudibleFrames, DecoderPart, EqualPackets};
use super::error::AudioError;
use super::pcm::{Endian, RawFormat, SampleFormat};
use super::raw;

/// Lengths from this value on mean "unknown": a program that writes to a pipe cannot fill them in afterwards.
const UNKNOWN_LEN: u32 = 0x7f00_0000;

/// The common chunk.
struct Common {
    channels: u16,
    bits: u16,
    sample_rate_hz: u32,
    compression: [u8; 4],
}

impl Common {
    fn read(content: &[u8]) -> Option<Self> {
        let bytes = Bytes(content);
        Some(Self {
            channels: bytes.u16_be(0)?,
            bits: bytes.u16_be(6)?,
            sample_rate_hz: extended(bytes.array(8)?)?,
            compression: bytes.array(18).unwrap_or(*b"NONE"),
        })
    }

    fn sample_format(&self) -> Option<SampleFormat> {
        let n_bytes = usize::from(self.bits.div_ceil(8));
        match &self.compression {
            b"NONE" | b"twos" => SampleFormat::signed(n_bytes, Endian::Big),
            b"sowt" => SampleFormat::signed(n_bytes, Endian::Little),
            b"raw " => Some(SampleFormat::U8),
            b"in24" => Some(SampleFormat::S24(Endian::Big)),
            b"in32" => Some(SampleFormat::S32(Endian::Big)),
            b"fl32" | b"FL32" => Some(SampleFormat::F32(Endian::Big)),
            b"fl64" | b"FL64" => Some(SampleFormat::F64(Endian::Big)),
            b"ulaw" | b"ULAW" => Some(SampleFormat::MuLaw),
            b"alaw" | b"ALAW" => Some(SampleFormat::ALaw),
            _ => None,
        }
    }
}

/// Converts a float of 80 bits to an integer, or returns `None` if its magnitude is not that of a sample rate.
fn extended(bytes: [u8; 10]) -> Option<u32> {
    let exponent = i32::from(u16::from_be_bytes([bytes[0], bytes[1]]) & 0x7fff) - 16_383;
    let mantissa = Bytes(&bytes).u64_be(2)?;
    (0..32).contains(&exponent).then(|| (mantissa >> (63 - exponent)) as u32)
}

/// Returns a reader for the audio of the sound chunk.
pub(super) fn demux(file: &[u8]) -> Result<EqualPackets<'_>, AudioError> {
    let cut = || AudioError::Corrupt("it ends within its header".into());
    let bytes = Bytes(file);
    let (mut common, mut sound) = (None, None);
    let mut at = 12_usize;
    while let (Some(name), Some(len)) = (bytes.array::<4>(at), bytes.u32_be(at + 4)) {
        let rest = file.get(at + 8..).unwrap_or_default();
        let is_unknown = name == *b"SSND" && (len == 0 || len >= UNKNOWN_LEN);
        let announced = if is_unknown { rest.len() } else { len as usize };
        let content = &rest[..announced.min(rest.len())];
        match &name {
            b"COMM" => common = Common::read(content),
            b"SSND" => {
                let offset = Bytes(content).u32_be(0).unwrap_or(0) as usize;
                sound = Some((
                    content.get(offset.saturating_add(8)..).unwrap_or_default(),
                    announced > rest.len(),
                ));
            }
            _ => {}
        }
        at = at.saturating_add(8 + announced + announced % 2);
    }
    let common = common.ok_or_else(cut)?;
    let (data, truncated) = sound.ok_or_else(cut)?;
    if let Some(format) = common.sample_format() {
        let (sample_rate_hz, channels) = (common.sample_rate_hz, common.channels);
        let samples = raw::samples("AIFF", RawFormat { format, sample_rate_hz, channels }, data);
        return Ok(samples.truncated(truncated));
    }
    if common.compression != *b"ima4" {
        let name = format!("the codec {:?}", String::from_utf8_lossy(&common.compression));
        return Err(AudioError::unsupported("AIFF-C", &name));
    }
    let codec = Codec::Adpcm(Adpcm {
        kind: AdpcmKind::ImaQuickTime,
        channels: common.channels,
        sample_rate_hz: common.sample_rate_hz,
        frames_per_block: 64,
    });
    let block_len = 34 * usize::from(common.channels).max(1);
    let part = DecoderPart { codec, heard: AudibleFrames::ALL };
    Ok(EqualPackets::whole("AIFF-C", part, data, block_len).truncated(truncated))
}
