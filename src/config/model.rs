//! Configuration of the models and their sources.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::error::ConfigError;
use super::places::{cache_directory, model_directories};
use crate::model_files::{FetchPolicy, ModelSource, Remote, checked_hash};
use crate::models::{self, ModelFiles, ModelSpec, PREFERRED, campplus, resemblyzer, segmentation};

/// The download policy for networks that the service can start without.
const IMPATIENT: FetchPolicy = FetchPolicy {
    attempts: 2,
    first_delay: Duration::from_millis(500),
    max_delay: Duration::from_secs(1),
    connect_timeout: Duration::from_secs(5),
    unreachable_for: Duration::MAX,
    stall_timeout: Duration::from_secs(10),
};

/// Options for models and their sources.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// Models, separated by commas: resemblyzer, campplus. Requests that name no model use CAM++, if it is listed
    /// [default: both, CAM++ only if it can be had].
    #[arg(long, env)]
    models: Option<String>,
    /// Folder of models. It is searched before `models` in the working directory, beside the program and in the checkout
    /// where the program was built.
    #[arg(long, env)]
    models_dir: Option<PathBuf>,
    /// File of Resemblyzer's model. If set, no other place is searched [default: resemblyzer.onnx in MODELS_DIR, in
    /// `models` in the working directory, beside the program or in its checkout, then the cache, then MODEL_URL].
    #[arg(long, env)]
    model_path: Option<PathBuf>,
    /// Folder for downloaded models [default: voice-embedding-service in the platform's cache folder].
    #[arg(long, env)]
    model_cache_dir: Option<PathBuf>,
    /// Download URL of Resemblyzer's model: an .onnx file, or a copy of pretrained.pt [default: Resemblyzer's own].
    #[arg(long, env)]
    model_url: Option<String>,
    /// SHA-256 of the file at MODEL_URL or, without MODEL_URL, of MODEL_PATH.
    #[arg(long, env)]
    model_sha256: Option<String>,
    /// File of CAM++. If set, no other place is searched.
    #[arg(long, env)]
    campplus_model_path: Option<PathBuf>,
    /// Download URL of CAM++: an .onnx file, or a copy of campplus_cn_en_common.pt.
    #[arg(long, env)]
    campplus_model_url: Option<String>,
    /// SHA-256 of the file at CAMPPLUS_MODEL_URL or, without it, of CAMPPLUS_MODEL_PATH.
    #[arg(long, env)]
    campplus_model_sha256: Option<String>,
    /// File of the segmentation network. If set, no other place is searched.
    #[arg(long, env)]
    segmentation_model_path: Option<PathBuf>,
    /// Download URL of the segmentation network: an .onnx file, or a copy of its pytorch_model.bin.
    #[arg(long, env)]
    segmentation_model_url: Option<String>,
    /// SHA-256 of the file at SEGMENTATION_MODEL_URL or, without it, of SEGMENTATION_MODEL_PATH.
    #[arg(long, env)]
    segmentation_model_sha256: Option<String>,
    /// Allow downloads over http from other machines.
    #[arg(long, env, default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    model_allow_http: bool,
}

/// A speaker model and the source of its file.
#[derive(Clone, Debug)]
pub struct ConfiguredModel {
    /// The model.
    pub spec: Arc<ModelSpec>,
    /// The source of its file.
    pub source: ModelSource,
    /// Whether the service starts without the model if loading fails. This is the case if MODELS does not name it.
    pub is_optional: bool,
}

