//! The steps of diarization, in order.

use std::ops::Range;

use super::activity::Activity;
use super::assignment::best_pairs;
use super::count::SpeakerCount;
use super::linkage::{Member, average_linkage};
use super::pieces::{LocalSpeaker, local_speakers};
use super::timeline::{Turn, frame_seconds, turns};
use super::windows::{FEATURE_FRAMES_A_SECOND, Segmentation, frame_of};
use crate::audio::SAMPLE_RATE_HZ;
use crate::models::TurnParameters;
use crate::pace::{Cancelled, Pace};
use crate::vectors::dot;

/// A group of pieces with this many feature frames without others starts a cluster. The smaller numbers apply if there
/// are too few clusters.
const FOUNDING_FRAMES: [f64; 3] = [100.0, 50.0, 20.0];

/// The maximum number of groups that start clusters. The largest groups are kept. Memory grows with the square of this
/// number. Two hours have fewer groups.
const MAX_FOUNDERS: usize = 3_000;

/// The smallest share of all clean speech that a speaker has.
const MIN_SHARE: f64 = 0.01;

/// The options for finding turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnOptions {
    /// The number of speakers.
    pub count: SpeakerCount,
    /// Whether turns of different speakers may overlap.
    pub overlap: bool,
}

impl Default for TurnOptions {
    fn default() -> Self {
        Self { count: SpeakerCount::default(), overlap: true }
    }
}

/// The segmentation of a recording, and the embeddings of its pieces.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The speakers of each window.
    pub segmentation: Segmentation,
    /// The pieces in which one voice is heard alone, in feature frames.
    pub pieces: Vec<Range<usize>>,
    /// The embedding of each piece, with an L2 norm of 1.
    pub units: Vec<Vec<f32>>,
    /// The level of each frame of the network, in dB.
    pub levels_db: Vec<f32>,
    /// The model's parameters for telling speakers apart.
    pub parameters: TurnParameters,
}

/// The turns and the speakers of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diarization {
    /// The turns, in the order of their starts. Turns of one speaker do not overlap.
    pub turns: Vec<Turn>,
    /// The speakers by number, in the order in which they are first heard.
    pub speakers: Vec<DiarizedSpeaker>,
}

/// A speaker of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct DiarizedSpeaker {
    /// The seconds of the speaker's turns.
    pub seconds: f64,
    /// The seconds without other speakers that the embedding is computed from.
    pub clean_seconds: f64,
    /// The mean of the speaker's pieces, with an L2 norm of 1. Empty if all speech of the recording overlaps.
    pub embedding: Vec<f64>,
}

/// Returns the label of a speaker without a name: `S1` and so on.
pub fn label(speaker: usize) -> String {
    format!("S{}", speaker + 1)
}

/// Finds turns and speakers.
///
/// 1. Compute the local speakers of each window. Each is the mean of its pieces.
/// 2. Cluster the coherent groups of their pieces that have a second of speech. Drop clusters with hardly any speech.
/// 3. Assign the local speakers of each window to different clusters that are as similar as possible.
/// 4. Assign each frame to the speakers that most windows hear. Move pieces that are clearly more similar to another speaker.
pub fn diarize(heard: &Heard, options: &TurnOptions, pace: Pace<'_>) -> Result<Diarization, Cancelled> {
    if !heard.segmentation.has_speech() {
        return Ok(Diarization::default());
    }
    let found = Speakers::find(heard, &options.count, pace)?;
    let activity = found.activity(heard);
    pace.pause()?;
    Ok(found.diarization(heard, &activity, options.overlap))
}

/// The speakers, and the local speakers that belong to each.
pub(super) struct Speakers {
    /// One unit vector for each speaker. Empty if there are no pieces.
    pub(super) centroids: Vec<Vec<f64>>,
    locals: Vec<LocalSpeaker>,
    /// The speaker of each local speaker.
    owners: Vec<usize>,
}

