//! Exact search among profiles. The profiles are plain rows in memory, each with a sketch of one byte per component.
//!
//! 1. The sketches give bounds on the probe's dot product with every row. They take a quarter of the memory, and reading
//!    memory determines the time of a search.
//! 2. The dot product is computed in `f64` with all rows that, by their bounds, could be among the best.

use std::collections::HashMap;

use super::identifier::Identifier;
use crate::calibration::Evidence;
use crate::embedding::{ModelId, UnitEmbedding};

/// The key of a speaker. It is valid as long as the speaker exists, and never identifies another.
pub type SpeakerKey = i64;

/// The number of rows in a block. After the first block, memory grows by one megabyte at a time, and no row is copied.
const BLOCK_ROWS: usize = 1_024;

/// The number of independent sums in a dot product, for vector instructions.
const LANES: usize = 16;

/// More than the rounding error of computing bounds in `f32`.
const F32_ROUNDING: f32 = 1e-6;

/// The profiles of all speakers at a revision of the store.
#[derive(Default)]
pub struct Index {
    revision: u64,
    origin: i64,
    speakers: HashMap<SpeakerKey, Indexed>,
    collections: HashMap<Identifier, Collection>,
}

struct Indexed {
    collection: Identifier,
    id: Identifier,
    name: Box<str>,
}

#[derive(Default)]
struct Collection {
    speakers: usize,
    profiles: Vec<(ModelId, Rows)>,
}

/// Profiles of one model in one collection.
struct Rows {
    dimension: usize,
    blocks: Vec<ProfileBlock>,
    keys: Vec<SpeakerKey>,
    evidence: Vec<Evidence>,
    places: HashMap<SpeakerKey, usize>,
}

/// A block of rows, in order.
struct ProfileBlock {
    rows: Vec<f32>,
    /// Each row as integers, with a separate step for each row.
    sketches: Vec<i8>,
    steps: Vec<f32>,
}

/// The parameters of a search.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// The collection.
    pub collection: Identifier,
    /// The number of candidates.
    pub top: usize,
    /// A speaker to exclude from the candidates.
    pub except: Option<SpeakerKey>,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best candidates, best first. Equally similar ones are ordered by id.
    pub candidates: Vec<Candidate>,
    /// The number of profiles that were compared.
    pub searched: usize,
    /// The number of speakers in the collection, including those without a profile of the model.
    pub speakers: usize,
}

/// A speaker whose voice it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The speaker's id.
    pub speaker: Identifier,
    /// The speaker's name.
    pub name: String,
    /// The cosine similarity to the profile. Error: below 1e-7.
    pub similarity: f64,
    /// The properties of the profile that claims depend on.
    pub evidence: Evidence,
}

impl Index {
    /// Returns the revision of the store that the index shows.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the origin, which distinguishes the revisions of one store from those of another.
    pub fn origin(&self) -> i64 {
        self.origin
    }

    /// Records that the index now shows a revision of the store with this origin.
    pub fn set_revision(&mut self, revision: u64, origin: i64) {
        (self.revision, self.origin) = (revision, origin);
    }

    /// Returns the number of speakers.
    pub fn speakers(&self) -> usize {
        self.speakers.len()
    }

    /// Adds a speaker without profiles. It replaces a speaker with the same key.
    pub fn put_speaker(&mut self, key: SpeakerKey, collection: &Identifier, id: Identifier, name: &str) {
        self.remove_speaker(key);
        // All speakers of a collection share one text.
        let collection = match self.collections.get_key_value(collection) {
            Some((collection, _)) => collection.clone(),
            None => collection.clone(),
        };
        self.collections.entry(collection.clone()).or_default().speakers += 1;
        self.speakers.insert(key, Indexed { collection, id, name: name.into() });
    }

