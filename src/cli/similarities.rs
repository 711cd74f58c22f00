//! `similarities`: compares every voice with every other, or one folder with another.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use ndarray::{Array2, s};
use serde::Serialize;
use serde_json::json;

use super::decision::DecisionArgs;
use super::embedder::EmbeddingArgs;
use super::files::{FileArgs, Found, RecordingSource};
use super::outcome::{SOME_FAILED, ended_by_reader, say};
use super::table::Paint;
use super::voices::{self, LoadedVoice};
use crate::compare::similarity_matrix;
use crate::embedding::UnitEmbedding;

/// The maximum number of voices to compare, because their similarity matrix is held in memory.
const MAX_VOICES: usize = 5_000;

/// The maximum number of characters of a name in a table.
const MAX_NAME_CHARACTERS: usize = 32;

/// Output formats for similarities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MatrixFormat {
    /// Table for people.
    Table,
    /// Header with the names, then one row per voice.
    Csv,
    /// JSON object.
    Json,
}

/// Compare every voice with every other: recordings, folders of recordings, or embeddings in JSON.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: voice-embedding-service similarities --between originals/ clones/")]
pub(super) struct SimilaritiesArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Compare the recordings of two folders (or files); prints the mean and the best match of each recording.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["paths", "files_from"])]
    between: Option<Vec<PathBuf>>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = MatrixFormat::Table)]
    format: MatrixFormat,
    #[command(flatten, next_help_heading = "Decisions")]
    decision: DecisionArgs,
    #[command(flatten, next_help_heading = "Model and recordings")]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: SimilaritiesArgs) -> anyhow::Result<ExitCode> {
    let is_between = args.between.is_some();
    let mut failures = Failures::default();
    let (sources, n_left) = args.sources(&mut failures)?;
    ensure!(sources.len() <= MAX_VOICES, "there are more than {MAX_VOICES} recordings to compare");
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (model, loaded) = voices::load(args.embedding, sources)?;
    let threshold = args.decision.threshold(model.spec());
    for (place, loaded) in loaded {
        match loaded {
            Ok(voice) if place < n_left => left.push(voice),
            Ok(voice) => right.push(voice),
            Err((name, reason)) => failures.add(&name, &reason),
        }
    }
    ensure!(left.len() + right.len() <= MAX_VOICES, "there are more than {MAX_VOICES} voices");
    if is_between {
        ensure!(!left.is_empty() && !right.is_empty(), "there is no embedding to compare");
    } else {
        ensure!(
            left.len() > 1,
            "similarities are of two voices or more; there {}",
            describe_count(left.len())
        );
    }
    let mut out = anstream::stdout().lock();
    let written = if is_between {
        write_between(&mut out, &left, &right, args.format, threshold)?
    } else {
        write_matrix(&mut out, &left, args.format, threshold)?
    };
    ended_by_reader(written)?;
    Ok(if failures.0 == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_FAILED) })
}

fn describe_count(n_voices: usize) -> &'static str {
    if n_voices == 0 { "is none" } else { "is one" }
}

/// The number of recordings that have failed.
#[derive(Default)]
struct Failures(usize);

impl Failures {
    fn add(&mut self, name: &str, reason: &str) {
        say(&format!("{name}: {reason}"));
        self.0 += 1;
    }
}

impl SimilaritiesArgs {
    /// Returns the recordings, and how many of them belong to the first of two folders. Without `--between`, all of them do.
    fn sources(&self, failures: &mut Failures) -> anyhow::Result<(Vec<RecordingSource>, usize)> {
        let mut readable = |found: Vec<Found>| -> Vec<RecordingSource> {
            let source = |found: Found| {
                found.inspect_err(|(path, reason)| failures.add(path, &format!("unreadable: {reason}"))).ok()
            };
            found.into_iter().filter_map(source).collect()
        };
        let Some([left, right]) = self.between.as_deref() else {
            self.files.check()?;
            let sources = readable(self.files.recordings()?.collect());
            let n_left = sources.len();
            return Ok((sources, n_left));
        };
        let mut sources = readable(self.files.list(left)?);
        let n_left = sources.len();
        sources.extend(readable(self.files.list(right)?));
        Ok((sources, n_left))
    }
}

