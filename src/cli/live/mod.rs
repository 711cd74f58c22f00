//! `live`: reports who is speaking while a recording plays or samples arrive on standard input.

mod local;
mod print;
mod remote;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use self::print::Printer;
use self::source::AudioSource;
use super::interrupt::on_interrupt;
use super::naming::NamingArgs;
use super::speaker_count::SpeakerCountArgs;
use crate::audio::{Endian, RawFormat, SampleFormat};
use crate::live::PARTIAL_SECONDS_RANGE;

/// Output formats for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EventFormat {
    /// One line per settled turn and per name.
    Text,
    /// One JSON object per event, with `received`: the seconds of audio sent before the event.
    Jsonl,
}

/// Encodings of samples on standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SampleEncoding {
    S16le,
    S16be,
    F32le,
    Mulaw,
    Alaw,
}

/// Report who is speaking while a recording plays or samples arrive on standard input.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: arecord -q -t raw -f S16_LE -r 16000 | voice-embedding-service live --collection team -"
)]
pub(super) struct LiveArgs {
    /// Recording to play, or `-` for raw samples on standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Encoding of samples on standard input.
    #[arg(long, value_enum, default_value = "s16le")]
    encoding: SampleEncoding,
    /// Sample rate on standard input, in Hz.
    #[arg(long, default_value = "16000", value_parser = clap::value_parser!(u32).range(8_000..=48_000))]
    sample_rate: u32,
    /// Number of channels on standard input.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=2))]
    channels: u16,
    /// Playback speed of a recording, relative to real time; 0 for as fast as possible.
    #[arg(long, default_value = "1", value_parser = crate::config::not_negative)]
    speed: f64,
    /// Seconds of audio between two updates of open turns.
    #[arg(long, default_value = "1", value_parser = partial_seconds)]
    partial_seconds: f64,
    #[command(flatten)]
    speakers: SpeakerCountArgs,
    /// Output format.
    #[arg(long, value_enum, default_value = "text")]
    format: EventFormat,
    /// Address of a service that does the listening instead of this program, such as `https://voice.example.org`.
    #[arg(long)]
    url: Option<String>,
    /// API key for the service.
    #[arg(long, env, default_value = crate::config::DEFAULT_API_KEY, hide_env_values = true)]
    api_key: String,
    #[command(flatten)]
    naming: NamingArgs,
}

fn partial_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| PARTIAL_SECONDS_RANGE.contains(seconds));
    seconds.ok_or_else(|| "must be from 0.5 to 5".to_owned())
}

pub(super) fn run(args: &LiveArgs) -> anyhow::Result<ExitCode> {
    let is_stopped = on_interrupt()?;
    let count = args.speakers.count()?;
    let mut printer = Printer::new(args.format);
    // A missing file is reported before models are loaded.
    let mut source = AudioSource::open(args)?;
    match &args.url {
        Some(url) => remote::run(args, url, source, &is_stopped, &mut printer)?,
        None => local::run(args, count, &mut source, &is_stopped, &mut printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl LiveArgs {
    /// Returns the format of samples on standard input.
    fn raw(&self) -> RawFormat {
        RawFormat {
            format: match self.encoding {
                SampleEncoding::S16le => SampleFormat::S16(Endian::Little),
                SampleEncoding::S16be => SampleFormat::S16(Endian::Big),
                SampleEncoding::F32le => SampleFormat::F32(Endian::Little),
                SampleEncoding::Mulaw => SampleFormat::MuLaw,
                SampleEncoding::Alaw => SampleFormat::ALaw,
            },
            sample_rate_hz: self.sample_rate,
            channels: self.channels,
        }
    }
}

/// Returns an error if the session has ended without `final`.
fn ensure_whole(is_final: bool) -> anyhow::Result<()> {
    ensure!(is_final, "the session ended before its result came");
    Ok(())
}
