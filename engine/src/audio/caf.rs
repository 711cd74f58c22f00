//! Core Audio Format.
//!
//! Source: Apple's Core Audio Format Specification 1.0.

use super::bytes::Bytes;
use super::codec::{Adpcm, AdpcmKind, Codec, OpusLayout};
use super::demux::{AudibleFrames, DecoderPart, Demux, EqualPackets, Item};
use super::error::AudioError;
use super::mp4::read_descriptors;
use super::pcm::{Endian, RawFormat, SampleFormat};
use super::{mpeg, raw};

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

/// The packet table: the part of the audio that is heard, and the lengths of packets if they differ.
#[derive(Clone, Copy)]
struct PacketTable<'a> {
    n_packets: u64,
    /// Number of frames at the beginning that are the decoder's delay, and of those at the end that fill the last packet.
    skip: u64,
    padding: u64,
    /// Numbers with 7 bits per byte.
    lens: &'a [u8],
}

/// Reads the chunks.
pub(super) fn demux(file: &[u8]) -> Result<Box<dyn Demux<'_> + '_>, AudioError> {
    let cut = || AudioError::Corrupt("it ends within its header".into());
    let bytes = Bytes(file);
    let (mut description, mut cookie, mut table, mut audio) = (None, &b""[..], None, None);
    let mut at = 8_usize;
    while let (Some(name), Some(len)) = (bytes.array::<4>(at), bytes.u64_be(at + 4)) {
        let content = file.get(at + 12..).unwrap_or_default();
        // Recorders that write to a pipe store -1 for "to the end".
        let announced = if name == *b"data" && len.cast_signed() < 0 { content.len() as u64 } else { len };
        let present = usize::try_from(announced).unwrap_or(usize::MAX).min(content.len());
        let content = &content[..present];
        match &name {
            b"desc" => description = Description::read(Bytes(content)),
            b"kuki" => cookie = content,
            b"pakt" => table = Some(content),
            // An edit count precedes the audio.
            b"data" => audio = Some((content.get(4..).unwrap_or_default(), (present as u64) < announced)),
            _ => {}
        }
        at += 12 + present;
    }
    let description = description.ok_or_else(cut)?;
    let (data, truncated) = audio.ok_or_else(cut)?;
    let table = table.and_then(PacketTable::read);
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
        table: Option<PacketTable<'a>>,
        truncated: bool,
    ) -> Result<Box<dyn Demux<'a> + 'a>, AudioError> {
        let corrupt = || AudioError::Corrupt("the header of its codec cannot be read".into());
        let (sample_rate_hz, channels) = (self.sample_rate_hz, self.channels);
        if let Some(format) = self.sample_format() {
            let format = RawFormat { format, sample_rate_hz, channels };
            return Ok(Box::new(raw::samples("CAF", format, data).truncated(truncated)));
        }
        let codec = match &self.format {
            b".mp1" | b".mp2" | b".mp3" => {
                return Ok(Box::new(mpeg::MpegFrames::found_in(data.into(), truncated)?));
            }
            b"aac " => {
                let config = read_descriptors(cookie).and_then(|(_, config)| config).unwrap_or(cookie);
                Codec::Aac(config.to_vec())
            }
            b"alac" => Codec::Alac(alac_cookie(cookie).ok_or_else(corrupt)?.to_vec()),
            b"opus" => {
                let channels = u8::try_from(channels).map_err(|_| corrupt())?;
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
                channels,
                sample_rate_hz,
                frames_per_block: 64,
            }),
            name => {
                let name = format!("the codec {:?}", String::from_utf8_lossy(name).trim_end());
                return Err(AudioError::unsupported("CAF", &name));
            }
        };
        let padding = table.map_or(0, |table| table.padding);
        let heard =
            AudibleFrames::Trimmed { skip: table.map_or(0, |table| table.skip), max_padding: padding };
        let part = DecoderPart { codec, heard };
        if self.bytes_per_packet > 0 {
            let packets = EqualPackets::whole("CAF", part, data, self.bytes_per_packet as usize);
            return Ok(Box::new(packets.with_padding(padding).truncated(truncated)));
        }
        Ok(Box::new(ListedPackets {
            part: Some(part),
            data,
            lens: table.map_or(&[], |table| table.lens),
            n_left: table.map_or(0, |table| table.n_packets),
            has_frame_counts: self.frames_per_packet == 0,
            padding: Some(padding),
            truncated,
        }))
    }

    fn sample_format(&self) -> Option<SampleFormat> {
        match &self.format {
            b"lpcm" => {
                // Flag 1 means float, flag 2 little-endian.
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

impl<'a> PacketTable<'a> {
    fn read(table: &'a [u8]) -> Option<Self> {
        let bytes = Bytes(table);
        Some(Self {
            n_packets: bytes.u64_be(0)?,
            skip: bytes.u32_be(16)?.into(),
            padding: bytes.u32_be(20)?.into(),
            lens: table.get(24..)?,
        })
    }
}

/// Reads packets whose lengths are listed in the packet table.
struct ListedPackets<'a> {
    part: Option<DecoderPart>,
    data: &'a [u8],
    /// The remaining lengths.
    lens: &'a [u8],
    n_left: u64,
    /// Whether a count of frames follows each length.
    has_frame_counts: bool,
    /// The padding, until the end is reported.
    padding: Option<u64>,
    truncated: bool,
}

impl ListedPackets<'_> {
    /// Reads the next number of the table.
    fn number(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        loop {
            let (byte, rest) = self.lens.split_first()?;
            self.lens = rest;
            value = value << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }

    fn next_len(&mut self) -> Option<usize> {
        self.n_left = self.n_left.checked_sub(1)?;
        let len = self.number()?;
        if self.has_frame_counts {
            self.number();
        }
        Some(len)
    }
}

impl<'a> Demux<'a> for ListedPackets<'a> {
    fn container(&self) -> &'static str {
        "CAF"
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, AudioError> {
        if let Some(part) = self.part.take() {
            return Ok(Some(Item::Part(part)));
        }
        if let Some(len) = self.next_len() {
            if let Some((packet, rest)) = self.data.split_at_checked(len) {
                self.data = rest;
                return Ok(Some(Item::Packet(packet.into())));
            }
            self.truncated = true;
            self.n_left = 0;
        }
        Ok(self.padding.take().map(|padding| Item::End { padding }))
    }

    fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Returns the 24 bytes of an ALAC cookie, which older files wrap in boxes.
fn alac_cookie(cookie: &[u8]) -> Option<&[u8]> {
    if cookie.get(4..8) == Some(b"frma") {
        // A box `frma` of 12 bytes precedes a box `alac` with a version.
        return cookie.get(24..);
    }
    Some(cookie)
}
