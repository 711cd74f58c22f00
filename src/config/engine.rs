//! The flags that say how models are run, of every command that embeds.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::encoder::EncoderName;
use super::error::ConfigError;
use super::model::{ConfiguredModel, ModelArgs};
use super::places::find_onnx_runtime;
use super::values::{MAX_WORKERS, count};
use crate::engine::EngineConfig;
use crate::model_files::ModelSource;

/// How models are run, and where they come from.
#[derive(Args, Clone, Debug)]
pub struct EngineArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// What runs the models: ONNX Runtime; the program itself, faster, in integers of 16 bits; or that where the CPU has AVX2, AVX-VNNI
    /// or AVX-512 VNNI, and ONNX Runtime elsewhere, as on ARM [default: ort for Resemblyzer, auto for CAM++].
    #[arg(long, env, value_enum)]
    encoder: Option<EncoderName>,
    /// ONNX Runtime's shared library [default: beside the program, in ../lib, or the system's].
    #[arg(long, env)]
    ort_dylib_path: Option<PathBuf>,
    /// Threads that compute [default: the cores].
    #[arg(long, env, visible_alias = "jobs", value_parser = count::<MAX_WORKERS>)]
    workers: Option<NonZeroUsize>,
}

impl EngineArgs {
    /// The models of `MODELS`.
    pub fn models(&self) -> Result<Vec<ConfiguredModel>, ConfigError> {
        self.model.all()
    }

    /// A model, by its id or fingerprint; the default one if none is named.
    pub fn model(&self, name: Option<&str>) -> Result<ConfiguredModel, ConfigError> {
        self.model.one(name)
    }

    /// The first model of `MODELS`.
    pub fn first_model(&self) -> Result<ConfiguredModel, ConfigError> {
        Ok(self.model.all()?.swap_remove(0))
    }

    /// Where the segmentation network comes from.
    pub fn segmentation(&self) -> Result<ModelSource, ConfigError> {
        self.model.segmentation()
    }

    /// How models are run.
    pub fn config(self) -> EngineConfig {
        EngineConfig {
            encoder: EncoderName::choice(self.encoder),
            onnx_runtime: self.ort_dylib_path.unwrap_or_else(find_onnx_runtime),
            workers: self.workers.unwrap_or_else(cores),
        }
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
