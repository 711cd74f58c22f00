//! Where the model comes from.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::error::ConfigError;
use super::places::{cache_directory, model_directories};
use crate::model_files::{FetchPolicy, ModelSource, Remote, checked_hash};
use crate::models::resemblyzer;

/// Where the model comes from.
#[allow(clippy::struct_field_names, reason = "the names are those of the variables and flags")]
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// Model file; then no other place is tried [default: models/resemblyzer.onnx in the working directory or beside
    /// the program, then the cache, then MODEL_URL].
    #[arg(long, env)]
    model_path: Option<PathBuf>,
    /// Folder that keeps fetched models [default: voice-embedding-service in the platform's cache folder].
    #[arg(long, env)]
    model_cache_dir: Option<PathBuf>,
    /// Where to fetch the model: an .onnx file, or a copy of Resemblyzer's pretrained.pt [default: Resemblyzer's own].
    #[arg(long, env)]
    model_url: Option<String>,
    /// SHA-256 of the file that MODEL_URL names or, without one, MODEL_PATH.
    #[arg(long, env)]
    model_sha256: Option<String>,
    /// Fetch over http from other machines too.
    #[arg(long, env, default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    model_allow_http: bool,
}

impl TryFrom<ModelArgs> for ModelSource {
    type Error = ConfigError;

    fn try_from(args: ModelArgs) -> Result<Self, ConfigError> {
        if args.model_sha256.is_some() && args.model_url.is_none() && args.model_path.is_none() {
            return Err(ConfigError::HashOfNothing);
        }
        let spec = Arc::new(resemblyzer::spec());
        let (remote, explicit_sha256) = match args.model_url {
            None => {
                (Remote::upstream(&spec), args.model_sha256.map(|sha256| checked_hash(&sha256)).transpose()?)
            }
            Some(url) => {
                (Remote::new(&spec, &url, args.model_sha256.as_deref(), args.model_allow_http)?, None)
            }
        };
        Ok(Self {
            spec,
            explicit: args.model_path,
            explicit_sha256,
            directories: model_directories(),
            cache: args.model_cache_dir.unwrap_or_else(cache_directory),
            remote,
            policy: FetchPolicy::default(),
        })
    }
}
