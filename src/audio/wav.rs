//! WAV, by hound. Its reader wants files as the standard has them; [`Chunks`] brings those that recorders write into
//! that shape.

use std::io::{Cursor, Read};

use hound::{SampleFormat, WavReader};

use super::{AudioError, Limits, Recording, Waveform, check_channels, check_sample_rate};

/// Magnitude from which a sample counts as being at full scale. Below 1 because the largest positive value of an
/// 8-bit sample is 127/128.
const FULL_SCALE: f32 = 0.99;

/// Share of samples at full scale above which a recording counts as clipped.
const CLIPPED_SHARE: f64 = 1e-3;

/// Lengths from here on stand for "unknown": a program that writes to a pipe cannot come back to fill them in.
const UNKNOWN_LEN: u32 = 0x7fff_0000;

/// Decodes a WAV file to the mean of its channels, full scale at ±1, as libsndfile and librosa do.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    let chunks = Chunks::find(bytes)?;
    let mut reader = WavReader::new(chunks.reader()).map_err(header_error)?;
    let spec = reader.spec();
    check_channels(spec.channels)?;
    check_sample_rate(spec.sample_rate)?;

    let mut mono = MonoMix::new(spec.channels, spec.sample_rate, limits);
    let scale = 0.5_f32.powi(i32::from(spec.bits_per_sample) - 1);
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, _) => mono.extend(&mut reader, |sample: f32| sample)?,
        (SampleFormat::Int, 8 | 16) => mono.extend(&mut reader, |sample: i16| f32::from(sample) * scale)?,
        (SampleFormat::Int, _) => mono.extend(&mut reader, |sample: i32| sample as f32 * scale)?,
    }
    Ok(Recording {
        clipped: mono.n_full_scale as f64 > CLIPPED_SHARE * mono.n_samples as f64,
        truncated: chunks.truncated,
        waveform: Waveform::new(mono.mean, spec.sample_rate)?,
        channels: spec.channels,
    })
}

/// The two chunks of a WAV file that matter.
struct Chunks<'a> {
    format: &'a [u8],
    /// Whole frames, as many as are really there.
    data: &'a [u8],
    /// The file ends before the length that it announces.
    truncated: bool,
}

impl<'a> Chunks<'a> {
    /// Walks over the chunks up to the audio, past those of odd length too, which have a byte behind them.
    fn find(bytes: &'a [u8]) -> Result<Self, AudioError> {
        let cut = || AudioError::Corrupt("it ends within its header".into());
        if bytes.get(8..12).ok_or_else(cut)? != b"WAVE" {
            return Err(AudioError::Unsupported);
        }
        let mut format = None;
        let mut rest = &bytes[12..];
        loop {
            let (id, after_id) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            let (len, content) = after_id.split_first_chunk::<4>().ok_or_else(cut)?;
            let len = u32::from_le_bytes(*len);
            if id == b"data" {
                let format = format.ok_or_else(|| AudioError::Corrupt("it has no fmt chunk".into()))?;
                return Ok(Self::new(format, content, len));
            }
            if id == b"fmt " {
                format = Some(content.get(..len as usize).ok_or_else(cut)?);
            }
            let padded_len = (len as usize).saturating_add(len as usize % 2);
            rest = content.get(padded_len..).ok_or_else(cut)?;
        }
    }

    fn new(format: &'a [u8], content: &'a [u8], announced_len: u32) -> Self {
        let is_unknown = announced_len == 0 || announced_len >= UNKNOWN_LEN;
        let announced = if is_unknown { content.len() } else { announced_len as usize };
        // `nBlockAlign`, the bytes of a frame. Where it is missing, hound says so.
        let frame_bytes =
            format.get(12..14).map_or(1, |b| usize::from(u16::from_le_bytes([b[0], b[1]]))).max(1);
        let present = announced.min(content.len());
        Self { format, data: &content[..present - present % frame_bytes], truncated: present < announced }
    }

    /// The file as the standard has it.
    fn reader(&self) -> impl Read + use<'a> {
        let mut header = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
        header.extend((self.format.len() as u32).to_le_bytes());
        header.extend(self.format);
        header.extend(b"data");
        header.extend((self.data.len() as u32).to_le_bytes());
        Cursor::new(header).chain(self.data)
    }
}

/// The mean of interleaved channels, as it grows.
struct MonoMix {
    channels: usize,
    max_frames: f64,
    limits: Limits,
    mean: Vec<f32>,
    n_samples: usize,
    n_full_scale: usize,
}

impl MonoMix {
    fn new(channels: u16, sample_rate_hz: u32, limits: Limits) -> Self {
        Self {
            channels: usize::from(channels),
            max_frames: limits.max_seconds * f64::from(sample_rate_hz),
            limits,
            mean: Vec::new(),
            n_samples: 0,
            n_full_scale: 0,
        }
    }

    fn extend<R: Read, S: hound::Sample>(
        &mut self,
        reader: &mut WavReader<R>,
        value: impl Fn(S) -> f32,
    ) -> Result<(), AudioError> {
        let mut frame = 0.0;
        let mut in_frame = 0;
        for sample in reader.samples::<S>() {
            let sample = value(sample.map_err(|_| AudioError::Unsupported)?);
            self.n_samples += 1;
            self.n_full_scale += usize::from(sample.abs() >= FULL_SCALE);
            frame += sample;
            in_frame += 1;
            if in_frame == self.channels {
                self.push(frame / self.channels as f32)?;
                (frame, in_frame) = (0.0, 0);
            }
        }
        Ok(())
    }

    fn push(&mut self, sample: f32) -> Result<(), AudioError> {
        if self.mean.len() as f64 >= self.max_frames {
            return Err(AudioError::TooLong { max_seconds: self.limits.max_seconds });
        }
        self.mean.push(sample);
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
fn header_error(error: hound::Error) -> AudioError {
    match error {
        hound::Error::Unsupported => AudioError::Unsupported,
        hound::Error::FormatError(reason) => AudioError::Corrupt(reason.into()),
        // The reader is memory: it can only end.
        _ => AudioError::Corrupt("it ends within its header".into()),
    }
}
