//! Decodes samples without a header as they arrive.

use super::error::AudioError;
use super::mono_mix::MonoMix;
use super::pcm::{BLOCK_FRAMES, RawFormat};
use super::recording::{DecodeOptions, Recording};
use super::samples::{CompactWaveform, Samples};
use super::sniff;

/// Number of bytes needed to recognise the beginning of a file.
const HEADER_BYTES: usize = 64;

/// A recording that arrives in pieces of any size. The result is the same as that of [`decode_raw`](super::decode_raw)
/// for the whole.
pub struct RawStream {
    raw: RawFormat,
    /// The first bytes, until there are enough to recognise a file's header.
    header: Vec<u8>,
    is_begun: bool,
    /// The bytes of an incomplete frame.
    rest: Vec<u8>,
    block: Vec<f32>,
    mono: MonoMix<CompactWaveform>,
}

impl RawStream {
    /// Checks the sample rate, the number of channels and the chosen channel.
    pub fn new(raw: RawFormat, options: DecodeOptions) -> Result<Self, AudioError> {
        let mono = MonoMix::new(raw.channels, raw.sample_rate_hz, options)?;
        Ok(Self { raw, header: Vec::new(), is_begun: false, rest: Vec::new(), block: Vec::new(), mono })
    }

    /// Decodes the next bytes.
    ///
    /// # Errors
    /// Fails if the bytes are a file rather than samples, if samples are not numbers, or if the recording exceeds the
    /// limit of the length.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), AudioError> {
        if self.is_begun {
            return self.decode(bytes);
        }
        self.header.extend_from_slice(bytes);
        if self.header.len() >= HEADER_BYTES { self.begin() } else { Ok(()) }
    }

    fn begin(&mut self) -> Result<(), AudioError> {
        self.is_begun = true;
        let header = std::mem::take(&mut self.header);
        if let Some(name) = sniff::header_name(&header) {
            let reason = format!("samples without a header were expected, but it begins as {name}");
            return Err(AudioError::Corrupt(reason));
        }
        self.decode(&header)
    }

    fn decode(&mut self, mut bytes: &[u8]) -> Result<(), AudioError> {
        let frame_len = self.raw.frame_len();
        if !self.rest.is_empty() {
            let missing = (frame_len - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.rest.len() < frame_len {
                return Ok(());
            }
            let frame = std::mem::take(&mut self.rest);
            self.decode_frames(&frame)?;
        }
        let (frames, rest) = bytes.split_at(bytes.len() / frame_len * frame_len);
        self.rest.extend_from_slice(rest);
        frames.chunks(frame_len * BLOCK_FRAMES).try_for_each(|frames| self.decode_frames(frames))
    }

    fn decode_frames(&mut self, frames: &[u8]) -> Result<(), AudioError> {
        self.block.clear();
        self.raw.format.convert(frames, &mut self.block);
        self.mono.push(&self.block)
    }

    /// Returns the samples so far, at 16 kHz, in whole blocks.
    pub fn samples(&self) -> &CompactWaveform {
        self.mono.output()
    }

    /// Frees the memory of the samples before `sample`, which are not read any more.
    pub fn forget_before(&mut self, sample: usize) {
        self.mono.output_mut().forget_before(sample);
    }

    /// Returns the length of the audio received so far, in seconds.
    pub fn seconds(&self) -> f64 {
        self.mono.seconds()
    }

    /// Returns whether more than one sample in a thousand is at full scale.
    pub fn is_clipped(&self) -> bool {
        self.mono.is_clipped()
    }

    /// Returns whether the last frame is incomplete.
    pub fn is_cut(&self) -> bool {
        !self.rest.is_empty() || !self.header.len().is_multiple_of(self.raw.frame_len())
    }

    /// Returns the recording without an incomplete last frame, or `None` if no samples arrived.
    pub fn finish(mut self) -> Result<Option<Recording<CompactWaveform>>, AudioError> {
        if !self.is_begun {
            self.begin()?;
        }
        let is_cut = self.is_cut();
        if self.mono.output().n_samples() == 0 && self.mono.seconds() == 0.0 {
            return Ok(None);
        }
        self.mono.finish(is_cut).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{self, Channel, Endian, SampleFormat};
    use crate::pace::Pace;
    use crate::pseudo_random::PseudoRandom;

    #[test]
    fn pieces_of_any_size_become_what_the_whole_does() {
        let mut random = PseudoRandom(5);
        let bytes: Vec<u8> = (0..200_003).map(|_| (random.share() * 256.0) as u8).collect();
        let formats = [
            (SampleFormat::S16(Endian::Little), 16_000, 1),
            (SampleFormat::S16(Endian::Big), 44_100, 2),
            (SampleFormat::MuLaw, 8_000, 1),
            (SampleFormat::ALaw, 48_000, 2),
        ];
        for (format, sample_rate_hz, channels) in formats {
            let raw = RawFormat { format, sample_rate_hz, channels };
            let options = DecodeOptions { max_seconds: 60.0, channel: Channel::Mix };
            let whole = &bytes[..bytes.len() / raw.frame_len() * raw.frame_len()];
            let expected =
                audio::decode_in_slices::<CompactWaveform>(whole, Some(raw), options, Pace::UNBROKEN);
            let expected = expected.unwrap();
            let mut stream = RawStream::new(raw, options).unwrap();
            let mut left = &bytes[..];
            while !left.is_empty() {
                let (piece, later) = left.split_at(((random.share() * 999.0) as usize).min(left.len()));
                stream.push(piece).unwrap();
                left = later;
            }
            let is_cut = bytes.len() > whole.len();
            assert_eq!(stream.is_cut(), is_cut);
            let found = stream.finish().unwrap().unwrap();
            let n = expected.waveform.len();
            assert_eq!(found.waveform.len(), n);
            assert_eq!(found.waveform.read(0..n), expected.waveform.read(0..n), "{format:?}");
            assert_eq!(
                (found.duration_seconds, found.clipped),
                (expected.duration_seconds, expected.clipped)
            );
            assert_eq!(found.truncated, is_cut);
        }
    }

    #[test]
    fn what_is_no_samples_is_refused() {
        let raw =
            RawFormat { format: SampleFormat::F32(Endian::Little), sample_rate_hz: 16_000, channels: 1 };
        let options = DecodeOptions { max_seconds: 1.0, channel: Channel::Mix };
        let stream = || RawStream::new(raw, options).unwrap();
        let mut wav = stream();
        let header =
            b"RIFF\x24\x00\x00\x00WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data";
        header.iter().for_each(|byte| wav.push(&[*byte]).unwrap());
        let error = wav.push(&[0; 64]).unwrap_err().to_string();
        assert!(error.contains("a WAV file"), "{error}");
        assert!(stream().push(&f32::NAN.to_le_bytes().repeat(40)).is_err());
        assert!(matches!(stream().push(&vec![0; 64_004]), Err(AudioError::TooLong { .. })));
        assert!(stream().finish().unwrap().is_none());
    }
}
