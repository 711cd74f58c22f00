//! `verify`: are two voices the same speaker?

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::decision::DecisionArgs;
use super::embedding::EmbeddingArgs;
use super::files::Source;
use super::outcome::{DIFFERENT, ended_by_reader, say};
use super::table::Paint;
use super::voices::{self, Voice};
use crate::compare::{cosine, is_same_speaker};

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
    let (spec, loaded) = voices::load(args.embedding, sources)?;
    let threshold = args.decision.threshold(&spec);
    for (_, loaded) in loaded {
        sides.push(loaded.map_err(|(name, reason)| anyhow!("{name}: {reason}"))?);
    }
    let [a, b] = &sides[..] else {
        return Err(anyhow!("a side is one voice, but there are {}", sides.len()));
    };
    let similarity = cosine(&a.embedding, &b.embedding)?;
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
            writeln!(out, "{paint}{similarity:.4}  {verdict}{paint:#} (threshold {threshold})")
        }
        Format::Json => {
            let side = |voice: &Voice| json!({"path": voice.name});
            let codes: Vec<&str> = warnings.iter().map(|(_, warning)| *warning).collect();
            let model = a.embedding.model().fingerprint();
            let answer = json!({"similarity": similarity, "threshold": threshold, "is_same_speaker": is_same,
                "model": model, "a": side(a), "b": side(b), "warnings": codes});
            writeln!(out, "{answer}")
        }
    };
    ended_by_reader(written)?;
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}
