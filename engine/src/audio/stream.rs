//! Decodes a container's packets into a [`Recording`], within a budget.

use std::ops::Range;

use super::budget::Budget;
use super::codec::{BadPacket, Block, Codec, Decoder};
use super::demux::{AudibleFrames, DecoderPart, Demux, Item, MAX_TRIMMED_FRAMES};
use super::durations::packet_seconds;
use super::error::AudioError;
use super::mono_mix::MonoMix;
use super::recording::{DecodeOptions, Recording};
use super::samples::Samples;

/// Decodes a container.
///
/// 1. Each part has a separate decoder. A part with another rate or number of channels than the first ends the recording,
///    which is then `truncated`.
/// 2. Each packet and its decoded audio are charged to the budget, whether heard or not.
/// 3. The audio that is heard is added to the mix.
///
/// `expected_seconds` is the length stated by the packets. Memory is reserved for it.
pub(super) fn decode<S: Samples>(
    demux: &mut dyn Demux<'_>,
    options: DecodeOptions,
    expected_seconds: f64,
    budget: &mut Budget<'_>,
) -> Result<Recording<S::Whole>, AudioError> {
    let mut stream = Stream::<S>::new(options, expected_seconds);
    let (mut first_error, mut is_cut_off) = (None, false);
    while let Some(item) = demux.next()? {
        match item {
            Item::Part(part) => {
                budget.take_part()?;
                match stream.begin(part, demux.container()) {
                    Ok(()) => {}
                    Err(error) if stream.mono.is_none() => {
                        first_error.get_or_insert(error);
                    }
                    Err(_) => {
                        is_cut_off = true;
                        break;
                    }
                }
            }
            Item::Packet(packet) => match stream.packet(&packet, budget)? {
                Taken::Heard => {}
                Taken::Done => break,
                Taken::OtherKind => {
                    is_cut_off = true;
                    break;
                }
            },
            Item::End { padding } => stream.end(padding)?,
            Item::Searching => budget.take_search()?,
        }
    }
    stream.end(0)?;
    let truncated = demux.is_truncated() || is_cut_off;
    match stream.mono {
        Some(mono) => mono.finish(truncated),
        None => Err(first_error.unwrap_or_else(|| AudioError::Corrupt("nothing in it decodes".into()))),
    }
}

/// Returns the number of channels of the first packet that can be decoded.
pub(super) fn count_channels(demux: &mut dyn Demux<'_>, budget: &mut Budget<'_>) -> Result<u16, AudioError> {
    let mut stream = Stream::<Vec<f32>>::new(DecodeOptions::with_max_seconds(f64::INFINITY), 0.0);
    while let Some(item) = demux.next()? {
        match item {
            Item::Part(part) => {
                budget.take_part()?;
                stream.begin(part, demux.container())?;
            }
            Item::Packet(packet) => {
                stream.packet(&packet, budget)?;
            }
            Item::End { .. } => {}
            Item::Searching => budget.take_search()?,
        }
        if let Some(mono) = &stream.mono {
            return Ok(mono.channels());
        }
    }
    Err(AudioError::Corrupt("nothing in it decodes".into()))
}

struct Stream<S> {
    options: DecodeOptions,
    expected_seconds: f64,
    mono: Option<MonoMix<S>>,
    part: Option<DecodedPart>,
}

/// A part that is being decoded.
struct DecodedPart {
    codec: Codec,
    decoder: Decoder,
    window: Window,
    block: Block,
}

/// The outcome of a packet.
enum Taken {
    /// The packet was decoded or could not be decoded. The next packet may follow.
    Heard,
    /// Nothing after this packet is heard.
    Done,
    /// The packet differs from the recording in its rate or number of channels.
    OtherKind,
}

impl<S: Samples> Stream<S> {
    fn new(options: DecodeOptions, expected_seconds: f64) -> Self {
        Self { options, expected_seconds, mono: None, part: None }
    }

    /// Begins a part. If it cannot be decoded, its packets are skipped.
    fn begin(&mut self, part: DecoderPart, container: &str) -> Result<(), AudioError> {
        self.end(0)?;
        if let AudibleFrames::Trimmed { skip, max_padding } = part.heard
            && skip.max(max_padding) > MAX_TRIMMED_FRAMES
        {
            let n = skip.max(max_padding);
            return Err(AudioError::Corrupt(format!(
                "{n} frames of it are a delay or padding, more than any codec has"
            )));
        }
        let decoder = Decoder::new(&part.codec, container)?;
        if let Codec::Pcm(pcm) = &part.codec
            && self.mono.is_none()
        {
            self.mono = Some(self.mix(pcm.channels, pcm.sample_rate_hz)?);
        }
        let window = Window::new(part.heard);
        self.part = Some(DecodedPart { codec: part.codec, decoder, window, block: Block::default() });
        Ok(())
    }

    fn mix(&self, channels: u16, sample_rate_hz: u32) -> Result<MonoMix<S>, AudioError> {
        let mut mono = MonoMix::new(channels, sample_rate_hz, self.options)?;
        mono.reserve((self.expected_seconds * f64::from(sample_rate_hz)) as usize);
        Ok(mono)
    }

