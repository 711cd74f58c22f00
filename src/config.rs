//! Command line and environment; the only file that reads the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use etcetera::BaseStrategy;

use crate::hparams::SAME_SPEAKER_THRESHOLD;
use crate::model::{FetchPolicy, LOCAL_MODEL, ModelSource, Remote, RemoteError, checked_hash};
use crate::pipeline::PipelineLimits;

/// The key that works out of the box, on loopback only.
pub const DEFAULT_API_KEY: &str = "dev-key-change-me";

/// Jobs that are received, wait or are in work, for each worker, unless `QUEUE_CAPACITY` says otherwise. A worker embeds about 25
/// clips of 15 seconds a second, so a full queue empties in little over a second.
const QUEUE_CAPACITY_PER_WORKER: usize = 32;

/// Speaker embeddings over HTTP, exactly Resemblyzer's.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do; `serve` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the HTTP API (the default).
    Serve(Box<ServeArgs>),
    /// Find, fetch, check or make the model file.
    #[command(subcommand)]
    Model(ModelCommand),
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
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
        #[arg(long, default_value = LOCAL_MODEL)]
        output: PathBuf,
    },
}

/// Readable logs or machine-readable ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// JSON logs at level `info`.
    Production,
    /// Readable logs at level `debug`.
    Development,
}

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

/// Flags of `serve`, each also an environment variable.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Key that clients must send, or several separated by commas.
    #[arg(long, env, hide_env_values = true, default_value = DEFAULT_API_KEY)]
    api_key: String,
    /// Address to listen on [default: 0.0.0.0 once API_KEY is set, else 127.0.0.1].
    #[arg(long, env)]
    host: Option<String>,
    /// Port to listen on; 0 takes any that is free.
    #[arg(long, env, default_value_t = 8000)]
    port: u16,
    /// `development` for readable logs at level debug.
    #[arg(long, env, value_enum, default_value_t = Environment::Production)]
    env: Environment,
    /// What to log, e.g. `debug` or `voice_embedding_service=debug,tower_http=info`.
    #[arg(long, env = "RUST_LOG", value_name = "RUST_LOG")]
    log: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// ONNX Runtime's shared library [default: beside the program, in ../lib, or the system's].
    #[arg(long, env)]
    ort_dylib_path: Option<PathBuf>,
    /// Largest request body, in bytes.
    #[arg(long, env, default_value = "33554432")]
    max_body_bytes: NonZeroUsize,
    /// Longest recording, in seconds.
    #[arg(long, env, default_value = "600", value_parser = positive)]
    max_audio_seconds: f64,
    /// Least speech in a recording, in seconds; 0 accepts any, with a warning below 1.6.
    #[arg(long, env, default_value = "0", value_parser = not_negative)]
    min_speech_seconds: f64,
    /// Similarity above which two embeddings are the same speaker, unless the request says.
    #[arg(long, env, default_value_t = SAME_SPEAKER_THRESHOLD, value_parser = cosine)]
    same_speaker_threshold: f64,
    /// Time from a request's head to its answer, in seconds.
    #[arg(long, env, default_value = "30", value_parser = timeout)]
    request_timeout_seconds: f64,
    /// Recordings that may be received, wait or be in work at once [default: 32 for each worker].
    #[arg(long, env)]
    queue_capacity: Option<NonZeroUsize>,
    /// Threads that compute [default: the cores].
    #[arg(long, env)]
    workers: Option<NonZeroUsize>,
}

/// Everything the service needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Keys that clients may send; not empty, none of them empty.
    pub api_keys: Vec<String>,
    /// Where to listen: the addresses of one host name.
    pub listen: Vec<SocketAddr>,
    /// How to log.
    pub log: LogConfig,
    /// Where the model comes from.
    pub model: ModelSource,
    /// ONNX Runtime's library: a path, or a bare name for the system's loader.
    pub onnx_runtime: PathBuf,
    /// Limits on audio.
    pub pipeline: PipelineLimits,
    /// Limits and defaults of the HTTP side.
    pub http: HttpConfig,
    /// Jobs that may be received, wait or be in work at once.
    pub queue_capacity: NonZeroUsize,
    /// Threads that compute.
    pub workers: NonZeroUsize,
}

