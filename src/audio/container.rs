//! Every container but plain WAV, by symphonia; Opus packets by ropus, which symphonia has no decoder for.

use std::io::Cursor;
use std::panic::catch_unwind;

use ropus::{Channels, DecodeMode};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::mono_mix::MonoMix;
use super::{AudioError, Limits, Recording};

/// Opus always decodes at this rate, in Hz.
const OPUS_RATE_HZ: u32 = 48_000;

/// Frames of the longest Opus packet: 120 ms (RFC 6716, section 2.1.4).
const MAX_OPUS_PACKET_FRAMES: usize = 5_760;

/// Frames of silence that an AAC decoder gives out first: one block. ffmpeg, behind the original, leaves them out too.
const AAC_DELAY_FRAMES: usize = 1_024;

/// Decodes the first audio track. A damaged file that makes a decoder panic is as corrupt as one that makes it fail.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    if !is_known_container(bytes) {
        return Err(AudioError::Unsupported);
    }
    catch_unwind(|| decode_container(bytes, limits))
        .unwrap_or_else(|_| Err(AudioError::Corrupt("it cannot be decoded".into())))
}

/// 1. Find the track and make its decoder.
/// 2. Decode packet by packet, until the end or the first error that ends the stream: what came before is the recording,
///    and it is `truncated`.
fn decode_container(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), source, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| match error {
            // Of a WAV file, symphonia says this of codecs; of other containers, of parts that are missing.
            Error::Unsupported(_) if bytes.starts_with(b"RIFF") => AudioError::Unsupported,
            _ => AudioError::Corrupt("its container cannot be read".into()),
        })?;
    let track = format.first_track(TrackType::Audio).ok_or(AudioError::Unsupported)?.clone();
    let Some(CodecParameters::Audio(codec)) = track.codec_params.clone() else {
        return Err(AudioError::Unsupported);
    };
    let mut decoder = Decoder::new(&codec)?;
    decode_track(format.as_mut(), &track, &mut decoder, limits)
}

/// The bytes that each container begins with; symphonia alone would search on for anything that looks like a frame.
fn is_known_container(bytes: &[u8]) -> bool {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
    // MPEG audio has no magic: eleven set bits, then a version, a layer, a bit rate and a sample rate that exist.
    let is_mpeg_frame = matches!(bytes, [0xff, b1, b2, ..]
        if b1 & 0xe0 == 0xe0 && b1 & 0x18 != 0x08 && b1 & 0x06 != 0 && b2 & 0xf0 != 0xf0 && b2 & 0x0c != 0x0c);
    let is_adts_frame = matches!(bytes, [0xff, b1, ..] if b1 & 0xf6 == 0xf0);
    (begins(b"RIFF") && at(8, b"WAVE"))
        || (begins(b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")))
        || [&b"fLaC"[..], b"OggS", b"\x1a\x45\xdf\xa3", b"caff", b"ID3"].into_iter().any(begins)
        || at(4, b"ftyp")
        || is_mpeg_frame
        || is_adts_frame
}

fn decode_track(
    format: &mut dyn FormatReader,
    track: &Track,
    decoder: &mut Decoder,
    limits: Limits,
) -> Result<Recording, AudioError> {
    let mut mono: Option<MonoMix> = None;
    let mut block = Block::default();
    let mut reached_end = false;
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) if packet.track_id != track.id => continue,
            Ok(Some(packet)) => packet,
            Ok(None) => {
                reached_end = true;
                break;
            }
            Err(_) => break,
        };
        match decoder.decode(&packet, &mut block) {
            Ok(()) => {}
            // One bad packet: decoders go on with the next.
            Err(Error::DecodeError(_)) => continue,
            Err(_) => break,
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
            break;
        }
        block.samples.iter().try_for_each(|sample| mono.push(*sample))?;
    }
    let Some(mono) = mono else { return Err(AudioError::Corrupt("nothing in it decodes".into())) };
    // Containers count the delay of a codec or not, so a few packets more or less are no cut.
    let missing_frames = track.num_frames.unwrap_or(0).saturating_sub(mono.n_frames() as u64);
    let truncated = !reached_end || missing_frames > u64::from(block.sample_rate_hz) / 4;
    mono.finish(truncated)
}

/// What one packet decodes to.
#[derive(Default)]
struct Block {
    samples: Vec<f32>,
    channels: u16,
    sample_rate_hz: u32,
}

/// A decoder, and the frames at the beginning that are its delay and not audio.
struct Decoder {
    codec: Codec,
    skip_frames: usize,
}

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    Opus { decoder: Box<ropus::Decoder>, channels: u8 },
}

impl Decoder {
    fn new(codec: &AudioCodecParameters) -> Result<Self, AudioError> {
        if codec.codec == CODEC_ID_OPUS {
            return Self::opus(codec.extra_data.as_deref().unwrap_or_default());
        }
        let decoder =
            symphonia::default::get_codecs().make_audio_decoder(codec, &AudioDecoderOptions::default());
        let decoder = decoder.map_err(|_| AudioError::Unsupported)?;
        let skip_frames = if codec.codec == CODEC_ID_AAC { AAC_DELAY_FRAMES } else { 0 };
        Ok(Self { codec: Codec::Symphonia(decoder), skip_frames })
    }

    /// Reads the identification header (RFC 7845, section 5.1), which Matroska carries too.
    fn opus(header: &[u8]) -> Result<Self, AudioError> {
        let [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, channels, skip_low, skip_high, ..] = *header
        else {
            return Err(AudioError::Corrupt("its Opus header is missing".into()));
        };
        let layout = match channels {
            1 => Channels::Mono,
            2 => Channels::Stereo,
            _ => return Err(AudioError::Unsupported),
        };
        let decoder = ropus::Decoder::new(OPUS_RATE_HZ, layout).map_err(|_| AudioError::Unsupported)?;
        let skip_frames = usize::from(u16::from_le_bytes([skip_low, skip_high]));
        Ok(Self { codec: Codec::Opus { decoder: Box::new(decoder), channels }, skip_frames })
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
                let n_channels = usize::from(*channels);
                block.sample_rate_hz = OPUS_RATE_HZ;
                block.channels = u16::from(*channels);
                block.samples.resize(MAX_OPUS_PACKET_FRAMES * n_channels, 0.0);
                let decoded = decoder.decode_float(&packet.data, &mut block.samples, DecodeMode::Normal);
                let n_frames = decoded.map_err(|_| Error::DecodeError("opus"))?;
                let padding = usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX);
                block.samples.truncate(n_frames.saturating_sub(padding) * n_channels);
            }
        }
        let n_channels = usize::from(block.channels);
        let skipped = (block.samples.len() / n_channels.max(1)).min(self.skip_frames);
        block.samples.drain(..skipped * n_channels);
        self.skip_frames -= skipped;
        Ok(())
    }
}
