//! Whether this machine computes what it should.

use super::weights::{N_MELS, WindowEmbedding};

/// Frames of the window that is embedded for the check: 1.6 s, as the encoder's windows are.
const N_FRAMES: usize = 160;

/// A fixed window: noise of a linear congruential generator, as loud as speech.
pub(super) fn window() -> Vec<[f32; N_MELS]> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    };
    let mut mels = vec![[0.0; N_MELS]; N_FRAMES];
    mels.as_flattened_mut().iter_mut().for_each(|mel| *mel = noise() * noise());
    mels
}

/// An embedding as bytes, to be hashed: its components in order, little-endian.
pub(super) fn bytes(embedding: &WindowEmbedding) -> Vec<u8> {
    embedding.iter().flat_map(|component| component.to_le_bytes()).collect()
}
