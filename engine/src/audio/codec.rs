//! Decodes packets of compressed audio into interleaved samples. Most codecs use symphonia's decoders. Opus, which
//! symphonia lacks, uses ropus.

use std::cell::Cell;
use std::ops::RangeInclusive;

use ropus::{Channels as OpusChannels, DecodeMode, OpusMSDecoder};
use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_ADPCM_IMA_QT, CODEC_ID_ADPCM_MS, CODEC_ID_ALAC, CODEC_ID_FLAC, CODEC_ID_MP1,
    CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use super::amr::{AmrDecoder, AmrKind};
use super::bytes::Bytes;
use super::error::AudioError;
use super::ima_adpcm;
use super::pcm::RawFormat;
use super::recording::{MAX_CHANNELS, check_channels};
use super::vorbis::VorbisHeaders;

/// Sample rate in Hz of all decoded Opus audio.
pub(super) const OPUS_RATE_HZ: u32 = 48_000;

/// Number of frames in the longest Opus packet: 120 ms (RFC 6716, section 2.1.4).
const MAX_OPUS_PACKET_FRAMES: usize = 5_760;

/// Largest supported number of frames in an ALAC packet. Encoders write 4,096.
const MAX_ALAC_PACKET_FRAMES: u32 = 16_384;

/// Numbers of channels of ADPCM. WAV and QuickTime support one or two.
const ADPCM_CHANNELS: RangeInclusive<u16> = 1..=2;

/// A codec and the parameters of its decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// Uncompressed samples.
    Pcm(RawFormat),
    /// MPEG audio of layer 1, 2 or 3.
    Mpeg(u8),
    /// AAC-LC with its AudioSpecificConfig.
    Aac(Vec<u8>),
    /// FLAC with its STREAMINFO block.
    Flac(Vec<u8>),
    /// Vorbis with its headers.
    Vorbis(VorbisHeaders),
    /// Apple Lossless with its magic cookie.
    Alac(Vec<u8>),
    /// Opus.
    Opus(OpusLayout),
    /// ADPCM in blocks.
    Adpcm(Adpcm),
    /// AMR.
    Amr(AmrKind),
}

/// ADPCM in blocks of `frames_per_block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adpcm {
    pub(super) kind: AdpcmKind,
    pub(super) channels: u16,
    pub(super) sample_rate_hz: u32,
    pub(super) frames_per_block: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdpcmKind {
    Microsoft,
    ImaWav,
    ImaQuickTime,
}

/// Streams and channels of an Opus decoder (RFC 7845, section 5.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpusLayout {
    channels: u8,
    /// Number of streams, number of coupled streams (with two channels), and each channel's position among the decoded
    /// channels. `None` for a single stream of one or two channels.
    mapping: Option<(u8, u8, Vec<u8>)>,
}

impl OpusLayout {
    pub(super) fn channels(&self) -> u8 {
        self.channels
    }

    /// Returns the layout of a single stream of one or two channels.
    pub(super) fn simple(channels: u8) -> Self {
        Self { channels, mapping: None }
    }

    /// Creates a layout from the number of channels, the mapping family and its table. Families 1, 2 and 255 have a
    /// table: Vorbis' channel order, ambisonics, and channels without a meaning. Encoders do not write more streams than
    /// channels. Such a layout is rejected, because each stream is decoded even if no channel uses it.
    pub(super) fn new(channels: u8, family: u8, table: &[u8]) -> Option<Self> {
        let is_possible = (1..=MAX_CHANNELS).contains(&channels.into());
        let [streams, coupled, mapping @ ..] = table else {
            return (family == 0 && is_possible).then(|| Self::simple(channels));
        };
        match family {
            0 => is_possible.then(|| Self::simple(channels)),
            1 | 2 | 255 => {
                let n_decoded = u16::from(*streams) + u16::from(*coupled);
                if !is_possible || *streams == 0 || coupled > streams || n_decoded > channels.into() {
                    return None;
                }
                let mapping = mapping.get(..usize::from(channels))?.to_vec();
                Some(Self { channels, mapping: Some((*streams, *coupled, mapping)) })
            }
            _ => None,
        }
    }
}

