//! The program: arguments in, one call into the library.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use voice_embedding_service::config::{
    Cli, Command, Config, Environment, LogConfig, ModelCommand, ServeArgs,
};
use voice_embedding_service::model::{self, MANIFEST, ModelSource, Origin};
use voice_embedding_service::{healthcheck, http, logging};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => Cli::serve_args_from_environment().map_or_else(|e| e.exit(), serve),
        Some(Command::Serve(args)) => serve(*args),
        Some(Command::Healthcheck(args)) => healthcheck::ask(&args.url()).map_err(Into::into),
        Some(Command::Model(command)) => on_model(command),
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
    let _logging = logging::init(&config.log)?;
    Ok(http::serve(config)?)
}

const NO_MODEL: &str = "there is no model yet; `model fetch` or the first start fetches it";

fn on_model(command: ModelCommand) -> anyhow::Result<()> {
    let config = LogConfig { environment: Environment::Development, filter: None, traces: None };
    let _logging = logging::init(&config)?;
    match command {
        ModelCommand::Path(source) => path(&source.try_into()?),
        ModelCommand::Fetch { source, output } => fetch(&source.try_into()?, output.as_deref()),
        ModelCommand::Verify(source) => verify(&source.try_into()?),
        ModelCommand::Convert { checkpoint, output } => convert(&checkpoint, &output),
    }
}

fn path(source: &ModelSource) -> anyhow::Result<()> {
    let path = source.path().context(NO_MODEL)?;
    println!("{}", path.display());
    Ok(())
}

fn fetch(source: &ModelSource, output: Option<&Path>) -> anyhow::Result<()> {
    let model = source.cached_or_fetched()?;
    if let Some(output) = output {
        std::fs::write(output, &model.onnx).with_context(|| format!("cannot write {}", output.display()))?;
        println!("{}", output.display());
        return Ok(());
    }
    match model.origin {
        Origin::Local(path) | Origin::Cache(path) | Origin::Fetched(path) => println!("{}", path.display()),
        Origin::Memory => bail!("the model was fetched, but the cache cannot be written"),
    }
    Ok(())
}

fn verify(source: &ModelSource) -> anyhow::Result<()> {
    let model = source.verify()?.context(NO_MODEL)?;
    println!("{}: {}, SHA-256 as expected", model.origin, model.fingerprint);
    Ok(())
}

fn convert(checkpoint: &Path, output: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(checkpoint).with_context(|| format!("cannot read {}", checkpoint.display()))?;
    let onnx = model::convert(&bytes, &MANIFEST)?;
    std::fs::write(output, &onnx).with_context(|| format!("cannot write {}", output.display()))?;
    let digest = model::FileDigest::of(&onnx);
    println!("{}: {} bytes, SHA-256 {}", output.display(), digest.bytes, digest.sha256);
    Ok(())
}
