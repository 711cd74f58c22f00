//! Every container but plain WAV, by symphonia; Opus packets, for which symphonia has no decoder, by ropus.

use std::io::{Cursor, ErrorKind};
use std::panic::catch_unwind;

use ropus::{Channels, DecodeMode, OpusMSDecoder};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::FORMAT_ID_MKV;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::error::AudioError;
use super::mono_mix::MonoMix;
use super::recording::{Limits, Recording, check_channels};
use super::{caf, mp4, webm};

/// Opus always decodes at this rate, in Hz.
const OPUS_RATE_HZ: u32 = 48_000;

/// Frames of the longest Opus packet: 120 ms (RFC 6716, section 2.1.4).
const MAX_OPUS_PACKET_FRAMES: usize = 5_760;

/// Decodes the first audio track. A damaged file that makes a decoder panic is as corrupt as one that makes it fail.
///
/// 1. Open the file as its first bytes identify it.
/// 2. If that fails, its end may be missing, where containers keep an index: read it once more from the beginning, as one
///    that is still arriving. Whatever decodes then is a recording that is `truncated`.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    if !is_known_container(bytes) {
        return Err(AudioError::Unsupported);
    }
    let (bytes, is_cut) = match bytes {
        [b'c', b'a', b'f', b'f', ..] => caf::with_true_length(bytes),
        _ => (bytes.into(), webm::is_cut(bytes)),
    };
    let mut outcome = catch_unwind(|| decode_source(&bytes, Box::new(Cursor::new(&*bytes)), limits))
        .unwrap_or_else(|_| Err(AudioError::Corrupt("it cannot be decoded".into())));
    if matches!(outcome, Err(AudioError::Corrupt(_))) {
        let arriving = Box::new(ReadOnlySource::new(&*bytes));
        if let Ok(Ok(recording)) = catch_unwind(|| decode_source(&bytes, arriving, limits)) {
            outcome = Ok(Recording { truncated: recording.truncated || !is_webm(&bytes), ..recording });
        }
    }
    outcome.map(|recording| Recording { truncated: recording.truncated || is_cut, ..recording })
}

/// 1. Find the track and make its decoder.
/// 2. Decode packet by packet, until the end or the first error that ends the stream: what came before is the recording,
///    and it is `truncated`.
fn decode_source(
    bytes: &[u8],
    source: Box<dyn MediaSource + '_>,
    limits: Limits,
) -> Result<Recording, AudioError> {
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| match error {
            // In a WAV file this means an unknown codec; in other containers, missing parts.
            Error::Unsupported(_) if bytes.starts_with(b"RIFF") => AudioError::Unsupported,
            _ => AudioError::Corrupt("its container cannot be read".into()),
        })?;
    let track = format.first_track(TrackType::Audio).ok_or(AudioError::Unsupported)?.clone();
    let Some(CodecParameters::Audio(codec)) = track.codec_params.clone() else {
        return Err(AudioError::Unsupported);
    };
    // Decoders allocate memory for the announced channels.
    if let Some(channels) = &codec.channels {
        check_channels(u16::try_from(channels.count()).unwrap_or(u16::MAX))?;
    }
    let mut decoder = Decoder::new(&codec)?;
    if codec.codec == CODEC_ID_AAC {
        let announced = mp4::audio_start_frames(bytes, codec.sample_rate.unwrap_or_default());
        decoder.skip_frames =
            usize::try_from(announced).unwrap_or(usize::MAX).max(track.delay.unwrap_or(0) as usize);
    }
    decode_track(format.as_mut(), &track, &mut decoder, limits)
}