/// Reads the identification header of Opus (RFC 7845, section 5.1), which Matroska contains, too. Returns the layout and
/// the number of frames at the beginning that are the decoder's delay.
pub(super) fn read_opus_head(header: &[u8]) -> Result<(OpusLayout, u32), AudioError> {
    let bytes = Bytes(header);
    let fields =
        bytes.has(0, b"OpusHead").then(|| Some((bytes.u8(9)?, bytes.u16_le(10)?, bytes.u8(18)?))).flatten();
    let (channels, skip, family) =
        fields.ok_or_else(|| AudioError::Corrupt("its Opus header is missing".into()))?;
    check_channels(channels.into())?;
    let layout = OpusLayout::new(channels, family, header.get(19..).unwrap_or_default());
    let layout = layout.ok_or_else(|| {
        AudioError::Unsupported(format!("Opus of channel mapping family {family} is not supported"))
    })?;
    Ok((layout, skip.into()))
}

/// Returns the number of frames at 48 kHz in an Opus packet according to its first bytes (RFC 6716, section 3.1), or 0
/// for an invalid packet.
pub(super) fn opus_packet_frames(packet: &[u8]) -> u64 {
    let Some(toc) = packet.first() else { return 0 };
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(config % 4)],
        config @ 12..=15 => [480, 960][usize::from(config % 2)],
        config => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).map_or(0, |byte| byte & 0x3f)),
    };
    frame * count
}

/// The decoded samples of a packet.
#[derive(Default)]
pub(super) struct Block {
    /// Interleaved, full scale at ±1.
    pub(super) samples: Vec<f32>,
    pub(super) channels: u16,
    pub(super) sample_rate_hz: u32,
}

impl Block {
    pub(super) fn n_frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels).max(1)
    }
}

/// The error for a packet that cannot be decoded. The decoder continues with the next packet.
pub(super) struct BadPacket;

/// A decoder.
pub(super) struct Decoder(DecoderState);

enum DecoderState {
    /// Uncompressed samples, and the bytes of an incomplete last frame that continues in the next packet.
    Pcm {
        pcm: RawFormat,
        rest: Vec<u8>,
    },
    Symphonia {
        decoder: Box<dyn AudioDecoder>,
        frames_per_block: u32,
    },
    Opus {
        decoder: Box<ropus::Decoder>,
        channels: u8,
    },
    Amr(AmrDecoder),
    /// ADPCM as specified by IMA. symphonia rounds differences in another way.
    ImaWav(Adpcm),
    /// Several streams of one or two channels.
    OpusStreams {
        decoder: Box<OpusMSDecoder>,
        channels: u8,
        decoded: Vec<i16>,
    },
}

impl Decoder {
    /// Creates a decoder for a codec in a container, which is named in errors.
    pub(super) fn new(codec: &Codec, container: &str) -> Result<Self, AudioError> {
        let unsupported = |content: &str| AudioError::unsupported(container, content);
        match codec {
            Codec::Pcm(pcm) => Ok(Self(DecoderState::Pcm { pcm: *pcm, rest: Vec::new() })),
            Codec::Mpeg(layer) => {
                let id = [CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3][usize::from(layer - 1).min(2)];
                symphonia_decoder(id, None).ok_or_else(|| unsupported("MPEG audio of this kind"))
            }
            Codec::Aac(config) => aac_decoder(config, container),
            Codec::Flac(info) => {
                symphonia_decoder(CODEC_ID_FLAC, Some(info)).ok_or_else(|| unsupported("FLAC of this kind"))
            }
            Codec::Vorbis(headers) => symphonia_decoder(CODEC_ID_VORBIS, Some(headers.for_decoder()))
                .ok_or_else(|| AudioError::Corrupt("its Vorbis headers cannot be read".into())),
            Codec::Alac(cookie) => AlacConfig::read(cookie)
                .filter(AlacConfig::is_sound)
                .and_then(|_| symphonia_decoder(CODEC_ID_ALAC, Some(cookie)))
                .ok_or_else(|| unsupported("ALAC of this kind")),
            Codec::Opus(layout) => opus_decoder(layout).ok_or_else(|| unsupported("Opus of these channels")),
            Codec::Adpcm(adpcm) => {
                adpcm_decoder(*adpcm).ok_or_else(|| unsupported("ADPCM of this many channels"))
            }
            Codec::Amr(kind) => {
                let decoder = AmrDecoder::new(*kind).ok_or_else(|| unsupported("AMR of this kind"))?;
                Ok(Self(DecoderState::Amr(decoder)))
            }
        }
    }

