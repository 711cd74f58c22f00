//! Times of a transcript.

use std::ops::Range;

/// A time up to this many seconds before the recording's start counts as the start.
const EARLY_SECONDS: f64 = 0.5;

/// Checks the times of a part. It must not end before it begins, and must not begin before the recording. Recognisers
/// round, so a slightly earlier start is moved to 0.
pub(super) fn check_times(seconds: Range<f64>) -> Result<Range<f64>, String> {
    if seconds.start < -EARLY_SECONDS {
        return Err(format!("begins at {} s", seconds.start));
    }
    if seconds.end < seconds.start {
        return Err(format!("ends at {} s, before it begins at {} s", seconds.end, seconds.start));
    }
    Ok(seconds.start.max(0.0)..seconds.end.max(0.0))
}

/// Formats a time as in subtitles, `00:01:02,345`, with `mark` before the milliseconds.
pub(super) fn stamp(seconds: f64, mark: char) -> String {
    let milliseconds = (seconds * 1e3).round() as u64;
    let (hours, minutes) = (milliseconds / 3_600_000, milliseconds / 60_000 % 60);
    let (seconds, milliseconds) = (milliseconds / 1_000 % 60, milliseconds % 1_000);
    format!("{hours:02}:{minutes:02}:{seconds:02}{mark}{milliseconds:03}")
}
