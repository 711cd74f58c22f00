//! `score`: compares turns with references.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::outcome::say;
use crate::config::not_negative;
use crate::diarization::{MAX_SCORED_SPEAKERS, RttmTurn, Score, ScoreOptions, ScoredTurn, parse_rttm, score};
use crate::notation::round_to;

/// Output formats for scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScoreFormat {
    /// One line per recording, and one for all recordings together.
    Table,
    /// One JSON object.
    Json,
}

/// Compare turns with reference turns, and print diarization error rates.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: voice-embedding-service score --reference reference.rttm --collar 0.25 found.rttm"
)]
pub(super) struct ScoreArgs {
    /// Reference turns: an RTTM file, or a folder of RTTM files.
    #[arg(long, value_name = "FILE|DIR")]
    reference: PathBuf,
    /// Turns to compare: RTTM files, or folders of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    hypotheses: Vec<PathBuf>,
    /// Seconds before and after each edge of a reference turn that are not scored. NIST excludes 0.25.
    #[arg(long, default_value = "0", value_parser = not_negative)]
    collar: f64,
    /// Exclude overlapping speech of the reference.
    #[arg(long)]
    skip_overlap: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = ScoreFormat::Table)]
    format: ScoreFormat,
}

/// The turns of each recording, by recording name.
type Recordings = BTreeMap<String, Vec<RttmTurn>>;

/// The error of one recording, or of all recordings together. Rates are in percent of the reference's speech.
#[derive(Serialize)]
struct ScoredRecording {
    /// `None` for all recordings together.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<String>,
    error_rate: f64,
    missed: f64,
    false_alarm: f64,
    confusion: f64,
    jaccard_error_rate: f64,
    speakers: usize,
    speakers_found: usize,
    speech_seconds: f64,
}

/// The scores of all recordings.
#[derive(Serialize)]
struct Scores {
    collar_seconds: f64,
    skip_overlap: bool,
    recordings: Vec<ScoredRecording>,
    /// The number of recordings whose speaker count differs from the reference.
    wrong_speaker_counts: usize,
    all: ScoredRecording,
}

pub(super) fn run(args: &ScoreArgs) -> anyhow::Result<ExitCode> {
    let references = read(std::slice::from_ref(&args.reference))?;
    ensure!(!references.is_empty(), "{} has no SPEAKER line", args.reference.display());
    let mut left = read(&args.hypotheses)?;
    let options = ScoreOptions { collar_seconds: args.collar, skips_overlap: args.skip_overlap };
    let (mut recordings, mut all) = (Vec::new(), Score::default());
    let (mut speakers, mut speakers_found) = (0, 0);
    for (name, reference) in references {
        let hypothesis = left.remove(&name).unwrap_or_else(|| {
            say(&format!("{name}: no turns were found for it; all of it is missed"));
            Vec::new()
        });
        let (reference, n) = numbered(&name, reference)?;
        let (hypothesis, n_found) = numbered(&name, hypothesis)?;
        let own = score(&reference, &hypothesis, options);
        all += own;
        speakers += n;
        speakers_found += n_found;
        recordings.push(ScoredRecording::new(Some(name), &own, n, n_found));
    }
    for name in left.keys() {
        say(&format!("{name}: there is no reference for it"));
    }
    let wrong = |scored: &&ScoredRecording| scored.speakers != scored.speakers_found;
    let scores = Scores {
        collar_seconds: args.collar,
        skip_overlap: args.skip_overlap,
        wrong_speaker_counts: recordings.iter().filter(wrong).count(),
        recordings,
        all: ScoredRecording::new(None, &all, speakers, speakers_found),
    };
    match args.format {
        ScoreFormat::Json => println!("{}", serde_json::to_string(&scores)?),
        ScoreFormat::Table => print!("{}", text_of(&scores)),
    }
    Ok(ExitCode::SUCCESS)
}

impl ScoredRecording {
    fn new(recording: Option<String>, score: &Score, speakers: usize, speakers_found: usize) -> Self {
        let percent = |part: f64| round_to(100.0 * if part == 0.0 { 0.0 } else { part / score.total }, 2);
        Self {
            recording,
            error_rate: round_to(100.0 * score.error_rate(), 2),
            missed: percent(score.missed),
            false_alarm: percent(score.false_alarm),
            confusion: percent(score.confusion),
            jaccard_error_rate: round_to(100.0 * score.jaccard_error_rate(), 2),
            speakers,
            speakers_found,
            speech_seconds: round_to(score.total, 3),
        }
    }
}

fn text_of(scores: &Scores) -> String {
    let row = |scored: &ScoredRecording| {
        let rates = [
            scored.error_rate,
            scored.missed,
            scored.false_alarm,
            scored.confusion,
            scored.jaccard_error_rate,
        ];
        let name = scored.recording.clone().unwrap_or_else(|| "all".to_owned());
        let speakers = format!("{} of {}", scored.speakers_found, scored.speakers);
        let rates = rates.into_iter().map(|rate| format!("{rate:.2}"));
        std::iter::once(name).chain(rates).chain([speakers]).collect::<Vec<String>>()
    };
    let head = ["recording", "DER %", "missed", "false alarm", "confusion", "JER %", "speakers"];
    let rows: Vec<Vec<String>> = scores.recordings.iter().chain([&scores.all]).map(row).collect();
    let counts = (scores.wrong_speaker_counts, scores.recordings.len());
    format!("{}{} of {} with a wrong number of speakers\n", table(&head, rows), counts.0, counts.1)
}

/// Formats rows below a header. The first column is left-aligned, the others are right-aligned.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let first = format!("{:<1$}", row[0], widths[0]);
        let others = row.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
        others.fold(first, |line, cell| line + &cell) + "\n"
    };
    rows.iter().map(line).collect()
}

/// Reads the turns of files. In folders, reads the files that end in `.rttm`.
fn read(paths: &[PathBuf]) -> anyhow::Result<Recordings> {
    let mut recordings = Recordings::new();
    for path in paths {
        let is_folder = path.is_dir();
        let files = if is_folder { rttm_files(path)? } else { vec![path.clone()] };
        if files.is_empty() {
            bail!("{} holds no file that ends in .rttm", path.display());
        }
        for file in files {
            let from_file = || file.display().to_string();
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", from_file()))?;
            for turn in parse_rttm(&text).with_context(from_file)? {
                recordings.entry(turn.recording.clone()).or_default().push(turn);
            }
        }
    }
    Ok(recordings)
}

fn rttm_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rttm") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Replaces speaker names with numbers, and returns the number of speakers.
fn numbered(recording: &str, turns: Vec<RttmTurn>) -> anyhow::Result<(Vec<ScoredTurn>, usize)> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut scored = Vec::with_capacity(turns.len());
    for RttmTurn { seconds, speaker, .. } in turns {
        let next = numbers.len();
        scored.push((seconds, *numbers.entry(speaker).or_insert(next)));
    }
    ensure!(
        numbers.len() <= MAX_SCORED_SPEAKERS,
        "{recording} has {} speakers, more than {MAX_SCORED_SPEAKERS}",
        numbers.len()
    );
    Ok((scored, numbers.len()))
}