    /// Decodes a packet into the block.
    pub(super) fn decode(&mut self, data: &[u8], block: &mut Block) -> Result<(), BadPacket> {
        block.samples.clear();
        match &mut self.0 {
            DecoderState::Pcm { pcm, rest } => {
                (block.channels, block.sample_rate_hz) = (pcm.channels, pcm.sample_rate_hz);
                let frame_len = pcm.frame_len().max(1);
                if rest.is_empty() && data.len().is_multiple_of(frame_len) {
                    pcm.format.convert(data, &mut block.samples);
                    return Ok(());
                }
                rest.extend_from_slice(data);
                let whole = rest.len() - rest.len() % frame_len;
                pcm.format.convert(&rest[..whole], &mut block.samples);
                rest.drain(..whole);
            }
            DecoderState::Symphonia { decoder, frames_per_block } => {
                let duration = Duration::from(u64::from(*frames_per_block));
                let packet = Packet::new(0, Timestamp::from(0), duration, data);
                let audio = decoder.decode(&packet).map_err(|_| BadPacket)?;
                block.sample_rate_hz = audio.spec().rate();
                block.channels = u16::try_from(audio.spec().channels().count()).unwrap_or(u16::MAX);
                audio.copy_to_vec_interleaved(&mut block.samples);
            }
            // For an empty packet, the decoders would conceal a loss of the longest packet.
            DecoderState::Opus { .. } | DecoderState::OpusStreams { .. } if data.is_empty() => {
                return Err(BadPacket);
            }
            DecoderState::Opus { decoder, channels } => {
                block.samples.resize(MAX_OPUS_PACKET_FRAMES * usize::from(*channels), 0.0);
                let decoded = decoder.decode_float(data, &mut block.samples, DecodeMode::Normal);
                let n_frames = decoded.map_err(|_| BadPacket)?;
                block.samples.truncate(n_frames * usize::from(*channels));
                (block.channels, block.sample_rate_hz) = (u16::from(*channels), OPUS_RATE_HZ);
            }
            DecoderState::Amr(decoder) => {
                let samples = decoder.decode(data).ok_or(BadPacket)?;
                block.samples.extend(samples.iter().map(|sample| f32::from(*sample) / 32_768.0));
                (block.channels, block.sample_rate_hz) = (1, decoder.sample_rate_hz());
            }
            DecoderState::ImaWav(Adpcm { channels, sample_rate_hz, frames_per_block, .. }) => {
                let n_frames = *frames_per_block as usize;
                ima_adpcm::decode(data, usize::from(*channels), n_frames, &mut block.samples)
                    .ok_or(BadPacket)?;
                (block.channels, block.sample_rate_hz) = (*channels, *sample_rate_hz);
            }
            DecoderState::OpusStreams { decoder, channels, decoded } => {
                decoded.resize(MAX_OPUS_PACKET_FRAMES * usize::from(*channels), 0);
                let length = i32::try_from(data.len()).map_err(|_| BadPacket)?;
                let n_frames = decoder
                    .decode(Some(data), length, decoded, MAX_OPUS_PACKET_FRAMES as i32, false)
                    .map_err(|_| BadPacket)?;
                decoded.truncate(usize::try_from(n_frames).unwrap_or(0) * usize::from(*channels));
                block.samples.extend(decoded.iter().map(|sample| f32::from(*sample) / 32_768.0));
                (block.channels, block.sample_rate_hz) = (u16::from(*channels), OPUS_RATE_HZ);
            }
        }
        Ok(())
    }
}

fn symphonia_decoder(codec: AudioCodecId, extra_data: Option<&[u8]>) -> Option<Decoder> {
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(codec);
    if let Some(extra_data) = extra_data {
        parameters.with_extra_data(extra_data.into());
    }
    make(&parameters, 0)
}

