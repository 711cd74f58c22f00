//! Distinguishes voice from stationary sounds by how much a spectrogram changes.

use std::borrow::Borrow;

/// Frames in a block: 50 ms, shorter than a speech sound.
const BLOCK_FRAMES: usize = 5;

/// Fewest blocks for a decision: 0.6 s. Shorter cuts of speech may contain a single sound.
const MIN_BLOCKS: usize = 12;

/// Share of the strongest band's power below which a band is ignored, because it contains only leakage and rounding
/// errors.
const MIN_SHARE: f64 = 1e-4;

/// Median of the bands' deviations, in dB, below which a spectrum hardly changes.
///
/// All 116 recordings of speech have 6.8 or more (50 of LibriSpeech, 6 synthetic, 6 conversations, 54 other encodings).
/// None of 274 recordings of white, pink and brown noise, tones and hum has more than 2.6 (1 to 30 seconds, at 16 and 8
/// kHz).
const MIN_DEVIATION_DB: f32 = 3.3;

/// Returns whether level and spectrum hardly change, as in noise, hum or a tone, given the frames of a power spectrogram
/// and the weight of each band.
///
/// 1. Averages the frames of each block, because single frames of noise vary as well. Skips the first and the last block,
///    which may be incomplete.
/// 2. Multiplies the bands by their weights.
/// 3. Selects the bands with a significant share of the power.
/// 4. Computes each band's level relative to the block's level, in dB, then the deviation of that level over the blocks,
///    then the median over the bands.
pub(super) fn hardly_moves<F: IntoIterator<Item: Borrow<f32>>>(
    frames: impl Iterator<Item = F>,
    weights: &[f64],
) -> bool {
    let blocks = blocks(frames, weights);
    if blocks.len() < MIN_BLOCKS {
        return false;
    }
    let means: Vec<f64> = (0..weights.len())
        .map(|band| blocks.iter().map(|block| block[band]).sum::<f64>() / blocks.len() as f64)
        .collect();
    let strongest = means.iter().copied().fold(0.0, f64::max);
    if strongest <= 0.0 {
        return false;
    }
    let bands: Vec<usize> = (0..means.len()).filter(|band| means[*band] >= strongest * MIN_SHARE).collect();
    let floor = strongest * MIN_SHARE * MIN_SHARE;
    let level = |block: &Vec<f64>| bands.iter().map(|band| block[*band]).sum::<f64>().max(floor);
    let levels_db: Vec<f32> = blocks.iter().map(|block| decibels(level(block))).collect();
    let mut deviations: Vec<f32> = bands
        .iter()
        .map(|band| {
            let bands_db = blocks.iter().map(|block| decibels(block[*band].max(floor)));
            deviation(bands_db.zip(&levels_db).map(|(band_db, level_db)| band_db - level_db))
        })
        .collect();
    deviations.sort_unstable_by(f32::total_cmp);
    deviations[deviations.len() / 2] < MIN_DEVIATION_DB
}

/// Steps 1 and 2: returns the weighted bands of each whole block except the first and the last.
fn blocks<F: IntoIterator<Item: Borrow<f32>>>(
    frames: impl Iterator<Item = F>,
    weights: &[f64],
) -> Vec<Vec<f64>> {
    let mut blocks: Vec<Vec<f64>> = Vec::new();
    for (i, frame) in frames.enumerate() {
        if i % BLOCK_FRAMES == 0 {
            blocks.push(vec![0.0; weights.len()]);
        }
        let Some(block) = blocks.last_mut() else { break };
        for ((sum, power), weight) in block.iter_mut().zip(frame).zip(weights) {
            *sum += f64::from(*power.borrow()) * weight;
        }
    }
    blocks.pop();
    blocks.drain(..1.min(blocks.len()));
    blocks
}

fn decibels(power: f64) -> f32 {
    10.0 * (power as f32).log10()
}

/// Returns the standard deviation.
fn deviation(values: impl Iterator<Item = f32>) -> f32 {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for value in values.map(f64::from) {
        n += 1.0;
        sum += value;
        squares += value * value;
    }
    let mean: f64 = sum / n;
    (squares / n - mean * mean).max(0.0).sqrt() as f32
}
