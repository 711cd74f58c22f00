//! Converts the activity of speakers to turns.

use std::ops::Range;

use super::activity::Activity;
use crate::audio::SAMPLE_RATE_HZ;
use crate::models::segmentation::{FIRST_FRAME_CENTRE, FRAME_STEP_SAMPLES};

/// A speaker is active in a frame if more than this share of the windows hears the speaker.
const ACTIVE_SHARE: f32 = 0.5;

/// Pauses of one speaker up to this many seconds are filled.
const FILLED_SECONDS: f64 = 0.5;

/// A pause within a turn is this many dB below the level that a quarter of the turn exceeds.
const PAUSE_DB: f32 = 25.0;

/// A pause within a turn takes at least this many frames: 0.35 seconds.
const MIN_PAUSE_FRAMES: usize = 21;

/// The network hears silence with at least this probability somewhere in a pause.
const PAUSE_PROBABILITY: f32 = 0.05;

/// A stretch this many dB below that level is digital silence. It is a pause, even if the network hears no silence.
const SILENCE_DB: f32 = 55.0;

/// A turn of one speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The start and the end, in seconds of the recording.
    pub seconds: Range<f64>,
    /// The speaker's number.
    pub speaker: usize,
    /// The turn's cosine similarity to this speaker, minus that to the next most similar speaker. `None` if there is no other
    /// speaker, or if no part of the turn is heard without others.
    pub margin: Option<f64>,
}

/// Returns the seconds in which somebody speaks, and the seconds in which several people speak.
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

/// Returns the start of a frame in seconds: half a step before its centre.
pub(super) fn frame_seconds(frame: usize) -> f64 {
    (FIRST_FRAME_CENTRE as f64 + (frame as f64 - 0.5) * FRAME_STEP_SAMPLES as f64) / f64::from(SAMPLE_RATE_HZ)
}

/// Returns the turns of a recording that lasts `seconds`, in the order of their starts. Speakers keep their numbers.
/// Turns of different speakers overlap only if `with_overlap` allows it. `levels_db` are the levels of the frames.
pub(super) fn turns(
    activity: &Activity,
    n_speakers: usize,
    levels_db: &[f32],
    seconds: f64,
    with_overlap: bool,
) -> Vec<Turn> {
    let active = if with_overlap { all_active(activity, n_speakers) } else { one_at_a_time(activity) };
    let mut filled: Vec<(Range<usize>, usize)> = Vec::new();
    // The place of each speaker's last stretch.
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

/// Returns the parts of a stretch of frames without its quiet pauses, because the network bridges pauses of read speech.
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

/// Returns the runs of frames in which a speaker is active, in the order of their starts.
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

/// Returns the runs of frames of one speaker at a time: the one who is heard most. Among equals, the previous speaker goes on.
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
