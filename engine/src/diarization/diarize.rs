//! The steps in order.

use std::ops::Range;

use ndarray::Array2;

use super::cluster::{Clustering, SpeakerCount, centroids};
use super::timeline::{Turn, turns};
use crate::pace::{Cancelled, Pace};

/// What was heard of a recording.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The voice detector's stretches, in seconds, in order.
    pub speech: Vec<Range<f64>>,
    /// The seconds of each window.
    pub windows: Vec<Range<f64>>,
    /// The embedding of each window, L2 norm 1. At least one.
    pub units: Vec<Vec<f32>>,
}

/// Who spoke when.
#[derive(Clone, Debug, PartialEq)]
pub struct Diarization {
    /// In order, without overlap.
    pub turns: Vec<Turn>,
    /// By their numbers, in the order in which they are first heard.
    pub speakers: Vec<Speaker>,
}

/// A speaker of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Speaker {
    /// Seconds of the turns.
    pub seconds: f64,
    /// The mean of the speaker's windows, L2 norm 1.
    pub embedding: Vec<f64>,
}

/// What a speaker is called who has no name: `S1` and so on.
pub fn label(speaker: usize) -> String {
    format!("S{}", speaker + 1)
}

/// Finds turns and speakers. Speakers whose means are as alike as `merged_from` are one, unless their number is given.
pub fn diarize(
    heard: Heard,
    count: SpeakerCount,
    merged_from: f64,
    pace: Pace<'_>,
) -> Result<Diarization, Cancelled> {
    let Heard { speech, windows, units } = heard;
    let dimension = units.first().map_or(0, Vec::len);
    let units = Array2::from_shape_fn((units.len(), dimension), |(i, j)| units[i][j]);
    let mut clustering = Clustering::new(units, count, merged_from);
    let speakers = loop {
        if let Some(speakers) = clustering.advance() {
            break speakers;
        }
        pace.pause()?;
    };
    Ok(found(&speech, &windows, clustering.units(), &speakers))
}

fn found(
    speech: &[Range<f64>],
    windows: &[Range<f64>],
    units: &Array2<f32>,
    speakers: &[usize],
) -> Diarization {
    let mut turns = turns(speech, windows, units, speakers);
    // Speakers without a turn are nobody; the others are numbered as they are heard.
    let mut heard_order: Vec<usize> = Vec::new();
    for turn in &mut turns {
        let place = heard_order.iter().position(|known| *known == turn.speaker);
        turn.speaker = place.unwrap_or_else(|| {
            heard_order.push(turn.speaker);
            heard_order.len() - 1
        });
    }
    let centroids = centroids(units, speakers);
    let speaker = |(number, old): (usize, &usize)| Speaker {
        seconds: turns
            .iter()
            .filter(|turn| turn.speaker == number)
            .map(|turn| turn.seconds.end - turn.seconds.start)
            .sum(),
        embedding: centroids.get(*old).cloned().flatten().unwrap_or_default(),
    };
    let speakers = heard_order.iter().enumerate().map(speaker).collect();
    Diarization { turns, speakers }
}
