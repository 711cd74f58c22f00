//! Activity -> turns.

use std::ops::Range;

use super::activity::Activity;
use crate::audio::SAMPLE_RATE_HZ;
use crate::models::segmentation::{FIRST_FRAME_CENTRE, FRAME_STEP_SAMPLES};

/// A speaker speaks in a frame of which more than this share of the windows says so.
const ACTIVE_SHARE: f32 = 0.5;

/// Pauses of one speaker up to this are none, in seconds.
const FILLED_SECONDS: f64 = 0.5;

/// A pause within a turn is so much below the level that a quarter of the turn is above, in dB, ...
const PAUSE_DB: f32 = 25.0;

/// ... takes so many frames at the least, 0.35 seconds, ...
const MIN_PAUSE_FRAMES: usize = 21;

/// ... and is silence with this probability somewhere, as the network hears it.
const PAUSE_PROBABILITY: f32 = 0.05;

/// Unless it is so much below, in dB, as digital silence is: that is a pause, whatever the network hears.
const SILENCE_DB: f32 = 55.0;

/// One speaker's speech.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// When, in seconds of the recording.
    pub seconds: Range<f64>,
    /// The speaker's number.
    pub speaker: usize,
    /// How much more alike it is to this speaker than to the next, as a difference of cosines; none if there is no other, or nothing of it is
    /// heard without others.
    pub margin: Option<f64>,
}

/// Seconds in which anybody speaks, and in which more than one does.
pub fn spoken_seconds(turns: &[Turn]) -> (f64, f64) {
    let mut edges: Vec<(f64, i32)> =
        turns.iter().flat_map(|turn| [(turn.seconds.start, 1), (turn.seconds.end, -1)]).collect();
    edges.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut speech, mut overlap, mut n_speaking) = (0.0, 0.0, 0);
    for pair in edges.windows(2) {
        n_speaking += pair[0].1;
        let seconds = pair[1].0 - pair[0].0;
        speech += if n_speaking > 0 { seconds } else { 0.0 };
        overlap += if n_speaking > 1 { seconds } else { 0.0 };
    }
    (speech, overlap)
}

/// When a frame begins, in seconds: half a step before its centre.
pub(super) fn frame_seconds(frame: usize) -> f64 {
    (FIRST_FRAME_CENTRE as f64 + (frame as f64 - 0.5) * FRAME_STEP_SAMPLES as f64) / f64::from(SAMPLE_RATE_HZ)
}

/// The turns of a recording of so many seconds, in the order of their starts; speakers keep their numbers. Turns of different speakers may
/// overlap, unless one speaker at a time is wanted. `levels_db` are those of the frames.
pub(super) fn turns(
    activity: &Activity,
    n_speakers: usize,
    levels_db: &[f32],
    seconds: f64,
    with_overlap: bool,
) -> Vec<Turn> {
    let active = if with_overlap { all_active(activity, n_speakers) } else { one_at_a_time(activity) };
    let mut filled: Vec<(Range<usize>, usize)> = Vec::new();
    // The last stretch of each speaker.
    let mut last: Vec<Option<usize>> = vec![None; n_speakers];
    for (frames, speaker) in active {
        let continued = last[speaker].filter(|place| {
            let pause = frame_seconds(frames.start) - frame_seconds(filled[*place].0.end);
            pause <= FILLED_SECONDS && (with_overlap || place + 1 == filled.len())
        });
        if let Some(place) = continued {
            filled[place].0.end = frames.end;
        } else {
            last[speaker] = Some(filled.len());
            filled.push((frames, speaker));
        }
    }
    let without_pauses = filled.into_iter().flat_map(|(frames, speaker)| {
        without_quiet_pauses(frames, activity, levels_db).into_iter().map(move |frames| (frames, speaker))
    });
    let turn = |(frames, speaker): (Range<usize>, usize)| {
        let seconds = frame_seconds(frames.start).max(0.0)..frame_seconds(frames.end).min(seconds);
        Turn { seconds, speaker, margin: None }
    };
    let mut turns: Vec<Turn> = without_pauses.map(turn).filter(|turn| !turn.seconds.is_empty()).collect();
    turns.sort_by(|a, b| {
        let by_time =
            a.seconds.start.total_cmp(&b.seconds.start).then(a.seconds.end.total_cmp(&b.seconds.end));
        by_time.then(a.speaker.cmp(&b.speaker))
    });
    turns
}

/// What is left of a stretch of frames without its quiet pauses: the network bridges pauses of read speech.
fn without_quiet_pauses(frames: Range<usize>, activity: &Activity, levels_db: &[f32]) -> Vec<Range<usize>> {
    let end = frames.end.min(levels_db.len());
    if frames.start + MIN_PAUSE_FRAMES >= end {
        return vec![frames];
    }
    let mut sorted = levels_db[frames.start..end].to_vec();
    let (_, loud, _) = sorted.select_nth_unstable_by((end - frames.start) * 3 / 4, f32::total_cmp);
    let (quiet_below, silent_below) = (*loud - PAUSE_DB, *loud - SILENCE_DB);
    let (mut parts, mut start) = (Vec::new(), frames.start);
    let mut run: Option<usize> = None;
    for frame in frames.start..=end {
        match run {
            None if frame < end && levels_db[frame] < quiet_below => run = Some(frame),
            Some(begun) if frame == end || levels_db[frame] >= quiet_below => {
                let may_be_silent = || {
                    (begun..frame).any(|frame| activity.silence(frame) >= PAUSE_PROBABILITY)
                        || levels_db[begun..frame].iter().all(|level| *level < silent_below)
                };
                if frame - begun >= MIN_PAUSE_FRAMES && may_be_silent() {
                    parts.push(start..begun);
                    start = frame;
                }
                run = None;
            }
            _ => {}
        }
    }
    parts.push(start..frames.end);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Runs of frames in which a speaker is active, in the order of their starts.
fn all_active(activity: &Activity, n_speakers: usize) -> Vec<(Range<usize>, usize)> {
    let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
    for speaker in 0..n_speakers {
        let mut open: Option<usize> = None;
        for frame in 0..=activity.n_frames() {
            let is_active = frame < activity.n_frames() && activity.row(frame)[speaker] > ACTIVE_SHARE;
            match open {
                None if is_active => open = Some(frame),
                Some(start) if !is_active => {
                    runs.push((start..frame, speaker));
                    open = None;
                }
                _ => {}
            }
        }
    }
    runs.sort_by_key(|(frames, speaker)| (frames.start, *speaker));
    runs
}

/// The same of one speaker at a time: who is heard most; of equals the one who was before.
fn one_at_a_time(activity: &Activity) -> Vec<(Range<usize>, usize)> {
    let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
    for frame in 0..activity.n_frames() {
        let row = activity.row(frame);
        let before = runs.last().filter(|(frames, _)| frames.end == frame).map(|(_, speaker)| *speaker);
        let rank = |speaker: &usize| (row[*speaker], Some(*speaker) == before);
        let most =
            (0..row.len()).rev().max_by(|a, b| rank(a).partial_cmp(&rank(b)).expect("shares are numbers"));
        let Some(speaker) = most.filter(|speaker| row[*speaker] > ACTIVE_SHARE) else { continue };
        match runs.last_mut() {
            Some((frames, last)) if frames.end == frame && *last == speaker => frames.end += 1,
            _ => runs.push((frame..frame + 1, speaker)),
        }
    }
    runs
}
