//! Mixes interleaved channels into one channel at 16 kHz, within the limits.

use super::error::AudioError;
use super::recording::{
    Channel, DecodeOptions, Recording, check_channels, check_magnitudes, check_sample_rate,
};
use super::resample::To16Khz;
use super::samples::Samples;

/// Magnitude from which a sample counts as full scale. It is below 1 because the largest positive value of an 8-bit
/// sample is 127/128.
const FULL_SCALE: f32 = 0.99;

/// Share of samples at full scale above which a recording counts as clipped.
const CLIPPED_SHARE: f64 = 1e-3;

/// Share of the channels' power below which the power of their mean shows that they cancel each other.
const CANCELLED_SHARE: f64 = 0.01;

/// A channel, or the mean of all channels, to which frames are added. It is resampled as it grows, so that ten minutes
/// need 38 MB at any rate.
pub(super) struct MonoMix<S> {
    channels: u16,
    sample_rate_hz: u32,
    options: DecodeOptions,
    max_frames: u64,
    n_frames: u64,
    n_full_scale: u64,
    /// Sums of squares of all channels and of their mean.
    power: f64,
    power_of_mean: f64,
    /// A block of the resulting channel.
    block: Vec<f32>,
    resampled: To16Khz<S>,
}

impl<S: Samples> MonoMix<S> {
    /// Checks the number of channels, the rate and the chosen channel.
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

    /// Reserves room for `n_frames` more frames. Without this, the growing vector would leave smaller vectors behind.
    pub(super) fn reserve(&mut self, n_frames: usize) {
        self.resampled.reserve(n_frames.min(self.max_frames as usize));
    }

    /// Adds the next frames, each with a sample of every channel. An incomplete last frame is ignored.
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

    /// Returns whether samples of this rate and number of channels belong to the recording.
    pub(super) fn takes(&self, channels: u16, sample_rate_hz: u32) -> bool {
        (self.channels, self.sample_rate_hz) == (channels, sample_rate_hz)
    }

    /// Returns the number of channels of a frame.
    pub(super) fn channels(&self) -> u16 {
        self.channels
    }

    /// Returns the output so far, at 16 kHz.
    pub(super) fn output(&self) -> &S {
        self.resampled.output()
    }

    /// Returns the output so far, to be modified.
    pub(super) fn output_mut(&mut self) -> &mut S {
        self.resampled.output_mut()
    }

    /// Returns the duration of the frames so far, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.n_frames as f64 / f64::from(self.sample_rate_hz)
    }

    /// Returns whether too many samples are at full scale.
    pub(super) fn is_clipped(&self) -> bool {
        let n_samples = self.n_frames * u64::from(self.channels);
        self.n_full_scale as f64 > CLIPPED_SHARE * n_samples as f64
    }

    /// Returns the recording.
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
    // Uses several independent sums, because a single sum would wait for each addition in turn.
    let (blocks, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, sample)| *sum += sample * sample);
    }
    f64::from(sums.iter().sum::<f32>() + rest.iter().map(|sample| sample * sample).sum::<f32>())
}
