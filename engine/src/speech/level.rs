//! Measures the level of a recording, and raises quiet recordings to the level of the encoder's training data.

/// Level to which quieter recordings are raised, in dB relative to full scale, as RMS (`audio_norm_target_dBFS` of
/// resemblyzer's `hparams.py`).
pub const TARGET_LEVEL_DBFS: f64 = -30.0;

/// Returns the RMS level of samples (full scale ±1) in dB relative to full scale; minus infinity for digital silence.
pub fn level_dbfs(samples: &[f32]) -> f64 {
    // Uses several independent sums, because a single sum would wait for each addition in turn.
    let (blocks, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, s)| *sum += f64::from(*s).powi(2));
    }
    let energy = sums.iter().sum::<f64>() + rest.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    level_of(energy, samples.len())
}

/// Returns the level of `n_samples` samples whose squares sum to `energy`.
pub fn level_of(energy: f64, n_samples: usize) -> f64 {
    10.0 * (energy / n_samples as f64).log10()
}

/// Returns the factor that raises samples (full scale ±1) to [`TARGET_LEVEL_DBFS`] RMS if they are below it. Returns 1
/// for louder audio and for digital silence.
///
/// Source: `normalize_volume(increase_only=True)` of resemblyzer's `audio.py`. Error: 1e-6 of full scale (the original
/// sums squares in `f32`).
pub fn gain_to_target(samples: &[f32]) -> f32 {
    gain_to(level_dbfs(samples))
}

/// Like [`gain_to_target`], from a level that is already known.
pub fn gain_to(level_dbfs: f64) -> f32 {
    let gain_db = TARGET_LEVEL_DBFS - level_dbfs;
    if gain_db.is_finite() && gain_db > 0.0 { 10f64.powf(gain_db / 20.0) as f32 } else { 1.0 }
}

/// Multiplies the samples by a gain above 1.
pub fn raise(samples: &mut [f32], gain: f32) {
    if gain > 1.0 {
        samples.iter_mut().for_each(|s| *s *= gain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_raised_loud_and_silent_are_left() {
        let cases = [("quiet", 0.001, 0.031_622_78), ("loud", 0.5, 0.5), ("silent", 0.0, 0.0)];
        for (name, before, after) in cases {
            let mut samples = [before, -before].repeat(100);
            let gain = gain_to_target(&samples);
            raise(&mut samples, gain);
            assert!((samples[0] - after).abs() < 1e-8, "{name}: {}", samples[0]);
            assert!((samples[1] + after).abs() < 1e-8, "{name}: {}", samples[1]);
        }
    }
}
