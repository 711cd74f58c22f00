//! The report that `calibrate` prints.

use std::collections::HashSet;
use std::fmt;

use super::comparisons::Comparisons;
use crate::calibration::fit::{CrossValidation, FitError, Quality, Trial, seconds_of, share_of};
use crate::calibration::{Calibration, Seconds, rate_of_one};

/// The least number of speakers that supports a claim.
pub(super) const MIN_SPEAKERS: usize = 20;

/// From this number of speakers on, a calibration is reliable.
pub(super) const GOOD_SPEAKERS: usize = 50;

/// The number of comparisons of each kind that the report names.
const N_WORST: usize = 5;

/// Seconds of speech for which thresholds are reported.
const SECONDS: [f64; 4] = [1.5, 3.0, 5.0, 10.0];

/// False-accept rates for which thresholds are reported.
const RATES: [f64; 3] = [0.1, 0.01, 0.001];

/// Numbers of enrolled speakers for which thresholds are reported, at a false-identification rate of 5 % per search.
const ENROLLED: [usize; 2] = [10, 100];

/// The false-identification rate of a search.
const SEARCH_RATE: f64 = 0.05;

/// The results of a calibration.
pub(super) struct Report<'a> {
    pub(super) comparisons: &'a Comparisons,
    pub(super) calibration: &'a Calibration,
    pub(super) quality: Option<Quality>,
    /// The quality of the calibration from which the new one is fitted.
    pub(super) quality_of_base: Option<Quality>,
    pub(super) validated: Result<&'a CrossValidation, &'a FitError>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_set(f)?;
        self.write_quality(f)?;
        self.write_thresholds(f)?;
        self.write_claims(f)?;
        self.write_worst(f)
    }
}

