//! Scores turns against those of a reference.
//!
//! Source: NIST's diarization error rate and DIHARD's Jaccard error rate, as pyannote.metrics computes them. Error: 1e-4.

use std::ops::{AddAssign, Range};

use super::assignment::best_pairs;

/// The maximum number of speakers of a recording.
pub const MAX_SCORED_SPEAKERS: usize = 1_000;

/// A turn and the number of its speaker.
pub type ScoredTurn = (Range<f64>, usize);

/// The options of scoring.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScoreOptions {
    /// Seconds before and after each edge of a reference's turn that are not scored.
    pub collar_seconds: f64,
    /// Whether stretches in which several speakers of the reference speak are not scored.
    pub skips_overlap: bool,
}

/// Errors in seconds, of one recording or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The speech of the reference, summed over its speakers.
    pub total: f64,
    /// Speech where the hypothesis has no speaker, or fewer speakers than the reference.
    pub missed: f64,
    /// Speech where the hypothesis has a speaker and the reference has none, or where it has more speakers.
    pub false_alarm: f64,
    /// Speech where the hypothesis has another speaker.
    pub confusion: f64,
    /// The sum over the reference's speakers of their Jaccard error rates.
    pub jaccard_errors: f64,
    /// The number of speakers of the reference with speech in the scored stretches.
    pub scored_speakers: usize,
}

impl Score {
    /// Returns the diarization error rate. It is 0 if neither side has speech.
    pub fn error_rate(&self) -> f64 {
        let errors = self.missed + self.false_alarm + self.confusion;
        if errors == 0.0 { 0.0 } else { errors / self.total }
    }

    /// Returns the Jaccard error rate.
    pub fn jaccard_error_rate(&self) -> f64 {
        if self.scored_speakers == 0 { 0.0 } else { self.jaccard_errors / self.scored_speakers as f64 }
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.missed += other.missed;
        self.false_alarm += other.false_alarm;
        self.confusion += other.confusion;
        self.jaccard_errors += other.jaccard_errors;
        self.scored_speakers += other.scored_speakers;
    }
}

/// Compares the turns of a recording with those of its reference. Everything from the first turn of either to the last is
/// scored, except for the stretches that the options leave out.
pub fn score(reference: &[ScoredTurn], hypothesis: &[ScoredTurn], options: ScoreOptions) -> Score {
    let scored = scored_stretches(reference, hypothesis, options);
    let (reference, hypothesis) = (speakers(reference, &scored), speakers(hypothesis, &scored));
    let together: Vec<Vec<f64>> =
        reference.iter().map(|a| hypothesis.iter().map(|b| common_seconds(a, b)).collect()).collect();
    // Speakers who never speak at the same time are not paired.
    let pairs = best_pairs(&together).into_iter().zip(&together);
    let pairs: Vec<Option<usize>> =
        pairs.map(|(pair, row)| pair.filter(|column| row[*column] > 0.0)).collect();
    let mut score = Score::default();
    for ((own, pair), row) in reference.iter().zip(&pairs).zip(&together) {
        let seconds = seconds_of(own);
        if seconds == 0.0 {
            continue;
        }
        score.scored_speakers += 1;
        score.jaccard_errors += pair.map_or(1.0, |column| {
            1.0 - row[column] / (seconds + seconds_of(&hypothesis[column]) - row[column])
        });
    }
    add_errors(&mut score, &reference, &hypothesis, &pairs);
    score
}

/// Adds misses, false alarms and confusion, from edge to edge.
fn add_errors(
    score: &mut Score,
    reference: &[Vec<Range<f64>>],
    hypothesis: &[Vec<Range<f64>>],
    pairs: &[Option<usize>],
) {
    // For each edge: its time, its speaker (the reference's first), and whether speech begins.
    let mut edges: Vec<(f64, usize, bool)> = Vec::new();
    for (speaker, stretches) in reference.iter().chain(hypothesis).enumerate() {
        edges.extend(stretches.iter().flat_map(|s| [(s.start, speaker, true), (s.end, speaker, false)]));
    }
    edges.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n_reference = reference.len();
    let mut partner = vec![None; n_reference + hypothesis.len()];
    for (speaker, column) in pairs.iter().enumerate().filter_map(|(speaker, pair)| Some((speaker, (*pair)?)))
    {
        partner[speaker] = Some(n_reference + column);
        partner[n_reference + column] = Some(speaker);
    }
    let mut speaks = vec![false; partner.len()];
    let (mut n_spoken, mut n_told, mut n_right) = (0_usize, 0_usize, 0_usize);
    let mut before = 0.0;
    for (time, speaker, begins) in edges {
        let seconds = time - before;
        score.total += n_spoken as f64 * seconds;
        score.missed += n_spoken.saturating_sub(n_told) as f64 * seconds;
        score.false_alarm += n_told.saturating_sub(n_spoken) as f64 * seconds;
        score.confusion += (n_spoken.min(n_told) - n_right) as f64 * seconds;
        before = time;
        speaks[speaker] = begins;
        let count = if speaker < n_reference { &mut n_spoken } else { &mut n_told };
        let is_paired = partner[speaker].is_some_and(|partner| speaks[partner]);
        if begins {
            *count += 1;
            n_right += usize::from(is_paired);
        } else {
            *count -= 1;
            n_right -= usize::from(is_paired);
        }
    }
}

