//! The program: arguments in, one call into the library.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use voice_embedding_service::config::{Cli, Command, Config, ModelCommand, ServeArgs};
use voice_embedding_service::model::{self, MANIFEST};
use voice_embedding_service::{http, logging};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => Cli::serve_args_from_environment().map_or_else(|e| e.exit(), serve),
        Some(Command::Serve(args)) => serve(*args),
        Some(Command::Model(ModelCommand::Convert { checkpoint, output })) => convert(&checkpoint, &output),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::try_from(args)?;
    logging::init(&config.log).context("RUST_LOG")?;
    Ok(http::serve(config)?)
}

fn convert(checkpoint: &Path, output: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(checkpoint).with_context(|| format!("cannot read {}", checkpoint.display()))?;
    let onnx = model::convert(&bytes, &MANIFEST)?;
    std::fs::write(output, &onnx).with_context(|| format!("cannot write {}", output.display()))?;
    let digest = model::FileDigest::of(&onnx);
    println!("{}: {} bytes, SHA-256 {}", output.display(), digest.bytes, digest.sha256);
    Ok(())
}