/// Whether the file begins as a known container does; symphonia alone would search for anything that resembles a frame.
fn is_known_container(bytes: &[u8]) -> bool {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
    // MPEG audio has no magic: eleven set bits, then a version, a layer, a bit rate and a sample rate that exist.
    let is_mpeg_frame = matches!(bytes, [0xff, b1, b2, ..]
        if b1 & 0xe0 == 0xe0 && b1 & 0x18 != 0x08 && b1 & 0x06 != 0 && b2 & 0xf0 != 0xf0 && b2 & 0x0c != 0x0c);
    let is_adts_frame = matches!(bytes, [0xff, b1, ..] if b1 & 0xf6 == 0xf0);
    (begins(b"RIFF") && at(8, b"WAVE"))
        || (begins(b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")))
        || [&b"fLaC"[..], b"OggS", b"caff", b"ID3"].into_iter().any(begins)
        || is_webm(bytes)
        || at(4, b"ftyp")
        || is_mpeg_frame
        || is_adts_frame
}

fn is_webm(bytes: &[u8]) -> bool {
    bytes.starts_with(&webm::EBML_ID)
}

fn decode_track(
    format: &mut dyn FormatReader,
    track: &Track,
    decoder: &mut Decoder,
    limits: Limits,
) -> Result<Recording, AudioError> {
    let mut mono: Option<MonoMix> = None;
    let mut block = Block::default();
    let reached_end = loop {
        let packet = match next_packet(format, track.id) {
            Next::Packet(packet) => packet,
            Next::End => break true,
            Next::Cut => break false,
        };
        match decoder.decode(&packet, &mut block) {
            Ok(()) => {}
            // One bad packet: decoders go on with the next.
            Err(Error::DecodeError(_)) => continue,
            Err(_) => break false,
        }
        if block.samples.is_empty() {
            continue;
        }
        let mono = match &mut mono {
            Some(mono) => mono,
            none => {
                let new = MonoMix::new(block.channels, block.sample_rate_hz, limits)?;
                new.check_announced(track.num_frames.unwrap_or(0))?;
                none.insert(new)
            }
        };
        // A stream that changes in its middle is another one, chained behind the first.
        if !mono.takes(block.channels, block.sample_rate_hz) {
            break false;
        }
        mono.push(&block.samples)?;
    };
    let Some(mono) = mono else { return Err(AudioError::Corrupt("nothing in it decodes".into())) };
    // Containers may or may not count the delay of a codec, so a few missing packets are no cut.
    let missing_frames = track.num_frames.unwrap_or(0).saturating_sub(mono.n_frames());
    let truncated = !reached_end || missing_frames > u64::from(block.sample_rate_hz) / 4;
    mono.finish(truncated)
}

enum Next {
    Packet(Packet),
    End,
    Cut,
}

/// The next packet of a track.
fn next_packet(format: &mut dyn FormatReader, track_id: u32) -> Next {
    loop {
        match format.next_packet() {
            Ok(Some(packet)) if packet.track_id != track_id => {}
            Ok(Some(packet)) => return Next::Packet(packet),
            Ok(None) => return Next::End,
            // A recording of a browser has no length: it ends where it ends.
            Err(Error::IoError(error))
                if error.kind() == ErrorKind::UnexpectedEof
                    && format.format_info().format == FORMAT_ID_MKV =>
            {
                return Next::End;
            }
            Err(_) => return Next::Cut,
        }
    }
}

/// What one packet decodes to.
#[derive(Default)]
struct Block {
    samples: Vec<f32>,
    channels: u16,
    sample_rate_hz: u32,
}

impl Block {
    /// Cuts what an Opus packet decoded to at its end, and at the padding that the container marks.
    fn set_opus(&mut self, channels: u8, n_frames: usize, packet: &Packet) {
        let padding = usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX);
        self.samples.truncate(n_frames.saturating_sub(padding) * usize::from(channels));
        self.channels = channels.into();
        self.sample_rate_hz = OPUS_RATE_HZ;
    }
}

/// A decoder, and the frames at the beginning that are its delay and not audio.
struct Decoder {
    codec: Codec,
    skip_frames: usize,
}

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    Opus {
        decoder: Box<ropus::Decoder>,
        channels: u8,
    },
    /// More than two channels, as several streams of one or two.
    OpusSurround {
        decoder: Box<OpusMSDecoder>,
        channels: u8,
        decoded: Vec<i16>,
    },
}

