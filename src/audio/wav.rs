//! WAV, by hound.

use std::io::{Cursor, Read};

use hound::{SampleFormat, WavReader};

use super::{AudioError, Limits, Recording, Waveform, check_channels, check_sample_rate};

/// Magnitude from which a sample counts as being at full scale. Below 1 because the largest positive value of an
/// 8-bit sample is 127/128.
const FULL_SCALE: f32 = 0.99;

/// Share of samples at full scale above which a recording counts as clipped.
const CLIPPED_SHARE: f64 = 1e-3;

/// Decodes a WAV file to the mean of its channels, full scale at ±1, as libsndfile and librosa do.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Recording, AudioError> {
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(header_error)?;
    let spec = reader.spec();
    check_channels(spec.channels)?;
    check_sample_rate(spec.sample_rate)?;

    let announced = reader.len() as usize;
    let mut mono = MonoMix::new(spec.channels, spec.sample_rate, limits);
    let scale = 0.5_f32.powi(i32::from(spec.bits_per_sample) - 1);
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, _) => mono.extend(&mut reader, |sample: f32| sample)?,
        (SampleFormat::Int, 8 | 16) => mono.extend(&mut reader, |sample: i16| f32::from(sample) * scale)?,
        (SampleFormat::Int, _) => mono.extend(&mut reader, |sample: i32| sample as f32 * scale)?,
    }
    Ok(Recording {
        clipped: mono.n_full_scale as f64 > CLIPPED_SHARE * mono.n_samples as f64,
        truncated: mono.n_samples < announced,
        waveform: Waveform::new(mono.mean, spec.sample_rate)?,
        channels: spec.channels,
    })
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

    /// Takes all whole frames that the file really holds, whatever its header announces.
    fn extend<R: Read, S: hound::Sample>(
        &mut self,
        reader: &mut WavReader<R>,
        value: impl Fn(S) -> f32,
    ) -> Result<(), AudioError> {
        let mut frame = 0.0;
        let mut in_frame = 0;
        for sample in reader.samples::<S>() {
            let sample = match sample {
                Ok(sample) => value(sample),
                Err(hound::Error::IoError(_)) => break,
                Err(_) => return Err(AudioError::Unsupported),
            };
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
        hound::Error::Unsupported | hound::Error::FormatError("no WAVE tag found") => AudioError::Unsupported,
        hound::Error::FormatError(reason) => AudioError::Corrupt(reason.into()),
        // The reader is a slice: it can only end.
        _ => AudioError::Corrupt("it ends within its header".into()),
    }
}
