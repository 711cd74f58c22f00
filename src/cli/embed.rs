//! `embed`: computes embeddings of recordings.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use clap::Args;

use super::embedder::{CommandEmbedder, EmbeddingArgs, RecordingError, RecordingTask, StartOptions};
use super::files::{FileArgs, Found};
use super::interrupt::{INTERRUPTED, on_interrupt};
use super::outcome::SOME_FAILED;
use super::output::{
    Existing, Failure, Mean, Output, OutputError, OutputRow, RowFormat, SegmentPlace, Target,
};
use super::progress::Progress;
use super::segments::Segments;
use crate::embedder::{Embedded, EmbeddedVoice};
use crate::embedding::{Embedding as Vector, UnitEmbedding};
use crate::pipeline::{Wanted, WantedPartials};

/// Compute embeddings of recordings.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: voice-embedding-service embed --recursive recordings/ --output embeddings.jsonl"
)]
pub(super) struct EmbedArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Output format.
    #[arg(long, value_enum, default_value_t = RowFormat::Jsonl)]
    format: RowFormat,
    /// Output file [default: standard output].
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Skip recordings that the output already contains, and append to it.
    #[arg(long, requires = "output", conflicts_with = "mean")]
    resume: bool,
    /// Replace an existing output.
    #[arg(long, requires = "output", conflicts_with = "resume")]
    overwrite: bool,
    /// Also write the embedding and the times of each window.
    #[arg(long)]
    partials: bool,
    /// Windows per second for --partials [default: 1.3, with CAM++ 1.33]. The embedding of the whole recording does not
    /// depend on it.
    #[arg(long, requires = "partials", value_parser = rate)]
    rate: Option<f64>,
    /// File of segments to embed separately: RTTM, or CSV of path, start and end. Recordings without segments are
    /// embedded whole.
    #[arg(long, value_name = "FILE", conflicts_with = "partials")]
    segments: Option<PathBuf>,
    /// Compute one embedding of all recordings, as Resemblyzer's `embed_speaker` does.
    #[arg(long, conflicts_with = "partials")]
    mean: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten, next_help_heading = "Model and recordings")]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: &EmbedArgs) -> anyhow::Result<ExitCode> {
    args.files.check()?;
    if matches!(args.format, RowFormat::Npy | RowFormat::Npz) && args.output.is_none() {
        bail!(OutputError::NoFile);
    }
    let mut segments = args.segments.as_deref().map(Segments::read).transpose()?;
    // Listed before the output is opened, so that an error leaves it unchanged.
    let recordings = args.files.recordings()?;
    let options = StartOptions { is_quiet: args.quiet, ..StartOptions::default() };
    let embedding = args.embedding.clone().start_with(options)?;
    let is_stopped = on_interrupt()?;
    let target = Target {
        file: args.output.clone(),
        format: args.format,
        existing: match (args.resume, args.overwrite) {
            (true, _) => Existing::Resume,
            (false, true) => Existing::Replace,
            (false, false) => Existing::Refuse,
        },
        partials: args.partials,
        segments: segments.is_some(),
        dimension: embedding.model().spec().dimension,
    };
    let (output, held) = target.open()?;
    let mut writer = RowWriter {
        output,
        mean: args.mean.then(|| MeanOf { sum: Vec::new(), n_files: 0, speech_seconds: 0.0 }),
        progress: Progress::begin(args.quiet, || {
            args.files.count().map(|n| n.saturating_sub(held.len() as u64))
        }),
    };
    let partials = args.partials.then(|| WantedPartials {
        rate: args.rate,
        // The budget covers all recordings. The limit for requests does not apply to commands.
        left: Arc::new(AtomicUsize::new(usize::MAX)),
    });
    let mut unreadable = Vec::new();
    let tasks = recordings
        .filter_map(|found| task(found, &held, segments.as_mut(), partials.as_ref(), &mut unreadable));
    let done = embedding.all(tasks, &is_stopped, |tag, outcome| writer.recording(&tag, outcome));
    for (name, reason) in &unreadable {
        writer.progress.failed(name, "unreadable", reason);
    }
    let is_stopped = is_stopped.load(Ordering::Relaxed);
    if !is_stopped && let Some(segments) = &segments {
        for name in segments.unused() {
            writer.progress.failed(name, "unreadable", "there are segments of it, but no such recording");
        }
    }
    let done = done.and_then(|()| writer.finish(&embedding, is_stopped));
    match done {
        Err(error) if matches!(error.downcast_ref(), Some(OutputError::Closed)) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(_) if is_stopped => Ok(ExitCode::from(INTERRUPTED)),
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::from(SOME_FAILED)),
    }
}