impl Decoder {
    fn new(codec: &AudioCodecParameters) -> Result<Self, AudioError> {
        if codec.codec == CODEC_ID_OPUS {
            return Self::opus(codec.extra_data.as_deref().unwrap_or_default());
        }
        let decoder =
            symphonia::default::get_codecs().make_audio_decoder(codec, &AudioDecoderOptions::default());
        let decoder = decoder.map_err(|_| AudioError::Unsupported)?;
        Ok(Self { codec: Codec::Symphonia(decoder), skip_frames: 0 })
    }

    /// Reads the identification header (RFC 7845, section 5.1), which Matroska carries too.
    fn opus(header: &[u8]) -> Result<Self, AudioError> {
        let [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, channels, skip_low, skip_high, ..] = *header
        else {
            return Err(AudioError::Corrupt("its Opus header is missing".into()));
        };
        check_channels(channels.into())?;
        let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let codec = match channels {
            1 | 2 => ropus::Decoder::new(OPUS_RATE_HZ, layout)
                .map(|decoder| Codec::Opus { decoder: Box::new(decoder), channels })
                .ok(),
            _ => surround_decoder(channels, header.get(18..).unwrap_or_default()),
        };
        let skip_frames = usize::from(u16::from_le_bytes([skip_low, skip_high]));
        Ok(Self { codec: codec.ok_or(AudioError::Unsupported)?, skip_frames })
    }

    /// Decodes a packet into the block, without the decoder's delay and what the container marks as padding.
    fn decode(&mut self, packet: &Packet, block: &mut Block) -> Result<(), Error> {
        block.samples.clear();
        match &mut self.codec {
            Codec::Symphonia(decoder) => {
                let audio = decoder.decode(packet)?;
                block.sample_rate_hz = audio.spec().rate();
                block.channels = u16::try_from(audio.spec().channels().count()).unwrap_or(u16::MAX);
                audio.copy_to_vec_interleaved(&mut block.samples);
            }
            Codec::Opus { decoder, channels } => {
                block.samples.resize(MAX_OPUS_PACKET_FRAMES * usize::from(*channels), 0.0);
                let decoded = decoder.decode_float(&packet.data, &mut block.samples, DecodeMode::Normal);
                let n_frames = decoded.map_err(|_| Error::DecodeError("opus"))?;
                block.set_opus(*channels, n_frames, packet);
            }
            Codec::OpusSurround { decoder, channels, decoded } => {
                decoded.resize(MAX_OPUS_PACKET_FRAMES * usize::from(*channels), 0);
                let length = i32::try_from(packet.data.len()).map_err(|_| Error::DecodeError("opus"))?;
                let n_frames = decoder
                    .decode(Some(&packet.data), length, decoded, MAX_OPUS_PACKET_FRAMES as i32, false)
                    .map_err(|_| Error::DecodeError("opus"))?;
                block.samples.extend(decoded.iter().map(|sample| f32::from(*sample) / 32_768.0));
                block.set_opus(*channels, usize::try_from(n_frames).unwrap_or(0), packet);
            }
        }
        let n_channels = usize::from(block.channels);
        let skipped = (block.samples.len() / n_channels.max(1)).min(self.skip_frames);
        block.samples.drain(..skipped * n_channels);
        self.skip_frames -= skipped;
        Ok(())
    }
}

/// Reads the channel mapping family and its table (RFC 7845, section 5.1.1): streams, streams of two channels, and each
/// channel's place among those.
fn surround_decoder(channels: u8, table: &[u8]) -> Option<Codec> {
    // The families with this table: Vorbis' order of channels, ambisonics, and channels that mean nothing.
    let [1 | 2 | 255, streams, coupled, mapping @ ..] = table else { return None };
    let mapping = mapping.get(..usize::from(channels))?;
    let decoder = OpusMSDecoder::new(
        OPUS_RATE_HZ as i32,
        channels.into(),
        (*streams).into(),
        (*coupled).into(),
        mapping,
    );
    Some(Codec::OpusSurround { decoder: Box::new(decoder.ok()?), channels, decoded: Vec::new() })
}
