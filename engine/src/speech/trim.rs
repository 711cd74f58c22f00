//! Decides from voice flags which windows to keep. Smooths and widens the flags, so that short pauses stay.

use std::ops::Range;

use super::detector::DETECTOR_WINDOW_SAMPLES;

/// Number of detector windows over which flags are averaged (`vad_moving_average_width` of resemblyzer's `hparams.py`).
const MOVING_AVERAGE_WINDOWS: usize = 8;

/// Number of silent detector windows that may stay between two voiced ones (`vad_max_silence_length`).
const MAX_SILENCE_WINDOWS: usize = 6;

/// Number of detector windows from which a pause counts as long: more than 1 s.
const LONG_PAUSE_WINDOWS: usize = 34;

/// Share of a recording up to which its long pauses stay.
const MAX_PAUSE_SHARE: f64 = 1.0 / 3.0;

/// Number of windows that are louder than the window whose level counts as that of the speech: 1 s. Because of them,
/// neither a slammed door nor silence that the detector mistakes for speech determines that level.
const LOUD_WINDOWS: usize = 33;

/// Level below which a window is silent, relative to the speech, in dB.
///
/// With it, CAM++'s embedding of 3 s of speech in 60 s of silence of -30 dB or less has a cosine of at least 0.978 to
/// that of the speech alone (19 clips). Without this check of the level, the cosine is 0.87, because after speech the
/// detector mistakes seconds of such noise for more speech.
const SILENCE_DB: f32 = -25.0;

/// Number of detector windows in the shortest speech that [`keep_mask`] finds.
const MIN_SPEECH_WINDOWS: usize = 5;

/// Returns for each detector window whether to keep it, given one voice flag per window.
///
/// Source: `trim_long_silences` of resemblyzer's `audio.py`.
/// 1. A moving average over 8 flags, from 3 windows before to 4 after, with zeros beyond the ends. It is rounded half to
///    even, as in numpy, so exactly half (4 of 8) counts as unvoiced.
/// 2. Binary dilation with 7 ones (the longest silence that may stay, plus one), centred as in scipy: 3 to each side.
pub fn keep_mask(voiced: &[bool]) -> Vec<bool> {
    let back = (MOVING_AVERAGE_WINDOWS - 1) / 2;
    let forward = MOVING_AVERAGE_WINDOWS / 2;
    let smooth: Vec<bool> = (0..voiced.len())
        .map(|i| 2 * count_around(voiced, i, back, forward) > MOVING_AVERAGE_WINDOWS)
        .collect();

    let reach = MAX_SILENCE_WINDOWS / 2;
    (0..smooth.len()).map(|i| count_around(&smooth, i, reach, reach) > 0).collect()
}

/// Returns for each window whether to keep it when short pauses stay, given the result of [`keep_mask`].
///
/// All windows stay, unless long pauses make up more than a third of the recording. In that case the long pauses are cut
/// out, together with the adjacent windows up to the first that is not silent.
pub fn without_long_pauses(keep: &[bool], samples: &[f32]) -> Vec<bool> {
    let mut long_pauses = Vec::new();
    let mut start = 0;
    for run in keep.chunk_by(|a, b| a == b) {
        if !run[0] && run.len() >= LONG_PAUSE_WINDOWS {
            long_pauses.push(start..start + run.len());
        }
        start += run.len();
    }
    let mut kept = vec![true; keep.len()];
    let n_windows: usize = long_pauses.iter().map(ExactSizeIterator::len).sum();
    if n_windows as f64 <= MAX_PAUSE_SHARE * keep.len() as f64 {
        return kept;
    }
    let powers: Vec<f32> = samples
        .chunks_exact(DETECTOR_WINDOW_SAMPLES)
        .map(|window| window.iter().map(|sample| sample * sample).sum())
        .collect();
    let mut of_speech: Vec<f32> =
        powers.iter().zip(keep).filter_map(|(power, keep)| keep.then_some(*power)).collect();
    of_speech.sort_unstable_by(|a, b| b.total_cmp(a));
    let loud = of_speech.get(LOUD_WINDOWS.min(of_speech.len() / 2)).copied().unwrap_or_default();
    let silence = loud * 10f32.powf(SILENCE_DB / 10.0);
    for pause in long_pauses {
        // An earlier pause may already have removed windows before this one.
        let is_edge = |window: &usize| kept[*window] && powers[*window] < silence;
        let silent_before = (0..pause.start).rev().take_while(is_edge).count();
        let silent_behind = (pause.end..keep.len()).take_while(is_edge).count();
        kept[pause.start - silent_before..pause.end + silent_behind].fill(false);
    }
    let n_speech = kept.iter().zip(keep).filter(|(kept, keep)| **kept && **keep).count();
    let is_enough = n_speech >= MIN_SPEECH_WINDOWS;
    if is_enough { kept } else { keep.to_vec() }
}