/// Limits and defaults of the HTTP side.
#[derive(Clone, Copy, Debug)]
pub struct HttpConfig {
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Threshold of comparisons that name none.
    pub same_speaker_threshold: f64,
    /// Time from a request's head to its answer.
    pub request_timeout: Duration,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Readable or JSON.
    pub environment: Environment,
    /// What to log, if it was said.
    pub filter: Option<String>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key is empty: it would let in anybody who sends an empty one.
    #[error("API_KEY holds an empty key")]
    EmptyApiKey,
    /// The well-known default key would be open to the network.
    #[error("API_KEY is still {DEFAULT_API_KEY}: set a key of your own to listen on HOST={0}")]
    DefaultKeyExposed(String),
    /// `MODEL_URL` or `MODEL_SHA256` cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A hash, and no file that it could be of.
    #[error("MODEL_SHA256 is set, but neither MODEL_URL nor MODEL_PATH")]
    HashOfNothing,
    /// HOST is no address or name.
    #[error("HOST={host} cannot be resolved: {reason}")]
    Host {
        /// What was given.
        host: String,
        /// What the system said.
        reason: std::io::Error,
    },
}

impl TryFrom<ServeArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: ServeArgs) -> Result<Self, ConfigError> {
        let api_keys: Vec<String> = args.api_key.split(',').map(|key| key.trim().to_owned()).collect();
        if api_keys.iter().any(String::is_empty) {
            return Err(ConfigError::EmptyApiKey);
        }
        let workers = args.workers.unwrap_or_else(cores);
        let queue_capacity = args.queue_capacity.unwrap_or_else(|| {
            workers.saturating_mul(const { NonZeroUsize::new(QUEUE_CAPACITY_PER_WORKER).unwrap() })
        });
        Ok(Self {
            listen: listen_addresses(args.host, args.port, &api_keys)?,
            api_keys,
            log: LogConfig { environment: args.env, filter: args.log },
            model: args.model.try_into()?,
            onnx_runtime: args
                .ort_dylib_path
                .filter(|path| !path.as_os_str().is_empty())
                .unwrap_or_else(find_onnx_runtime),
            pipeline: PipelineLimits {
                max_audio_seconds: args.max_audio_seconds,
                min_speech_seconds: args.min_speech_seconds,
            },
            http: HttpConfig {
                max_body_bytes: args.max_body_bytes.get(),
                same_speaker_threshold: args.same_speaker_threshold,
                request_timeout: Duration::from_secs_f64(args.request_timeout_seconds),
            },
            queue_capacity,
            workers,
        })
    }
}

impl TryFrom<ModelArgs> for ModelSource {
    type Error = ConfigError;

    fn try_from(args: ModelArgs) -> Result<Self, ConfigError> {
        if args.model_sha256.is_some() && args.model_url.is_none() && args.model_path.is_none() {
            return Err(ConfigError::HashOfNothing);
        }
        let (remote, explicit_sha256) = match args.model_url {
            None => (Remote::upstream(), args.model_sha256.map(|sha256| checked_hash(&sha256)).transpose()?),
            Some(url) => (Remote::new(&url, args.model_sha256.as_deref(), args.model_allow_http)?, None),
        };
        Ok(Self {
            explicit: args.model_path,
            explicit_sha256,
            directories: [std::env::current_dir().ok(), program_directory()].into_iter().flatten().collect(),
            cache: args.model_cache_dir.unwrap_or_else(cache_directory),
            remote,
            policy: FetchPolicy::default(),
        })
    }
}

impl Config {
    /// Whether the key is still the one that everybody knows.
    pub fn has_default_api_key(&self) -> bool {
        self.api_keys.iter().any(|key| key == DEFAULT_API_KEY)
    }
}

impl Cli {
    /// The arguments of `serve` when no subcommand is named: the environment and the defaults.
    pub fn serve_args_from_environment() -> Result<ServeArgs, clap::Error> {
        match Self::try_parse_from([env!("CARGO_PKG_NAME"), "serve"])?.command {
            Some(Command::Serve(args)) => Ok(*args),
            _ => unreachable!("the subcommand is spelt out above"),
        }
    }
}

/// Resolves the host; without a key of one's own, only loopback.
fn listen_addresses(
    host: Option<String>,
    port: u16,
    api_keys: &[String],
) -> Result<Vec<SocketAddr>, ConfigError> {
    let has_own_key = !api_keys.iter().any(|key| key == DEFAULT_API_KEY);
    let Some(host) = host else {
        let address = if has_own_key { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        return Ok(vec![SocketAddr::from((address, port))]);
    };
    let resolved = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::from((address, port))],
        Err(_) => (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|reason| ConfigError::Host { host: host.clone(), reason })?
            .collect(),
    };
    if resolved.is_empty() {
        return Err(ConfigError::Host { host, reason: std::io::ErrorKind::NotFound.into() });
    }
    if !has_own_key && !resolved.iter().all(|address| address.ip().is_loopback()) {
        return Err(ConfigError::DefaultKeyExposed(host));
    }
    Ok(resolved)
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn program_directory() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