    fn packet(&mut self, packet: &[u8], budget: &mut Budget<'_>) -> Result<Taken, AudioError> {
        budget.take_packet(packet.len())?;
        let Some(mut part) = self.part.take() else { return Ok(Taken::Heard) };
        let taken = self.decode(&mut part, packet, budget);
        self.part = Some(part);
        taken
    }

    fn decode(
        &mut self,
        DecodedPart { codec, decoder, window, block }: &mut DecodedPart,
        packet: &[u8],
        budget: &mut Budget<'_>,
    ) -> Result<Taken, AudioError> {
        if packet.is_empty() {
            return Ok(Taken::Heard);
        }
        let decoded = decoder.decode(packet, block);
        if matches!(decoded, Err(BadPacket)) || block.samples.is_empty() {
            budget.take_empty_packet(packet_seconds(codec, packet))?;
            return Ok(Taken::Heard);
        }
        budget.take_frames(block.n_frames(), block.sample_rate_hz)?;
        if self.mono.is_none() {
            self.mono = Some(self.mix(block.channels, block.sample_rate_hz)?);
        }
        let mix = self.mono.as_mut().expect("it was just made");
        if !mix.takes(block.channels, block.sample_rate_hz) {
            return Ok(Taken::OtherKind);
        }
        window.push(block, mix)?;
        Ok(if window.is_over() { Taken::Done } else { Taken::Heard })
    }

    /// Ends the part and omits its last `padding` frames, which only fill its last packet.
    fn end(&mut self, padding: u64) -> Result<(), AudioError> {
        if let (Some(part), Some(mono)) = (self.part.take(), &mut self.mono) {
            part.window.finish(padding, mono)?;
        }
        Ok(())
    }
}

/// Forwards the frames that are heard.
struct Window {
    heard: HeardFrames,
    /// Number of frames decoded so far.
    at: u64,
}

enum HeardFrames {
    Trimmed {
        skip: u64,
        max_padding: u64,
        /// The last frames, held back while they may be padding.
        held: Vec<f32>,
        n_channels: usize,
    },
    Edited {
        stretches: Vec<Range<u64>>,
        ticks_per_second: u32,
        /// Number of stretches that have ended.
        n_ended: usize,
    },
}

impl Window {
    fn new(heard: AudibleFrames) -> Self {
        let heard = match heard {
            AudibleFrames::Trimmed { skip, max_padding } => {
                HeardFrames::Trimmed { skip, max_padding, held: Vec::new(), n_channels: 1 }
            }
            AudibleFrames::Edited { stretches, ticks_per_second } => {
                HeardFrames::Edited { stretches, ticks_per_second, n_ended: 0 }
            }
        };
        Self { heard, at: 0 }
    }

    fn push(&mut self, block: &Block, mix: &mut MonoMix<impl Samples>) -> Result<(), AudioError> {
        let channels = usize::from(block.channels);
        let here = self.at..self.at + block.n_frames() as u64;
        self.at = here.end;
        // Returns the part of the block within a range of frames.
        let part = |range: Range<u64>| {
            let start = range.start.clamp(here.start, here.end) - here.start;
            let end = range.end.clamp(here.start, here.end) - here.start;
            &block.samples[start as usize * channels..end.max(start) as usize * channels]
        };
        match &mut self.heard {
            HeardFrames::Trimmed { skip, max_padding: 0, .. } => mix.push(part(*skip..u64::MAX)),
            HeardFrames::Trimmed { skip, max_padding, held, n_channels } => {
                *n_channels = channels;
                held.extend_from_slice(part(*skip..u64::MAX));
                let held_back = *max_padding as usize * channels;
                // Waits for twice that amount, so that each frame is moved only once.
                if held.len() >= 2 * held_back {
                    let ready = held.len() - held_back;
                    mix.push(&held[..ready])?;
                    held.drain(..ready);
                }
                Ok(())
            }
            HeardFrames::Edited { stretches, ticks_per_second, n_ended } => {
                let frame = |ticks: u64| {
                    let frames = u128::from(ticks) * u128::from(block.sample_rate_hz)
                        / u128::from((*ticks_per_second).max(1));
                    u64::try_from(frames).unwrap_or(u64::MAX)
                };
                while let Some(stretch) = stretches.get(*n_ended) {
                    let (start, end) = (frame(stretch.start), frame(stretch.end));
                    mix.push(part(start..end))?;
                    if end > here.end {
                        break;
                    }
                    *n_ended += 1;
                }
                Ok(())
            }
        }
    }

    /// Returns whether all later frames are unheard.
    fn is_over(&self) -> bool {
        matches!(&self.heard, HeardFrames::Edited { stretches, n_ended, .. } if *n_ended == stretches.len())
    }

    /// Forwards the held frames, except for the padding.
    fn finish(self, padding: u64, mix: &mut MonoMix<impl Samples>) -> Result<(), AudioError> {
        let HeardFrames::Trimmed { held, n_channels, .. } = self.heard else { return Ok(()) };
        let n_padding = usize::try_from(padding).unwrap_or(usize::MAX).saturating_mul(n_channels);
        mix.push(&held[..held.len().saturating_sub(n_padding)])
    }
}
