//! Named comparisons of recordings whose speakers are known.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use crate::calibration::fit::{Trial, Trials, balanced_weights};
use crate::calibration::{Calibration, Seconds};
use crate::cli::embedder::CommandEmbedder;
use crate::cli::files::RecordingSource;
use crate::cli::progress::Progress;
use crate::cli::voices::{self, Loaded, LoadedVoice};
use crate::compare::cosine;
use crate::embedder::EmbedderModel;
use crate::models::ModelSpec;
use crate::report::Warning;

/// Comparisons, and the setup that produced them.
pub(super) struct Comparisons {
    pub(super) trials: Trials,
    /// The name of each comparison.
    pub(super) names: ComparisonNames,
    /// The calibration from which the new one is fitted.
    pub(super) base: Calibration,
    /// The fingerprint of the model.
    pub(super) fingerprint: String,
    /// The model's default threshold.
    pub(super) threshold: f64,
    /// The number of recordings that could not be read.
    pub(super) n_failed: u64,
    /// Warnings that most recordings have.
    pub(super) warnings: Vec<Warning>,
    /// The number of speakers known to be distinct people, if not all are.
    pub(super) known_speakers: Option<usize>,
    /// Messages about skipped comparisons, each with the reason.
    pub(super) left_out: Vec<String>,
}

/// The names of comparisons.
pub(super) enum ComparisonNames {
    /// The names of recordings, and the indices of the two recordings of each comparison.
    Recordings { names: Vec<String>, of: Vec<[u32; 2]> },
    /// The names of speakers, and the line in the file of each comparison.
    Lines { speakers: Vec<String>, lines: Vec<u64> },
}

impl Comparisons {
    /// Collects the comparisons of a model. If at least half of the lengths are known, leaves out comparisons of unknown
    /// length. Without given weights, each speaker and each pair of speakers has the same weight.
    pub(super) fn new(
        spec: &ModelSpec,
        fingerprint: &str,
        mut trials: Vec<Trial>,
        mut names: ComparisonNames,
        has_weights: bool,
    ) -> Self {
        let mut left_out = Vec::new();
        let is_known = |trial: &Trial| trial.seconds.is_some();
        let n_known = trials.iter().filter(|trial| is_known(trial)).count();
        if n_known < trials.len() && 2 * n_known >= trials.len() {
            left_out.push(format!("{} comparisons without seconds of speech", trials.len() - n_known));
            names.retain(&trials.iter().map(is_known).collect::<Vec<_>>());
            trials.retain(is_known);
        }
        if !has_weights {
            balanced_weights(&mut trials);
        }
        Self {
            trials: Trials { trials },
            names,
            base: spec.calibration.clone(),
            fingerprint: fingerprint.to_owned(),
            threshold: spec.threshold.similarity,
            n_failed: 0,
            warnings: Vec::new(),
            known_speakers: None,
            left_out,
        }
    }
}

impl ComparisonNames {
    /// Returns the name of a comparison.
    pub(super) fn name_of(&self, place: usize, trial: &Trial) -> String {
        match self {
            Self::Recordings { names, of } => {
                let [a, b] = of[place].map(|recording| &*names[recording as usize]);
                format!("{a}  {b}")
            }
            Self::Lines { speakers, lines } => {
                let [a, b] = trial.speakers.map(|speaker| &*speakers[speaker as usize]);
                format!("line {}: {a}  {b}", lines[place])
            }
        }
    }

    fn retain(&mut self, is_kept: &[bool]) {
        let mut kept = is_kept.iter();
        let mut is_next_kept = || kept.next().copied().unwrap_or_default();
        match self {
            Self::Recordings { of, .. } => of.retain(|_| is_next_kept()),
            Self::Lines { lines, .. } => lines.retain(|_| is_next_kept()),
        }
    }
}

/// Builds comparisons from the voices of recordings.
pub(super) struct Builder {
    voices: ComparedVoices,
    trials: Vec<Trial>,
    of: Vec<[u32; 2]>,
}

/// The voices that can be compared, by the index of their recording.
pub(super) struct ComparedVoices {
    all: Vec<Option<LoadedVoice>>,
    n_failed: u64,
    warnings: Vec<Warning>,
    left_out: Vec<String>,
}