fn write_matrix(
    out: &mut impl Write,
    voices: &[LoadedVoice],
    format: MatrixFormat,
    threshold: f64,
) -> anyhow::Result<io::Result<()>> {
    let names: Vec<&str> = voices.iter().map(|voice| &*voice.name).collect();
    let matrix = similarity_matrix(&embeddings(voices))?;
    Ok(match format {
        MatrixFormat::Json => {
            let answer = JsonMatrix {
                labels: &names,
                matrix: matrix.rows().into_iter().map(|row| row.to_vec()).collect(),
                threshold,
                model: voices[0].embedding.model().fingerprint(),
            };
            serde_json::to_writer(&mut *out, &answer).map_err(io::Error::from).and_then(|()| writeln!(out))
        }
        MatrixFormat::Csv => {
            let mut csv = csv::Writer::from_writer(&mut *out);
            let header = csv.write_record([""].iter().chain(&names));
            let row = |(name, row): (&&str, ndarray::ArrayView1<'_, f32>)| {
                let cells = row.iter().map(|similarity| format!("{similarity:.6}"));
                csv.write_record(std::iter::once((*name).to_owned()).chain(cells))
            };
            let written = header.and_then(|()| names.iter().zip(matrix.rows()).try_for_each(row));
            written.map_err(io::Error::from).and_then(|()| csv.flush())
        }
        MatrixFormat::Table => write_table(out, &names, &matrix, threshold),
    })
}

#[derive(Serialize)]
struct JsonMatrix<'a> {
    labels: &'a [&'a str],
    matrix: Vec<Vec<f32>>,
    threshold: f64,
    model: &'a str,
}

/// Writes a table whose rows are named and whose columns are numbered.
fn write_table(out: &mut impl Write, names: &[&str], matrix: &Array2<f32>, threshold: f64) -> io::Result<()> {
    let shown: Vec<String> = names.iter().map(|name| short(name)).collect();
    let width = shown.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let digits = names.len().to_string().len();
    write!(out, "{:digits$}  {:width$}", "", "")?;
    (1..=names.len()).try_for_each(|i| write!(out, "{i:>6}"))?;
    writeln!(out)?;
    for (i, (name, row)) in shown.iter().zip(matrix.rows()).enumerate() {
        write!(out, "{:>digits$}  {name:width$}", i + 1)?;
        for (j, similarity) in row.iter().enumerate() {
            if i == j {
                write!(out, "{:>6}", "-")?;
                continue;
            }
            let paint = Paint::for_similarity(f64::from(*similarity), threshold);
            write!(out, "{paint}{similarity:>6.2}{paint:#}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Compares two folders: writes the best match in the second for each voice of the first, and the mean of all pairs.
fn write_between(
    out: &mut impl Write,
    left: &[LoadedVoice],
    right: &[LoadedVoice],
    format: MatrixFormat,
    threshold: f64,
) -> anyhow::Result<io::Result<()>> {
    let all: Vec<UnitEmbedding> = embeddings(left).into_iter().chain(embeddings(right)).collect();
    let matrix = similarity_matrix(&all)?;
    let between = matrix.slice(s![..left.len(), left.len()..]);
    let mean = between.iter().map(|similarity| f64::from(*similarity)).sum::<f64>() / between.len() as f64;
    let best: Vec<(&str, &str, f64)> = left
        .iter()
        .zip(between.rows())
        .map(|(voice, row)| {
            let (place, similarity) = row
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .expect("there is a voice in the second");
            (&*voice.name, &*right[place].name, f64::from(*similarity))
        })
        .collect();
    Ok(match format {
        MatrixFormat::Json => {
            let best: Vec<_> = best
                .iter()
                .map(|(path, best, similarity)| json!({"path": path, "best": best, "similarity": similarity}))
                .collect();
            writeln!(
                out,
                "{}",
                json!({"mean": mean, "pairs": between.len(), "best": best, "threshold": threshold})
            )
        }
        MatrixFormat::Csv => {
            let mut csv = csv::Writer::from_writer(&mut *out);
            let header = csv.write_record(["path", "best", "similarity"]);
            let mut row = |(path, best, similarity): &(&str, &str, f64)| {
                csv.write_record([path, best, &*format!("{similarity:.6}")])
            };
            let written = header.and_then(|()| best.iter().try_for_each(&mut row));
            written.map_err(io::Error::from).and_then(|()| csv.flush())
        }
        MatrixFormat::Table => {
            let width = best.iter().map(|(path, ..)| short(path).chars().count()).max().unwrap_or(0);
            let line = |(path, best, similarity): &(&str, &str, f64)| {
                let paint = Paint::for_similarity(*similarity, threshold);
                writeln!(out, "{:width$}  {paint}{similarity:.4}{paint:#}  {best}", short(path))
            };
            let lines = best.iter().try_for_each(line);
            lines.and_then(|()| writeln!(out, "mean of {} pairs: {mean:.4}", between.len()))
        }
    })
}

fn embeddings(voices: &[LoadedVoice]) -> Vec<UnitEmbedding> {
    voices.iter().map(|voice| voice.embedding.clone()).collect()
}

/// Shortens a long name to its end.
fn short(name: &str) -> String {
    let n_characters = name.chars().count();
    if n_characters <= MAX_NAME_CHARACTERS {
        return name.to_owned();
    }
    let end: String = name.chars().skip(n_characters - MAX_NAME_CHARACTERS + 1).collect();
    format!("…{end}")
}
