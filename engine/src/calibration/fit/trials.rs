//! Comparisons of known speakers.

use std::collections::{BTreeSet, HashMap};

use crate::calibration::Seconds;

/// A comparison of two recordings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The numbers of the speakers.
    pub speakers: [u32; 2],
    /// Seconds of speech of the recordings, if they are known.
    pub seconds: Option<Seconds>,
    /// Cosine similarity.
    pub similarity: f64,
    /// Whether the speakers are of the same sex, if that is known.
    pub is_same_sex: Option<bool>,
    /// How much it counts.
    pub weight: f64,
}

/// Comparisons.
#[derive(Clone, Debug, Default)]
pub struct Trials {
    /// The comparisons.
    pub trials: Vec<Trial>,
}

impl Trial {
    /// Whether both recordings are of one speaker.
    pub fn is_same(&self) -> bool {
        self.speakers[0] == self.speakers[1]
    }

    /// The speakers, the lower number first.
    pub fn pair(&self) -> (u32, u32) {
        let [a, b] = self.speakers;
        (a.min(b), a.max(b))
    }
}

impl Trials {
    /// The comparisons of one speaker.
    pub fn same(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.is_same())
    }

    /// The comparisons of different speakers.
    pub fn different(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| !trial.is_same())
    }

    /// Whether the seconds of every recording are known.
    pub fn have_seconds(&self) -> bool {
        self.trials.iter().all(|trial| trial.seconds.is_some())
    }

    /// Whether the sex of the speakers is known in most comparisons of different ones, and is the same in some.
    pub fn have_sexes(&self) -> bool {
        let n_known = self.different().filter(|trial| trial.is_same_sex.is_some()).count();
        2 * n_known >= self.different().count()
            && self.different().any(|trial| trial.is_same_sex == Some(true))
    }

    /// Those whose false accepts count: of the same sex, where that is known.
    pub fn impostors(&self) -> impl Iterator<Item = &Trial> {
        let have_sexes = self.have_sexes();
        self.different().filter(move |trial| !have_sexes || trial.is_same_sex == Some(true))
    }

    /// Speakers that were compared.
    pub fn n_speakers(&self) -> usize {
        self.trials.iter().flat_map(|trial| trial.speakers).collect::<BTreeSet<_>>().len()
    }

    /// One more than the highest number of a speaker.
    pub(super) fn numbers(&self) -> usize {
        self.trials.iter().flat_map(|trial| trial.speakers).max().map_or(0, |number| number as usize + 1)
    }

    /// Pairs of different speakers that were compared.
    pub fn n_speaker_pairs(&self) -> usize {
        self.different().map(Trial::pair).collect::<BTreeSet<_>>().len()
    }

    /// Pairs of different speakers whose false accepts count.
    pub fn n_impostor_pairs(&self) -> usize {
        self.impostors().map(Trial::pair).collect::<BTreeSet<_>>().len()
    }

    /// Speakers with comparisons of their own recordings.
    pub fn n_speakers_of_same_pairs(&self) -> usize {
        self.same().map(Trial::pair).collect::<BTreeSet<_>>().len()
    }

    /// Those that a condition on both speakers selects.
    #[must_use]
    pub fn of(&self, is_wanted: impl Fn([u32; 2]) -> bool) -> Self {
        let trials = self.trials.iter().filter(|trial| is_wanted(trial.speakers)).copied().collect();
        Self { trials }
    }
}

/// The share of comparisons that a condition counts, by their weights; none if they have none.
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

/// Gives each speaker, and each pair of speakers, the same weight, however many of their recordings were compared.
pub fn balanced_weights(trials: &mut [Trial]) {
    let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
    for trial in trials.iter() {
        *counts.entry(trial.pair()).or_default() += 1;
    }
    trials.iter_mut().for_each(|trial| trial.weight = 1.0 / counts[&trial.pair()] as f64);
}
