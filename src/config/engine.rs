//! Engine options, shared by all commands that embed.

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

/// Options for running models, and for their sources.
#[derive(Args, Clone, Debug)]
pub struct EngineArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Encoder that runs the models. `ort` is ONNX Runtime. `native` is the program's own encoder, which is faster and
    /// computes in 16-bit integers. `auto` selects `native` on CPUs with AVX2, AVX-VNNI or AVX-512 VNNI, and `ort`
    /// elsewhere, as on ARM [default: ort for Resemblyzer, auto for CAM++].
    #[arg(long, env, value_enum)]
    encoder: Option<EncoderName>,
    /// Shared library of ONNX Runtime [default: beside the program, in ../lib, or the system's].
    #[arg(long, env)]
    ort_dylib_path: Option<PathBuf>,
    /// Number of threads that compute [default: the cores].
    #[arg(long, env, visible_alias = "jobs", value_parser = count::<MAX_WORKERS>)]
    workers: Option<NonZeroUsize>,
}

impl EngineArgs {
    /// Returns the models of `MODELS`.
    pub fn models(&self) -> Result<Vec<ConfiguredModel>, ConfigError> {
        self.model.all()
    }

    /// Returns a model, by its id or fingerprint. Without a name, returns the default model.
    pub fn model(&self, name: Option<&str>) -> Result<ConfiguredModel, ConfigError> {
        self.model.one(name)
    }

    /// Returns the first model of `MODELS`.
    pub fn first_model(&self) -> Result<ConfiguredModel, ConfigError> {
        Ok(self.model.all()?.swap_remove(0))
    }

    /// Returns the source of the segmentation network.
    pub fn segmentation(&self) -> Result<ModelSource, ConfigError> {
        self.model.segmentation()
    }

    /// Returns how models are run.
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
