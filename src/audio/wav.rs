//! WAV. hound's reader takes files that follow the standard; [`Chunks`] brings those that recorders write into that
//! form.

use std::io::{Cursor, Read};

use hound::{SampleFormat, WavReader};

use super::error::AudioError;
use super::mono_mix::MonoMix;
use super::recording::{Limits, Recording};

/// Lengths from here on mean "unknown": a program that writes to a pipe cannot fill them in afterwards.
const UNKNOWN_LEN: u32 = 0x7fff_0000;

/// Frames that are decoded at once.
const BLOCK_FRAMES: usize = 4_096;

/// Decodes a WAV file to the mean of its channels, full scale at ±1, as libsndfile and librosa do.
///
/// hound reads the header. Samples are converted here, in blocks: hound's iterator takes 10 ns a sample, a quarter of the time
/// before the encoder.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    let chunks = Chunks::find(bytes)?;
    if !chunks.is_plain() {
        return Err(AudioError::Unsupported);
    }
    let reader = WavReader::new(chunks.reader()).map_err(header_error)?;
    let spec = reader.spec();
    let mut mono = MonoMix::new(spec.channels, spec.sample_rate, limits)?;
    mono.check_announced(u64::from(reader.duration()))?;
    let n_channels = usize::from(spec.channels);
    match (spec.sample_format, spec.bits_per_sample, chunks.frame_bytes() / n_channels) {
        (SampleFormat::Float, 32, 4) => extend(&mut mono, chunks.data, f32::from_le_bytes),
        // Only samples of 8 bits have no sign.
        (SampleFormat::Int, 8, 1) => extend(&mut mono, chunks.data, |[b]| (f32::from(b) - 128.0) / 128.0),
        (SampleFormat::Int, 16, 2) => {
            extend(&mut mono, chunks.data, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0)
        }
        (SampleFormat::Int, 24, 3) => extend(&mut mono, chunks.data, |[a, b, c]| from_24_bits([a, b, c])),
        (SampleFormat::Int, 24, 4) => extend(&mut mono, chunks.data, |[a, b, c, _]| from_24_bits([a, b, c])),
        (SampleFormat::Int, 32, 4) => {
            extend(&mut mono, chunks.data, |b| i32::from_le_bytes(b) as f32 / 2_147_483_648.0)
        }
        _ => return Err(AudioError::Unsupported),
    }?;
    mono.finish(chunks.truncated)
}

fn from_24_bits([low, middle, high]: [u8; 3]) -> f32 {
    (i32::from_le_bytes([0, low, middle, high]) >> 8) as f32 / 8_388_608.0
}

fn extend<const BYTES: usize>(
    mono: &mut MonoMix,
    data: &[u8],
    value: impl Fn([u8; BYTES]) -> f32,
) -> Result<(), AudioError> {
    let mut block = Vec::new();
    for bytes in data.chunks(BLOCK_FRAMES * usize::from(mono.channels()) * BYTES) {
        block.clear();
        block.extend(bytes.as_chunks().0.iter().map(|sample| value(*sample)));
        mono.push(&block)?;
    }
    Ok(())
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
        let present = usize::try_from(announced).unwrap_or(usize::MAX).min(content.len());
        let mut chunks = Self { format, data: &content[..present], truncated: (present as u64) < announced };
        chunks.data = &content[..present - present % chunks.frame_bytes()];
        chunks
    }

    /// `nBlockAlign`, the bytes of a frame. hound refuses a header without it.
    fn frame_bytes(&self) -> usize {
        self.field(12).map_or(1, usize::from).max(1)
    }

    /// Whether the samples are what hound reads: integers, 32-bit floats, or either behind an extensible header.
    fn is_plain(&self) -> bool {
        matches!((self.field(0), self.field(14)), (Some(0x0001 | 0xfffe), _) | (Some(0x0003), Some(32)))
    }

    fn field(&self, at: usize) -> Option<u16> {
        self.format.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]))
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

#[allow(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
fn header_error(error: hound::Error) -> AudioError {
    match error {
        hound::Error::Unsupported => AudioError::Unsupported,
        hound::Error::FormatError(reason) => AudioError::Corrupt(reason.into()),
        // The reader is memory: it can only end.
        _ => AudioError::Corrupt("it ends within its header".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{Sample, WavSpec, WavWriter};

    /// hound's own samples, as numbers of full scale ±1.
    fn by_hound<S: Sample>(file: &[u8], value: impl Fn(S) -> f32) -> Vec<f32> {
        WavReader::new(file).unwrap().into_samples().map(|sample| value(sample.unwrap())).collect()
    }

    #[test]
    fn samples_are_those_that_hound_reads() {
        for (bits_per_sample, sample_format) in [
            (8, SampleFormat::Int),
            (16, SampleFormat::Int),
            (24, SampleFormat::Int),
            (32, SampleFormat::Int),
            (32, SampleFormat::Float),
        ] {
            let spec = WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample, sample_format };
            let mut file = Cursor::new(Vec::new());
            let mut writer = WavWriter::new(&mut file, spec).unwrap();
            let full_scale = 2_f32.powi(i32::from(bits_per_sample) - 1);
            for i in 0..10_000 {
                let value = (i as f32 / 10_000.0).mul_add(2.0, -1.0);
                match sample_format {
                    SampleFormat::Float => writer.write_sample(value).unwrap(),
                    SampleFormat::Int => writer.write_sample((value * full_scale) as i32).unwrap(),
                }
            }
            writer.finalize().unwrap();
            let file = file.into_inner();
            let expected = match sample_format {
                SampleFormat::Float => by_hound(&file, |sample: f32| sample),
                SampleFormat::Int => by_hound(&file, |sample: i32| sample as f32 / full_scale),
            };
            let recording = decode(&file, Limits { max_seconds: 1.0 }).unwrap();
            assert_eq!(recording.waveform.samples(), expected, "{bits_per_sample} bits");
        }
    }
}
