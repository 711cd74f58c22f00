//! `diarize`: determines who spoke when, and who said what.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use super::files::{FileArgs, Found};
use super::interrupt::{INTERRUPTED, on_interrupt};
use super::naming::NamingArgs;
use super::outcome::{SOME_FAILED, ended_by_reader};
use super::progress::Progress;
use super::speaker_count::SpeakerCountArgs;
use crate::decisions::{DiarizeAnswer, Diarized, DiarizedChannel};
use crate::diarization::TurnOptions;
use crate::embedder::{EmbedError, Hearing};
use crate::pace::Pace;
use crate::transcript::{CueFormat, Transcript};

/// Output formats for turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TurnFormat {
    /// Rich Transcription Time Marked: one line per turn, for any number of recordings.
    Rttm,
    /// One JSON object per recording, including the embedding of each speaker.
    Json,
    /// WebVTT, with a voice tag for each turn or transcript part.
    Vtt,
    /// SubRip, with the speaker's name before each turn or transcript part.
    Srt,
}

/// Determine who spoke when in recordings of several speakers or, with a transcript, who said what.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: voice-embedding-service diarize --model campplus meeting.m4a --transcript meeting.json"
)]
pub(super) struct DiarizeArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    speakers: SpeakerCountArgs,
    /// Report one speaker at a time: where speech overlaps, the speaker who is heard most.
    #[arg(long)]
    no_overlap: bool,
    /// Output format [default: the transcript's own format, else rttm].
    #[arg(long, value_enum)]
    format: Option<TurnFormat>,
    /// Transcript of the recording: VTT, SRT, a list of {"start", "end", "text"}, or the JSON of Whisper, whisper.cpp,
    /// whisperX, Hugging Face, Vosk, Deepgram, AWS or AssemblyAI.
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    naming: NamingArgs,
}

pub(super) fn run(args: &DiarizeArgs) -> anyhow::Result<ExitCode> {
    args.files.check()?;
    let options = TurnOptions { count: args.speakers.count()?, overlap: !args.no_overlap };
    let transcript = args.transcript()?;
    let recordings = args.files.recordings()?;
    let (embedding, naming) = args.naming.start(args.quiet)?;
    let is_stopped = on_interrupt()?;
    let mut progress = Progress::begin(args.quiet, || args.files.count());
    let mut unreadable = Vec::new();
    let sources = recordings.filter_map(|found: Found| match found {
        Ok(source) => Some(source),
        Err((path, reason)) => {
            unreadable.push((path, reason.to_string()));
            None
        }
    });
    let mut out = anstream::stdout();
    embedding.hear_all(sources, &is_stopped, |name, outcome| {
        let diarized = outcome.and_then(|Hearing { recording, .. }| {
            Ok(recording.diarize(&options, Pace::UNBROKEN).map_err(EmbedError::from)?)
        });
        let (found, audio) = match diarized {
            Ok(diarized) => diarized,
            Err(error) => {
                progress.failed(&name, error.code(), &error.to_string());
                return Ok(());
            }
        };
        progress.embedded(audio.duration_seconds);
        let transcript = transcript.clone().map(|transcript| transcript.of_recording(audio.duration_seconds));
        let transcript = transcript.transpose()?;
        let model = embedding.model();
        let names = naming.name(&found, model)?;
        let channel = DiarizedChannel { number: None, found, names, audio };
        let diarized = Diarized::new(vec![channel], model.id().clone());
        let text = text_of(diarized, &name, args.format, transcript.as_ref())?;
        ended_by_reader(write!(out, "{text}"))
    })?;
    for (name, reason) in &unreadable {
        progress.failed(name, "unreadable", reason);
    }
    let has_failed = progress.n_failed() > 0;
    progress.finish();
    if is_stopped.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if has_failed { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

impl DiarizeArgs {
    fn transcript(&self) -> anyhow::Result<Option<Transcript>> {
        let is_one = self.files.count() == Some(1);
        let is_of_one = matches!(self.format, Some(TurnFormat::Vtt | TurnFormat::Srt));
        ensure!(is_one || !is_of_one, "VTT and SRT are of one recording; --format rttm or json of many");
        let Some(path) = &self.transcript else { return Ok(None) };
        ensure!(is_one, "a transcript is of one recording");
        ensure!(self.format != Some(TurnFormat::Rttm), "RTTM holds no transcript: --format json, vtt or srt");
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(Transcript::from_bytes(&bytes).with_context(|| path.display().to_string())?))
    }
}

/// Formats the output for a recording.
fn text_of(
    diarized: Diarized,
    name: &str,
    format: Option<TurnFormat>,
    transcript: Option<&Transcript>,
) -> anyhow::Result<String> {
    // Recognisers return an empty transcript for silence. The output then consists of the turns alone.
    let said = transcript.filter(|transcript| !transcript.is_empty());
    Ok(match (format, said) {
        (None, Some(Transcript::Cues(format, _))) => diarized.cues(*format, transcript),
        (None, Some(transcript)) => format!("{}\n", diarized.attributed(transcript)),
        (None | Some(TurnFormat::Rttm), _) => {
            let stem = Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
            diarized.rttm(&stem.unwrap_or_else(|| name.to_owned()))
        }
        (Some(TurnFormat::Json), _) => {
            let answer = diarized.answer(transcript, true);
            let answer = DiarizeAnswer { path: Some(name.to_owned()), ..answer };
            format!("{}\n", serde_json::to_string(&answer)?)
        }
        (Some(TurnFormat::Vtt), _) => diarized.cues(CueFormat::Vtt, transcript),
        (Some(TurnFormat::Srt), _) => diarized.cues(CueFormat::Srt, transcript),
    })
}