    /// Adds a profile of the model's dimension to an existing speaker.
    pub fn put_profile(&mut self, key: SpeakerKey, model: &ModelId, vector: &[f32], evidence: Evidence) {
        let Some(speaker) = self.speakers.get(&key) else { return };
        let collection = self.collections.entry(speaker.collection.clone()).or_default();
        let place = collection.profiles.iter().position(|(other, _)| other == model).unwrap_or_else(|| {
            collection.profiles.push((model.clone(), Rows::new(model.dimension())));
            collection.profiles.len() - 1
        });
        collection.profiles[place].1.put(key, vector, evidence);
    }

    /// Removes a speaker, if it exists.
    pub fn remove_speaker(&mut self, key: SpeakerKey) {
        let Some(speaker) = self.speakers.remove(&key) else { return };
        let Some(collection) = self.collections.get_mut(&speaker.collection) else { return };
        collection.speakers -= 1;
        collection.profiles.iter_mut().for_each(|(_, rows)| rows.remove(key));
        collection.profiles.retain(|(_, rows)| !rows.keys.is_empty());
        if collection.speakers == 0 {
            self.collections.remove(&speaker.collection);
        }
    }

    /// Returns the model of all profiles of a collection, if there is only one.
    pub fn only_model(&self, collection: &Identifier) -> Option<&ModelId> {
        match &self.collections.get(collection)?.profiles[..] {
            [(model, _)] => Some(model),
            _ => None,
        }
    }

    /// Returns the profiles of the voice's model that are most similar to the voice.
    pub fn search(&self, probe: &UnitEmbedding, wanted: &SearchOptions) -> Found {
        let Some(collection) = self.collections.get(&wanted.collection) else {
            return Found { candidates: Vec::new(), searched: 0, speakers: 0 };
        };
        let is_in = |key| self.speakers.get(&key).is_some_and(|s| s.collection == wanted.collection);
        let except = wanted.except.filter(|key| is_in(*key));
        let speakers = collection.speakers - usize::from(except.is_some());
        let rows = collection.profiles.iter().find(|(model, _)| model == probe.model());
        let Some((_, rows)) = rows else {
            return Found { candidates: Vec::new(), searched: 0, speakers };
        };
        let excepted = except.and_then(|key| rows.places.get(&key)).copied();
        let found = rows.nearest(probe.components(), wanted.top, excepted);
        let mut candidates: Vec<Candidate> = found
            .into_iter()
            .filter_map(|(place, similarity)| {
                let speaker = self.speakers.get(&rows.keys[place])?;
                Some(Candidate {
                    speaker: speaker.id.clone(),
                    name: speaker.name.to_string(),
                    similarity,
                    evidence: rows.evidence[place],
                })
            })
            .collect();
        candidates
            .sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.speaker.cmp(&b.speaker)));
        candidates.truncate(wanted.top);
        Found { candidates, searched: rows.keys.len() - usize::from(excepted.is_some()), speakers }
    }
}

impl Rows {
    fn new(dimension: usize) -> Self {
        Self { dimension, blocks: Vec::new(), keys: Vec::new(), evidence: Vec::new(), places: HashMap::new() }
    }

    fn put(&mut self, key: SpeakerKey, vector: &[f32], evidence: Evidence) {
        self.remove(key);
        if self.keys.len().is_multiple_of(BLOCK_ROWS) {
            // The first block grows as it is filled, because there may be many small collections.
            let rows = if self.blocks.is_empty() { 0 } else { BLOCK_ROWS };
            self.blocks.push(ProfileBlock {
                rows: Vec::with_capacity(rows * self.dimension),
                sketches: Vec::with_capacity(rows * self.dimension),
                steps: Vec::with_capacity(rows),
            });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(vector);
        }
        self.places.insert(key, self.keys.len());
        self.keys.push(key);
        self.evidence.push(evidence);
    }

