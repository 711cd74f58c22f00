//! Windows with speakers -> turns.

use std::ops::Range;

use ndarray::Array2;

use super::cluster::centroids;

/// Frames a second.
const FRAME_RATE: f64 = 100.0;

/// The voice detector's stretches are wider than the speech by this at each edge, in seconds.
const EDGE_SECONDS: f64 = 0.06;

/// Pauses of speech up to this are none, in seconds.
const FILLED_SECONDS: f64 = 0.5;

/// Speech shorter than this is none, in seconds.
const LEAST_SPEECH_SECONDS: f64 = 0.1;

/// Turns of one speaker are one over a gap of this, in seconds; so far away may a neighbour be.
const GAP_SECONDS: f64 = 0.3;

/// A turn shorter than this is its longer neighbour's, in seconds.
const LEAST_TURN_SECONDS: f64 = 0.5;

/// One speaker's speech.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// When, in seconds of the recording.
    pub seconds: Range<f64>,
    /// The speaker's number.
    pub speaker: usize,
    /// How much more alike it is to this speaker than to the next, as a difference of cosines; none if there is no other.
    pub margin: Option<f64>,
}

/// Turns, in order, without overlap.
///
/// `speech` are the voice detector's stretches, `windows` the seconds of each row of `units` (unit vectors), `speakers` its speaker.
///
/// 1. Speech: stretches without their edges, short pauses filled, what is too short dropped.
/// 2. Each frame of 10 ms goes to the speaker whose mean its windows are most like, windows weighted by how near their middle is. A frame
///    that no window covers goes with the nearest that one does.
/// 3. Turns: runs of one speaker. Short ones go to their longer neighbour.
pub fn turns(
    speech: &[Range<f64>],
    windows: &[Range<f64>],
    units: &Array2<f32>,
    speakers: &[usize],
) -> Vec<Turn> {
    let labels = Labels::new(windows, units, speakers);
    let mut turns: Vec<Turn> = Vec::new();
    for stretch in tidy_speech(speech) {
        let frames = frame(stretch.start)..frame(stretch.end).max(frame(stretch.start) + 1);
        for run in frames.collect::<Vec<usize>>().chunk_by(|a, b| labels.at(*a) == labels.at(*b)) {
            let (first, last) = (run[0], run[run.len() - 1]);
            turns.push(Turn {
                seconds: first as f64 / FRAME_RATE..(last + 1) as f64 / FRAME_RATE,
                speaker: labels.at(first),
                margin: labels.margin(run),
            });
        }
    }
    join(&mut turns);
    absorb_short(&mut turns);
    turns
}

fn frame(seconds: f64) -> usize {
    (seconds * FRAME_RATE).round() as usize
}

fn tidy_speech(speech: &[Range<f64>]) -> Vec<Range<f64>> {
    let mut tidy: Vec<Range<f64>> = Vec::new();
    for stretch in speech {
        let stretch = stretch.start + EDGE_SECONDS..stretch.end - EDGE_SECONDS;
        match tidy.last_mut() {
            _ if stretch.is_empty() => {}
            Some(last) if stretch.start - last.end <= FILLED_SECONDS => last.end = stretch.end,
            _ => tidy.push(stretch),
        }
    }
    tidy.retain(|stretch| stretch.end - stretch.start >= LEAST_SPEECH_SECONDS);
    tidy
}

/// Of each frame, how alike it is to each speaker.
struct Labels {
    n_speakers: usize,
    /// `[frames, speakers]`: the weighted mean of cosines.
    scores: Vec<f32>,
    /// Of each frame, the nearest that a window covers.
    nearest: Vec<usize>,
}

