//! `calibrate`: derives error rates from the similarities of the user's own recordings.

mod comparisons;
mod folder;
mod pairs;
mod picture;
mod report;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use super::embedder::EmbeddingArgs;
use super::outcome::{COULD_NOT_TELL, SOME_FAILED, ended_by_reader, say};
use crate::calibration::fit::{About, How, cross_validate, fit, quality, rates_by_seconds};
use crate::config;
use comparisons::Comparisons;
use report::{GOOD_SPEAKERS, MIN_SPEAKERS, Report};

/// Which parts of the model's calibration to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Terms {
    /// Keep how scores depend on the seconds of speech; if these are unknown, keep nothing.
    Adjust,
    /// Keep only the form. Suitable for a hundred speakers or more, with recordings of all lengths.
    Refit,
}

/// Fit a calibration to recordings of known speakers, so that decisions report error rates for recordings like these.
///
/// Writes a file for CALIBRATION_PATH and a picture, and prints a report. The report lists error rates, thresholds and the error
/// rates that this number of speakers can support. It also lists the most surprising comparisons, which reveal mislabelled
/// recordings. Exit status 0: written; 1: written, but some recordings could not be read; 2: nothing was written.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: voice-embedding-service calibrate recordings/ --description \"calls of our support line\"\n\n\
    A folder contains one folder of recordings per speaker. A CSV file has a header and one comparison per row. Its columns are `a` and \
    `b` (paths, or embeddings as JSON) with either `same` or the speakers in `speaker_a` and `speaker_b`. Alternatively, they are \
    `speaker_a`, `speaker_b` and the cosine, in a column named after the model. Optional columns: same_sex, seconds_a, seconds_b, weight."
)]
pub(super) struct CalibrateArgs {
    /// Folder that contains one folder of recordings per speaker; CSV file of comparisons; or `-` for CSV on standard input.
    source: PathBuf,
    /// Calibration file to write.
    #[arg(long, short, default_value = "calibration.json")]
    output: PathBuf,
    /// Picture file to write [default: beside the calibration].
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Name of the calibration in responses [default: the name of the source].
    #[arg(long)]
    name: Option<String>,
    /// Description of the recordings, which responses show after "on" [default: recordings of the source].
    #[arg(long)]
    description: Option<String>,
    /// Recordings that the calibration does not cover, which responses show after "not measured for".
    #[arg(long, default_value = "other recordings than these")]
    not_measured: String,
    /// Which parts of the model's calibration to keep.
    #[arg(long, value_enum, default_value_t = Terms::Adjust)]
    terms: Terms,
    /// Smallest false-accept rate that the calibration claims [default: what the speakers can show, at least 0.001].
    #[arg(long, value_name = "RATE", value_parser = config::rate)]
    floor: Option<f64>,
    /// Write a calibration even with fewer than 20 speakers. It claims no rate below the smallest that these speakers support.
    #[arg(long)]
    force: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten, next_help_heading = "Model and recordings")]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: CalibrateArgs) -> anyhow::Result<ExitCode> {
    let source = args.source.display().to_string();
    let picture = args.picture.unwrap_or_else(|| args.output.with_extension("svg"));
    ensure!(picture != args.output, "the calibration and its picture need two files");
    let comparisons = if args.source.is_dir() {
        folder::compare(&args.source, args.embedding, args.quiet)?
    } else {
        pairs::compare(&args.source, args.embedding, args.quiet)?
    };
    let Comparisons { trials, base, fingerprint, threshold, n_failed, .. } = &comparisons;
    let how = match (args.terms, trials.have_seconds()) {
        (Terms::Adjust, true) => How::Adjust,
        (Terms::Adjust, false) => How::WithoutSeconds,
        (Terms::Refit, true) => How::Refit,
        (Terms::Refit, false) => bail!("--terms refit needs the seconds of speech of every recording"),
    };
    let stem = args.source.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.filter(|stem| stem != "-");
    let about = About {
        name: args.name.or(stem).unwrap_or_else(|| "calibration".into()),
        model: fingerprint.clone(),
        description: args.description.unwrap_or_else(|| format!("the recordings of {source}")),
        not_measured: args.not_measured,
        warnings: comparisons.warnings.iter().map(|warning| warning.code().to_owned()).collect(),
        known_speakers: comparisons.known_speakers,
        floor: args.floor,
    };
    let mut calibration = fit(trials, base, how, &about)?;
    let validated = cross_validate(trials, base, how, &about);
    if let Ok(validated) = &validated {
        calibration.rates = rates_by_seconds(trials, &calibration, *threshold, validated);
    }
    let report = Report {
        comparisons: &comparisons,
        calibration: &calibration,
        quality: quality(trials, &calibration),
        quality_of_base: quality(trials, base),
        validated: validated.as_ref(),
    };
    ended_by_reader(write!(anstream::stdout(), "{report}"))?;
    let n_speakers = calibration.set.speakers;
    if n_speakers < MIN_SPEAKERS && !args.force {
        say(&format!(
            "error: {n_speakers} speakers are too few for a calibration: {MIN_SPEAKERS} are the least, {GOOD_SPEAKERS} to 100 are good; \
             --force writes it all the same, and then claims no rate below {:.1} %",
            calibration.limits.far_floor * 100.0
        ));
        return Ok(ExitCode::from(COULD_NOT_TELL));
    }
    write(&picture, &picture::draw(&report)?)?;
    write(&args.output, &calibration.to_json())?;
    say(&format!("written: {} and {}", args.output.display(), picture.display()));
    Ok(if *n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_FAILED) })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