impl ModelArgs {
    /// Returns the models of `MODELS`.
    pub fn all(&self) -> Result<Vec<ConfiguredModel>, ConfigError> {
        if let Some(folder) = self.models_dir.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(ConfigError::ModelsDir(folder.clone()));
        }
        let mut configured: Vec<ConfiguredModel> = Vec::new();
        let Some(models) = &self.models else {
            let [resemblyzer, campplus] = models::all();
            let source = self.source(campplus.files.clone(), IMPATIENT)?;
            // If its path or URL is configured, the model is required.
            let is_optional = self.campplus_model_path.is_none() && self.campplus_model_url.is_none();
            let campplus = ConfiguredModel { spec: Arc::new(campplus), source, is_optional };
            return Ok(vec![self.configured(resemblyzer)?, campplus]);
        };
        for name in models.split(',').map(str::trim) {
            let spec = spec_of(name)?;
            if configured.iter().any(|other| other.spec.id == spec.id) {
                return Err(ConfigError::ModelTwice(spec.id));
            }
            configured.push(self.configured(spec)?);
        }
        Ok(configured)
    }

    /// Returns a model, by its id or fingerprint. Without a name, returns the default model.
    pub fn one(&self, name: Option<&str>) -> Result<ConfiguredModel, ConfigError> {
        if let Some(name) = name {
            return self.configured(spec_of(name)?);
        }
        let mut all = self.all()?;
        let preferred = all.iter().position(|model| model.spec.id == PREFERRED);
        Ok(all.swap_remove(preferred.unwrap_or(0)))
    }

    /// Returns the source of the segmentation network.
    pub fn segmentation(&self) -> Result<ModelSource, ConfigError> {
        self.source(segmentation::files(), IMPATIENT)
    }

    /// Returns the source of the segmentation network, or of a model given by its id or fingerprint. Without a name,
    /// returns that of the first model.
    pub fn network(&self, name: Option<&str>) -> Result<ModelSource, ConfigError> {
        let segmentation = segmentation::files();
        match name {
            Some(name) if name == segmentation.id => self.source(segmentation, FetchPolicy::default()),
            Some(name) => Ok(self.configured(spec_of(name)?)?.source),
            None => Ok(self.all()?.swap_remove(0).source),
        }
    }

    fn configured(&self, spec: ModelSpec) -> Result<ConfiguredModel, ConfigError> {
        let source = self.source(spec.files.clone(), FetchPolicy::default())?;
        Ok(ConfiguredModel { spec: Arc::new(spec), source, is_optional: false })
    }

    fn source(&self, files: ModelFiles, policy: FetchPolicy) -> Result<ModelSource, ConfigError> {
        let (path, url, sha256) = match files.id {
            campplus::ID => {
                (&self.campplus_model_path, &self.campplus_model_url, &self.campplus_model_sha256)
            }
            resemblyzer::ID => (&self.model_path, &self.model_url, &self.model_sha256),
            _ => {
                (&self.segmentation_model_path, &self.segmentation_model_url, &self.segmentation_model_sha256)
            }
        };
        let variables = files.variables;
        if sha256.is_some() && url.is_none() && path.is_none() {
            return Err(ConfigError::HashOfNothing(variables));
        }
        let of_remote = |error| ConfigError::Remote { variables, error };
        let (remote, explicit_sha256) = match url {
            None => {
                let sha256 = sha256.as_deref().map(checked_hash).transpose().map_err(of_remote)?;
                (Remote::upstream(&files), sha256)
            }
            Some(url) => {
                let remote = Remote::new(&files, url, sha256.as_deref(), self.model_allow_http);
                (remote.map_err(of_remote)?, None)
            }
        };
        Ok(ModelSource {
            files,
            explicit: path.clone(),
            explicit_sha256,
            directories: self.models_dir.iter().cloned().chain(model_directories()).collect(),
            cache: self.model_cache_dir.clone().unwrap_or_else(cache_directory),
            remote,
            policy,
        })
    }
}

/// Returns the specification of a model, by its id or fingerprint.
fn spec_of(name: &str) -> Result<ModelSpec, ConfigError> {
    let all = models::all();
    let known = all.iter().map(|spec| spec.id).collect::<Vec<_>>().join(", ");
    let mut all = all.into_iter();
    all.find(|spec| spec.is_named(name))
        .ok_or_else(|| ConfigError::UnknownModel { name: name.to_owned(), known })
}
