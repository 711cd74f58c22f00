//! Where the speech of a recording is.

use std::ops::Range;

use super::{detector, level, trim};
use crate::pace::{Cancelled, Pace};

/// Where a recording holds speech, in samples, stretch by stretch, and what raises its level to that of the detector's. Stretches are as wide as
/// [`trim::keep_mask`] makes them.
pub fn stretches_of_speech(samples: &[f32], pace: Pace<'_>) -> Result<(Vec<Range<usize>>, f32), Cancelled> {
    let gain = level::gain_to_target(samples);
    pace.pause()?;
    Ok((trim::stretches(&trim::keep_mask(&detector::voice_flags(samples, gain, pace)?)), gain))
}
