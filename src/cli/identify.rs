//! `identify`: finds the enrolled speaker of a voice.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;

use super::decision::{DecisionArgs, rate_text};
use super::embedder::EmbeddingArgs;
use super::files::RecordingSource;
use super::outcome::{COULD_NOT_TELL, DIFFERENT, ended_by_reader, say};
use super::speakers::{CollectionArgs, ListFormat};
use super::store;
use super::table::Paint;
use super::voices::{self, LoadedVoice};
use crate::config::{self, CalibrationArgs};
use crate::decisions::{self, Candidacy, DEFAULT_MARGIN, Identification, IdentifyCriteria};
use crate::notation::round_to;

/// The maximum number of calibration notes to print.
const MAX_NOTES: usize = 5;

/// Identify the speakers of recordings, or of embeddings in JSON. Exit status 0: all voices belong to enrolled speakers;
/// 1: some do not; 2: an error prevented a decision.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: voice-embedding-service identify unknown.wav")]
pub(super) struct IdentifyArgs {
    /// Recordings, or JSON files with embeddings.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Number of candidates to show.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u16).range(1..=100))]
    top: u16,
    /// Highest acceptable rate at which searches for unenrolled voices name a speaker; replaces the threshold [default: 0.05].
    #[arg(long, value_name = "RATE", value_parser = config::rate, conflicts_with = "threshold")]
    max_false_identification_rate: Option<f64>,
    /// How far the similarity of the best candidate must exceed that of the second.
    #[arg(long, default_value_t = DEFAULT_MARGIN, value_parser = config::not_negative)]
    margin: f64,
    /// Output format.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    #[command(flatten)]
    of: CollectionArgs,
    #[command(flatten, next_help_heading = "Decisions")]
    decision: DecisionArgs,
    #[command(flatten, next_help_heading = "Decisions")]
    calibration: CalibrationArgs,
    #[command(flatten, next_help_heading = "Model and recordings")]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: IdentifyArgs) -> anyhow::Result<ExitCode> {
    let sources: Vec<RecordingSource> =
        args.files.iter().map(|path| RecordingSource::from_path(path)).collect();
    ensure!(
        sources.iter().filter(|source| **source == RecordingSource::Stdin).count() < 2,
        "standard input can be read once"
    );
    let mut voices: Vec<LoadedVoice> = Vec::new();
    let mut has_failed = false;
    let embedding = args.embedding.for_collection(args.of.store.clone(), &args.of.collection)?;
    let (model, loaded) = voices::load(embedding, sources)?;
    let decider = args.decision.decider(&model, &args.calibration, args.max_false_identification_rate)?;
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
    let criteria = IdentifyCriteria { criterion: decider.criterion, margin: args.margin, top };
    let wanted = criteria.search(args.of.collection, None);
    let mut out = anstream::stdout();
    let mut all_are_known = true;
    let mut notes = BTreeSet::new();
    for (voice, found) in voices.into_iter().zip(store.search(&embeddings, &wanted).map_err(store::explain)?)
    {
        let (evidence, model) = (voice.evidence(), voice.embedding.model());
        let identified =
            decisions::identify(decider.judge(), &criteria, model, &wanted.collection, found, &evidence)
                .context("--max-false-identification-rate")?;
        all_are_known &= identified.speaker.is_some();
        let identified = Identification { path: Some(voice.name), ..identified };
        let line = match args.format {
            ListFormat::Text => {
                notes.insert(identified.calibration_note.clone());
                text_of(&identified)
            }
            ListFormat::Jsonl => serde_json::to_string(&identified)?,
        };
        ended_by_reader(writeln!(out, "{line}"))?;
    }
    // Notes explain what the rates were measured on, or why there are none. Many voices usually share one note.
    notes.iter().take(MAX_NOTES).for_each(|note| say(note));
    Ok(match (has_failed, all_are_known) {
        (true, _) => ExitCode::from(COULD_NOT_TELL),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(DIFFERENT),
    })
}

fn text_of(identified: &Identification) -> String {
    let verdict = match &identified.speaker {
        Some(speaker) => speaker.to_string(),
        None => format!("nobody ({})", identified.reason.name()),
    };
    let candidate = |candidate: &Candidacy| {
        let paint = Paint::for_similarity(candidate.similarity, identified.threshold);
        format!("{} {paint}{:.4}{paint:#}", candidate.speaker, candidate.similarity)
    };
    let candidates: Vec<String> = identified.candidates.iter().map(candidate).collect();
    let (searched, threshold) = (identified.searched, round_to(identified.threshold, 4));
    let (rate, is_bound) =
        (identified.false_identification_rate, identified.false_identification_rate_is_bound);
    let rate = rate_text(rate, is_bound, "searches for others find as much");
    let path = identified.path.as_deref().unwrap_or_default();
    let candidates = match candidates[..] {
        [] => String::new(),
        _ => format!("{}; ", candidates.join(", ")),
    };
    format!("{path}: {verdict}  [{candidates}{searched} searched, threshold {threshold}{rate}]")
}