/// Returns the stretches, in samples, that a mask of detector windows keeps.
pub fn stretches(keep: &[bool]) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (window, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        let start = window * DETECTOR_WINDOW_SAMPLES;
        let end = start + DETECTOR_WINDOW_SAMPLES;
        match stretches.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => stretches.push(start..end),
        }
    }
    stretches
}

/// Removes all samples outside the stretches, which are in order.
pub fn trim(samples: &mut Vec<f32>, stretches: &[Range<usize>]) {
    let mut end = 0;
    for stretch in stretches {
        samples.copy_within(stretch.clone(), end);
        end += stretch.len();
    }
    samples.truncate(end);
}

/// Counts the flags that are set from `back` before `i` to `forward` after it.
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

    /// The expected masks come from the original's `moving_average`, `np.round` and `binary_dilation`.
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

    /// Builds a mask and samples from parts: whether a part is kept, its level and its length in windows.
    fn recording(parts: &[(bool, f32, usize)]) -> (Vec<bool>, Vec<f32>) {
        let keep = parts.iter().flat_map(|(keep, _, n)| std::iter::repeat_n(*keep, *n)).collect();
        let samples = parts
            .iter()
            .flat_map(|(_, level, n)| std::iter::repeat_n(*level, n * DETECTOR_WINDOW_SAMPLES))
            .collect();
        (keep, samples)
    }

    #[test]
    fn pauses_stay_unless_they_are_long_and_much_of_the_recording() {
        let (speech, silence) = ((true, 0.1, 40), (false, 0.0, 33));
        for parts in [
            vec![speech, (false, 0.0, 34), speech],
            vec![silence, speech, silence, speech, silence],
            vec![speech, (false, 0.0, 40)],
        ] {
            let (keep, samples) = recording(&parts);
            let stays = parts.len() != 2;
            assert_eq!(without_long_pauses(&keep, &samples) == vec![true; keep.len()], stays, "{parts:?}");
        }
    }

    #[test]
    fn long_pauses_go_with_the_silence_beside_them() {
        let edge = (true, 0.001, 3);
        let parts = [
            (false, 0.001, 100),
            edge,
            (true, 0.1, 20),
            edge,
            (false, 0.001, 30),
            edge,
            (true, 0.1, 20),
            edge,
            (false, 0.0, 100),
        ];
        let (keep, samples) = recording(&parts);
        let expected = [(false, 103), (true, 20 + 3 + 30 + 3 + 20), (false, 103)];
        let expected: Vec<bool> =
            expected.iter().flat_map(|(keep, n)| std::iter::repeat_n(*keep, *n)).collect();
        assert_eq!(without_long_pauses(&keep, &samples), expected);
    }

    /// Noise that the detector mistakes for speech is silent throughout. Quiet speech is not, and stays from its first
    /// louder sound on.
    #[test]
    fn silence_taken_for_speech_goes_and_quiet_speech_stays() {
        let (pause, loud) = ((false, 0.0, 100), (true, 0.1, 40));
        let error = (true, 0.001, 20);
        let (keep, samples) = recording(&[pause, loud, pause, error, pause]);
        let expected: Vec<bool> = (0..keep.len()).map(|window| (100..140).contains(&window)).collect();
        assert_eq!(without_long_pauses(&keep, &samples), expected);

        let (keep, samples) =
            recording(&[pause, loud, pause, (true, 0.004, 5), (true, 0.02, 1), (true, 0.004, 20)]);
        let expected: Vec<bool> =
            (0..keep.len()).map(|window| (100..140).contains(&window) || window >= 245).collect();
        assert_eq!(without_long_pauses(&keep, &samples), expected);
    }

    #[test]
    fn a_click_is_not_all_that_is_left() {
        let (keep, samples) = recording(&[(false, 0.0, 100), (true, 0.001, 7), (true, 0.9, 1)]);
        assert_eq!(without_long_pauses(&keep, &samples), keep);
    }

    #[test]
    fn trimming_keeps_stretches_in_order() {
        let mut samples: Vec<f32> = (0..10).map(|i| i as f32).collect();
        trim(&mut samples, &[0..2, 4..5, 9..10]);
        assert_eq!(samples, [0.0, 1.0, 4.0, 9.0]);
    }
}
