//! Turns voice flags into what to keep: smoothed, and widened so that short pauses stay.

use super::detector::DETECTOR_WINDOW_SAMPLES;

/// Detector windows averaged to smooth its flags (`vad_moving_average_width` of resemblyzer's `hparams.py`).
const MOVING_AVERAGE_WINDOWS: usize = 8;

/// Detector windows of silence that may stay between two voiced ones (`vad_max_silence_length`).
const MAX_SILENCE_WINDOWS: usize = 6;

/// Voice flags, one a window -> whether to keep each window.
///
/// Source: `trim_long_silences` of resemblyzer's `audio.py`.
/// 1. A moving average over 8 flags, zeros beyond the ends, the window reaching 3 back and
///    4 forward. Rounded half to even, as numpy does, so exactly half (4 of 8) counts as unvoiced.
/// 2. Binary dilation with 7 ones (as long as a silence that may stay, plus one), centred as scipy does: 3 to each side.
pub fn keep_mask(voiced: &[bool]) -> Vec<bool> {
    let back = (MOVING_AVERAGE_WINDOWS - 1) / 2;
    let forward = MOVING_AVERAGE_WINDOWS / 2;
    let smooth: Vec<bool> = (0..voiced.len())
        .map(|i| 2 * count_around(voiced, i, back, forward) > MOVING_AVERAGE_WINDOWS)
        .collect();

    let reach = MAX_SILENCE_WINDOWS / 2;
    (0..smooth.len()).map(|i| count_around(&smooth, i, reach, reach) > 0).collect()
}

/// Keeps the samples of the windows that the mask keeps; samples after the last whole window go, as in the original.
pub fn trim(samples: &mut Vec<f32>, keep: &[bool]) {
    let mut end = 0;
    for (window, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        let start = window * DETECTOR_WINDOW_SAMPLES;
        samples.copy_within(start..start + DETECTOR_WINDOW_SAMPLES, end);
        end += DETECTOR_WINDOW_SAMPLES;
    }
    samples.truncate(end);
}

/// How many flags are set from `back` before `i` to `forward` after it.
fn count_around(flags: &[bool], i: usize, back: usize, forward: usize) -> usize {
    let around = i.saturating_sub(back)..(i + forward + 1).min(flags.len());
    flags[around].iter().filter(|flag| **flag).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(picture: &str) -> Vec<bool> {
        picture.chars().map(|c| c == '#').collect()
    }

    /// Expected masks computed with the original's `moving_average`, `np.round` and `binary_dilation`.
    #[test]
    fn masks_are_the_originals() {
        let cases = [
            ("", ""),
            ("########", "########"),
            ("....", "...."),
            ("..........####..........", "........................"),
            ("..........#####.........", ".......##########......."),
            ("#####...................", "#######................."),
            ("###.####.......#....#####", "#########........########"),
            (".....#######.........#####.#.......", "..############....###########......"),
        ];
        for (voiced, keep) in cases {
            let actual: String =
                keep_mask(&flags(voiced)).iter().map(|k| if *k { '#' } else { '.' }).collect();
            assert_eq!(actual, keep, "for   {voiced}");
        }
    }

    #[test]
    fn trimming_keeps_the_marked_windows_in_order() {
        let mut samples: Vec<f32> = (0..5 * DETECTOR_WINDOW_SAMPLES + 7).map(|i| i as f32).collect();
        let original = samples.clone();
        trim(&mut samples, &flags("#.##."));
        let window = |i: usize| &original[i * DETECTOR_WINDOW_SAMPLES..(i + 1) * DETECTOR_WINDOW_SAMPLES];
        assert_eq!(samples, [window(0), window(2), window(3)].concat());
    }
}