/// A recording's name, with its segments if the list has any.
struct Tag {
    name: String,
    segments: Option<Vec<SegmentPlace>>,
}

fn task(
    found: Found,
    held: &HashSet<String>,
    segments: Option<&mut Segments>,
    partials: Option<&WantedPartials>,
    unreadable: &mut Vec<(String, String)>,
) -> Option<RecordingTask<Tag>> {
    let source = match found {
        Ok(source) => source,
        Err((path, reason)) => {
            unreadable.push((path, reason.to_string()));
            return None;
        }
    };
    let name = source.name();
    if held.contains(&name) {
        return None;
    }
    let segments = segments.and_then(|segments| segments.segments_of(&source)).cloned();
    let ranges = segments.as_ref().map(|list| list.iter().map(|segment| segment.seconds.clone()).collect());
    let wanted = Wanted { partials: partials.cloned(), segments: ranges, ..Wanted::default() };
    Some(RecordingTask { source, wanted, tag: Tag { name, segments } })
}

/// Writes outcomes as rows, or collects them into one mean.
struct RowWriter {
    output: Output,
    mean: Option<MeanOf>,
    progress: Progress,
}

/// The sum of the normalised embeddings.
struct MeanOf {
    sum: Vec<f64>,
    n_files: usize,
    speech_seconds: f64,
}

impl RowWriter {
    fn recording(&mut self, tag: &Tag, outcome: Result<Embedded, RecordingError>) -> anyhow::Result<()> {
        let voices = match outcome {
            Ok(Embedded { voices, .. }) => voices,
            Err(error) => {
                let (code, detail) = (error.code(), error.to_string());
                let failure = Failure { code, detail: &detail };
                self.write(&[OutputRow { path: &tag.name, segment: None, outcome: Err(failure) }])?;
                self.progress.failed(&tag.name, code, &detail);
                return Ok(());
            }
        };
        let segment = |i: usize| tag.segments.as_ref().map(|segments| &segments[i]);
        let details: Vec<Option<String>> =
            voices.iter().map(|voice| voice.as_ref().err().map(ToString::to_string)).collect();
        let mut rows = Vec::with_capacity(voices.len());
        for (i, (voice, detail)) in voices.iter().zip(&details).enumerate() {
            let detail = detail.as_deref().unwrap_or_default();
            let outcome = voice.as_ref().map_err(|error| Failure { code: error.code(), detail });
            rows.push(OutputRow { path: &tag.name, segment: segment(i), outcome });
        }
        self.write(&rows)?;
        let embedded: Vec<&EmbeddedVoice> = voices.iter().flatten().collect();
        if let Some(mean) = self.mean.as_mut().filter(|_| !embedded.is_empty()) {
            embedded.iter().for_each(|voice| mean.add(voice));
            mean.n_files += 1;
        }
        match details.into_iter().flatten().next().zip(voices.iter().find_map(|voice| voice.as_ref().err())) {
            Some((detail, error)) => self.progress.failed(&tag.name, error.code(), &detail),
            None => self.progress.embedded(embedded.iter().map(|voice| voice.audio.duration_seconds).sum()),
        }
        Ok(())
    }

    fn write(&mut self, rows: &[OutputRow<'_>]) -> anyhow::Result<()> {
        // In mean mode, a single row is written at the end.
        if self.mean.is_none() {
            self.output.write(rows)?;
        }
        Ok(())
    }

    /// Completes the output, and returns how many recordings failed.
    fn finish(mut self, embedding: &CommandEmbedder, is_stopped: bool) -> anyhow::Result<u64> {
        if let Some(mean) = self.mean.take().filter(|mean| mean.n_files > 0 && !is_stopped) {
            let unit = Vector::new(embedding.model().id(), mean.sum).and_then(UnitEmbedding::try_from)?;
            let MeanOf { n_files, speech_seconds, .. } = mean;
            self.output.write_mean(&Mean { n_files, speech_seconds, embedding: &unit })?;
        }
        self.output.finish()?;
        let n_failed = self.progress.n_failed();
        self.progress.finish();
        Ok(n_failed)
    }
}

impl MeanOf {
    fn add(&mut self, voice: &EmbeddedVoice) {
        let components = voice.embedding.components();
        self.sum.resize(components.len(), 0.0);
        self.sum.iter_mut().zip(components).for_each(|(sum, component)| *sum += component);
        self.speech_seconds += voice.audio.speech_seconds;
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    let rates = WantedPartials::RATES;
    if rates.contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("must be from {} to {}", rates.start(), rates.end()))
    }
}
