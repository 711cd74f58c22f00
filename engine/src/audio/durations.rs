//! Computes the lengths of packets without decoding them.

use super::amr::AmrKind;
use super::bytes::Bytes;
use super::codec::{AlacConfig, Codec, OPUS_RATE_HZ, aac_rate_hz, opus_packet_frames};
use super::demux::{AudibleFrames, Demux, Item};
use super::error::AudioError;
use super::recording::SAMPLE_RATES_HZ;
use super::{amr, flac, mpeg};
use crate::pace::{Cancelled, Pace};

/// Number of frames in an AAC packet (ISO/IEC 14496-3, section 4.5.1.1).
const AAC_FRAMES: f64 = 1_024.0;

/// Number of packets that are examined between two pauses.
const PACKETS_A_SLICE: usize = 4_096;

/// The decoded length of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Length {
    /// Seconds of audio.
    pub seconds: f64,
    /// Number of samples of all channels.
    pub samples: f64,
    /// Time for decoding on one core, in microseconds, as far as it is known.
    pub decode_us: f64,
}

/// Returns the time in nanoseconds that one core needs to decode a sample and resample it to 16 kHz. The figures were
/// measured with `make bench STAGE=decode` on a Xeon, 2026-11-23.
fn sample_cost_ns(codec: &Codec) -> f64 {
    match codec {
        Codec::Pcm(_) => 2.0,
        Codec::Flac(_) => 5.0,
        Codec::Alac(_) | Codec::Adpcm(_) => 8.0,
        Codec::Mpeg(_) | Codec::Aac(_) => 12.0,
        Codec::Vorbis(_) => 20.0,
        Codec::Opus(_) => 25.0,
        Codec::Amr(AmrKind::Narrow) => 160.0,
        Codec::Amr(AmrKind::Wide) => 350.0,
    }
}

/// Returns the decoded length of a packet in seconds, according to its header and that of its codec. Returns `None` if
/// these do not state it.
pub(super) fn packet_seconds(codec: &Codec, packet: &[u8]) -> Option<f64> {
    packet_length(codec, packet).map(|(length, _)| length)
}

/// Returns the decoded length of a packet in seconds, and its sample rate.
fn packet_length(codec: &Codec, packet: &[u8]) -> Option<(f64, u32)> {
    let at_rate = |n_frames: f64, rate_hz: u32| {
        SAMPLE_RATES_HZ.contains(&rate_hz).then(|| (n_frames / f64::from(rate_hz), rate_hz))
    };
    match codec {
        Codec::Pcm(pcm) => at_rate((packet.len() / pcm.frame_len().max(1)) as f64, pcm.sample_rate_hz),
        Codec::Mpeg(_) => {
            let (n_frames, rate_hz) = mpeg::frame_length(packet)?;
            at_rate(n_frames.into(), rate_hz)
        }
        Codec::Aac(config) => at_rate(AAC_FRAMES, aac_rate_hz(config)?),
        Codec::Flac(info) => {
            // The rate is 20 bits after the block sizes and frame sizes (RFC 9639, section 8.2).
            let rate_hz = Bytes(info).u32_be(10)? >> 12;
            at_rate(flac::frame_samples(Bytes(packet), 0)? as f64, rate_hz)
        }
        Codec::Vorbis(headers) => {
            // Half of this block overlaps with the previous block, and half with the next.
            at_rate(headers.block_size(packet)? as f64 / 2.0, headers.sample_rate_hz())
        }
        Codec::Alac(cookie) => {
            let AlacConfig { frames_per_packet, sample_rate_hz, .. } = AlacConfig::read(cookie)?;
            at_rate(frames_per_packet.into(), sample_rate_hz)
        }
        Codec::Opus(_) => at_rate(opus_packet_frames(packet) as f64, OPUS_RATE_HZ),
        Codec::Adpcm(adpcm) => at_rate(adpcm.frames_per_block.into(), adpcm.sample_rate_hz),
        Codec::Amr(kind) => Some((1.0 / amr::FRAME_RATE_HZ, kind.sample_rate_hz())),
    }
}

/// Returns the number of channels according to a codec's header, or 2 if that does not state it. MPEG audio states it
/// only in each frame.
fn n_channels(codec: &Codec) -> u16 {
    let channels = match codec {
        Codec::Pcm(pcm) => Some(pcm.channels),
        Codec::Adpcm(adpcm) => Some(adpcm.channels),
        Codec::Amr(_) => Some(1),
        Codec::Vorbis(headers) => Some(headers.channels().into()),
        Codec::Opus(layout) => Some(layout.channels().into()),
        Codec::Alac(cookie) => AlacConfig::read(cookie).map(|config| config.channels.into()),
        // Three bits after the sample rate contain the number of channels minus one.
        Codec::Flac(info) => Bytes(info).u8(12).map(|byte| u16::from(byte >> 1 & 7) + 1),
        Codec::Mpeg(_) | Codec::Aac(_) => None,
    };
    channels.unwrap_or(2)
}

/// Returns the decoded length of a container, as far as its packets state their lengths.
pub(super) fn measure(demux: &mut dyn Demux<'_>, pace: Pace<'_>) -> Result<Length, AudioError> {
    let (mut all, mut part_seconds) = (0.0, 0.0);
    let (mut samples, mut channels, mut decode_us, mut cost_ns) = (0.0, 0, 0.0, 0.0);
    let mut codec = None;
    let mut last_heard = f64::INFINITY;
    let mut n = 0;
    while let Some(item) = demux.next()? {
        n += 1;
        if n % PACKETS_A_SLICE == 0 || matches!(item, Item::Searching) {
            pace.pause().map_err(|Cancelled| AudioError::Cancelled)?;
        }
        match item {
            Item::Part(part) => {
                all += f64::min(part_seconds, last_heard);
                part_seconds = 0.0;
                last_heard = match part.heard {
                    AudibleFrames::Trimmed { .. } => f64::INFINITY,
                    AudibleFrames::Edited { stretches, ticks_per_second } => {
                        let end = stretches.last().map_or(0, |stretch| stretch.end);
                        end as f64 / f64::from(ticks_per_second.max(1))
                    }
                };
                channels = n_channels(&part.codec);
                cost_ns = sample_cost_ns(&part.codec);
                codec = Some(part.codec);
            }
            Item::Packet(packet) => {
                let length = codec.as_ref().and_then(|codec| packet_length(codec, &packet));
                let (seconds, rate_hz) = length.unwrap_or_default();
                part_seconds += seconds;
                let n_samples = seconds * f64::from(rate_hz) * f64::from(channels);
                samples += n_samples;
                decode_us += n_samples * cost_ns / 1e3;
            }
            Item::End { .. } | Item::Searching => {}
        }
    }
    Ok(Length { seconds: all + f64::min(part_seconds, last_heard), samples, decode_us })
}
