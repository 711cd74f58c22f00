//! Whether a spectrogram moves as a voice does.

use std::borrow::Borrow;

/// Frames of a block: 50 ms, shorter than a sound of speech.
const BLOCK_FRAMES: usize = 5;

/// Blocks from which on there is something to tell: 0.6 s. In shorter cuts of speech there may be a single sound.
const MIN_BLOCKS: usize = 12;

/// A band this far below the strongest is left out: its share is leakage and rounding.
const MIN_SHARE: f64 = 1e-4;

/// Median of the bands' deviations, in dB, below which a spectrum hardly moves. Each of 116 recordings of speech has 6.8 or more (50 of
/// LibriSpeech, 6 synthetic, 6 conversations, 54 other encodings), none of 274 of white, pink and brown noise, tones and hum more than
/// 2.6 (1 to 30 seconds, at 16 and 8 kHz).
const MIN_DEVIATION_DB: f32 = 3.3;

/// Whether level and spectrum hardly move, as in noise, hum or a tone: the frames of a power spectrogram, and the weight of each band.
///
/// 1. The mean of each block, since single frames of noise move as well; the first and last block may be cut into.
/// 2. Bands by their weights.
/// 3. The bands that carry something.
/// 4. For each, the deviation of its level relative to the block's, in dB, over the blocks; then the median over the bands.
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

/// Steps 1 and 2: the weighted bands of each whole block but the first and the last.
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

/// The standard deviation.
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