fn make(parameters: &AudioCodecParameters, frames_per_block: u32) -> Option<Decoder> {
    let options = AudioDecoderOptions::default();
    let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &options).ok()?;
    Some(Decoder(DecoderState::Symphonia { decoder, frames_per_block }))
}

/// Returns the sample rate of an AudioSpecificConfig, in Hz. For HE-AAC, it is that of the core.
pub(super) fn aac_rate_hz(config: &[u8]) -> Option<u32> {
    const RATES_HZ: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ];
    let config = AacConfig::read(config)?;
    match config.rate_index {
        15 => Some(config.rate_hz),
        index => RATES_HZ.get(usize::from(index)).copied(),
    }
}

/// The fields of an ALAC cookie that determine the cost of decoding (Apple's `ALACMagicCookieDescription.txt`).
pub(super) struct AlacConfig {
    pub(super) frames_per_packet: u32,
    bits: u8,
    pub(super) channels: u8,
    pub(super) sample_rate_hz: u32,
}

impl AlacConfig {
    /// Reads a cookie. It may be wrapped in the boxes `frma` and `alac`, which add 12 bytes each.
    pub(super) fn read(cookie: &[u8]) -> Option<Self> {
        let is_boxed = |rest: &[u8], name: &[u8]| rest.get(4..8) == Some(name);
        let mut rest = cookie;
        for name in [b"frma", b"alac"] {
            rest = if is_boxed(rest, name) { rest.get(12..)? } else { rest };
        }
        let bytes = Bytes(rest);
        Some(Self {
            frames_per_packet: bytes.u32_be(0)?,
            bits: bytes.u8(5)?,
            channels: bytes.u8(9)?,
            sample_rate_hz: bytes.u32_be(20)?,
        })
    }

    /// Returns whether an encoder may have written the cookie. The decoder clears the buffer of a whole packet for each
    /// packet, however short that is.
    fn is_sound(&self) -> bool {
        (1..=MAX_ALAC_PACKET_FRAMES).contains(&self.frames_per_packet)
            && matches!(self.bits, 16 | 20 | 24 | 32)
            && (1..=MAX_CHANNELS).contains(&self.channels.into())
    }
}

/// Returns the name of an AAC object type according to ISO/IEC 14496-3, table 1.17.
fn aac_name(object_type: u8) -> String {
    match object_type {
        1 => "AAC Main".into(),
        3 => "AAC SSR".into(),
        4 => "AAC LTP".into(),
        23 => "AAC-LD".into(),
        39 => "AAC-ELD".into(),
        42 => "xHE-AAC (USAC)".into(),
        other => format!("AAC of object type {other}"),
    }
}

/// Creates a decoder for AAC-LC. For HE-AAC, it decodes the core, which is AAC-LC at half the rate, because symphonia 0.6
/// rejects the whole stream.
fn aac_decoder(config: &[u8], container: &str) -> Result<Decoder, AudioError> {
    let Some(config) = AacConfig::read(config) else {
        return Err(AudioError::Corrupt("its AAC configuration cannot be read".into()));
    };
    if config.object_type != 2 {
        return Err(AudioError::unsupported(container, &aac_name(config.object_type)));
    }
    if config.is_short {
        return Err(AudioError::unsupported(container, "AAC of 960 samples a frame"));
    }
    if !(1..=2).contains(&config.channels) {
        let content = match config.channels {
            0 => "AAC whose channels are described in the stream".to_owned(),
            channels => format!("AAC of {channels} channels"),
        };
        return Err(AudioError::unsupported(container, &content));
    }
    symphonia_decoder(CODEC_ID_AAC, Some(&config.write()))
        .ok_or_else(|| AudioError::unsupported(container, "AAC of this kind"))
}

/// An AudioSpecificConfig (ISO/IEC 14496-3, section 1.6.2.1); for HE-AAC, that of its core.
struct AacConfig {
    object_type: u8,
    rate_index: u8,
    rate_hz: u32,
    channels: u8,
    /// Whether frames have 960 samples.
    is_short: bool,
}

