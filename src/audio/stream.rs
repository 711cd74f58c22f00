//! A demuxed stream of packets -> [`Recording`].

use std::borrow::Cow;
use std::ops::Range;

use super::codec::{BadPacket, Block, Codec, Decoder};
use super::error::AudioError;
use super::mono_mix::MonoMix;
use super::recording::{DecodeOptions, Recording};

/// What a container holds: packets, and which of the decoded frames are heard.
pub(super) struct Stream<'a> {
    /// The container's name, for errors.
    pub(super) container: &'static str,
    /// The parts of the stream, one after the other; each has a decoder of its own.
    pub(super) parts: Vec<Part<'a>>,
    /// The container proves that something is missing.
    pub(super) truncated: bool,
}

/// Packets for one decoder.
pub(super) struct Part<'a> {
    pub(super) codec: Codec,
    pub(super) packets: Vec<Cow<'a, [u8]>>,
    pub(super) heard: Heard,
}

/// Which of the frames that a part decodes to are heard.
pub(super) enum Heard {
    /// All but some at the beginning and, where the count is known, at the end.
    Trimmed {
        /// Frames at the beginning that are the decoder's delay.
        skip: u64,
        /// Frames at the end that fill the last packet.
        padding: u64,
    },
    /// These stretches, in ticks of the media's clock.
    Edited {
        /// In the order of their play.
        stretches: Vec<Range<u64>>,
        ticks_per_second: u32,
    },
}

impl Heard {
    pub(super) const ALL: Self = Self::Trimmed { skip: 0, padding: 0 };
}

impl Stream<'_> {
    /// Decodes the parts. One of another rate or number of channels than the first ends the recording, which is `truncated` then.
    pub(super) fn decode(self, options: DecodeOptions) -> Result<Recording, AudioError> {
        let mut mono: Option<MonoMix> = None;
        let mut truncated = self.truncated;
        let mut first_error = None;
        for part in self.parts {
            let decoder = match Decoder::new(&part.codec, self.container) {
                Ok(decoder) => decoder,
                Err(error) if mono.is_none() => {
                    first_error.get_or_insert(error);
                    continue;
                }
                Err(_) => {
                    truncated = true;
                    break;
                }
            };
            if !part.decode(decoder, options, &mut mono)? {
                truncated = true;
                break;
            }
        }
        match mono {
            Some(mono) => mono.finish(truncated),
            None => Err(first_error.unwrap_or_else(|| AudioError::Corrupt("nothing in it decodes".into()))),
        }
    }
}

impl Part<'_> {
    /// Decodes into the mix. Whether all of it belongs to the recording.
    fn decode(
        self,
        mut decoder: Decoder,
        options: DecodeOptions,
        mono: &mut Option<MonoMix>,
    ) -> Result<bool, AudioError> {
        let mut block = Block::default();
        let mut window = Window::new(self.heard);
        for packet in &self.packets {
            match decoder.decode(packet, &mut block) {
                Ok(()) => {}
                Err(BadPacket) => continue,
            }
            if block.samples.is_empty() {
                continue;
            }
            if mono.is_none() {
                *mono = Some(MonoMix::new(block.channels, block.sample_rate_hz, options)?);
            }
            let mix = mono.as_mut().expect("it was just made");
            if !mix.takes(block.channels, block.sample_rate_hz) {
                return Ok(false);
            }
            window.push(&block, mix)?;
        }
        Ok(true)
    }
}

/// Passes on the frames that are heard.
struct Window {
    heard: Heard,
    /// Frames decoded so far.
    at: u64,
    /// The last frames, held back as long as they may be padding.
    held: Vec<f32>,
}

impl Window {
    fn new(heard: Heard) -> Self {
        Self { heard, at: 0, held: Vec::new() }
    }

    fn push(&mut self, block: &Block, mix: &mut MonoMix) -> Result<(), AudioError> {
        let n_channels = usize::from(block.channels);
        let here = self.at..self.at + block.n_frames() as u64;
        self.at = here.end;
        // The part of the block that is also in a range of frames.
        let part = |range: Range<u64>| {
            let start = range.start.clamp(here.start, here.end) - here.start;
            let end = range.end.clamp(here.start, here.end) - here.start;
            &block.samples[start as usize * n_channels..end.max(start) as usize * n_channels]
        };
        match &self.heard {
            Heard::Trimmed { skip, padding: 0 } => mix.push(part(*skip..u64::MAX)),
            Heard::Trimmed { skip, padding } => {
                self.held.extend_from_slice(part(*skip..u64::MAX));
                let held_back = usize::try_from(*padding).unwrap_or(usize::MAX).saturating_mul(n_channels);
                let ready = self.held.len().saturating_sub(held_back);
                let ready = ready - ready % n_channels;
                mix.push(&self.held[..ready])?;
                self.held.drain(..ready);
                Ok(())
            }
            Heard::Edited { stretches, ticks_per_second } => {
                let rate = u64::from(block.sample_rate_hz);
                let frame = |ticks: u64| {
                    let frames =
                        u128::from(ticks) * u128::from(rate) / u128::from((*ticks_per_second).max(1));
                    u64::try_from(frames).unwrap_or(u64::MAX)
                };
                for stretch in stretches {
                    mix.push(part(frame(stretch.start)..frame(stretch.end)))?;
                }
                Ok(())
            }
        }
    }
}
