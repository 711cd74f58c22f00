//! Interleaved channels -> one channel at 16 kHz, within the limits.

use super::error::AudioError;
use super::recording::{
    Channel, DecodeOptions, Recording, check_channels, check_magnitudes, check_sample_rate,
};
use super::resample::To16Khz;
use super::samples::Samples;

/// Magnitude from which a sample counts as being at full scale. Below 1 because the largest positive value of an
/// 8-bit sample is 127/128.
const FULL_SCALE: f32 = 0.99;

/// Share of samples at full scale above which a recording counts as clipped.
const CLIPPED_SHARE: f64 = 1e-3;

/// Share of the channels' power that their mean must have, or they cancel each other.
const CANCELLED_SHARE: f64 = 0.01;

/// One channel, or the mean of all, as it grows. It is resampled on the way, so that ten minutes take 38 MB at any rate.
pub(super) struct MonoMix<S> {
    channels: u16,
    sample_rate_hz: u32,
    options: DecodeOptions,
    max_frames: u64,
    n_frames: u64,
    n_full_scale: u64,
    /// Sum of squares of all channels, and of their mean.
    power: f64,
    power_of_mean: f64,
    /// One channel of one block.
    block: Vec<f32>,
    resampled: To16Khz<S>,
}

impl<S: Samples> MonoMix<S> {
    /// Checks channels and rate.
    pub(super) fn new(
        channels: u16,
        sample_rate_hz: u32,
        options: DecodeOptions,
    ) -> Result<Self, AudioError> {
        check_channels(channels)?;
        check_sample_rate(sample_rate_hz)?;
        if let Channel::One(channel) = options.channel
            && channel >= channels
        {
            return Err(AudioError::NoSuchChannel { channel, channels });
        }
        Ok(Self {
            channels,
            sample_rate_hz,
            options,
            max_frames: (options.max_seconds * f64::from(sample_rate_hz)) as u64,
            n_frames: 0,
            n_full_scale: 0,
            power: 0.0,
            power_of_mean: 0.0,
            block: Vec::new(),
            resampled: To16Khz::from_rate(sample_rate_hz),
        })
    }

    /// Makes room for so many frames that are to come: a vector that grows leaves the smaller ones behind.
    pub(super) fn reserve(&mut self, n_frames: usize) {
        self.resampled.reserve(n_frames.min(self.max_frames as usize));
    }

    /// Takes the next frames: a sample of each channel, and again; a last frame that is not whole is left out.
    pub(super) fn push(&mut self, interleaved: &[f32]) -> Result<(), AudioError> {
        let n_channels = usize::from(self.channels);
        let n_frames = interleaved.len() / n_channels;
        self.n_frames += n_frames as u64;
        if self.n_frames > self.max_frames {
            return Err(AudioError::TooLong { max_seconds: self.options.max_seconds });
        }
        if n_channels == 1 {
            self.n_full_scale += count_full_scale(interleaved);
            check_magnitudes(interleaved)?;
            self.resampled.push(interleaved);
            return Ok(());
        }
        let frames = interleaved.chunks_exact(n_channels);
        self.block.clear();
        match self.options.channel {
            Channel::One(channel) => {
                self.block.extend(frames.map(|frame| frame[usize::from(channel)]));
                self.n_full_scale += count_full_scale(&self.block) * u64::from(self.channels);
            }
            Channel::Mix => {
                self.block.extend(frames.map(|frame| frame.iter().sum::<f32>() / f32::from(self.channels)));
                self.n_full_scale += count_full_scale(interleaved);
                self.power += sum_of_squares(interleaved);
                self.power_of_mean += sum_of_squares(&self.block);
            }
        }
        check_magnitudes(&self.block)?;
        self.resampled.push(&self.block);
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

    /// What has come out so far at 16 kHz.
    pub(super) fn output(&self) -> &S {
        self.resampled.output()
    }

    /// The same, to be changed.
    pub(super) fn output_mut(&mut self) -> &mut S {
        self.resampled.output_mut()
    }

    /// Seconds of what has come.
    pub(super) fn seconds(&self) -> f64 {
        self.n_frames as f64 / f64::from(self.sample_rate_hz)
    }

    /// Whether too many samples are at full scale.
    pub(super) fn is_clipped(&self) -> bool {
        let n_samples = self.n_frames * u64::from(self.channels);
        self.n_full_scale as f64 > CLIPPED_SHARE * n_samples as f64
    }

    /// The recording.
    pub(super) fn finish(self, truncated: bool) -> Result<Recording<S::Whole>, AudioError> {
        let power_of_one = self.power / f64::from(self.channels);
        Ok(Recording {
            duration_seconds: self.seconds(),
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
            clipped: self.is_clipped(),
            truncated,
            channels_cancel: self.power_of_mean < CANCELLED_SHARE * power_of_one,
            waveform: self.resampled.finish()?,
        })
    }
}

fn count_full_scale(samples: &[f32]) -> u64 {
    samples.iter().filter(|sample| sample.abs() >= FULL_SCALE).count() as u64
}

fn sum_of_squares(samples: &[f32]) -> f64 {
    // Several sums, since one would wait for each addition in turn.
    let (blocks, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, sample)| *sum += sample * sample);
    }
    f64::from(sums.iter().sum::<f32>() + rest.iter().map(|sample| sample * sample).sum::<f32>())
}
