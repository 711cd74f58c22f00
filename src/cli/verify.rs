//! `verify`: are two voices the same speaker?

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::decision::{DecisionArgs, rate_text, rounded};
use super::embedding::EmbeddingArgs;
use super::files::Source;
use super::outcome::{DIFFERENT, ended_by_reader, say};
use super::table::Paint;
use super::voices::{self, Voice};
use crate::claims::Comparison;
use crate::compare::{cosine, is_same_speaker};
use crate::config::{self, CalibrationArgs};

/// How a decision is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for a person.
    Text,
    /// A JSON object.
    Json,
}

/// Compare two voices: recordings, or embeddings in JSON. Exit status 0: the same speaker; 1: different ones; 2: it could not be told.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: voice-embedding-service verify anna.wav unknown.wav && echo it is Anna")]
pub(super) struct VerifyArgs {
    /// A recording, or a file of JSON with an embedding.
    a: PathBuf,
    /// Another.
    b: PathBuf,
    #[command(flatten)]
    decision: DecisionArgs,
    /// Instead of a threshold: how often different speakers with as much speech may be taken for one.
    #[arg(long, value_name = "RATE", value_parser = config::rate, conflicts_with = "threshold")]
    max_false_accept_rate: Option<f64>,
    #[command(flatten)]
    calibration: CalibrationArgs,
    /// How to write.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let sources = vec![Source::of(&args.a), Source::of(&args.b)];
    ensure!(sources[0] != Source::Stdin || sources[1] != Source::Stdin, "standard input can be read once");
    let mut sides: Vec<Voice> = Vec::new();
    let (model, loaded) = voices::load(args.embedding, sources)?;
    let decider = args.decision.decider(&model, &args.calibration, args.max_false_accept_rate)?;
    for (_, loaded) in loaded {
        sides.push(loaded.map_err(|(name, reason)| anyhow!("{name}: {reason}"))?);
    }
    let [a, b] = &sides[..] else {
        return Err(anyhow!("a side is one voice, but there are {}", sides.len()));
    };
    let similarity = cosine(&a.embedding, &b.embedding)?;
    let (judge, evidence) = (decider.judge(), [&a.evidence(), &b.evidence()]);
    let threshold =
        judge.threshold(decider.criterion, Comparison::Pair, evidence).context("--max-false-accept-rate")?;
    let claim = judge.claim(similarity, Comparison::Pair, evidence);
    let is_same = is_same_speaker(similarity, threshold);
    let warnings: Vec<(&str, &str)> = sides
        .iter()
        .flat_map(|side| side.warnings.iter().map(|warning| (&*side.name, warning.code())))
        .collect();
    let mut out = anstream::stdout();
    let written = match args.format {
        Format::Text => {
            let paint = Paint::of(similarity, threshold);
            let verdict = if is_same { "the same speaker" } else { "different speakers" };
            warnings.iter().for_each(|(name, warning)| say(&format!("{name}: {warning}")));
            say(&claim.note);
            let (threshold, rate) = (rounded(threshold), rate_text(&claim));
            writeln!(out, "{paint}{similarity:.4}  {verdict}{paint:#} (threshold {threshold}{rate})")
        }
        Format::Json => {
            let side = |voice: &Voice| json!({"path": voice.name});
            let codes: Vec<&str> = warnings.iter().map(|(_, warning)| *warning).collect();
            let model = a.embedding.model().fingerprint();
            let answer = json!({"similarity": similarity, "threshold": threshold, "is_same_speaker": is_same,
                "log_likelihood_ratio": claim.log_likelihood_ratio,
                "false_accept_rate": claim.error_rate.map(|rate| rate.value),
                "false_accept_rate_is_bound": claim.error_rate.is_some_and(|rate| rate.is_bound),
                "calibration": decider.calibration(), "calibration_note": claim.note,
                "model": model, "a": side(a), "b": side(b), "warnings": codes});
            writeln!(out, "{answer}")
        }
    };
    ended_by_reader(written)?;
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}
