//! `identify`: whose voice is it?

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use super::decision::{Decider, DecisionArgs, rounded};
use super::embedding::EmbeddingArgs;
use super::files::Source;
use super::outcome::{COULD_NOT_TELL, DIFFERENT, ended_by_reader, say};
use super::speakers::{CollectionArgs, Format};
use super::store;
use super::table::Paint;
use super::voices::{self, Voice};
use crate::claims::Claim;
use crate::config::{self, CalibrationArgs};
use crate::speakers::{
    Candidate, Criteria, DEFAULT_MARGIN, Decision, Found, Wanted, claim, decide, threshold,
};

/// Notes on rates that are said.
const MAX_NOTES: usize = 5;

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
    /// Instead of a threshold: how often a search may name somebody for a voice of none of those enrolled [default: 0.05].
    #[arg(long, value_name = "RATE", value_parser = config::rate, conflicts_with = "threshold")]
    max_false_identification_rate: Option<f64>,
    #[command(flatten)]
    calibration: CalibrationArgs,
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
    let (model, loaded) = voices::load(args.embedding, sources)?;
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
    let wanted = Wanted { collection: args.of.collection, top: top.max(2), except: None };
    let mut out = anstream::stdout();
    let mut all_are_known = true;
    let mut notes = BTreeSet::new();
    for (voice, mut found) in voices.iter().zip(store.search(&embeddings, &wanted).map_err(store::told)?) {
        let (judge, evidence) = (decider.judge(), voice.evidence());
        let threshold = threshold(judge, &found, decider.criterion, &evidence)
            .context("--max-false-identification-rate")?;
        let criteria = Criteria { threshold, margin: args.margin };
        let decision = decide(&found, &criteria);
        let claim = claim(judge, &found, &evidence);
        found.candidates.truncate(top);
        all_are_known &= decision.speaker.is_some();
        let identified = Identified { voice, decision, found, criteria, claim };
        let line = match args.format {
            Format::Text => {
                notes.insert(identified.claim.note.clone());
                identified.text()
            }
            Format::Jsonl => identified.json(&decider),
        };
        ended_by_reader(writeln!(out, "{line}"))?;
    }
    // What the rates were measured on, or why there are none; of many voices that is mostly the same.
    notes.iter().take(MAX_NOTES).for_each(|note| say(note));
    Ok(match (has_failed, all_are_known) {
        (true, _) => ExitCode::from(COULD_NOT_TELL),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(DIFFERENT),
    })
}

/// A voice, and what was found for it.
struct Identified<'a> {
    voice: &'a Voice,
    decision: Decision,
    found: Found,
    criteria: Criteria,
    claim: Claim,
}

impl Identified<'_> {
    fn text(&self) -> String {
        let verdict = match &self.decision.speaker {
            Some(speaker) => speaker.to_string(),
            None => format!("nobody ({})", self.decision.reason.name()),
        };
        let candidate = |candidate: &Candidate| {
            let paint = Paint::of(candidate.similarity, self.criteria.threshold);
            format!("{} {paint}{:.4}{paint:#}", candidate.speaker, candidate.similarity)
        };
        let candidates: Vec<String> = self.found.candidates.iter().map(candidate).collect();
        let (searched, threshold) = (self.found.searched, rounded(self.criteria.threshold));
        let rate = self.claim.error_rate.map_or_else(String::new, |rate| {
            format!("; {} searches for others find as much", rate.frequency())
        });
        let candidates = candidates.join(", ");
        format!(
            "{}: {verdict}  [{candidates}; {searched} searched, threshold {threshold}{rate}]",
            self.voice.name
        )
    }

    fn json(&self, decider: &Decider) -> String {
        let evidence = self.voice.evidence();
        let candidate = |candidate: &Candidate| {
            let sides = [&evidence, &candidate.evidence];
            let llr = decider.judge().log_likelihood_ratio(candidate.similarity, sides);
            json!({"speaker": candidate.speaker, "name": candidate.name, "similarity": candidate.similarity,
                "log_likelihood_ratio": llr})
        };
        let candidates: Vec<_> = self.found.candidates.iter().map(candidate).collect();
        let Claim { error_rate, note, .. } = &self.claim;
        json!({"path": self.voice.name, "speaker": self.decision.speaker, "reason": self.decision.reason.name(),
            "candidates": candidates, "false_identification_rate": error_rate.map(|rate| rate.value),
            "false_identification_rate_is_bound": error_rate.is_some_and(|rate| rate.is_bound),
            "calibration": decider.calibration(), "calibration_note": note, "searched": self.found.searched,
            "threshold": self.criteria.threshold, "margin": self.criteria.margin,
            "model": self.voice.embedding.model().fingerprint()})
        .to_string()
    }
}