impl ComparedVoices {
    /// Leaves out recordings that a calibration makes no claim about: those with too little speech, and those with a
    /// warning that most recordings do not have.
    pub(super) fn new(mut all: Vec<Option<LoadedVoice>>, n_failed: u64, model: &EmbedderModel) -> Self {
        let least_seconds = model.spec().calibration.limits.least_seconds;
        let n_voices = all.iter().flatten().count();
        let mut counts: BTreeMap<&str, (Warning, usize)> = BTreeMap::new();
        for warning in all.iter().flatten().flat_map(|voice| voice.evidence().unmeasured()) {
            counts.entry(warning.code()).or_insert((warning, 0)).1 += 1;
        }
        let (common, rare): (Vec<_>, Vec<_>) = counts.into_values().partition(|(_, n)| 2 * n >= n_voices);
        let rare: Vec<Warning> = rare.into_iter().map(|(warning, _)| warning).collect();
        let (mut n_short, mut n_rare) = (0, 0);
        for voice in &mut all {
            let Some(known) = voice else { continue };
            if known.speech_seconds.is_some_and(|seconds| seconds < least_seconds) {
                n_short += 1;
                *voice = None;
            } else if known.evidence().unmeasured().any(|warning| rare.contains(&warning)) {
                n_rare += 1;
                *voice = None;
            }
        }
        let mut left_out = Vec::new();
        if n_short > 0 {
            left_out.push(format!("{n_short} recordings with less than {least_seconds} s of speech"));
        }
        if n_rare > 0 {
            let codes: Vec<&str> = rare.iter().map(|warning| warning.code()).collect();
            left_out
                .push(format!("{n_rare} recordings with warnings that most have not ({})", codes.join(", ")));
        }
        Self { all, n_failed, warnings: common.into_iter().map(|(warning, _)| warning).collect(), left_out }
    }

    /// Returns whether a recording can be compared.
    pub(super) fn has(&self, place: usize) -> bool {
        self.all[place].is_some()
    }
}

impl Builder {
    pub(super) fn new(voices: ComparedVoices) -> Self {
        Self { voices, trials: Vec::new(), of: Vec::new() }
    }

    /// Compares two recordings, given by index. Skips them if either could not be read or was left out.
    pub(super) fn compare(
        &mut self,
        of: [usize; 2],
        speakers: [u32; 2],
        known: KnownVoices,
    ) -> anyhow::Result<()> {
        let [Some(a), Some(b)] = of.map(|place| self.voices.all[place].as_ref()) else { return Ok(()) };
        let seconds = |voice: &LoadedVoice, given: Option<f64>| voice.speech_seconds.or(given);
        let seconds = seconds(a, known.seconds[0]).zip(seconds(b, known.seconds[1]));
        self.trials.push(Trial {
            speakers,
            seconds: seconds.map(|(a, b)| Seconds { a, b }),
            similarity: cosine(&a.embedding, &b.embedding)?,
            is_same_sex: known.is_same_sex,
            weight: known.weight.unwrap_or(1.0),
        });
        self.of.push(of.map(|place| place as u32));
        Ok(())
    }

    /// Returns all comparisons.
    pub(super) fn finish(self, names: Vec<String>, model: &EmbedderModel, has_weights: bool) -> Comparisons {
        let names = ComparisonNames::Recordings { names, of: self.of };
        let fingerprint = model.id().fingerprint();
        let made = Comparisons::new(model.spec(), fingerprint, self.trials, names, has_weights);
        let ComparedVoices { n_failed, warnings, mut left_out, .. } = self.voices;
        left_out.extend(made.left_out);
        Comparisons { n_failed, warnings, left_out, ..made }
    }
}

/// Known properties of a comparison besides its voices.
#[derive(Clone, Copy, Default)]
pub(super) struct KnownVoices {
    pub(super) seconds: [Option<f64>; 2],
    pub(super) is_same_sex: Option<bool>,
    pub(super) weight: Option<f64>,
}

/// Embeds files with a progress bar, and returns the voice of each. Reports unreadable files, and also returns their number.
pub(super) fn embedded(
    embedding: &CommandEmbedder,
    paths: &[PathBuf],
    is_quiet: bool,
) -> anyhow::Result<(Vec<Option<LoadedVoice>>, u64)> {
    let mut progress = Progress::begin(is_quiet, || Some(paths.len() as u64));
    let mut all: Vec<Option<LoadedVoice>> = paths.iter().map(|_| None).collect();
    let mut with_several = HashSet::new();
    let sources = paths.iter().map(|path| RecordingSource::File(path.clone())).collect();
    voices::load_on(embedding, sources, |place, loaded: Loaded| match loaded {
        Ok(voice) if all[place].is_none() => {
            progress.embedded(voice.audio_seconds);
            all[place] = Some(voice);
        }
        Ok(voice) if with_several.insert(place) => {
            progress.failed_with(&voice.name, "a side is one voice, and there are several in it");
        }
        Ok(_) => {}
        Err((name, reason)) => progress.failed_with(&name, &reason),
    })?;
    with_several.into_iter().for_each(|place| all[place] = None);
    let n_failed = progress.n_failed();
    progress.finish();
    Ok((all, n_failed))
}
