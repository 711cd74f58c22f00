//! `model`: find, fetch, check or make the model file.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::config::{Environment, LogConfig, ModelArgs};
use crate::logging;
use crate::model_files::{ModelSource, Origin};
use crate::models::{FileDigest, resemblyzer};

/// What can be done with the model.
#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Print the file that would be served.
    Path(ModelArgs),
    /// Fetch the model into the cache, unless it is there, and print where it is.
    Fetch {
        /// Where to look and where to fetch.
        #[command(flatten)]
        source: ModelArgs,
        /// Write a copy of it there.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Check the file that would be served against its hash.
    Verify(ModelArgs),
    /// Convert Resemblyzer's checkpoint (pretrained.pt) to ONNX.
    Convert {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// Where to write the ONNX file.
        #[arg(long, default_value = "models/resemblyzer.onnx")]
        output: PathBuf,
    },
}

const NO_MODEL: &str = "there is no model yet; `model fetch` or the first start fetches it";

pub(super) fn run(command: ModelCommand) -> anyhow::Result<()> {
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
    source.check()?;
    let path = source.path().context(NO_MODEL)?;
    println!("{}", path.display());
    Ok(())
}

fn fetch(source: &ModelSource, output: Option<&Path>) -> anyhow::Result<()> {
    if let Some(output) = output {
        check_writable(output)?;
    }
    let (model, origin) = source.cached_or_fetched()?;
    if let Some(output) = output {
        write(output, &model.onnx)?;
        println!("{}", output.display());
        return Ok(());
    }
    match origin {
        Origin::Local(path) | Origin::Cache(path) | Origin::Fetched(path) => println!("{}", path.display()),
        Origin::Memory => bail!("the model was fetched, but the cache cannot be written"),
    }
    Ok(())
}

fn verify(source: &ModelSource) -> anyhow::Result<()> {
    let (model, origin) = source.verify()?.context(NO_MODEL)?;
    println!("{origin}: {}, SHA-256 as expected", model.id.fingerprint());
    Ok(())
}

fn convert(checkpoint: &Path, output: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(checkpoint).with_context(|| format!("cannot read {}", checkpoint.display()))?;
    let onnx = resemblyzer::convert(&bytes)?;
    write(output, &onnx)?;
    let digest = FileDigest::of(&onnx);
    println!("{}: {} bytes, SHA-256 {}", output.display(), digest.bytes, digest.sha256);
    Ok(())
}

/// Checks that a file can be written, without changing it.
fn check_writable(output: &Path) -> anyhow::Result<()> {
    let is_new = output.symlink_metadata().is_err();
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(output);
    opened.with_context(|| format!("cannot write {}", output.display()))?;
    if is_new {
        std::fs::remove_file(output)?;
    }
    Ok(())
}

fn write(output: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(output, bytes).with_context(|| format!("cannot write {}", output.display()))
}