impl Speakers {
    /// Performs steps 1 to 3.
    pub(super) fn find(heard: &Heard, count: &SpeakerCount, pace: Pace<'_>) -> Result<Self, Cancelled> {
        let Heard { segmentation, pieces, units, parameters, .. } = heard;
        let locals = local_speakers(segmentation, pieces);
        if pieces.is_empty() {
            let owners = vec![0; locals.len()];
            return Ok(Self { centroids: vec![Vec::new()], locals, owners });
        }
        let voices: Vec<Vec<f64>> = locals.iter().map(|local| mean_of(&local.alone, units)).collect();
        pace.pause()?;
        let founders = founders(&locals, units, parameters.split_below, pace)?;
        let centroids = clusters(&founders, count, parameters.joined_from, pace)?;
        let mut owners = Vec::with_capacity(locals.len());
        let mut rest = 0..locals.len();
        while let Some(local) = rest.clone().next() {
            let of_window =
                locals[rest.clone()].iter().take_while(|other| other.window == locals[local].window);
            let window = local..local + of_window.count();
            rest.start = window.end;
            let cosines: Vec<Vec<f64>> = voices[window.clone()]
                .iter()
                .map(|voice| centroids.iter().map(|centroid| dot(voice, centroid)).collect())
                .collect();
            let score = |(row, local): (&Vec<f64>, &LocalSpeaker)| {
                let weight = (local.clean_frames().max(1) as f64).sqrt();
                row.iter().map(|cosine| (cosine + 1.0) * weight).collect()
            };
            let scores: Vec<Vec<f64>> = cosines.iter().zip(&locals[window]).map(score).collect();
            let assigned = best_pairs(&scores);
            owners.extend(assigned.into_iter().zip(&cosines).map(|(speaker, row)| {
                // If there are more local speakers than clusters, those left over go to the nearest cluster.
                speaker.unwrap_or_else(|| nearest(row))
            }));
        }
        Ok(Self { centroids, locals, owners })
    }

    /// Performs step 4.
    pub(super) fn activity(&self, heard: &Heard) -> Activity {
        let Heard { segmentation, pieces, units, parameters, .. } = heard;
        let speaker_of = |window: usize, number: usize| {
            let place = self.locals.partition_point(|local| (local.window, local.number) < (window, number));
            self.owners[place]
        };
        let mut activity = Activity::new(segmentation, self.centroids.len(), speaker_of);
        if self.centroids.len() > 1 {
            for (piece, unit) in pieces.iter().zip(units) {
                let frames = frames_of(piece);
                let now = activity.most_heard(frames.clone());
                let cosines = self.cosines(unit);
                let best = nearest(&cosines);
                if cosines[best] - cosines[now] > parameters.moved_from {
                    activity.give(frames, now, best);
                }
            }
        }
        activity
    }

    fn cosines(&self, unit: &[f32]) -> Vec<f64> {
        let cosine = |centroid: &Vec<f64>| unit.iter().zip(centroid).map(|(a, b)| f64::from(*a) * b).sum();
        self.centroids.iter().map(cosine).collect()
    }

    fn diarization(&self, heard: &Heard, activity: &Activity, with_overlap: bool) -> Diarization {
        let n_speakers = self.centroids.len();
        let seconds = heard.segmentation.n_samples as f64 / f64::from(SAMPLE_RATE_HZ);
        let mut turns = turns(activity, n_speakers, &heard.levels_db, seconds, with_overlap);
        let of_pieces: Vec<usize> =
            heard.pieces.iter().map(|piece| activity.most_heard(frames_of(piece))).collect();
        self.measure_margins(heard, &of_pieces, &mut turns);
        // Speakers without a turn are dropped. The others are numbered in the order in which they are heard.
        let mut heard_order: Vec<usize> = Vec::new();
        for turn in &mut turns {
            let place = heard_order.iter().position(|known| *known == turn.speaker);
            turn.speaker = place.unwrap_or_else(|| {
                heard_order.push(turn.speaker);
                heard_order.len() - 1
            });
        }
        let speaker = |(number, old): (usize, &usize)| {
            let own = heard.pieces.iter().enumerate().filter(|(piece, _)| of_pieces[*piece] == *old);
            let own: Vec<(usize, usize)> = own.map(|(piece, frames)| (piece, frames.len())).collect();
            let of_turns = turns.iter().filter(|turn| turn.speaker == number);
            let clean_frames: usize = own.iter().map(|(_, frames)| frames).sum();
            DiarizedSpeaker {
                seconds: of_turns.map(|turn| turn.seconds.end - turn.seconds.start).sum(),
                clean_seconds: clean_frames as f64 / FEATURE_FRAMES_A_SECOND as f64,
                embedding: if own.is_empty() {
                    self.centroids[*old].clone()
                } else {
                    mean_of(&own, &heard.units)
                },
            }
        };
        let speakers = heard_order.iter().enumerate().map(speaker).collect();
        Diarization { turns, speakers }
    }

