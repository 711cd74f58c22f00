//! `identify`: whose voice is it?

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use super::decision::DecisionArgs;
use super::embedding::EmbeddingArgs;
use super::files::Source;
use super::outcome::{COULD_NOT_TELL, DIFFERENT, ended_by_reader, say};
use super::speakers::{CollectionArgs, Format};
use super::store;
use super::table::Paint;
use super::voices::{self, Voice};
use crate::config;
use crate::speakers::{Candidate, Criteria, DEFAULT_MARGIN, Decision, Found, Wanted, decide};

/// Say whose voices these are: recordings, or embeddings in JSON. Exit status 0: all are of enrolled speakers; 1: some are not; 2: it
/// could not be told.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: voice-embedding-service identify unknown.wav")]
pub(super) struct IdentifyArgs {
    /// Recordings, or files of JSON with embeddings.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Candidates to show.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u16).range(1..=100))]
    top: u16,
    #[command(flatten)]
    decision: DecisionArgs,
    /// How much more similar than the second best the best must be.
    #[arg(long, default_value_t = DEFAULT_MARGIN, value_parser = config::not_negative)]
    margin: f64,
    /// How to write.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    of: CollectionArgs,
    #[command(flatten)]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: IdentifyArgs) -> anyhow::Result<ExitCode> {
    let sources: Vec<Source> = args.files.iter().map(|path| Source::of(path)).collect();
    ensure!(
        sources.iter().filter(|source| **source == Source::Stdin).count() < 2,
        "standard input can be read once"
    );
    let mut voices: Vec<Voice> = Vec::new();
    let mut has_failed = false;
    let (spec, loaded) = voices::load(args.embedding, sources)?;
    let criteria = Criteria { threshold: args.decision.threshold(&spec), margin: args.margin };
    for (_, loaded) in loaded {
        match loaded {
            Ok(voice) => voices.push(voice),
            Err((name, reason)) => {
                has_failed = true;
                say(&format!("{name}: {reason}"));
            }
        }
    }
    let models = voices.iter().take(1).map(|voice| voice.embedding.model().clone()).collect();
    let store = store::open(args.of.store, models)?;
    let embeddings: Vec<_> = voices.iter().map(|voice| voice.embedding.clone()).collect();
    let top = usize::from(args.top);
    let wanted = Wanted { collection: args.of.collection, top: top.max(2), except: None };
    let mut out = anstream::stdout();
    let mut all_are_known = true;
    for (voice, mut found) in voices.iter().zip(store.search(&embeddings, &wanted).map_err(store::told)?) {
        let decision = decide(&found, &criteria);
        found.candidates.truncate(top);
        all_are_known &= decision.speaker.is_some();
        let line = match args.format {
            Format::Text => text(voice, &decision, &found, &criteria),
            Format::Jsonl => json_of(voice, &decision, &found, &criteria),
        };
        ended_by_reader(writeln!(out, "{line}"))?;
    }
    Ok(match (has_failed, all_are_known) {
        (true, _) => ExitCode::from(COULD_NOT_TELL),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(DIFFERENT),
    })
}

fn text(voice: &Voice, decision: &Decision, found: &Found, criteria: &Criteria) -> String {
    let verdict = match &decision.speaker {
        Some(speaker) => speaker.to_string(),
        None => format!("nobody ({})", decision.reason.name()),
    };
    let candidate = |candidate: &Candidate| {
        let paint = Paint::of(candidate.similarity, criteria.threshold);
        format!("{} {paint}{:.4}{paint:#}", candidate.speaker, candidate.similarity)
    };
    let candidates: Vec<String> = found.candidates.iter().map(candidate).collect();
    let searched = found.searched;
    format!("{}: {verdict}  [{}; {searched} searched]", voice.name, candidates.join(", "))
}

fn json_of(voice: &Voice, decision: &Decision, found: &Found, criteria: &Criteria) -> String {
    let candidate = |candidate: &Candidate| json!({"speaker": candidate.speaker, "name": candidate.name, "similarity": candidate.similarity});
    let candidates: Vec<_> = found.candidates.iter().map(candidate).collect();
    json!({"path": voice.name, "speaker": decision.speaker, "reason": decision.reason.name(), "candidates": candidates,
        "searched": found.searched, "threshold": criteria.threshold, "margin": criteria.margin,
        "model": voice.embedding.model().fingerprint()})
    .to_string()
}
