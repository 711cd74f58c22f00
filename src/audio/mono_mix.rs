//! Interleaved channels -> their mean at 16 kHz, within the limits.

use super::error::AudioError;
use super::recording::{Limits, Recording, Waveform, check_channels, check_sample_rate};
use super::resample::To16Khz;

/// Magnitude from which a sample counts as being at full scale. Below 1 because the largest positive value of an
/// 8-bit sample is 127/128.
const FULL_SCALE: f32 = 0.99;

/// Share of samples at full scale above which a recording counts as clipped.
const CLIPPED_SHARE: f64 = 1e-3;

/// The mean of interleaved channels, as it grows. It is resampled on the way, so that ten minutes take 38 MB at any rate.
pub(super) struct MonoMix {
    channels: u16,
    sample_rate_hz: u32,
    limits: Limits,
    max_frames: u64,
    n_frames: u64,
    n_full_scale: u64,
    /// The mean of one block.
    mean: Vec<f32>,
    resampled: To16Khz,
}

impl MonoMix {
    /// Checks channels and rate.
    pub(super) fn new(channels: u16, sample_rate_hz: u32, limits: Limits) -> Result<Self, AudioError> {
        check_channels(channels)?;
        check_sample_rate(sample_rate_hz)?;
        Ok(Self {
            channels,
            sample_rate_hz,
            limits,
            max_frames: (limits.max_seconds * f64::from(sample_rate_hz)) as u64,
            n_frames: 0,
            n_full_scale: 0,
            mean: Vec::new(),
            resampled: To16Khz::from_rate(sample_rate_hz),
        })
    }

    /// Refuses a file that announces more than the limit, before any of it is decoded.
    pub(super) fn check_announced(&self, n_frames: u64) -> Result<(), AudioError> {
        if n_frames > self.max_frames {
            return Err(AudioError::TooLong { max_seconds: self.limits.max_seconds });
        }
        Ok(())
    }

    /// Takes the next frames: a sample of each channel, and again; a last frame that is not whole is left out.
    pub(super) fn push(&mut self, interleaved: &[f32]) -> Result<(), AudioError> {
        let n_channels = usize::from(self.channels);
        self.n_frames += (interleaved.len() / n_channels) as u64;
        self.check_announced(self.n_frames)?;
        self.n_full_scale += interleaved.iter().filter(|sample| sample.abs() >= FULL_SCALE).count() as u64;
        if n_channels == 1 {
            self.resampled.push(interleaved);
            return Ok(());
        }
        let frames = interleaved.chunks_exact(n_channels);
        self.mean.clear();
        self.mean.extend(frames.map(|frame| frame.iter().sum::<f32>() / f32::from(self.channels)));
        self.resampled.push(&self.mean);
        Ok(())
    }

    /// Whether samples of this kind belong to the recording.
    pub(super) fn takes(&self, channels: u16, sample_rate_hz: u32) -> bool {
        (self.channels, self.sample_rate_hz) == (channels, sample_rate_hz)
    }

    /// Channels of a frame.
    pub(super) fn channels(&self) -> u16 {
        self.channels
    }

    /// Frames so far.
    pub(super) fn n_frames(&self) -> u64 {
        self.n_frames
    }

    /// The recording.
    pub(super) fn finish(self, truncated: bool) -> Result<Recording, AudioError> {
        let n_samples = self.n_frames * u64::from(self.channels);
        Ok(Recording {
            waveform: Waveform::new(self.resampled.finish())?,
            duration_seconds: self.n_frames as f64 / f64::from(self.sample_rate_hz),
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
            clipped: self.n_full_scale as f64 > CLIPPED_SHARE * n_samples as f64,
            truncated,
        })
    }
}
