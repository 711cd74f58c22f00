//! Interleaved channels -> their mean, within the limits.

use super::{AudioError, Limits, Recording, Waveform, check_channels, check_sample_rate};

/// Magnitude from which a sample counts as being at full scale. Below 1 because the largest positive value of an
/// 8-bit sample is 127/128.
const FULL_SCALE: f32 = 0.99;

/// Share of samples at full scale above which a recording counts as clipped.
const CLIPPED_SHARE: f64 = 1e-3;

/// The mean of interleaved channels, as it grows.
pub(super) struct MonoMix {
    channels: u16,
    sample_rate_hz: u32,
    limits: Limits,
    max_frames: usize,
    mean: Vec<f32>,
    /// Sum of the samples of the frame that is not whole yet, and how many they are.
    frame: (f32, u16),
    n_full_scale: usize,
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
            max_frames: (limits.max_seconds * f64::from(sample_rate_hz)) as usize,
            mean: Vec::new(),
            frame: (0.0, 0),
            n_full_scale: 0,
        })
    }

    /// Refuses a file that announces more than the limit, before any of it is decoded.
    pub(super) fn check_announced(&self, n_frames: u64) -> Result<(), AudioError> {
        if n_frames > self.max_frames as u64 { Err(self.too_long()) } else { Ok(()) }
    }

    /// Takes the next sample of the next channel.
    pub(super) fn push(&mut self, sample: f32) -> Result<(), AudioError> {
        self.n_full_scale += usize::from(sample.abs() >= FULL_SCALE);
        self.frame.0 += sample;
        self.frame.1 += 1;
        if self.frame.1 < self.channels {
            return Ok(());
        }
        if self.mean.len() >= self.max_frames {
            return Err(self.too_long());
        }
        self.mean.push(self.frame.0 / f32::from(self.channels));
        self.frame = (0.0, 0);
        Ok(())
    }

    /// Whether samples of this kind belong to the recording.
    pub(super) fn takes(&self, channels: u16, sample_rate_hz: u32) -> bool {
        (self.channels, self.sample_rate_hz) == (channels, sample_rate_hz)
    }

    /// Frames so far.
    pub(super) fn n_frames(&self) -> usize {
        self.mean.len()
    }

    /// The recording; a last frame that is not whole is left out.
    pub(super) fn finish(self, truncated: bool) -> Result<Recording, AudioError> {
        let n_samples = self.mean.len() * usize::from(self.channels);
        Ok(Recording {
            clipped: self.n_full_scale as f64 > CLIPPED_SHARE * n_samples as f64,
            truncated,
            waveform: Waveform::new(self.mean, self.sample_rate_hz)?,
            channels: self.channels,
        })
    }

    fn too_long(&self) -> AudioError {
        AudioError::TooLong { max_seconds: self.limits.max_seconds }
    }
}
