//! Core Audio Format.
//!
//! Source: Apple's Core Audio Format Specification 1.0.

use std::borrow::Cow;

use super::bytes::Bytes;
use super::codec::{Adpcm, AdpcmKind, Codec, OpusLayout};
use super::error::AudioError;
use super::mp4::read_descriptors;
use super::pcm::{Endian, SampleFormat};
use super::stream::{Heard, Part, Stream};

/// What the file holds.
pub(super) enum Content<'a> {
    Packets(Stream<'a>),
    /// Samples that are not compressed.
    Samples {
        format: SampleFormat,
        sample_rate_hz: u32,
        channels: u16,
        data: &'a [u8],
        truncated: bool,
    },
    /// MPEG audio, to be searched for frames.
    Mpeg {
        data: &'a [u8],
        truncated: bool,
    },
}

/// The description chunk.
struct Description {
    format: [u8; 4],
    sample_rate_hz: u32,
    flags: u32,
    bytes_per_packet: u32,
    frames_per_packet: u32,
    channels: u16,
    bits: u32,
}

/// The lengths of packets, where they differ.
struct PacketTable {
    lens: Vec<usize>,
    /// Frames at the beginning that are the decoder's delay, and those at the end that fill the last packet.
    skip: u64,
    padding: u64,
}

/// Reads the chunks.
pub(super) fn demux(file: &[u8]) -> Result<Content<'_>, AudioError> {
    let cut = || AudioError::Corrupt("it ends within its header".into());
    let bytes = Bytes(file);
    let (mut description, mut cookie, mut table, mut audio) = (None, &b""[..], None, None);
    let mut at = 8_usize;
    while let (Some(name), Some(len)) = (bytes.array::<4>(at), bytes.u64_be(at + 4)) {
        let content = file.get(at + 12..).unwrap_or_default();
        // Recorders that write to a pipe leave -1 for "to the end".
        let announced = if name == *b"data" && len.cast_signed() < 0 { content.len() as u64 } else { len };
        let present = usize::try_from(announced).unwrap_or(usize::MAX).min(content.len());
        let content = &content[..present];
        match &name {
            b"desc" => description = Description::read(Bytes(content)),
            b"kuki" => cookie = content,
            b"pakt" => table = Some(content),
            // A count of edits comes first.
            b"data" => audio = Some((content.get(4..).unwrap_or_default(), (present as u64) < announced)),
            _ => {}
        }
        at += 12 + present;
    }
    let description = description.ok_or_else(cut)?;
    let (data, truncated) = audio.ok_or_else(cut)?;
    let table = table.and_then(|table| PacketTable::read(Bytes(table), &description));
    description.content(data, cookie, table, truncated)
}

impl Description {
    fn read(bytes: Bytes) -> Option<Self> {
        Some(Self {
            sample_rate_hz: bytes.f64_be(0)?.round() as u32,
            format: bytes.array(8)?,
            flags: bytes.u32_be(12)?,
            bytes_per_packet: bytes.u32_be(16)?,
            frames_per_packet: bytes.u32_be(20)?,
            channels: u16::try_from(bytes.u32_be(24)?).ok()?,
            bits: bytes.u32_be(28)?,
        })
    }