impl AacConfig {
    fn read(config: &[u8]) -> Option<Self> {
        let mut bits = Bits { bytes: config, at: 0 };
        let mut object_type = bits.object_type()?;
        let (rate_index, rate_hz) = bits.rate()?;
        let channels = bits.take(4)? as u8;
        // Types 5 and 29 are SBR without and with parametric stereo. The rate of the extension precedes the type of the
        // core.
        if object_type == 5 || object_type == 29 {
            bits.rate()?;
            object_type = bits.object_type()?;
        }
        let channels = if channels == 7 { 8 } else { channels };
        // Some files omit this flag; their frames have 1,024 samples.
        let is_short = bits.take(1).unwrap_or(0) == 1;
        Some(Self { object_type, rate_index, rate_hz, channels, is_short })
    }

    /// Returns the configuration of AAC-LC without extensions.
    fn write(&self) -> Vec<u8> {
        let head = 2_u64 << 4 | u64::from(self.rate_index);
        let (value, n_bits) = match self.rate_index {
            15 => ((head << 24 | u64::from(self.rate_hz)) << 4 | u64::from(self.channels), 37),
            _ => (head << 4 | u64::from(self.channels), 13),
        };
        // Three flags, all zero, fill the last byte.
        let n_bits_with_flags: u32 = n_bits + 3;
        (value << (64 - n_bits)).to_be_bytes()[..n_bits_with_flags.div_ceil(8) as usize].to_vec()
    }
}

/// Reads the bits of a message, the most significant bit first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..n {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u8> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)? as u8),
            object_type => Some(object_type as u8),
        }
    }

    fn rate(&mut self) -> Option<(u8, u32)> {
        match self.take(4)? {
            15 => Some((15, self.take(24)?)),
            index => Some((index as u8, 0)),
        }
    }
}

fn opus_decoder(layout: &OpusLayout) -> Option<Decoder> {
    let channels = layout.channels;
    let Some((streams, coupled, mapping)) = &layout.mapping else {
        let of = match channels {
            1 => OpusChannels::Mono,
            2 => OpusChannels::Stereo,
            _ => return None,
        };
        let decoder = Box::new(ropus::Decoder::new(OPUS_RATE_HZ, of).ok()?);
        return Some(Decoder(DecoderState::Opus { decoder, channels }));
    };
    let (streams, coupled) = (i32::from(*streams), i32::from(*coupled));
    let decoder = OpusMSDecoder::new(OPUS_RATE_HZ as i32, channels.into(), streams, coupled, mapping).ok()?;
    Some(Decoder(DecoderState::OpusStreams { decoder: Box::new(decoder), channels, decoded: Vec::new() }))
}

fn adpcm_decoder(adpcm: Adpcm) -> Option<Decoder> {
    let Adpcm { kind, channels, sample_rate_hz, frames_per_block } = adpcm;
    if !ADPCM_CHANNELS.contains(&channels) || (kind == AdpcmKind::Microsoft && frames_per_block < 2) {
        return None;
    }
    let id = match kind {
        AdpcmKind::Microsoft => CODEC_ID_ADPCM_MS,
        AdpcmKind::ImaQuickTime => CODEC_ID_ADPCM_IMA_QT,
        AdpcmKind::ImaWav => return Some(Decoder(DecoderState::ImaWav(adpcm))),
    };
    let mut parameters = AudioCodecParameters::new();
    parameters
        .for_codec(id)
        .with_sample_rate(sample_rate_hz)
        .with_channels(Channels::Discrete(channels))
        .with_max_frames_per_packet(frames_per_block.into())
        .with_frames_per_block(frames_per_block.into());
    make(&parameters, frames_per_block)
}

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether this thread is decoding a client's file. If a decoder panics then, the file is damaged. This is not an
/// error of the service, so it is not logged as one.
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// Runs a decoder. Returns `None` if it panics, which happens with some damaged files.
pub(super) fn catch_decoder<T>(decode: impl FnOnce() -> T) -> Option<T> {
    DECODING.set(true);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
    DECODING.set(false);
    outcome.ok()
}