    /// Removes a row, and moves the last row to its place.
    fn remove(&mut self, key: SpeakerKey) {
        let Some(place) = self.places.remove(&key) else { return };
        let last = self.keys.len() - 1;
        if place != last {
            let row = self.row(last).to_vec();
            self.blocks[place / BLOCK_ROWS].replace(place % BLOCK_ROWS, &row);
            self.places.insert(self.keys[last], place);
        }
        self.keys.swap_remove(place);
        self.evidence.swap_remove(place);
        let block = &mut self.blocks[last / BLOCK_ROWS];
        block.pop(self.dimension);
        if block.steps.is_empty() {
            self.blocks.pop();
        }
    }

    fn row(&self, place: usize) -> &[f32] {
        &self.blocks[place / BLOCK_ROWS].rows[place % BLOCK_ROWS * self.dimension..][..self.dimension]
    }

    /// Returns the places of the rows nearest to a unit vector with their cosines, in no order. There are `top` rows, and
    /// perhaps a few more that are almost as near.
    fn nearest(&self, probe: &[f64], top: usize, except: Option<usize>) -> Vec<(usize, f64)> {
        let probe_sketch = ProbeSketch::new(probe);
        let mut bounds: Vec<(f32, f32)> = Vec::with_capacity(self.keys.len());
        for block in &self.blocks {
            let sketches = block.sketches.chunks_exact(self.dimension).zip(&block.steps);
            bounds.extend(sketches.map(|(sketch, step)| probe_sketch.bounds(sketch, *step)));
        }
        if let Some(place) = except {
            bounds[place] = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        }
        let least = nth_best(bounds.iter().map(|(lower, _)| *lower), top);
        let is_near = |(place, (_, upper)): (usize, &(f32, f32))| {
            (*upper >= least && Some(place) != except).then_some(place)
        };
        let near = bounds.iter().enumerate().filter_map(is_near);
        near.map(|place| (place, exact_cosine(self.row(place), probe))).collect()
    }
}

impl ProfileBlock {
    fn push(&mut self, row: &[f32]) {
        self.rows.extend_from_slice(row);
        let step = step_of(row);
        self.sketches.extend(row.iter().map(|c| sketched(*c, step)));
        self.steps.push(step);
    }

    fn replace(&mut self, place: usize, row: &[f32]) {
        let start = place * row.len();
        let step = step_of(row);
        self.rows[start..start + row.len()].copy_from_slice(row);
        let sketch = &mut self.sketches[start..start + row.len()];
        sketch.iter_mut().zip(row).for_each(|(sketch, c)| *sketch = sketched(*c, step));
        self.steps[place] = step;
    }

    fn pop(&mut self, dimension: usize) {
        self.steps.pop();
        self.rows.truncate(self.steps.len() * dimension);
        self.sketches.truncate(self.steps.len() * dimension);
    }
}

/// Returns the step with which the largest component becomes 127.
fn step_of(row: &[f32]) -> f32 {
    row.iter().fold(0.0_f32, |largest, c| largest.max(c.abs())) / 127.0
}

fn sketched(component: f32, step: f32) -> i8 {
    (component / step).round() as i8
}

/// A probe as integers.
struct ProbeSketch {
    components: Vec<i16>,
    step: f32,
    /// The sum of the components' magnitudes.
    sum: f32,
    /// The maximum that rounding the probe adds to a product with a unit vector.
    rounding: f32,
}

impl ProbeSketch {
    fn new(probe: &[f64]) -> Self {
        let dimension = probe.len() as f64;
        // This limit keeps sums of products from overflowing.
        let largest = (f64::from(i32::MAX) / (128.0 * dimension)).min(f64::from(i16::MAX)).floor();
        let step = probe.iter().fold(0.0_f64, |largest, c| largest.max(c.abs())) / largest;
        Self {
            components: probe.iter().map(|c| (c / step).round() as i16).collect(),
            step: step as f32,
            sum: probe.iter().map(|c| c.abs()).sum::<f64>() as f32,
            // The magnitudes of a unit vector sum to at most the root of its dimension. Its sketch is off by at most half
            // a step of 1/127.
            rounding: (step / 2.0 * (dimension.sqrt() + dimension / 254.0)) as f32 + F32_ROUNDING,
        }
    }