impl Labels {
    fn new(windows: &[Range<f64>], units: &Array2<f32>, speakers: &[usize]) -> Self {
        let centroids: Vec<Vec<f64>> = centroids(units, speakers).into_iter().flatten().collect();
        let n_speakers = centroids.len();
        let n_frames = windows.iter().map(|window| frame(window.end)).max().unwrap_or(0);
        let mut scores = vec![0.0_f32; n_frames * n_speakers];
        let mut weights = vec![0.0_f32; n_frames];
        for (window, unit) in windows.iter().zip(units.rows()) {
            let cosine = |centroid: &Vec<f64>| {
                unit.iter().zip(centroid).map(|(a, b)| f64::from(*a) * b).sum::<f64>() as f32
            };
            let cosines: Vec<f32> = centroids.iter().map(cosine).collect();
            let (middle, half) = (f64::midpoint(window.start, window.end), (window.end - window.start) / 2.0);
            for i in frame(window.start)..frame(window.end) {
                let away = ((i as f64 + 0.5) / FRAME_RATE - middle).abs() / half.max(1.0 / FRAME_RATE);
                let weight = (1.0 - away).max(1e-3) as f32;
                weights[i] += weight;
                let row = &mut scores[i * n_speakers..][..n_speakers];
                row.iter_mut().zip(&cosines).for_each(|(score, cosine)| *score += weight * cosine);
            }
        }
        for (i, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            scores[i * n_speakers..][..n_speakers].iter_mut().for_each(|score| *score /= weight);
        }
        Self { n_speakers, nearest: nearest_covered(&weights), scores }
    }

    fn row(&self, frame: usize) -> &[f32] {
        let place = self.nearest.get(frame).or(self.nearest.last()).copied().unwrap_or(0);
        &self.scores[place * self.n_speakers..][..self.n_speakers]
    }

    fn at(&self, frame: usize) -> usize {
        let best = self.row(frame).iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        best.map_or(0, |(speaker, _)| speaker)
    }

    /// The mean of how far the best speaker is ahead of the second.
    fn margin(&self, frames: &[usize]) -> Option<f64> {
        if self.n_speakers < 2 {
            return None;
        }
        let ahead = |frame: &usize| {
            let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
            for score in self.row(*frame) {
                if *score > best {
                    (best, second) = (*score, best);
                } else {
                    second = second.max(*score);
                }
            }
            f64::from(best - second)
        };
        Some(frames.iter().map(ahead).sum::<f64>() / frames.len() as f64)
    }
}

/// Of each frame, the nearest with a weight.
fn nearest_covered(weights: &[f32]) -> Vec<usize> {
    let covered: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > 0.0).collect();
    let nearest = |i: usize| {
        let after = covered.partition_point(|c| *c < i);
        let around = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|k| covered.get(k));
        around.min_by_key(|c| c.abs_diff(i)).copied().unwrap_or(i)
    };
    (0..weights.len()).map(nearest).collect()
}

/// Joins turns of one speaker that are close.
fn join(turns: &mut Vec<Turn>) {
    let mut joined: Vec<Turn> = Vec::with_capacity(turns.len());
    for turn in turns.drain(..) {
        match joined.last_mut() {
            Some(last)
                if last.speaker == turn.speaker && turn.seconds.start - last.seconds.end <= GAP_SECONDS =>
            {
                let (a, b) = (length(last), length(&turn));
                last.margin = last.margin.zip(turn.margin).map(|(x, y)| (x * a + y * b) / (a + b));
                last.seconds.end = turn.seconds.end;
            }
            _ => joined.push(turn),
        }
    }
    *turns = joined;
}

fn length(turn: &Turn) -> f64 {
    turn.seconds.end - turn.seconds.start
}

/// Gives short turns, the shortest first, to the longer of their neighbours.
fn absorb_short(turns: &mut Vec<Turn>) {
    loop {
        let neighbour = |i: usize| {
            let is_near = |a: &Turn, b: &Turn| b.seconds.start - a.seconds.end <= GAP_SECONDS;
            let before = i.checked_sub(1).filter(|before| is_near(&turns[*before], &turns[i]));
            let after =
                Some(i + 1).filter(|after| *after < turns.len() && is_near(&turns[i], &turns[*after]));
            let near = [before, after].into_iter().flatten();
            near.max_by(|a, b| length(&turns[*a]).total_cmp(&length(&turns[*b])))
        };
        let short =
            (0..turns.len()).filter(|i| length(&turns[*i]) < LEAST_TURN_SECONDS && neighbour(*i).is_some());
        let Some(short) = short.min_by(|a, b| length(&turns[*a]).total_cmp(&length(&turns[*b]))) else {
            return;
        };
        let Some(neighbour) = neighbour(short) else { return };
        turns[short].speaker = turns[neighbour].speaker;
        join(turns);
    }
}
