//! `verify`: decides whether two voices are the same speaker.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use clap::{Args, ValueEnum};

use super::decision::{DecisionArgs, rate_text};
use super::embedder::EmbeddingArgs;
use super::files::RecordingSource;
use super::outcome::{DIFFERENT, ended_by_reader, say};
use super::table::Paint;
use super::voices::{self, LoadedVoice};
use crate::config::{self, CalibrationArgs};
use crate::decisions::{self, Side};
use crate::notation::round_to;

/// Output formats for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DecisionFormat {
    /// One line, for people.
    Text,
    /// JSON object.
    Json,
}

/// Compare two voices: recordings, or embeddings in JSON. Exit status 0: same speaker; 1: different speakers; 2: an
/// error prevented a decision.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: voice-embedding-service verify anna.wav unknown.wav && echo it is Anna")]
pub(super) struct VerifyArgs {
    /// A recording, or a JSON file with an embedding.
    a: PathBuf,
    /// The other recording or embedding.
    b: PathBuf,
    /// Highest acceptable false-accept rate for this amount of speech; replaces the threshold.
    #[arg(long, value_name = "RATE", value_parser = config::rate, conflicts_with = "threshold")]
    max_false_accept_rate: Option<f64>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = DecisionFormat::Text)]
    format: DecisionFormat,
    #[command(flatten, next_help_heading = "Decisions")]
    decision: DecisionArgs,
    #[command(flatten, next_help_heading = "Decisions")]
    calibration: CalibrationArgs,
    #[command(flatten, next_help_heading = "Model and recordings")]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let sources = vec![RecordingSource::from_path(&args.a), RecordingSource::from_path(&args.b)];
    ensure!(
        sources[0] != RecordingSource::Stdin || sources[1] != RecordingSource::Stdin,
        "standard input can be read once"
    );
    let mut sides: Vec<LoadedVoice> = Vec::new();
    let (model, loaded) = voices::load(args.embedding, sources)?;
    let decider = args.decision.decider(&model, &args.calibration, args.max_false_accept_rate)?;
    for (_, loaded) in loaded {
        sides.push(loaded.map_err(|(name, reason)| anyhow!("{name}: {reason}"))?);
    }
    let warnings: Vec<String> = sides
        .iter()
        .flat_map(|side| side.warnings.iter().map(|warning| format!("{}: {}", side.name, warning.code())))
        .collect();
    let sides: Vec<Side> = sides.into_iter().map(Side::from).collect();
    let sides = <[Side; 2]>::try_from(sides)
        .map_err(|sides| anyhow!("a side is one voice, but there are {}", sides.len()))?;
    let answer =
        decisions::verify(decider.judge(), decider.criterion, sides).context("--max-false-accept-rate")?;
    let mut out = anstream::stdout();
    let written = match args.format {
        DecisionFormat::Text => {
            let (similarity, threshold) = (answer.similarity, answer.threshold);
            let paint = Paint::for_similarity(similarity, threshold);
            let verdict = if answer.is_same_speaker { "the same speaker" } else { "different speakers" };
            warnings.iter().for_each(|warning| say(warning));
            say(&answer.calibration_note);
            let (rate, is_bound) = (answer.false_accept_rate, answer.false_accept_rate_is_bound);
            let rate = rate_text(rate, is_bound, "others score as much");
            let threshold = round_to(threshold, 4);
            writeln!(out, "{paint}{similarity:.4}  {verdict}{paint:#} (threshold {threshold}{rate})")
        }
        DecisionFormat::Json => writeln!(out, "{}", serde_json::to_string(&answer)?),
    };
    ended_by_reader(written)?;
    Ok(if answer.is_same_speaker { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}