    /// Sets the margin of each turn: the mean over its pieces of its speaker's lead over the next.
    fn measure_margins(&self, heard: &Heard, of_pieces: &[usize], turns: &mut [Turn]) {
        if self.centroids.len() < 2 {
            return;
        }
        for turn in turns {
            let (mut sum, mut frames_in_all) = (0.0, 0);
            let first = heard
                .pieces
                .partition_point(|piece| frame_seconds(frames_of(piece).end) <= turn.seconds.start);
            for ((piece, unit), speaker) in heard.pieces.iter().zip(&heard.units).zip(of_pieces).skip(first) {
                if frame_seconds(frames_of(piece).start) >= turn.seconds.end {
                    break;
                }
                if *speaker == turn.speaker {
                    let cosines = self.cosines(unit);
                    let others = cosines.iter().enumerate().filter(|(other, _)| *other != turn.speaker);
                    let next = others.map(|(_, cosine)| *cosine).fold(f64::NEG_INFINITY, f64::max);
                    sum += (cosines[turn.speaker] - next) * piece.len() as f64;
                    frames_in_all += piece.len();
                }
            }
            turn.margin = (frames_in_all > 0).then(|| sum / frames_in_all as f64);
        }
    }
}

/// Performs the first half of step 2: returns the groups that may start clusters, the founders. The network distinguishes
/// at most three speakers in a window. If there are more, it takes two voices for one. The pieces of each local speaker
/// are therefore grouped first, and each group with enough clean speech is a founder.
fn founders(
    locals: &[LocalSpeaker],
    units: &[Vec<f32>],
    split_below: f64,
    pace: Pace<'_>,
) -> Result<Vec<Member>, Cancelled> {
    let mut groups = Vec::new();
    for LocalSpeaker { window, alone, .. } in locals {
        let member = |(piece, frames): &(usize, usize)| Member {
            unit: units[*piece].iter().map(|component| f64::from(*component)).collect(),
            weight: *frames as f64,
            // Each piece counts as a separate window, because no two pieces of a local speaker are known to differ.
            window: *piece,
        };
        let members: Vec<Member> = alone.iter().map(member).collect();
        let group_of = average_linkage(&members.iter().collect::<Vec<_>>(), split_below, 1, pace)?;
        for group in 0..group_of.iter().max().map_or(0, |last| last + 1) {
            let own = alone.iter().zip(&group_of).filter(|(_, of)| **of == group);
            let own: Vec<(usize, usize)> = own.map(|(piece, _)| *piece).collect();
            let weight = own.iter().map(|(_, frames)| *frames as f64).sum();
            groups.push(Member { unit: mean_of(&own, units), weight, window: *window });
        }
    }
    Ok(groups)
}

