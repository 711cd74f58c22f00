//! WAV in all its variants: RIFF, RF64, BW64 and RIFX; PCM, float, mu-law, A-law, ADPCM, MPEG audio.
//!
//! Sources: Microsoft's and IBM's Multimedia Programming Interface 1.0, Microsoft's `WAVEFORMATEX` and `WAVEFORMATEXTENSIBLE`,
//! EBU Tech 3306 (RF64).

use std::io::Cursor;

use hound::{SampleFormat as HoundFormat, WavReader};

use super::bytes::Bytes;
use super::codec::{Adpcm, AdpcmKind, Codec};
use super::demux::{AudibleFrames, DecoderPart, Demux, EqualPackets};
use super::error::AudioError;
use super::pcm::{Endian, RawFormat, SampleFormat};
use super::{mpeg, raw};

/// Lengths from this value on mean "unknown": a program that writes to a pipe cannot fill them in afterwards.
const UNKNOWN_LEN: u32 = 0x7fff_0000;

const PCM: u16 = 0x0001;
const MS_ADPCM: u16 = 0x0002;
const FLOAT: u16 = 0x0003;
const A_LAW: u16 = 0x0006;
const MU_LAW: u16 = 0x0007;
const IMA_ADPCM: u16 = 0x0011;
const MPEG: u16 = 0x0050;
const MP3: u16 = 0x0055;
const EXTENSIBLE: u16 = 0xfffe;

/// Returns a reader for the audio of a WAV file, full scale at ±1, in agreement with libsndfile and librosa.
pub(super) fn demux(file: &[u8]) -> Result<Box<dyn Demux<'_> + '_>, AudioError> {
    let Chunks { format, data, truncated, n_frames } = Chunks::find(file)?;
    Ok(match format.tag {
        MS_ADPCM => Box::new(adpcm(AdpcmKind::Microsoft, &format, data, n_frames)?.truncated(truncated)),
        IMA_ADPCM => Box::new(adpcm(AdpcmKind::ImaWav, &format, data, n_frames)?.truncated(truncated)),
        MPEG | MP3 => Box::new(mpeg::MpegFrames::found_in(data.into(), false)?),
        _ => {
            let samples = format.sample_format(data)?;
            let (sample_rate_hz, channels) = (format.sample_rate_hz, format.channels);
            let format = RawFormat { format: samples, sample_rate_hz, channels };
            Box::new(raw::samples("WAV", format, data).truncated(truncated))
        }
    })
}

/// The relevant chunks of a WAV file.
struct Chunks<'a> {
    format: WavFormat,
    /// The audio that is present.
    data: &'a [u8],
    /// Whether the file ends before its announced length.
    truncated: bool,
    /// Number of frames according to the `fact` chunk.
    n_frames: Option<u32>,
}

impl<'a> Chunks<'a> {
    /// Reads the chunks up to the audio. A padding byte follows each chunk of odd length.
    fn find(file: &'a [u8]) -> Result<Self, AudioError> {
        let cut = || AudioError::Corrupt("it ends within its header".into());
        let bytes = Bytes(file);
        let endian = if file.starts_with(b"RIFX") { Endian::Big } else { Endian::Little };
        let u32_at = |at: usize| match endian {
            Endian::Little => bytes.u32_le(at),
            Endian::Big => bytes.u32_be(at),
        };
        let (mut format, mut long_len, mut n_frames, mut at) = (None, None, None, 12);
        loop {
            let name: [u8; 4] = bytes.array(at).ok_or_else(cut)?;
            let len = u32_at(at + 4).ok_or_else(cut)?;
            let content = file.get(at + 8..).ok_or_else(cut)?;
            match &name {
                b"data" => {
                    let format = format.ok_or_else(|| AudioError::Corrupt("it has no fmt chunk".into()))?;
                    let announced = match len {
                        u32::MAX if let Some(long_len) = long_len => long_len,
                        0 | UNKNOWN_LEN.. => content.len() as u64,
                        len => u64::from(len),
                    };
                    let present = usize::try_from(announced).unwrap_or(usize::MAX).min(content.len());
                    let truncated = (present as u64) < announced;
                    return Ok(Self { format, data: &content[..present], truncated, n_frames });
                }
                // In RF64, the length of the file precedes that of the audio. Programs that write to a pipe leave zeros
                // here, too.
                b"ds64" => long_len = Bytes(content).u64_le(8).filter(|len| *len > 0),
                b"fmt " => {
                    format = Some(WavFormat::read(content.get(..len as usize).ok_or_else(cut)?, endian)?);
                }
                b"fact" => n_frames = u32_at(at + 8),
                _ => {}
            }
            at = at.saturating_add(8).saturating_add(len as usize).saturating_add(len as usize % 2);
        }
    }
}

/// The format chunk.
#[derive(Debug)]
struct WavFormat {
    /// The codec. In an extensible header, this is the codec of the sub-format.
    tag: u16,
    channels: u16,
    sample_rate_hz: u32,
    block_align: u16,
    /// Bits in which a sample is stored.
    bits: u16,
    /// Bits of a sample that are used.
    valid_bits: u16,
    /// Frames in a block of ADPCM.
    frames_per_block: u16,
    endian: Endian,
}