    /// Returns bounds on the dot product with the row of a sketch. Each component of the row is within half a step of the sketch.
    fn bounds(&self, sketch: &[i8], step: f32) -> (f32, f32) {
        let product = integer_dot(sketch, &self.components) as f32 * self.step * step;
        let error = step / 2.0 * self.sum + self.rounding;
        (product - error, product + error)
    }
}

/// Returns the smallest of the best `n` values, or negative infinity if there are fewer values.
fn nth_best(values: impl Iterator<Item = f32>, n: usize) -> f32 {
    let mut best = vec![f32::NEG_INFINITY; n.max(1)];
    for value in values {
        if value > best[best.len() - 1] {
            let place = best.partition_point(|other| *other >= value);
            best[place..].rotate_right(1);
            best[place] = value;
        }
    }
    best[best.len() - 1]
}

// Inlining hides the vector instructions from the compiler, and makes the function two to three times as slow.
#[inline(never)]
fn integer_dot(a: &[i8], b: &[i16]) -> i32 {
    let mut sums = [0_i32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += i32::from(a[lane]) * i32::from(b[lane]);
        }
    }
    let rest: i32 = a_rest.iter().zip(b_rest).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    sums.iter().sum::<i32>() + rest
}

/// Returns the cosine of a row and a unit vector. The row has a norm of 1, except for rounding.
fn exact_cosine(row: &[f32], probe: &[f64]) -> f64 {
    let (dot, square) = row.iter().zip(probe).fold((0.0, 0.0), |(dot, square), (row, probe)| {
        let row = f64::from(*row);
        (dot + row * probe, square + row * row)
    });
    (dot / f64::sqrt(square)).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Profile, Sample};
    use std::collections::BTreeSet;

    use super::*;
    use crate::compare::cosine;
    use crate::embedding::Embedding;
    use proptest::prelude::*;

    const DIMENSION: usize = 20;

    fn known(seconds: f64) -> Evidence {
        Evidence::new(Some(seconds), [], 1)
    }

    fn model() -> ModelId {
        ModelId::new("a", "a/1".into(), DIMENSION)
    }

    fn collection() -> Identifier {
        Identifier::default_collection()
    }

    fn unit(components: &[f64]) -> UnitEmbedding {
        Embedding::new(&model(), components.to_vec()).unwrap().try_into().unwrap()
    }

    fn row(embedding: &UnitEmbedding) -> Vec<f32> {
        embedding.components().iter().map(|c| *c as f32).collect()
    }

    fn id(key: SpeakerKey) -> Identifier {
        format!("s{key}").parse().unwrap()
    }

    fn wanted(top: usize) -> SearchOptions {
        SearchOptions { collection: collection(), top, except: None }
    }

    /// Returns pseudo-random components that depend on the seed.
    fn components(seed: i64) -> Vec<f64> {
        let mut state = seed as u64;
        (0..DIMENSION)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
            })
            .collect()
    }

    fn filled(keys: impl Iterator<Item = SpeakerKey>) -> Index {
        let mut index = Index::default();
        for key in keys {
            index.put_speaker(key, &collection(), id(key), "");
            index.put_profile(key, &model(), &row(&unit(&components(key))), known(3.0));
        }
        index
    }

    /// Searches without an index.
    fn plain(keys: &[SpeakerKey], probe: &UnitEmbedding, top: usize) -> Vec<(Identifier, f64)> {
        let mut all: Vec<(Identifier, f64)> = keys
            .iter()
            .map(|key| {
                let sample = Sample {
                    vector: row(&unit(&components(*key))),
                    speech_seconds: None,
                    warnings: Vec::new(),
                };
                let profile = Profile {
                    vector: sample.vector,
                    seconds: 3.0,
                    enrolments: 1,
                    without_seconds: 0,
                    warnings: BTreeSet::new(),
                };
                (id(*key), cosine(&profile.embedding(&model()).unwrap(), probe).unwrap())
            })
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(top);
        all
    }

    fn assert_as_plain(index: &Index, keys: &[SpeakerKey], probe: &UnitEmbedding, top: usize) {
        let found = index.search(probe, &wanted(top));
        let expected = plain(keys, probe, top);
        assert_eq!((found.searched, found.speakers), (keys.len(), keys.len()));
        assert_eq!(found.candidates.len(), expected.len());
        for (candidate, (id, similarity)) in found.candidates.iter().zip(&expected) {
            assert_eq!(&candidate.speaker, id, "{found:?}, expected {expected:?}");
            assert!((candidate.similarity - similarity).abs() < 1e-12);
        }
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_plain_one_finds(
            puts in prop::collection::vec(0_i64..40, 1..80),
            removals in prop::collection::vec(0_i64..40, 0..40),
            probe in 1000_i64..2000,
            top in 1_usize..8,
        ) {
            let mut index = filled(puts.iter().copied());
            removals.iter().for_each(|key| index.remove_speaker(*key));
            let mut keys: Vec<i64> = puts.iter().copied().filter(|key| !removals.contains(key)).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_as_plain(&index, &keys, &unit(&components(probe)), top);
        }
    }

    #[test]
    fn rows_beyond_a_block_are_found_and_removed() {
        let n = BLOCK_ROWS as i64 * 2 + 3;
        let mut index = filled(0..n);
        let mut keys: Vec<i64> = (0..n).collect();
        for key in [0, n - 1, 1_023, 1_024, 2_048, 2_047] {
            index.remove_speaker(key);
            keys.retain(|other| *other != key);
            assert_as_plain(&index, &keys, &unit(&components(7)), 3);
        }
        for key in keys.clone() {
            index.remove_speaker(key);
        }
        assert_as_plain(&index, &[], &unit(&components(7)), 3);
        assert!(index.collections.is_empty() && index.speakers.is_empty());
    }

    #[test]
    fn collections_and_models_are_kept_apart() {
        let mut index = filled(0..3);
        let (other, of_other) = ("other".parse().unwrap(), ModelId::new("b", "b/1".into(), DIMENSION));
        index.put_speaker(9, &other, id(9), "Nina");
        index.put_profile(9, &of_other, &row(&unit(&components(5))), known(3.0));
        let probe = unit(&components(5));
        assert!(index.search(&probe, &wanted(9)).candidates.iter().all(|found| found.speaker != id(9)));
        let in_other = SearchOptions { collection: other, ..wanted(9) };
        let found = index.search(&probe, &in_other);
        assert_eq!((found.candidates.len(), found.searched, found.speakers), (0, 0, 1));
        let probe = Embedding::new(&of_other, components(5)).unwrap().try_into().unwrap();
        let found = index.search(&probe, &in_other);
        assert_eq!((found.candidates[0].name.as_str(), found.searched), ("Nina", 1));
        assert_eq!(index.search(&probe, &wanted(9)).speakers, 3);
    }

    #[test]
    fn a_speaker_may_be_no_candidate() {
        let index = filled(0..3);
        let probe = unit(&components(1));
        let found = index.search(&probe, &SearchOptions { except: Some(1), ..wanted(3) });
        assert_eq!((found.candidates.len(), found.searched, found.speakers), (2, 2, 2));
        assert!(found.candidates.iter().all(|candidate| candidate.speaker != id(1)));
    }

    #[test]
    fn equal_profiles_are_all_candidates() {
        let mut index = filled(0..0);
        for key in 0..5 {
            index.put_speaker(key, &collection(), id(key), "");
            index.put_profile(key, &model(), &row(&unit(&components(1))), known(3.0));
        }
        let found = index.search(&unit(&components(1)), &wanted(2));
        let ids: Vec<&str> = found.candidates.iter().map(|candidate| candidate.speaker.as_str()).collect();
        assert_eq!(ids, ["s0", "s1"]);
    }
}