/// Performs the second half of step 2: returns the unit vector of each speaker. If there are fewer speakers than the
/// minimum, briefer groups become founders too. If there are still too few, the least similar clusters stay apart.
fn clusters(
    groups: &[Member],
    count: &SpeakerCount,
    joined_from: f64,
    pace: Pace<'_>,
) -> Result<Vec<Vec<f64>>, Cancelled> {
    let (least, most) = count.bounds().into_inner();
    let with_frames = |frames: f64| {
        let mut founders: Vec<&Member> = groups.iter().filter(|group| group.weight >= frames).collect();
        if founders.is_empty() {
            founders = groups.iter().collect();
        }
        if founders.len() > MAX_FOUNDERS {
            let mut weights: Vec<f64> = founders.iter().map(|group| group.weight).collect();
            weights.sort_unstable_by(|a, b| b.total_cmp(a));
            founders.retain(|group| group.weight >= weights[MAX_FOUNDERS]);
            founders.truncate(MAX_FOUNDERS);
        }
        founders
    };
    for frames in FOUNDING_FRAMES {
        let members = with_frames(frames);
        let cluster_of = average_linkage(&members, joined_from, 1, pace)?;
        if cluster_of.iter().max().is_some_and(|last| last + 1 >= least) {
            return Ok(centroids(&members, &cluster_of, least, most));
        }
    }
    let are_enough = |members: &Vec<&Member>| members.len() >= least;
    let members = Some(with_frames(FOUNDING_FRAMES[0])).filter(are_enough);
    let members = members.unwrap_or_else(|| with_frames(FOUNDING_FRAMES[FOUNDING_FRAMES.len() - 1]));
    let cluster_of = average_linkage(&members, joined_from, least, pace)?;
    Ok(centroids(&members, &cluster_of, least, most))
}

/// Returns the unit vectors of the largest clusters.
fn centroids(members: &[&Member], cluster_of: &[usize], least: usize, most: usize) -> Vec<Vec<f64>> {
    let n_clusters = cluster_of.iter().max().map_or(0, |last| last + 1);
    let dimension = members.first().map_or(0, |member| member.unit.len());
    let mut sums = vec![(0.0, vec![0.0; dimension]); n_clusters];
    for (member, cluster) in members.iter().zip(cluster_of) {
        let (weight, sum) = &mut sums[*cluster];
        *weight += member.weight;
        sum.iter_mut().zip(&member.unit).for_each(|(sum, component)| *sum += member.weight * component);
    }
    let all: f64 = sums.iter().map(|(weight, _)| weight).sum();
    let mut by_weight: Vec<usize> = (0..n_clusters).collect();
    by_weight.sort_by(|a, b| sums[*b].0.total_cmp(&sums[*a].0));
    let is_kept = |(rank, cluster): &(usize, usize)| {
        *rank < most && (*rank < least || sums[*cluster].0 >= MIN_SHARE * all)
    };
    let mut kept: Vec<usize> =
        by_weight.into_iter().enumerate().filter(is_kept).map(|(_, cluster)| cluster).collect();
    kept.sort_unstable();
    kept.into_iter().map(|cluster| unit(std::mem::take(&mut sums[cluster].1))).collect()
}

/// Returns the frames under a piece.
fn frames_of(piece: &Range<usize>) -> Range<usize> {
    frame_of(piece.start).max(0) as usize..frame_of(piece.end).max(0) as usize
}

/// Returns the mean of pieces, weighted by their frames and with a norm of 1. Returns zeros if there are no pieces.
fn mean_of(pieces: &[(usize, usize)], units: &[Vec<f32>]) -> Vec<f64> {
    let mut sum = vec![0.0; units.first().map_or(0, Vec::len)];
    for (piece, frames) in pieces {
        let unit = &units[*piece];
        sum.iter_mut().zip(unit).for_each(|(sum, component)| *sum += *frames as f64 * f64::from(*component));
    }
    unit(sum)
}

fn unit(mut vector: Vec<f64>) -> Vec<f64> {
    let norm = dot(&vector, &vector).sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|component| *component /= norm);
    }
    vector
}

/// Returns the place of the largest cosine. Among equals, it is the first.
fn nearest(cosines: &[f64]) -> usize {
    (0..cosines.len()).rev().max_by(|a, b| cosines[*a].total_cmp(&cosines[*b])).unwrap_or(0)
}