impl Report<'_> {
    fn write_set(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = &self.calibration.set;
        writeln!(f, "{} speakers, {} pairs of them compared", set.speakers, set.speaker_pairs)?;
        writeln!(
            f,
            "{} comparisons of one speaker, {} of different ones",
            set.same_trials, set.different_trials
        )?;
        writeln!(f, "model {}, calibration {}", self.calibration.model, self.calibration.name)?;
        for left_out in &self.comparisons.left_out {
            writeln!(f, "left out: {left_out}")?;
        }
        for warning in &set.warnings {
            writeln!(f, "most recordings have the warning {warning}: claims will hold with it")?;
        }
        if self.comparisons.known_speakers.is_some() {
            writeln!(
                f,
                "without names, speakers are those that are the same by some line; others may be among them"
            )?;
        }
        if !self.calibration.is_of_seconds() {
            writeln!(f, "the seconds of speech are not known: claims do not depend on them")?;
        }
        if set.same_trials == 0 {
            writeln!(
                f,
                "no speaker has two recordings: false accepts can be told, misses and likelihood ratios cannot"
            )?;
        }
        let supported = self.calibration.limits.far_floor;
        writeln!(f, "false accepts of {:.2} % and more can be shown by as many speakers", supported * 100.0)?;
        if set.speakers < MIN_SPEAKERS {
            writeln!(f, "fewer than {MIN_SPEAKERS} speakers: take these figures for a hint")?;
        } else if set.speakers < GOOD_SPEAKERS {
            writeln!(f, "{GOOD_SPEAKERS} to 100 speakers would make this reliable")?;
        }
        Ok(())
    }

    fn write_quality(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(quality) = &self.quality else { return Ok(()) };
        let percent = |rate: f64| format!("{:.2} %", rate * 100.0);
        let interval = quality.interval;
        writeln!(f)?;
        writeln!(
            f,
            "equal error rate  {} ({} to {}, 95 % by resampled speakers)",
            percent(quality.equal_error_rate),
            percent(interval.low),
            percent(interval.high)
        )?;
        write!(f, "Cllr              {:.3} bits, at best {:.3}", quality.cllr, quality.min_cllr)?;
        if let Some(cllr) = self.validated.ok().and_then(|validated| validated.cllr) {
            write!(f, "; of speakers left out {cllr:.3}")?;
        }
        writeln!(f)?;
        if let Some(base) = &self.quality_of_base {
            writeln!(f, "                  {:.3} by the calibration that comes with the model", base.cllr)?;
        }
        Ok(())
    }

    fn write_thresholds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        let lengths: &[f64] = if self.calibration.is_of_seconds() { &SECONDS } else { &SECONDS[..1] };
        write!(f, "thresholds          ")?;
        if self.calibration.is_of_seconds() {
            lengths.iter().try_for_each(|seconds| write!(f, "{:>9}", format!("{seconds} s")))?;
        }
        writeln!(f, "    misses here")?;
        for rate in RATES {
            self.write_threshold(f, &format!("{} % false accepts", rate * 100.0), rate, lengths)?;
        }
        for n in ENROLLED {
            let label = format!("{:.0} % among {n}", SEARCH_RATE * 100.0);
            self.write_threshold(f, &label, rate_of_one(SEARCH_RATE, n), lengths)?;
        }
        let own = self.comparisons.threshold;
        let label = format!("{own} (the model's)");
        let accepted = share_of(self.comparisons.trials.different(), |trial| trial.similarity > own);
        let (accepted, missed) = (accepted.unwrap_or_default(), self.missed_at(|_| own));
        let missed = missed.map_or_else(|| "-".into(), |missed| format!("{:.2} %", missed * 100.0));
        writeln!(f, "{label:<20}accepts {:.2} % of different speakers, misses {missed}", accepted * 100.0)
    }

    fn write_threshold(
        &self,
        f: &mut fmt::Formatter<'_>,
        label: &str,
        rate: f64,
        lengths: &[f64],
    ) -> fmt::Result {
        write!(f, "{label:<20}")?;
        for seconds in lengths {
            let threshold = self.calibration.threshold(rate, Seconds { a: *seconds, b: *seconds });
            write!(f, "{threshold:>9.3}")?;
        }
        let missed =
            self.missed_at(|trial| self.calibration.threshold(rate, seconds_of(trial, self.calibration)));
        match missed {
            Some(missed) => write!(f, "{:>13.2} %", missed * 100.0)?,
            None => write!(f, "{:>15}", "-")?,
        }
        if rate < self.calibration.limits.far_floor {
            write!(f, "  less than these speakers can show")?;
        }
        writeln!(f)
    }

    fn write_claims(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let validated = match self.validated {
            Ok(validated) => validated,
            Err(error) => return writeln!(f, "\nclaims cannot be checked with speakers left out: {error}"),
        };
        writeln!(f, "\nclaimed and observed, of speakers left out")?;
        for claim in &validated.claims {
            writeln!(f, "{:>7.1} %  {:>7.2} %", claim.claimed * 100.0, claim.observed * 100.0)?;
        }
        Ok(())
    }

    /// Writes the most surprising comparisons, which reveal mislabelled recordings.
    fn write_worst(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trials = &self.comparisons.trials.trials;
        let score = |trial: &Trial| {
            self.calibration.standardised(trial.similarity, seconds_of(trial, self.calibration))
        };
        let scores: Vec<f64> = trials.iter().map(score).collect();
        let mut order: Vec<usize> = (0..trials.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        // At most one comparison of each speaker or pair is listed, since a mislabelled recording is in many comparisons.
        let worst = |places: &mut dyn Iterator<Item = usize>| {
            let mut named = HashSet::new();
            places.filter(|place| named.insert(trials[*place].pair())).take(N_WORST).collect::<Vec<usize>>()
        };
        let is_same = |place: &usize| trials[*place].is_same();
        let same = worst(&mut order.iter().copied().filter(is_same));
        let different = worst(&mut order.iter().rev().copied().filter(|place| !is_same(place)));
        for (title, places) in
            [("one speaker, least alike", same), ("different speakers, most alike", different)]
        {
            if places.is_empty() {
                continue;
            }
            writeln!(f, "\n{title}: is each under the right name?")?;
            for place in places {
                let trial = &trials[place];
                writeln!(f, "{:>8.4}  {}", trial.similarity, self.comparisons.names.name_of(place, trial))?;
            }
        }
        Ok(())
    }

    /// Returns the share of same-speaker comparisons that do not exceed a threshold.
    fn missed_at(&self, threshold: impl Fn(&Trial) -> f64) -> Option<f64> {
        share_of(self.comparisons.trials.same(), |trial| trial.similarity <= threshold(trial))
    }
}