/// Returns the stretches to score, in order.
fn scored_stretches(
    reference: &[ScoredTurn],
    hypothesis: &[ScoredTurn],
    options: ScoreOptions,
) -> Vec<Range<f64>> {
    let all = || reference.iter().chain(hypothesis).map(|(seconds, _)| seconds);
    let start = all().map(|seconds| seconds.start).fold(f64::INFINITY, f64::min);
    let end = all().map(|seconds| seconds.end).fold(f64::NEG_INFINITY, f64::max);
    let mut left_out: Vec<Range<f64>> = Vec::new();
    let collar = options.collar_seconds;
    if collar > 0.0 {
        let edges = reference.iter().flat_map(|(seconds, _)| [seconds.start, seconds.end]);
        left_out.extend(edges.map(|edge| edge - collar..edge + collar));
    }
    if options.skips_overlap {
        left_out.extend(overlaps(reference));
    }
    let mut scored = Vec::new();
    let mut at = start;
    for stretch in union(left_out) {
        if stretch.start > at {
            scored.push(at..stretch.start.min(end));
        }
        at = at.max(stretch.end);
    }
    scored.push(at..end);
    scored.retain(|stretch| stretch.start < stretch.end);
    scored
}

/// Returns the stretches with more than one turn.
fn overlaps(turns: &[ScoredTurn]) -> Vec<Range<f64>> {
    let mut edges: Vec<(f64, i32)> =
        turns.iter().flat_map(|(seconds, _)| [(seconds.start, 1), (seconds.end, -1)]).collect();
    // An end comes before a start at the same time.
    edges.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut depth, mut since, mut found) = (0, 0.0, Vec::new());
    for (time, step) in edges {
        if depth >= 2 && time > since {
            found.push(since..time);
        }
        depth += step;
        since = time;
    }
    found
}

/// Returns the speech of each speaker within the scored stretches.
fn speakers(turns: &[ScoredTurn], scored: &[Range<f64>]) -> Vec<Vec<Range<f64>>> {
    let n_speakers = turns.iter().map(|(_, speaker)| speaker + 1).max().unwrap_or(0);
    let mut speakers = vec![Vec::new(); n_speakers];
    for (seconds, speaker) in turns {
        speakers[*speaker].push(seconds.clone());
    }
    speakers.into_iter().map(|own| intersection(&union(own), scored)).collect()
}

/// Returns the stretches in order, and joins those that meet.
fn union(mut stretches: Vec<Range<f64>>) -> Vec<Range<f64>> {
    stretches.sort_by(|a, b| a.start.total_cmp(&b.start));
    let mut joined: Vec<Range<f64>> = Vec::new();
    for stretch in stretches {
        match joined.last_mut() {
            Some(last) if stretch.start <= last.end => last.end = last.end.max(stretch.end),
            _ => joined.push(stretch),
        }
    }
    joined
}

/// Returns the stretches that are in both of two ordered lists.
fn intersection(a: &[Range<f64>], b: &[Range<f64>]) -> Vec<Range<f64>> {
    let (mut i, mut j, mut common) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let both = x.start.max(y.start)..x.end.min(y.end);
        if both.start < both.end {
            common.push(both);
        }
        if x.end < y.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    common
}

fn common_seconds(a: &[Range<f64>], b: &[Range<f64>]) -> f64 {
    seconds_of(&intersection(a, b))
}

fn seconds_of(stretches: &[Range<f64>]) -> f64 {
    stretches.iter().map(|stretch| stretch.end - stretch.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "these numbers are exact")]
    fn errors_are_of_three_kinds() {
        // In the reference, speaker 0 speaks from 0 to 10, and speaker 1 from 8 to 14.
        let reference = [(0.0..10.0, 0), (8.0..14.0, 1)];
        let of = |hypothesis: &[ScoredTurn], options| score(&reference, hypothesis, options);
        let plain = ScoreOptions::default();
        assert_eq!(of(&[(0.0..10.0, 3), (8.0..14.0, 5)], plain).error_rate(), 0.0);
        let missed = of(&[(0.0..10.0, 0)], plain);
        assert_eq!(
            (missed.total, missed.missed, missed.false_alarm, missed.confusion),
            (16.0, 6.0, 0.0, 0.0)
        );
        assert_eq!(missed.jaccard_error_rate(), 0.5);
        let late = of(&[(0.0..10.0, 0), (8.0..15.0, 1)], plain);
        assert_eq!((late.missed, late.false_alarm, late.confusion), (0.0, 1.0, 0.0));
        let confused = of(&[(0.0..14.0, 0)], plain);
        assert_eq!((confused.missed, confused.false_alarm, confused.confusion), (2.0, 0.0, 4.0));
        // First half a second around edges is not scored, then overlap is not scored.
        let collar = ScoreOptions { collar_seconds: 0.5, ..plain };
        assert_eq!(of(&[(0.3..10.2, 0), (7.7..14.0, 1)], collar).error_rate(), 0.0);
        let alone = ScoreOptions { skips_overlap: true, ..plain };
        let without = of(&[(0.0..9.0, 0), (9.0..14.0, 1)], alone);
        assert_eq!((without.total, without.error_rate()), (12.0, 0.0));
        assert_eq!(score(&[], &[], plain).error_rate(), 0.0);
        assert_eq!(score(&[], &[(0.0..1.0, 0)], plain).error_rate(), f64::INFINITY);
    }
}