    fn content<'a>(
        &self,
        data: &'a [u8],
        cookie: &[u8],
        table: Option<PacketTable>,
        truncated: bool,
    ) -> Result<Content<'a>, AudioError> {
        let corrupt = || AudioError::Corrupt("the header of its codec cannot be read".into());
        if let Some(format) = self.sample_format() {
            let (sample_rate_hz, channels) = (self.sample_rate_hz, self.channels);
            return Ok(Content::Samples { format, sample_rate_hz, channels, data, truncated });
        }
        let codec = match &self.format {
            b".mp1" | b".mp2" | b".mp3" => return Ok(Content::Mpeg { data, truncated }),
            b"aac " => {
                let config = read_descriptors(cookie).and_then(|(_, config)| config).unwrap_or(cookie);
                Codec::Aac(config.to_vec())
            }
            b"alac" => Codec::Alac(alac_cookie(cookie).ok_or_else(corrupt)?.to_vec()),
            b"opus" => {
                let channels = u8::try_from(self.channels).map_err(|_| corrupt())?;
                Codec::Opus(OpusLayout::new(channels, u8::from(channels > 2), &[]).ok_or_else(corrupt)?)
            }
            b"flac" => {
                let info =
                    cookie.windows(4).position(|bytes| bytes == [0, 0, 0, 34] || bytes == [0x80, 0, 0, 34]);
                let info = info.and_then(|at| cookie.get(at + 4..at + 38)).ok_or_else(corrupt)?;
                Codec::Flac(info.to_vec())
            }
            b"ima4" => Codec::Adpcm(Adpcm {
                kind: AdpcmKind::ImaQuickTime,
                channels: self.channels,
                sample_rate_hz: self.sample_rate_hz,
                frames_per_block: 64,
            }),
            name => {
                let name = format!("the codec {:?}", String::from_utf8_lossy(name).trim_end());
                return Err(AudioError::unsupported("CAF", &name));
            }
        };
        let (packets, is_whole) = self.packets(data, table.as_ref());
        let heard =
            table.map_or(Heard::ALL, |table| Heard::Trimmed { skip: table.skip, padding: table.padding });
        let part = Part { codec, packets, heard };
        Ok(Content::Packets(Stream {
            container: "CAF",
            parts: vec![part],
            truncated: truncated || !is_whole,
        }))
    }

    /// The packets that are whole, and whether all are.
    fn packets<'a>(&self, data: &'a [u8], table: Option<&PacketTable>) -> (Vec<Cow<'a, [u8]>>, bool) {
        let same = self.bytes_per_packet as usize;
        if same > 0 {
            return (data.chunks_exact(same).map(Cow::from).collect(), true);
        }
        let (mut packets, mut at) = (Vec::new(), 0);
        for len in table.map_or(&[][..], |table| &table.lens) {
            let Some(packet) = data.get(at..at + len) else { return (packets, false) };
            packets.push(packet.into());
            at += len;
        }
        (packets, true)
    }

    fn sample_format(&self) -> Option<SampleFormat> {
        match &self.format {
            b"lpcm" => {
                // Flags: 1 float, 2 little-endian.
                let endian = if self.flags & 2 == 0 { Endian::Big } else { Endian::Little };
                if self.flags & 1 == 1 {
                    return SampleFormat::float(self.bits, endian);
                }
                let n_bytes = self.bytes_per_packet.checked_div(u32::from(self.channels))?;
                SampleFormat::signed(n_bytes as usize, endian)
            }
            b"ulaw" => Some(SampleFormat::MuLaw),
            b"alaw" => Some(SampleFormat::ALaw),
            _ => None,
        }
    }
}

impl PacketTable {
    fn read(bytes: Bytes, description: &Description) -> Option<Self> {
        let n_packets = usize::try_from(bytes.u64_be(0)?).ok()?;
        let (mut lens, mut at) = (Vec::new(), 24);
        let mut number = || {
            let mut value = 0_usize;
            loop {
                let byte = bytes.u8(at)?;
                at += 1;
                value = value << 7 | usize::from(byte & 0x7f);
                if byte & 0x80 == 0 {
                    return Some(value);
                }
            }
        };
        if description.bytes_per_packet == 0 {
            while lens.len() < n_packets
                && let Some(len) = number()
            {
                lens.push(len);
                if description.frames_per_packet == 0 {
                    number();
                }
            }
        }
        Some(Self { lens, skip: bytes.u32_be(16)?.into(), padding: bytes.u32_be(20)?.into() })
    }
}

/// The 24 bytes of an ALAC cookie; older files wrap them in boxes.
fn alac_cookie(cookie: &[u8]) -> Option<&[u8]> {
    if cookie.get(4..8) == Some(b"frma") {
        // `frma` of 12 bytes, then `alac` with a version.
        return cookie.get(24..);
    }
    Some(cookie)
}
