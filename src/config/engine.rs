//! The flags that say how models are run, of every command that embeds.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::encoder::EncoderName;
use super::error::ConfigError;
use super::model::ModelArgs;
use super::places::find_onnx_runtime;
use super::values::{MAX_WORKERS, count};
use crate::engine::EngineConfig;
use crate::model_files::ModelSource;

/// How models are run, and where they come from.
#[derive(Args, Clone, Debug)]
pub struct EngineArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// What runs Resemblyzer's encoder: ONNX Runtime; the program itself, twice as fast, in integers of 16 bits; or that where the CPU
    /// has AVX2, AVX-VNNI or AVX-512 VNNI, and ONNX Runtime elsewhere. ONNX Runtime runs other models.
    #[arg(long, env, value_enum, default_value_t = EncoderName::Ort)]
    encoder: EncoderName,
    /// ONNX Runtime's shared library [default: beside the program, in ../lib, or the system's].
    #[arg(long, env)]
    ort_dylib_path: Option<PathBuf>,
    /// Threads that compute [default: the cores].
    #[arg(long, env, visible_alias = "jobs", value_parser = count::<MAX_WORKERS>)]
    workers: Option<NonZeroUsize>,
}

impl EngineArgs {
    /// What is run, and where the models of `MODELS` come from.
    pub fn checked(self) -> Result<(EngineConfig, Vec<ModelSource>), ConfigError> {
        let sources = self.model.sources()?;
        Ok((self.config(&sources), sources))
    }

    /// What is run, and where the only model comes from: the one of an id or fingerprint, or the default.
    pub fn checked_one(self, name: Option<&str>) -> Result<(EngineConfig, ModelSource), ConfigError> {
        let source = self.model.one(name)?;
        Ok((self.config(std::slice::from_ref(&source)), source))
    }

    fn config(self, sources: &[ModelSource]) -> EngineConfig {
        EngineConfig {
            models: sources.iter().map(|source| Arc::clone(&source.spec)).collect(),
            encoder: self.encoder.into(),
            onnx_runtime: self.ort_dylib_path.unwrap_or_else(find_onnx_runtime),
            workers: self.workers.unwrap_or_else(cores),
        }
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
