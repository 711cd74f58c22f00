//! The AU format of Sun and NeXT.
//!
//! Source: the manual page `audio(5)` of SunOS.

use super::bytes::Bytes;
use super::demux::EqualPackets;
use super::error::AudioError;
use super::pcm::{Endian, RawFormat, SampleFormat};
use super::raw;

/// The length that means "unknown".
const UNKNOWN_LEN: u32 = u32::MAX;

/// Returns a reader for the samples after the header.
pub(super) fn demux(file: &[u8]) -> Result<EqualPackets<'_>, AudioError> {
    let cut = || AudioError::Corrupt("it ends within its header".into());
    let bytes = Bytes(file);
    let field = |i: usize| bytes.u32_be(4 * i).ok_or_else(cut);
    let (offset, len, encoding, sample_rate_hz, channels) =
        (field(1)?, field(2)?, field(3)?, field(4)?, field(5)?);
    let format = match encoding {
        1 => SampleFormat::MuLaw,
        2 => SampleFormat::S8,
        3 => SampleFormat::S16(Endian::Big),
        4 => SampleFormat::S24(Endian::Big),
        5 => SampleFormat::S32(Endian::Big),
        6 => SampleFormat::F32(Endian::Big),
        7 => SampleFormat::F64(Endian::Big),
        27 => SampleFormat::ALaw,
        other => return Err(AudioError::unsupported("AU", &format!("encoding {other}"))),
    };
    let rest = file.get(offset as usize..).ok_or_else(cut)?;
    let announced = if len == UNKNOWN_LEN || len == 0 { rest.len() } else { len as usize };
    let channels = u16::try_from(channels).unwrap_or(u16::MAX);
    let samples = raw::samples(
        "AU",
        RawFormat { format, sample_rate_hz, channels },
        &rest[..announced.min(rest.len())],
    );
    Ok(samples.truncated(announced > rest.len()))
}