impl WavFormat {
    fn read(chunk: &[u8], endian: Endian) -> Result<Self, AudioError> {
        let bytes = Bytes(chunk);
        let u16_at = |at: usize| match endian {
            Endian::Little => bytes.u16_le(at),
            Endian::Big => bytes.u16_be(at),
        };
        let u32_at = |at: usize| match endian {
            Endian::Little => bytes.u32_le(at),
            Endian::Big => bytes.u32_be(at),
        };
        let field = |at| u16_at(at).ok_or_else(|| AudioError::Corrupt("its fmt chunk is too short".into()));
        let (mut tag, bits) = (field(0)?, u16_at(14).unwrap_or(0));
        let mut valid_bits = bits;
        if tag == EXTENSIBLE {
            // The first two bytes of the sub-format are the codec.
            tag = field(24)?;
            valid_bits = field(18)?;
        }
        Ok(Self {
            tag,
            channels: field(2)?,
            sample_rate_hz: u32_at(4).unwrap_or(0),
            block_align: u16_at(12).unwrap_or(0),
            bits,
            valid_bits,
            frames_per_block: u16_at(18).unwrap_or(0),
            endian,
        })
    }

    /// Returns the bytes in which a sample is stored: from the block's length if that is plausible, otherwise from the
    /// bits.
    fn sample_bytes(&self) -> u16 {
        let by_bits = self.bits.div_ceil(8);
        match self.block_align.checked_div(self.channels) {
            Some(by_align @ 1..=8)
                if self.block_align.is_multiple_of(self.channels) && by_align >= by_bits =>
            {
                by_align
            }
            _ => by_bits,
        }
    }

    fn sample_format(&self, data: &[u8]) -> Result<SampleFormat, AudioError> {
        let unsupported = |content: &str| AudioError::unsupported("WAV", content);
        let n_bytes = self.sample_bytes();
        let format = match self.tag {
            MU_LAW => Some(SampleFormat::MuLaw),
            A_LAW => Some(SampleFormat::ALaw),
            FLOAT => SampleFormat::float(u32::from(n_bytes) * 8, self.endian),
            PCM if n_bytes == 1 => Some(SampleFormat::U8),
            PCM => SampleFormat::signed(n_bytes.into(), self.endian),
            0x0031 => return Err(unsupported("GSM 6.10")),
            0x0022 => return Err(unsupported("TrueSpeech")),
            0x0045 | 0x0064 => return Err(unsupported("G.726")),
            0x0160..=0x0163 => return Err(unsupported("WMA")),
            0x2000 => return Err(unsupported("AC-3")),
            0x00ff | 0x1600..=0x1610 => return Err(unsupported("AAC")),
            other => return Err(unsupported(&format!("the codec {other:#06x}"))),
        };
        self.check_plain(n_bytes)?;
        let format = format.ok_or_else(|| unsupported(&format!("samples of {} bits", self.bits)))?;
        Ok(if self.tag == PCM { format.with_valid_bits(self.valid_bits, data) } else { format })
    }

    /// Applies hound's checks of a header: builds a header of the standard form with the same contents and lets hound
    /// read it.
    fn check_plain(&self, n_bytes: u16) -> Result<(), AudioError> {
        // hound does not support samples of 64 bits.
        let n_bytes = n_bytes.min(4);
        let align = n_bytes.saturating_mul(self.channels);
        let mut header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
        header.extend(self.channels.to_le_bytes());
        header.extend(self.sample_rate_hz.to_le_bytes());
        header.extend(self.sample_rate_hz.saturating_mul(align.into()).to_le_bytes());
        header.extend(align.to_le_bytes());
        header.extend((n_bytes * 8).to_le_bytes());
        header.extend(b"data\0\0\0\0");
        match WavReader::new(Cursor::new(header)) {
            Ok(reader) if reader.spec().sample_format == HoundFormat::Int => Ok(()),
            Ok(_) => Err(AudioError::Corrupt("its fmt chunk contradicts itself".into())),
            Err(hound::Error::FormatError(reason)) => Err(AudioError::Corrupt(reason.into())),
            Err(error) => Err(AudioError::Corrupt(error.to_string())),
        }
    }
}

/// Reads ADPCM block by block. The `fact` chunk determines how much of the last block is heard.
fn adpcm<'a>(
    kind: AdpcmKind,
    format: &WavFormat,
    data: &'a [u8],
    n_frames: Option<u32>,
) -> Result<EqualPackets<'a>, AudioError> {
    let (channels, align) = (u32::from(format.channels), u32::from(format.block_align));
    let header = match kind {
        AdpcmKind::Microsoft => 7 * channels,
        AdpcmKind::ImaWav | AdpcmKind::ImaQuickTime => 4 * channels,
    };
    let frames_of = |len: u32| match kind {
        AdpcmKind::Microsoft => (len - header) * 2 / channels + 2,
        // Channels alternate in words of 8 codes.
        AdpcmKind::ImaWav | AdpcmKind::ImaQuickTime => (len - header) / (4 * channels) * 8 + 1,
    };
    if channels == 0 || align <= header || format.bits != 4 {
        return Err(AudioError::Corrupt("its blocks of ADPCM have no valid length".into()));
    }
    let by_length = frames_of(align);
    let frames_per_block = match u32::from(format.frames_per_block) {
        announced if (1..=by_length).contains(&announced) => announced,
        _ => by_length,
    };
    super::recording::check_sample_rate(format.sample_rate_hz)?;
    let adpcm =
        Adpcm { kind, channels: format.channels, sample_rate_hz: format.sample_rate_hz, frames_per_block };
    let decoded = (data.len() / align as usize) as u64 * u64::from(frames_per_block);
    let padding = decoded.saturating_sub(n_frames.map_or(decoded, u64::from));
    let padding = if padding < u64::from(frames_per_block) { padding } else { 0 };
    let heard = AudibleFrames::Trimmed { skip: 0, max_padding: padding };
    let part = DecoderPart { codec: Codec::Adpcm(adpcm), heard };
    Ok(EqualPackets::whole("WAV", part, data, align as usize).with_padding(padding))
}
