//! The steps in order.

use std::ops::Range;

use super::activity::Activity;
use super::assignment::best_pairs;
use super::count::SpeakerCount;
use super::linkage::{Member, average_linkage, dot};
use super::pieces::{LocalSpeaker, local_speakers};
use super::timeline::{Turn, frame_seconds, turns};
use super::windows::{FEATURE_FRAMES_A_SECOND, Segmentation, frame_of};
use crate::audio::SAMPLE_RATE_HZ;
use crate::models::TurnParameters;
use crate::pace::{Cancelled, Pace};

/// Feature frames without others from which on a group of pieces founds a cluster; the further ones where there are too few clusters.
const FOUNDING_FRAMES: [f64; 3] = [100.0, 50.0, 20.0];

/// At most this many groups found clusters, the largest ones: memory grows with the square of their number. Two hours have fewer.
const MAX_FOUNDERS: usize = 3_000;

/// A speaker has at least this share of all clean speech.
const MIN_SHARE: f64 = 0.01;

/// How turns are to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnOptions {
    /// How many speakers there are.
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
    /// Who speaks in each window.
    pub segmentation: Segmentation,
    /// Where one voice is heard alone, in feature frames.
    pub pieces: Vec<Range<usize>>,
    /// The embedding of each piece, L2 norm 1.
    pub units: Vec<Vec<f32>>,
    /// The level of each frame of the network, in dB.
    pub levels_db: Vec<f32>,
    /// How the model tells speakers apart.
    pub parameters: TurnParameters,
}

/// Who spoke when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diarization {
    /// In the order of their starts. Those of one speaker do not overlap.
    pub turns: Vec<Turn>,
    /// By their numbers, in the order in which they are first heard.
    pub speakers: Vec<Speaker>,
}

/// A speaker of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Speaker {
    /// Seconds of the turns.
    pub seconds: f64,
    /// Seconds without others that the embedding is made of.
    pub clean_seconds: f64,
    /// The mean of the speaker's pieces, L2 norm 1. Empty if all speech of the recording overlaps.
    pub embedding: Vec<f64>,
}

/// What a speaker is called who has no name: `S1` and so on.
pub fn label(speaker: usize) -> String {
    format!("S{}", speaker + 1)
}

/// Finds turns and speakers.
///
/// 1. The local speakers of each window, each the mean of its pieces.
/// 2. Coherent groups of their pieces with a second of speech are clustered; clusters of hardly any speech are dropped.
/// 3. The local speakers of each window go to different clusters, as alike as possible.
/// 4. Each frame is a speaker's of which most windows say so; pieces that are clearly more alike to another are moved.
pub fn diarize(heard: &Heard, options: &TurnOptions, pace: Pace<'_>) -> Result<Diarization, Cancelled> {
    if !heard.segmentation.has_speech() {
        return Ok(Diarization::default());
    }
    let found = Speakers::find(heard, &options.count, pace)?;
    let activity = found.activity(heard);
    pace.pause()?;
    Ok(found.diarization(heard, &activity, options.overlap))
}

/// The speakers, and which local speakers belong to each.
pub(super) struct Speakers {
    /// A unit vector for each speaker. Empty if there are no pieces.
    pub(super) centroids: Vec<Vec<f64>>,
    locals: Vec<LocalSpeaker>,
    /// Whose each local speaker is.
    owners: Vec<usize>,
}

impl Speakers {
    /// Steps 1 to 3.
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
                // More local speakers than clusters: those left over go to the nearest.
                speaker.unwrap_or_else(|| nearest(row))
            }));
        }
        Ok(Self { centroids, locals, owners })
    }

    /// Step 4.
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
        // Speakers without a turn are nobody; the others are numbered as they are heard.
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
            Speaker {
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

    /// The mean over a turn's pieces of how far its speaker is ahead of the next.
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

/// Step 2, first half: what founds clusters. The network tells no more than three speakers of a window apart, and takes two voices for one
/// where there are more: the pieces of each local speaker are grouped first, and each group with enough clean speech is a founder.
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
            // Each is its own: within a local speaker, no two are known to differ.
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

/// Step 2, second half: the unit vector of each speaker. Where that makes fewer speakers than the minimum, briefer groups become founders
/// too; where it still does, the least alike stay apart.
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

/// The unit vectors of the largest clusters.
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

/// The frames under a piece.
fn frames_of(piece: &Range<usize>) -> Range<usize> {
    frame_of(piece.start).max(0) as usize..frame_of(piece.end).max(0) as usize
}

/// The mean of pieces, weighted by their frames, of norm 1; zeros if there is none.
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

/// The place of the largest; of equals the first.
fn nearest(cosines: &[f64]) -> usize {
    (0..cosines.len()).rev().max_by(|a, b| cosines[*a].total_cmp(&cosines[*b])).unwrap_or(0)
}
