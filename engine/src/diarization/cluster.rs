//! Windows -> speakers.

use std::ops::RangeInclusive;

use ndarray::{Array2, Axis};

use super::affinity::Laplacian;
use super::kmeans::Kmeans;
use super::lanczos::{MAX_STEPS, Search};

/// Speakers that can be asked for.
pub const MAX_SPEAKERS: usize = 30;

/// Speakers at the most, unless a request names a number.
const DEFAULT_MAX_SPEAKERS: usize = 10;

/// Windows of a speaker at the least, unless the number of speakers is given.
const MIN_WINDOWS: usize = 2;

/// Windows of a long recording, 5 minutes of speech: there the rows of the affinity hold more than one of a speaker who says little, and its
/// eigenvalue is lost among the large ones.
const LONG_WINDOWS: usize = 400;

/// Steps that show whether a group is two; of a single speaker no eigenvector converges soon.
const FEW_STEPS: usize = 120;

/// Windows that there must be to look for more than one speaker.
const MIN_TO_SPLIT: usize = 3;

/// How many speakers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeakerCount {
    /// So many.
    Exactly(usize),
    /// Within these bounds; what the recording tells.
    Within(RangeInclusive<usize>),
}

impl SpeakerCount {
    /// Within bounds, of which either may be missing; none if the lower one is above the upper.
    pub fn within(least: Option<usize>, most: Option<usize>) -> Option<Self> {
        let least = least.unwrap_or(1);
        let most = most.unwrap_or(DEFAULT_MAX_SPEAKERS.max(least));
        (least <= most).then_some(Self::Within(least..=most))
    }
}

impl Default for SpeakerCount {
    fn default() -> Self {
        Self::Within(1..=DEFAULT_MAX_SPEAKERS)
    }
}

/// The search for the speakers of windows, in slices of a tenth of a second for an hour of speech.
///
/// 1. The Laplacian of the pruned affinity, and its smallest eigenvalues.
/// 2. The number of speakers: before the largest gap between those.
/// 3. k-means on the rows of as many eigenvectors.
/// 4. In a long recording, the same within each group, for speakers who say little.
/// 5. Speakers of fewer than two windows go to the nearest other one; then the two that are most alike become one, as long as they
///    are as alike as `merged_from`. With a given number, neither.
pub struct Clustering {
    units: Array2<f32>,
    count: SpeakerCount,
    merged_from: f64,
    laplacian: Laplacian,
    /// Once the Laplacian is complete.
    search: Option<Search>,
    /// Once the eigenvectors are found.
    kmeans: Option<Kmeans>,
    /// Once there are groups, if the recording is long.
    refinement: Option<Refinement>,
    is_refined: bool,
    most_steps: usize,
}

/// Each group of a long recording, looked at once more by itself.
struct Refinement {
    speakers: Vec<usize>,
    /// Groups that have not been looked at.
    groups: Vec<usize>,
    /// The windows of one, and what is found among them.
    current: Option<(Vec<usize>, Box<Clustering>)>,
}

impl Clustering {
    /// Of unit vectors, `[windows, dimension]`; speakers whose means are as alike as `merged_from` are one, unless their number is
    /// given.
    pub fn new(units: Array2<f32>, count: SpeakerCount, merged_from: f64) -> Self {
        let laplacian = Laplacian::new(units.nrows());
        let is_refined = units.nrows() >= LONG_WINDOWS && !matches!(count, SpeakerCount::Exactly(_));
        Self {
            units,
            count,
            merged_from,
            laplacian,
            search: None,
            kmeans: None,
            refinement: None,
            is_refined,
            most_steps: MAX_STEPS,
        }
    }

    /// The unit vectors.
    pub fn units(&self) -> &Array2<f32> {
        &self.units
    }

    /// A slice of the work: the number of each window's speaker, from 0 in the order of first appearance, if it was the last.
    pub fn advance(&mut self) -> Option<Vec<usize>> {
        let n = self.units.nrows();
        let bounds = self.bounds();
        if *bounds.end() == 1 || n < MIN_TO_SPLIT && *bounds.start() == 1 {
            return Some(vec![0; n]);
        }
        if let Some(refinement) = &mut self.refinement {
            let speakers = refinement.advance(&self.units, *bounds.end(), self.merged_from)?;
            return Some(self.tidied(speakers, *bounds.start()));
        }
        if let Some(kmeans) = &mut self.kmeans {
            let speakers = kmeans.advance()?;
            if !self.is_refined {
                return Some(self.tidied(speakers, *bounds.start()));
            }
            let n_groups = speakers.iter().max().map_or(0, |most| most + 1);
            self.refinement = Some(Refinement { speakers, groups: (0..n_groups).collect(), current: None });
            return None;
        }
        let Some(search) = &mut self.search else {
            if self.laplacian.advance(&self.units) {
                self.search = Some(Search::new(&self.laplacian, bounds.end() + 1, self.most_steps));
            }
            return None;
        };
        if !search.advance(&self.laplacian) {
            return None;
        }
        let pairs = self.search.take().map(Search::into_pairs).unwrap_or_default();
        let values: Vec<f64> = pairs.iter().map(|pair| pair.value).collect();
        let least = *bounds.start();
        let k = if least == *bounds.end() { least } else { before_largest_gap(&values, bounds) };
        if k == 1 {
            return Some(vec![0; n]);
        }
        let row = |i: usize| pairs.iter().take(k).map(|pair| pair.vector[i]).collect();
        self.kmeans = Some(Kmeans::new((0..n).map(row).collect(), k));
        None
    }

