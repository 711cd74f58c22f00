//! The command line: a command a file.

mod arguments;
mod healthcheck;
mod key;
mod model;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{HealthcheckArgs, ServeArgs};
use key::KeyCommand;
use model::ModelCommand;

/// Speaker embeddings over HTTP, exactly Resemblyzer's.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API (the default).
    Serve(Box<ServeArgs>),
    /// Ask a running service whether it takes work; for containers.
    Healthcheck(HealthcheckArgs),
    /// Make or list keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Find, fetch, check or make the model file.
    #[command(subcommand)]
    Model(ModelCommand),
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
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Healthcheck(args) => succeeded(healthcheck::ask(&args.url())),
        Command::Key(command) => succeeded(key::run(command)),
        Command::Model(command) => succeeded(model::run(command)),
    };
    match outcome {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