/// The platform's folder for caches or, where there is none (no home, as in some containers), that for temporary files.
fn cache_directory() -> PathBuf {
    let platform = etcetera::base_strategy::choose_native_strategy();
    platform.map_or_else(|_| std::env::temp_dir(), |folders| folders.cache_dir()).join(env!("CARGO_PKG_NAME"))
}

/// ONNX Runtime's library beside the program, or in `../lib` as packages are laid out, or by name for the loader.
fn find_onnx_runtime() -> PathBuf {
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let beside = program_directory().into_iter().flat_map(|d| [d.clone(), d.join("../lib")]);
    beside.map(|directory| directory.join(&name)).find(|path| path.is_file()).unwrap_or_else(|| name.into())
}

fn positive(text: &str) -> Result<f64, String> {
    bounded(text, |value| value > 0.0, "must be above 0")
}

fn not_negative(text: &str) -> Result<f64, String> {
    bounded(text, |value| value >= 0.0, "must not be negative")
}

fn cosine(text: &str) -> Result<f64, String> {
    bounded(text, |value| (-1.0..=1.0).contains(&value), "must be from -1 to 1")
}

fn timeout(text: &str) -> Result<f64, String> {
    bounded(text, |value| value > 0.0 && value <= 86_400.0, "must be above 0 and at most 86400")
}

fn bounded(text: &str, accept: impl Fn(f64) -> bool, rule: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if value.is_finite() && accept(value) { Ok(value) } else { Err(rule.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Config, String> {
        let cli = Cli::try_parse_from([&["program", "serve"], flags].concat()).map_err(|e| e.to_string())?;
        let Some(Command::Serve(args)) = cli.command else { panic!("not serve") };
        Config::try_from(*args).map_err(|e| e.to_string())
    }

    #[test]
    fn the_default_key_stays_on_loopback() {
        let cases = [
            (&[][..], Ok("127.0.0.1:8000")),
            (&["--host", "localhost", "--port", "9"], Ok("127.0.0.1:9")),
            (&["--host", "[::1]"], Ok("[::1]:8000")),
            (&["--host", "0.0.0.0"], Err("API_KEY is still")),
            (&["--host", "0.0.0.0", "--api-key", "a,dev-key-change-me"], Err("API_KEY is still")),
            (&["--api-key", "secret"], Ok("0.0.0.0:8000")),
            (&["--api-key", "secret", "--host", "::"], Ok("[::]:8000")),
            (&["--api-key", "secret", "--host", "no such host"], Err("HOST=no such host")),
        ];
        for (flags, expected) in cases {
            match (parse(flags), expected) {
                (Ok(config), Ok(address)) => {
                    assert!(
                        config.listen.iter().any(|a| a.to_string() == address),
                        "{flags:?}: {:?}",
                        config.listen
                    );
                }
                (Err(error), Err(start)) => assert!(error.contains(start), "{flags:?}: {error}"),
                (actual, _) => panic!("{flags:?}: {actual:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        let cases = [
            ("--port", "99999", "PORT"),
            ("--env", "staging", "ENV"),
            ("--max-body-bytes", "0", "MAX_BODY_BYTES"),
            ("--max-audio-seconds", "inf", "MAX_AUDIO_SECONDS"),
            ("--max-audio-seconds", "0", "MAX_AUDIO_SECONDS"),
            ("--min-speech-seconds", "-1", "MIN_SPEECH_SECONDS"),
            ("--same-speaker-threshold", "75", "SAME_SPEAKER_THRESHOLD"),
            ("--request-timeout-seconds", "soon", "REQUEST_TIMEOUT_SECONDS"),
            ("--request-timeout-seconds", "1e300", "REQUEST_TIMEOUT_SECONDS"),
            ("--queue-capacity", "0", "QUEUE_CAPACITY"),
            ("--workers", "two", "WORKERS"),
            ("--model-url", "https://example.org/model.onnx", "MODEL_SHA256"),
            ("--model-url", "model.onnx", "MODEL_URL"),
            ("--model-sha256", "39373b86", "MODEL_SHA256"),
            ("--model-path=m.onnx --model-sha256", "39373b86", "MODEL_SHA256"),
            ("--model-allow-http", "perhaps", "MODEL_ALLOW_HTTP"),
            ("--api-key", "a,,b", "API_KEY"),
            ("--api-key", "", "API_KEY"),
        ];
        for (flag, value, variable) in cases {
            let flags = format!("{flag}={value}");
            let error = parse(&flags.split(' ').collect::<Vec<_>>()).expect_err(&flags);
            assert!(error.contains(variable), "{flag}={value}: {error}");
        }
    }
}
