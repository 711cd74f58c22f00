//! `model`: locates, downloads, checks or converts a model file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::config::{Environment, LogConfig, ModelArgs};
use crate::logging;
use crate::model_files::{ModelSource, Origin};
use crate::models::{self, FileDigest, Model, ModelFiles, segmentation};

/// A model, and where it comes from.
#[derive(Args, Debug)]
pub(super) struct OneModel {
    /// Model, by id or fingerprint, or `segmentation` for the network that finds turns [default: the first of MODELS].
    model: Option<String>,
    #[command(flatten)]
    source: ModelArgs,
}

/// Operations on a model.
#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Print the path of the file that the service would use.
    Path(OneModel),
    /// Download a model into the cache unless the cache has it, and print its path.
    Fetch {
        /// The model, and where to look for it and download it.
        #[command(flatten)]
        of: OneModel,
        /// Write a copy of the model to this file.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Check the file that the service would use against its hash.
    Verify(OneModel),
    /// Convert a checkpoint to ONNX: Resemblyzer (pretrained.pt), CAM++ (campplus_cn_en_common.pt) or the segmentation
    /// network (pytorch_model.bin).
    Convert {
        /// Checkpoint file to convert.
        checkpoint: PathBuf,
        /// ONNX file to write [default: resemblyzer.onnx, campplus.onnx or segmentation.onnx in models].
        #[arg(long)]
        output: Option<PathBuf>,
    },
}

impl OneModel {
    fn source(&self) -> anyhow::Result<ModelSource> {
        Ok(self.source.network(self.model.as_deref())?.for_command())
    }
}

const NO_MODEL: &str = "there is no model yet; `model fetch` or the first start fetches it";

pub(super) fn run(command: ModelCommand) -> anyhow::Result<()> {
    let config = LogConfig { environment: Environment::Development, filter: None, traces: None };
    let _logging = logging::init(&config)?;
    match command {
        ModelCommand::Path(of) => path(&of.source()?),
        ModelCommand::Fetch { of, output } => fetch(&of.source()?, output.as_deref()),
        ModelCommand::Verify(of) => verify(&of.source()?),
        ModelCommand::Convert { checkpoint, output } => convert(&checkpoint, output),
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
    let (onnx, origin) = source.cached_or_fetched()?;
    if let Some(output) = output {
        write(output, &onnx)?;
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
    let (onnx, origin) = source.verify()?.context(NO_MODEL)?;
    let spec = models::all().into_iter().find(|spec| spec.id == source.files.id);
    let name = match spec {
        Some(spec) => Model::new(Arc::new(spec), onnx).id.fingerprint().to_owned(),
        None => source.files.id.to_owned(),
    };
    println!("{origin}: {name}, SHA-256 as expected");
    Ok(())
}

fn convert(checkpoint: &Path, output: Option<PathBuf>) -> anyhow::Result<()> {
    let bytes = std::fs::read(checkpoint).with_context(|| format!("cannot read {}", checkpoint.display()))?;
    let found = FileDigest::compute(&bytes);
    let models = models::all().into_iter().map(|spec| spec.files);
    let all: Vec<ModelFiles> = models.chain([segmentation::files()]).collect();
    let Some(files) = all.iter().find(|files| files.checkpoint == found) else {
        let expected = |files: &ModelFiles| {
            format!("{}'s has {} bytes with {}", files.id, files.checkpoint.bytes, files.checkpoint.sha256)
        };
        bail!(
            "{} is no checkpoint of a model: it has {} bytes with SHA-256 {}; {}",
            checkpoint.display(),
            found.bytes,
            found.sha256,
            all.iter().map(expected).collect::<Vec<_>>().join(", ")
        );
    };
    let onnx = (files.convert)(&bytes)?;
    let output = output.unwrap_or_else(|| Path::new("models").join(files.local));
    write(&output, &onnx)?;
    let digest = FileDigest::compute(&onnx);
    println!("{}: {} bytes, SHA-256 {}", output.display(), digest.bytes, digest.sha256);
    Ok(())
}

/// Checks that a file can be written, without changing its content.
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
