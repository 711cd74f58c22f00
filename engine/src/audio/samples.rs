//! Stores samples at 16 kHz as they are decoded: in a [`Waveform`], or in a [`CompactWaveform`] of half its size.

use std::ops::Range;

use super::error::AudioError;
use super::recording::Waveform;

/// Number of samples in a block that share a scale: 10 ms.
const BLOCK_SAMPLES: usize = 160;

/// A signal to which samples are added.
pub trait Samples: Default {
    /// The type of the finished signal.
    type Whole;

    /// Reserves room for `n_samples` more.
    fn reserve(&mut self, n_samples: usize);

    /// Adds samples.
    fn add(&mut self, samples: &[f32]);

    /// Returns the number of samples so far.
    fn n_samples(&self) -> usize;

    /// Returns the first `n_samples` samples. A signal without samples is an error.
    fn finish(self, n_samples: usize) -> Result<Self::Whole, AudioError>;
}

impl Samples for Vec<f32> {
    type Whole = Waveform;

    fn reserve(&mut self, n_samples: usize) {
        self.reserve(n_samples);
    }

    fn add(&mut self, samples: &[f32]) {
        self.extend_from_slice(samples);
    }

    fn n_samples(&self) -> usize {
        self.len()
    }

    fn finish(mut self, n_samples: usize) -> Result<Waveform, AudioError> {
        self.truncate(n_samples);
        Waveform::new(self)
    }
}

/// Mono audio at 16 kHz with 16 bits per sample and at least one sample. Each block of 10 ms has a separate scale, so
/// that the error is 96 dB below the block's loudest sample.
#[derive(Clone, Debug, Default)]
pub struct CompactWaveform {
    values: Vec<i16>,
    /// The factor of each block's values.
    scales: Vec<f32>,
    /// The incomplete last block.
    pending: Vec<f32>,
    /// Number of blocks at the beginning that were forgotten.
    n_forgotten: usize,
}

impl Samples for CompactWaveform {
    type Whole = Self;

    fn reserve(&mut self, n_samples: usize) {
        self.values.reserve(n_samples);
        self.scales.reserve(n_samples.div_ceil(BLOCK_SAMPLES));
    }

    fn add(&mut self, mut samples: &[f32]) {
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(BLOCK_SAMPLES - self.pending.len()));
            self.pending.extend_from_slice(now);
            samples = later;
            if self.pending.len() == BLOCK_SAMPLES {
                self.pack();
            }
        }
    }

    fn n_samples(&self) -> usize {
        self.len() + self.pending.len()
    }

    fn finish(mut self, n_samples: usize) -> Result<Self, AudioError> {
        self.pack();
        self.values.truncate(n_samples - self.n_forgotten * BLOCK_SAMPLES);
        if self.is_empty() {
            return Err(AudioError::Corrupt("it holds no samples".into()));
        }
        Ok(self)
    }
}

impl CompactWaveform {
    /// Returns the number of samples; while the signal grows, it counts only whole blocks.
    pub fn len(&self) -> usize {
        self.n_forgotten * BLOCK_SAMPLES + self.values.len()
    }

    /// Returns whether there are no samples. A decoded recording always has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a range of samples, full scale at ±1, with zeros beyond the end.
    ///
    /// # Panics
    /// Panics if samples of the range were forgotten.
    pub fn read(&self, range: Range<usize>) -> Vec<f32> {
        let mut samples = Vec::with_capacity(range.len());
        let mut at = range.start;
        let first = self.n_forgotten * BLOCK_SAMPLES;
        while at < range.end.min(self.len()) {
            let block = at / BLOCK_SAMPLES;
            let end = ((block + 1) * BLOCK_SAMPLES).min(range.end).min(self.len());
            let scale = self.scales[block - self.n_forgotten];
            samples
                .extend(self.values[at - first..end - first].iter().map(|value| f32::from(*value) * scale));
            at = end;
        }
        samples.resize(range.len(), 0.0);
        samples
    }

    /// Frees the memory of the samples before `sample`, which are not read any more.
    pub fn forget_before(&mut self, sample: usize) {
        let n_blocks = (sample / BLOCK_SAMPLES).saturating_sub(self.n_forgotten).min(self.scales.len());
        self.scales.drain(..n_blocks);
        self.values.drain(..(n_blocks * BLOCK_SAMPLES).min(self.values.len()));
        self.n_forgotten += n_blocks;
    }

    fn pack(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let peak = self.pending.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let scale = (peak / f32::from(i16::MAX)).max(f32::MIN_POSITIVE);
        self.values.extend(self.pending.iter().map(|sample| (sample / scale).round() as i16));
        self.scales.push(scale);
        self.pending.clear();
    }
}

/// Packs existing samples.
impl From<&[f32]> for CompactWaveform {
    fn from(samples: &[f32]) -> Self {
        let mut compact = Self::default();
        compact.add(samples);
        compact.pack();
        compact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_pushed_at_every_level() {
        let wave = |i: usize| (i as f32 * 0.37).sin() * 10f32.powi(-(i as i32 / 500));
        let samples: Vec<f32> = (0..2_345).map(wave).chain([0.0; 400]).collect();
        let mut compact = CompactWaveform::default();
        samples.chunks(77).for_each(|chunk| compact.add(chunk));
        assert_eq!(compact.n_samples(), 2_745);
        let compact = compact.finish(2_700).unwrap();
        assert_eq!(compact.len(), 2_700);
        for range in [0..2_700, 0..1, 159..161, 1_000..1_700, 2_690..2_760] {
            let read = compact.read(range.clone());
            assert_eq!(read.len(), range.len());
            for (i, sample) in range.zip(read) {
                let expected = if i < 2_700 { samples[i] } else { 0.0 };
                let block = i / BLOCK_SAMPLES * BLOCK_SAMPLES;
                let peak = samples[block..].iter().take(BLOCK_SAMPLES).fold(0.0_f32, |p, s| p.max(s.abs()));
                assert!((sample - expected).abs() <= peak / 65_000.0, "{i}: {sample} {expected}");
            }
        }
        assert!(CompactWaveform::default().finish(0).is_err());
    }

    #[test]
    fn forgetting_moves_nothing() {
        let samples: Vec<f32> = (0..2_000).map(|i| (i as f32 * 0.37).sin()).collect();
        let whole = CompactWaveform::from(&samples[..]);
        let mut compact = CompactWaveform::default();
        for chunk in samples.chunks(130) {
            compact.add(chunk);
            compact.forget_before(compact.n_samples().saturating_sub(500));
        }
        assert_eq!(compact.n_samples(), 2_000);
        let compact = compact.finish(1_990).unwrap();
        assert_eq!(compact.len(), 1_990);
        assert!(compact.values.len() < 700);
        assert_eq!(compact.read(1_500..1_990), whole.read(1_500..1_990));
    }
}
