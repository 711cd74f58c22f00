//! WAV, by hound. Its reader wants files as the standard has them; [`Chunks`] brings those that recorders write into
//! that shape.

use std::io::{Cursor, Read};

use hound::{SampleFormat, WavReader};

use super::mono_mix::MonoMix;
use super::{AudioError, Limits, Recording};

/// Lengths from here on stand for "unknown": a program that writes to a pipe cannot come back to fill them in.
const UNKNOWN_LEN: u32 = 0x7fff_0000;

/// Decodes a WAV file to the mean of its channels, full scale at ±1, as libsndfile and librosa do.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    let chunks = Chunks::find(bytes)?;
    if !chunks.is_plain() {
        return Err(AudioError::Unsupported);
    }
    let mut reader = WavReader::new(chunks.reader()).map_err(header_error)?;
    let spec = reader.spec();
    let mut mono = MonoMix::new(spec.channels, spec.sample_rate, limits)?;
    mono.check_announced(u64::from(reader.duration()))?;
    let scale = 0.5_f32.powi(i32::from(spec.bits_per_sample) - 1);
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, _) => extend(&mut mono, &mut reader, |sample: f32| sample)?,
        (SampleFormat::Int, 8 | 16) => {
            extend(&mut mono, &mut reader, |sample: i16| f32::from(sample) * scale)?;
        }
        (SampleFormat::Int, _) => extend(&mut mono, &mut reader, |sample: i32| sample as f32 * scale)?,
    }
    mono.finish(chunks.truncated)
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
        let mut long_len = None;
        let mut rest = &bytes[12..];
        loop {
            let (id, after_id) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            let (len, content) = after_id.split_first_chunk::<4>().ok_or_else(cut)?;
            let len = u32::from_le_bytes(*len);
            if id == b"data" {
                let format = format.ok_or_else(|| AudioError::Corrupt("it has no fmt chunk".into()))?;
                let announced = match len {
                    u32::MAX if let Some(long_len) = long_len => long_len,
                    0 | UNKNOWN_LEN.. => content.len() as u64,
                    len => u64::from(len),
                };
                return Ok(Self::new(format, content, announced));
            }
            if id == b"ds64" {
                // RF64: the length of the file, then that of the audio.
                long_len = content.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
            }
            if id == b"fmt " {
                format = Some(content.get(..len as usize).ok_or_else(cut)?);
            }
            let padded_len = (len as usize).saturating_add(len as usize % 2);
            rest = content.get(padded_len..).ok_or_else(cut)?;
        }
    }

    fn new(format: &'a [u8], content: &'a [u8], announced: u64) -> Self {
        // `nBlockAlign`, the bytes of a frame. Where it is missing, hound says so.
        let frame_bytes =
            format.get(12..14).map_or(1, |b| usize::from(u16::from_le_bytes([b[0], b[1]]))).max(1);
        let present = usize::try_from(announced).unwrap_or(usize::MAX).min(content.len());
        Self {
            format,
            data: &content[..present - present % frame_bytes],
            truncated: (present as u64) < announced,
        }
    }

    /// Whether the samples are what hound reads: integers, 32-bit floats, or either behind an extensible header.
    fn is_plain(&self) -> bool {
        let field = |at: usize| self.format.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let (format_tag, bits_per_sample) = (field(0), field(14));
        matches!((format_tag, bits_per_sample), (0x0001 | 0xfffe, _) | (0x0003, 32))
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

/// Frames that are decoded at once.
const BLOCK_FRAMES: usize = 4_096;

fn extend<R: Read, S: hound::Sample>(
    mono: &mut MonoMix,
    reader: &mut WavReader<R>,
    value: impl Fn(S) -> f32,
) -> Result<(), AudioError> {
    let block_samples = BLOCK_FRAMES * usize::from(reader.spec().channels);
    let mut block = Vec::with_capacity(block_samples);
    let mut samples = reader.samples::<S>();
    loop {
        block.clear();
        for sample in samples.by_ref().take(block_samples) {
            block.push(value(sample.map_err(|_| AudioError::Unsupported)?));
        }
        if block.is_empty() {
            return Ok(());
        }
        mono.push(&block)?;
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
