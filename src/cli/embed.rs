//! `embed`: recordings to embeddings.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use clap::Args;

use super::embedding::{Embedding, EmbeddingArgs, RecordingError, Task};
use super::files::{FileArgs, Found};
use super::interrupt::{INTERRUPTED, on_interrupt};
use super::outcome::SOME_FAILED;
use super::output::{Failure, Format, Mean, Output, OutputError, Row, Segment, Target};
use super::progress::Progress;
use super::segments::Segments;
use crate::embedder::{Embedded, EmbeddedVoice};
use crate::pipeline::{PipelineError, Wanted, WantedPartials};

/// Resemblyzer's windows a second.
const DEFAULT_RATE: f64 = 1.3;

/// Turn recordings into embeddings.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: voice-embedding-service embed --recursive recordings/ --output embeddings.jsonl"
)]
pub(super) struct EmbedArgs {
    #[command(flatten)]
    files: FileArgs,
    /// How to write.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Where to write [default: standard output].
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Skip the recordings that the output already holds, and add to it.
    #[arg(long, requires = "output", conflicts_with = "mean")]
    resume: bool,
    /// Replace an output that exists.
    #[arg(long, requires = "output", conflicts_with = "resume")]
    overwrite: bool,
    /// The embedding of each window, too, with its times.
    #[arg(long)]
    partials: bool,
    /// Windows a second for the partials; the embedding of a recording does not depend on it.
    #[arg(long, requires = "partials", default_value_t = DEFAULT_RATE, value_parser = rate)]
    rate: f64,
    /// Segments of the recordings, each embedded by itself: RTTM, or CSV of path, start and end. Recordings without any are
    /// embedded whole.
    #[arg(long, value_name = "FILE", conflicts_with = "partials")]
    segments: Option<PathBuf>,
    /// One embedding of all recordings, as Resemblyzer's `embed_speaker` makes it.
    #[arg(long, conflicts_with = "partials")]
    mean: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    embedding: EmbeddingArgs,
}

pub(super) fn run(args: &EmbedArgs) -> anyhow::Result<ExitCode> {
    args.files.check()?;
    if matches!(args.format, Format::Npy | Format::Npz) && args.output.is_none() {
        bail!(OutputError::NoFile);
    }
    let segments = args.segments.as_deref().map(Segments::read).transpose()?;
    let is_stopped = on_interrupt()?;
    let embedding = args.embedding.clone().start()?;
    let target = Target {
        file: args.output.clone(),
        format: args.format,
        resume: args.resume,
        overwrite: args.overwrite,
        partials: args.partials,
    };
    let (output, held) = target.open()?;
    let mut writer = Writer {
        output,
        mean: args.mean.then(|| MeanOf { sum: Vec::new(), n_files: 0, speech_seconds: 0.0 }),
        progress: Progress::begin(args.quiet, || {
            args.files.count().map(|n| n.saturating_sub(held.len() as u64))
        }),
    };
    let partials = args.partials.then(|| WantedPartials {
        rate: args.rate,
        // Of all recordings together; what bounds a request has no use here.
        left: Arc::new(AtomicUsize::new(usize::MAX)),
    });
    let mut unreadable = Vec::new();
    let tasks = args
        .files
        .recordings()?
        .filter_map(|found| task(found, &held, segments.as_ref(), partials.as_ref(), &mut unreadable));
    let done = embedding.all(tasks, &is_stopped, |tag, outcome| writer.recording(&tag, outcome));
    for (name, reason) in &unreadable {
        writer.progress.failed(name, "unreadable", reason);
    }
    let done = done.and_then(|()| writer.finish(&embedding));
    match done {
        Err(error) if matches!(error.downcast_ref(), Some(OutputError::Closed)) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(_) if is_stopped.load(Ordering::Relaxed) => Ok(ExitCode::from(INTERRUPTED)),
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::from(SOME_FAILED)),
    }
}

/// A recording, and its segments if there are any.
struct Tag {
    name: String,
    segments: Option<Vec<Segment>>,
}

fn task(
    found: Found,
    held: &HashSet<String>,
    segments: Option<&Segments>,
    partials: Option<&WantedPartials>,
    unreadable: &mut Vec<(String, String)>,
) -> Option<Task<Tag>> {
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
    let segments = segments.and_then(|segments| segments.of(&source)).cloned();
    let ranges = segments.as_ref().map(|list| list.iter().map(|segment| segment.seconds.clone()).collect());
    let wanted = Wanted { partials: partials.cloned(), segments: ranges };
    Some(Task { source, wanted, tag: Tag { name, segments } })
}

/// Outcomes to rows, or to one mean.
struct Writer {
    output: Output,
    mean: Option<MeanOf>,
    progress: Progress,
}

/// The sum of embeddings of norm 1.
struct MeanOf {
    sum: Vec<f64>,
    n_files: usize,
    speech_seconds: f64,
}

impl Writer {
    fn recording(&mut self, tag: &Tag, outcome: Result<Embedded, RecordingError>) -> anyhow::Result<()> {
        match outcome {
            Ok(Embedded { voices, .. }) => {
                for (i, voice) in voices.into_iter().enumerate() {
                    let segment = tag.segments.as_ref().map(|segments| &segments[i]);
                    self.voice(&tag.name, segment, voice)?;
                }
                Ok(())
            }
            Err(error) => self.failure(&tag.name, None, error.code(), &error.to_string()),
        }
    }

    fn voice(
        &mut self,
        path: &str,
        segment: Option<&Segment>,
        voice: Result<EmbeddedVoice, PipelineError>,
    ) -> anyhow::Result<()> {
        let voice = match voice {
            Ok(voice) => voice,
            Err(error) => return self.failure(path, segment, error.code(), &error.to_string()),
        };
        match &mut self.mean {
            Some(mean) => mean.add(&voice),
            None => self.output.write(&Row { path, segment, outcome: Ok(&voice) })?,
        }
        self.progress.embedded(voice.audio.duration_seconds);
        Ok(())
    }

    fn failure(
        &mut self,
        path: &str,
        segment: Option<&Segment>,
        code: &str,
        detail: &str,
    ) -> anyhow::Result<()> {
        if self.mean.is_none() {
            self.output.write(&Row { path, segment, outcome: Err(Failure { code, detail }) })?;
        }
        self.progress.failed(path, code, detail);
        Ok(())
    }

    /// Makes the output whole; how many recordings have failed.
    fn finish(mut self, embedding: &Embedding) -> anyhow::Result<u64> {
        if let Some(mean) = self.mean.take().filter(|mean| mean.n_files > 0) {
            let norm = mean.sum.iter().map(|component| component * component).sum::<f64>().sqrt();
            let unit: Vec<f64> = mean.sum.iter().map(|component| component / norm).collect();
            self.output.write_mean(&Mean {
                model: embedding.model().id().fingerprint(),
                n_files: mean.n_files,
                speech_seconds: mean.speech_seconds,
                embedding: &unit,
            })?;
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
        self.n_files += 1;
        self.speech_seconds += voice.audio.speech_seconds;
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if (0.625..=16.0).contains(&rate) { Ok(rate) } else { Err("must be from 0.625 to 16".into()) }
}
