//! Comparisons of known speakers.

use std::collections::{BTreeSet, HashMap};

use crate::calibration::Seconds;

/// A comparison of two recordings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The numbers of the speakers.
    pub speakers: [u32; 2],
    /// The seconds of speech of the recordings, if they are known.
    pub seconds: Option<Seconds>,
    /// The cosine similarity.
    pub similarity: f64,
    /// Whether the speakers are of the same sex, if that is known.
    pub is_same_sex: Option<bool>,
    /// The weight of the comparison.
    pub weight: f64,
}

/// A set of comparisons.
#[derive(Clone, Debug, Default)]
pub struct Trials {
    /// The comparisons.
    pub trials: Vec<Trial>,
}

impl Trial {
    /// Returns whether both recordings are of one speaker.
    pub fn is_same(&self) -> bool {
        self.speakers[0] == self.speakers[1]
    }

    /// Returns the speakers, the lower number first.
    pub fn pair(&self) -> (u32, u32) {
        let [a, b] = self.speakers;
        (a.min(b), a.max(b))
    }
}

impl Trials {
    /// Returns the comparisons of one speaker.
    pub fn same(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.is_same())
    }

    /// Returns the comparisons of different speakers.
    pub fn different(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| !trial.is_same())
    }

    /// Returns whether the seconds of every recording are known.
    pub fn have_seconds(&self) -> bool {
        self.trials.iter().all(|trial| trial.seconds.is_some())
    }

    /// Returns whether the sexes are known in at least half of the comparisons of different speakers, and equal in at least one.
    pub fn have_sexes(&self) -> bool {
        let n_known = self.different().filter(|trial| trial.is_same_sex.is_some()).count();
        2 * n_known >= self.different().count()
            && self.different().any(|trial| trial.is_same_sex == Some(true))
    }

    /// Returns the comparisons whose false accepts count: those of different speakers, and of the same sex if sexes are known.
    pub fn impostors(&self) -> impl Iterator<Item = &Trial> {
        let have_sexes = self.have_sexes();
        self.different().filter(move |trial| !have_sexes || trial.is_same_sex == Some(true))
    }

    /// Returns the number of speakers that were compared.
    pub fn n_speakers(&self) -> usize {
        self.trials.iter().flat_map(|trial| trial.speakers).collect::<BTreeSet<_>>().len()
    }

    /// Returns one more than the highest number of a speaker.
    pub(super) fn numbers(&self) -> usize {
        self.trials.iter().flat_map(|trial| trial.speakers).max().map_or(0, |number| number as usize + 1)
    }

    /// Returns the number of pairs of different speakers that were compared.
    pub fn n_speaker_pairs(&self) -> usize {
        self.different().map(Trial::pair).collect::<BTreeSet<_>>().len()
    }

    /// Returns the number of pairs of different speakers whose false accepts count.
    pub fn n_impostor_pairs(&self) -> usize {
        self.impostors().map(Trial::pair).collect::<BTreeSet<_>>().len()
    }

    /// Returns the number of speakers whose own recordings were compared with each other.
    pub fn n_speakers_of_same_pairs(&self) -> usize {
        self.same().map(Trial::pair).collect::<BTreeSet<_>>().len()
    }

    /// Returns the comparisons that a condition on both speakers selects.
    #[must_use]
    pub fn select(&self, is_wanted: impl Fn([u32; 2]) -> bool) -> Self {
        let trials = self.trials.iter().filter(|trial| is_wanted(trial.speakers)).copied().collect();
        Self { trials }
    }
}

/// Returns the weighted share of comparisons that meet a condition, or `None` if the comparisons have no weight.
pub fn share_of<'a>(
    trials: impl IntoIterator<Item = &'a Trial>,
    is_counted: impl Fn(&Trial) -> bool,
) -> Option<f64> {
    let (mut counted, mut total) = (0.0, 0.0);
    for trial in trials {
        counted += if is_counted(trial) { trial.weight } else { 0.0 };
        total += trial.weight;
    }
    (total > 0.0).then(|| counted / total)
}

/// Gives each speaker and each pair of speakers the same weight, however many of their recordings were compared.
pub fn balanced_weights(trials: &mut [Trial]) {
    let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
    for trial in trials.iter() {
        *counts.entry(trial.pair()).or_default() += 1;
    }
    trials.iter_mut().for_each(|trial| trial.weight = 1.0 / counts[&trial.pair()] as f64);
}
