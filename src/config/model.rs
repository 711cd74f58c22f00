//! Where the models come from.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::error::ConfigError;
use super::places::{cache_directory, model_directories};
use crate::model_files::{FetchPolicy, ModelSource, Remote, checked_hash};
use crate::models::{self, ModelSpec};

/// Which models, and where they come from.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// The models, separated by commas: resemblyzer, campplus. The first is the default of requests that name none.
    #[arg(long, env, default_value = "resemblyzer")]
    models: String,
    /// Folder that holds models, looked into before `models` in the working directory and beside the program.
    #[arg(long, env)]
    models_dir: Option<PathBuf>,
    /// File of Resemblyzer's model; then no other place is tried [default: resemblyzer.onnx in MODELS_DIR, in `models` in the working
    /// directory or beside the program, then the cache, then MODEL_URL].
    #[arg(long, env)]
    model_path: Option<PathBuf>,
    /// Folder that keeps fetched models [default: voice-embedding-service in the platform's cache folder].
    #[arg(long, env)]
    model_cache_dir: Option<PathBuf>,
    /// Where to fetch Resemblyzer's model: an .onnx file, or a copy of pretrained.pt [default: Resemblyzer's own].
    #[arg(long, env)]
    model_url: Option<String>,
    /// SHA-256 of the file that MODEL_URL names or, without one, MODEL_PATH.
    #[arg(long, env)]
    model_sha256: Option<String>,
    /// File of CAM++, as MODEL_PATH is Resemblyzer's.
    #[arg(long, env)]
    campplus_model_path: Option<PathBuf>,
    /// Where to fetch CAM++: an .onnx file, or a copy of campplus_cn_en_common.pt.
    #[arg(long, env)]
    campplus_model_url: Option<String>,
    /// SHA-256 of the file that CAMPPLUS_MODEL_URL names or, without one, CAMPPLUS_MODEL_PATH.
    #[arg(long, env)]
    campplus_model_sha256: Option<String>,
    /// Fetch over http from other machines too.
    #[arg(long, env, default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    model_allow_http: bool,
}

impl ModelArgs {
    /// Where the models of `MODELS` come from, the default one first.
    pub fn sources(&self) -> Result<Vec<ModelSource>, ConfigError> {
        if let Some(folder) = self.models_dir.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(ConfigError::ModelsDir(folder.clone()));
        }
        let mut sources: Vec<ModelSource> = Vec::new();
        for name in self.models.split(',').map(str::trim) {
            let spec = spec_of(name)?;
            if sources.iter().any(|source| source.spec.id == spec.id) {
                return Err(ConfigError::ModelTwice(spec.id));
            }
            sources.push(self.source(spec)?);
        }
        Ok(sources)
    }

    /// Where a model comes from, by its id or fingerprint; the default one if none is named.
    pub fn one(&self, name: Option<&str>) -> Result<ModelSource, ConfigError> {
        match name {
            Some(name) => self.source(spec_of(name)?),
            None => Ok(self.sources()?.swap_remove(0)),
        }
    }

    fn source(&self, spec: ModelSpec) -> Result<ModelSource, ConfigError> {
        let (path, url, sha256) = match spec.variables {
            models::campplus::VARIABLES => {
                (&self.campplus_model_path, &self.campplus_model_url, &self.campplus_model_sha256)
            }
            _ => (&self.model_path, &self.model_url, &self.model_sha256),
        };
        let variables = spec.variables;
        if sha256.is_some() && url.is_none() && path.is_none() {
            return Err(ConfigError::HashOfNothing(variables));
        }
        let of_remote = |error| ConfigError::Remote { variables, error };
        let (remote, explicit_sha256) = match url {
            None => {
                let sha256 = sha256.as_deref().map(checked_hash).transpose().map_err(of_remote)?;
                (Remote::upstream(&spec), sha256)
            }
            Some(url) => {
                let remote = Remote::new(&spec, url, sha256.as_deref(), self.model_allow_http);
                (remote.map_err(of_remote)?, None)
            }
        };
        Ok(ModelSource {
            spec: Arc::new(spec),
            explicit: path.clone(),
            explicit_sha256,
            directories: self.models_dir.iter().cloned().chain(model_directories()).collect(),
            cache: self.model_cache_dir.clone().unwrap_or_else(cache_directory),
            remote,
            policy: FetchPolicy::default(),
        })
    }
}

/// What is known of a model, by its id or fingerprint.
fn spec_of(name: &str) -> Result<ModelSpec, ConfigError> {
    let all = models::all();
    let known = all.iter().map(|spec| spec.id).collect::<Vec<_>>().join(", ");
    let mut all = all.into_iter();
    all.find(|spec| spec.is_named(name))
        .ok_or_else(|| ConfigError::UnknownModel { name: name.to_owned(), known })
}