    fn tidied(&self, mut speakers: Vec<usize>, least: usize) -> Vec<usize> {
        if !matches!(self.count, SpeakerCount::Exactly(_)) {
            tidy(&self.units, &mut speakers, least, self.merged_from);
        }
        in_order_of_appearance(&mut speakers);
        speakers
    }

    /// How many speakers there may be of as many windows.
    fn bounds(&self) -> RangeInclusive<usize> {
        let (least, most) = match &self.count {
            SpeakerCount::Exactly(n_speakers) => (*n_speakers, *n_speakers),
            SpeakerCount::Within(bounds) => (*bounds.start(), *bounds.end()),
        };
        let n = self.units.nrows().max(1);
        least.clamp(1, n)..=most.clamp(1, n)
    }
}

impl Refinement {
    /// A slice of the work: the groups, if it was the last. There are no more than `most`.
    fn advance(&mut self, units: &Array2<f32>, most: usize, merged_from: f64) -> Option<Vec<usize>> {
        let n_groups = self.speakers.iter().max().map_or(0, |last| last + 1);
        if let Some((windows, clustering)) = &mut self.current {
            let parts = clustering.advance()?;
            for (window, part) in windows.iter().zip(parts).filter(|(_, part)| *part > 0) {
                self.speakers[*window] = n_groups + part - 1;
            }
            self.current = None;
            return None;
        }
        let room = (most + 1).saturating_sub(n_groups);
        let group = self.groups.pop().filter(|_| room > 1);
        let Some(group) = group else { return Some(std::mem::take(&mut self.speakers)) };
        let windows: Vec<usize> = (0..self.speakers.len()).filter(|i| self.speakers[*i] == group).collect();
        let count = SpeakerCount::Within(1..=room);
        let clustering = Clustering::new(units.select(Axis(0), &windows), count, merged_from);
        // Once is enough.
        self.current =
            Some((windows, Box::new(Clustering { is_refined: false, most_steps: FEW_STEPS, ..clustering })));
        None
    }
}

/// How many ascending eigenvalues lie before the largest gap.
fn before_largest_gap(values: &[f64], bounds: RangeInclusive<usize>) -> usize {
    let gap = |k: &usize| values[*k] - values[k - 1];
    let candidates = bounds.clone().filter(|k| *k < values.len());
    // Of equal gaps the first.
    let best = candidates.rev().max_by(|a, b| gap(a).total_cmp(&gap(b)));
    best.unwrap_or(*bounds.start())
}

/// Joins speakers that are too small or too much alike.
fn tidy(units: &Array2<f32>, speakers: &mut [usize], least: usize, merged_from: f64) {
    loop {
        let centroids = centroids(units, speakers);
        let present: Vec<usize> =
            centroids.iter().enumerate().filter(|(_, c)| c.is_some()).map(|(i, _)| i).collect();
        if present.len() <= least {
            return;
        }
        let alike = |a: usize, b: usize| {
            let [Some(a), Some(b)] = [&centroids[a], &centroids[b]] else { return f64::NEG_INFINITY };
            a.iter().zip(b).map(|(a, b)| a * b).sum()
        };
        let size = |speaker: &usize| speakers.iter().filter(|of| *of == speaker).count();
        let pairs =
            || present.iter().flat_map(|a| present.iter().filter(move |b| a < b).map(move |b| (*a, *b)));
        let closest = |of: &mut dyn Iterator<Item = (usize, usize)>| {
            of.map(|(a, b)| (a, b, alike(a, b))).max_by(|x, y| x.2.total_cmp(&y.2))
        };
        let small = present.iter().copied().find(|speaker| size(speaker) < MIN_WINDOWS);
        let joined = match small {
            Some(small) => closest(&mut pairs().filter(|(a, b)| *a == small || *b == small)),
            None => closest(&mut pairs()).filter(|(_, _, alike)| *alike >= merged_from),
        };
        let Some((a, b, _)) = joined else { return };
        speakers.iter_mut().filter(|of| **of == b).for_each(|of| *of = a);
    }
}

/// The mean of each speaker's windows, of norm 1; none of a number that no window has.
pub(super) fn centroids(units: &Array2<f32>, speakers: &[usize]) -> Vec<Option<Vec<f64>>> {
    let n_speakers = speakers.iter().max().map_or(0, |most| most + 1);
    let mut sums = vec![None; n_speakers];
    for (unit, speaker) in units.rows().into_iter().zip(speakers) {
        let sum = sums[*speaker].get_or_insert_with(|| vec![0.0; unit.len()]);
        sum.iter_mut().zip(unit).for_each(|(sum, c)| *sum += f64::from(*c));
    }
    for sum in sums.iter_mut().flatten() {
        let norm = sum.iter().map(|c| c * c).sum::<f64>().sqrt();
        if norm > 0.0 {
            sum.iter_mut().for_each(|c| *c /= norm);
        }
    }
    sums
}

fn in_order_of_appearance(speakers: &mut [usize]) {
    let mut order: Vec<usize> = Vec::new();
    for speaker in speakers {
        let place = order.iter().position(|known| known == speaker).unwrap_or_else(|| {
            order.push(*speaker);
            order.len() - 1
        });
        *speaker = place;
    }
}
