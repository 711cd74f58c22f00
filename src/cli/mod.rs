//! The command line, with one file per command.

mod arguments;
mod calibrate;
mod decision;
mod diarize;
mod embed;
mod embedder;
mod files;
mod healthcheck;
mod identify;
mod interrupt;
mod key;
mod live;
mod manual;
mod model;
mod naming;
mod outcome;
mod output;
mod progress;
mod score;
mod segments;
mod serve;
mod similarities;
mod speaker_count;
mod speakers;
mod store;
mod table;
mod verify;
mod voices;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{HealthcheckArgs, ServeArgs};
use calibrate::CalibrateArgs;
use diarize::DiarizeArgs;
use embed::EmbedArgs;
use identify::IdentifyArgs;
use key::KeyCommand;
use live::LiveArgs;
use model::ModelCommand;
use outcome::COULD_NOT_TELL;
use score::ScoreArgs;
use similarities::SimilaritiesArgs;
use speakers::SpeakersCommand;
use verify::VerifyArgs;

/// Speaker embeddings over HTTP and from the command line, with Resemblyzer's model or CAM++.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API (the default).
    Serve(Box<ServeArgs>),
    Embed(Box<EmbedArgs>),
    Verify(Box<VerifyArgs>),
    Similarities(Box<SimilaritiesArgs>),
    Identify(Box<IdentifyArgs>),
    Diarize(Box<DiarizeArgs>),
    Live(Box<LiveArgs>),
    Score(Box<ScoreArgs>),
    Calibrate(Box<CalibrateArgs>),
    /// List, show, enrol or delete speakers, in the same store as a running service.
    #[command(
        subcommand,
        after_help = "Example: voice-embedding-service speakers enrol anna anna-1.wav anna-2.wav"
    )]
    Speakers(SpeakersCommand),
    /// Ask a running service whether it is ready; for containers.
    Healthcheck(HealthcheckArgs),
    /// Create or list keys.
    #[command(
        subcommand,
        after_help = "Example: voice-embedding-service key new ios --rights embed,verify >> keys.toml"
    )]
    Key(KeyCommand),
    /// Locate, download, check or convert a model file.
    #[command(
        subcommand,
        after_help = "Example: voice-embedding-service model fetch --output resemblyzer.onnx"
    )]
    Model(Box<ModelCommand>),
    /// Generate shell completions.
    #[command(
        after_help = "Example: voice-embedding-service completions bash > /etc/bash_completion.d/voice-embedding-service"
    )]
    Completions {
        /// Shell to generate completions for.
        shell: Shell,
    },
    /// Print the manual page.
    #[command(after_help = "Example: voice-embedding-service man | man -l -")]
    Man,
}

fn succeeded<E: Into<anyhow::Error>>(outcome: Result<(), E>) -> anyhow::Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS).map_err(Into::into)
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli: Cli = match arguments::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let computes = matches!(
        cli.command,
        Command::Embed(_)
            | Command::Verify(_)
            | Command::Similarities(_)
            | Command::Identify(_)
            | Command::Diarize(_)
            | Command::Live(_)
            | Command::Score(_)
            | Command::Calibrate(_)
    );
    let ended = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Embed(args) => embed::run(&args),
        Command::Verify(args) => verify::run(*args),
        Command::Similarities(args) => similarities::run(*args),
        Command::Identify(args) => identify::run(*args),
        Command::Diarize(args) => diarize::run(&args),
        Command::Live(args) => live::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Calibrate(args) => calibrate::run(*args),
        Command::Speakers(command) => succeeded(speakers::run(command)),
        Command::Healthcheck(args) => succeeded(healthcheck::ask(&args.urls())),
        Command::Key(command) => succeeded(key::run(command)),
        Command::Model(command) => succeeded(model::run(*command)),
        Command::Completions { shell } => succeeded(manual::completions(&mut Cli::command(), shell)),
        Command::Man => succeeded(manual::man(Cli::command())),
    };
    match ended {
        Ok(status) => status,
        Err(error) => {
            outcome::say(&format!("error: {error:#}"));
            if computes { ExitCode::from(COULD_NOT_TELL) } else { ExitCode::FAILURE }
        }
    }
}
