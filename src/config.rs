//! Command line and environment; the only file that reads the environment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use etcetera::BaseStrategy;

use crate::encoder::MAX_BATCH;
use crate::encoder::queue::QueueLimits;
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
    /// Ask a running service whether it takes work; for containers.
    Healthcheck(HealthcheckArgs),
    /// Find, fetch, check or make the model file.
    #[command(subcommand)]
    Model(ModelCommand),
}

/// Where the service to ask is.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckArgs {
    /// Address that the service listens on [default: 127.0.0.1].
    #[arg(long, env)]
    host: Option<String>,
    /// Port that it listens on.
    #[arg(long, env, default_value_t = 8000)]
    port: u16,
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

/// What runs the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EncoderChoice {
    /// ONNX Runtime.
    Ort,
    /// Our own kernels, in integers of 16 bits.
    Native,
    /// Our own kernels where the CPU has instructions that they are fast with, else ONNX Runtime.
    Auto,
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
    /// Key that clients must send, or several separated by commas, each with a name for logs if it has one (`ios:abc,web:def`)
    /// [default: dev-key-change-me].
    #[arg(long, env, hide_env_values = true)]
    api_key: Option<String>,
    /// File that holds the keys instead, separated by commas or line breaks.
    #[arg(long, env)]
    api_key_file: Option<PathBuf>,
    /// Requests that each key may make in a minute; 0 for any number.
    #[arg(long, env, default_value = "0")]
    rate_limit_per_minute: u32,
    /// Origins of pages that may ask from a browser, separated by commas, or `*` [default: none].
    #[arg(long, env)]
    cors_origins: Option<String>,
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
    /// What runs the encoder: ONNX Runtime; the program itself, twice as fast, in integers of 16 bits; or that where the CPU has
    /// AVX2, AVX-VNNI or AVX-512 VNNI, and ONNX Runtime elsewhere.
    #[arg(long, env, value_enum, default_value_t = EncoderChoice::Ort)]
    encoder: EncoderChoice,
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
    /// Recordings that may wait or be in work at once [default: 32 for each worker].
    #[arg(long, env)]
    queue_capacity: Option<NonZeroUsize>,
    /// Windows of 1.6 seconds that a worker encodes at once, at the most.
    #[arg(long, env, default_value_t = MAX_BATCH)]
    max_batch: NonZeroUsize,
    /// Connections at once; more are closed.
    #[arg(long, env, default_value = "4096")]
    max_connections: NonZeroUsize,
    /// Time to finish what is in hand when asked to stop, in seconds.
    #[arg(long, env, default_value = "25", value_parser = timeout)]
    shutdown_grace_seconds: f64,
    /// OpenTelemetry collector that traces are sent to, e.g. http://localhost:4318 [default: none].
    #[arg(long, env)]
    otel_exporter_otlp_endpoint: Option<String>,
    /// Name of the service in traces.
    #[arg(long, env, default_value = env!("CARGO_PKG_NAME"))]
    otel_service_name: String,
    /// Threads that compute [default: the cores].
    #[arg(long, env)]
    workers: Option<NonZeroUsize>,
}

/// Everything the service needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Keys that clients may send; at least one.
    pub api_keys: Vec<NamedKey>,
    /// Requests that each key may make in a minute, if they are limited.
    pub rate_limit_per_minute: Option<NonZeroU32>,
    /// Pages that may ask from a browser.
    pub cors_origins: CorsOrigins,
    /// Where to listen: the addresses of one host name.
    pub listen: Vec<SocketAddr>,
    /// How to log.
    pub log: LogConfig,
    /// Where the model comes from.
    pub model: ModelSource,
    /// What runs the encoder.
    pub encoder: EncoderChoice,
    /// ONNX Runtime's library: a path, or a bare name for the system's loader.
    pub onnx_runtime: PathBuf,
    /// Limits on audio.
    pub pipeline: PipelineLimits,
    /// Limits and defaults of the HTTP side.
    pub http: HttpConfig,
    /// How much is computed at once.
    pub queue: QueueLimits,
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
    /// Time to finish what is in hand when asked to stop.
    pub shutdown_grace: Duration,
    /// Connections at once.
    pub max_connections: NonZeroUsize,
}

/// A key, and what logs call its holder.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// `default` unless it was given.
    pub name: String,
    /// The secret.
    pub key: String,
}

/// Whose pages may ask from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Nobody's but ours.
    None,
    /// Anybody's.
    Any,
    /// Those.
    List(Vec<String>),
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Readable or JSON.
    pub environment: Environment,
    /// What to log, if it was said.
    pub filter: Option<String>,
    /// Where traces go, if anywhere.
    pub traces: Option<TraceExport>,
}

/// Where traces go.
#[derive(Clone, Debug)]
pub struct TraceExport {
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP).
    pub endpoint: String,
    /// What the service is called there.
    pub service_name: String,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key is empty: it would let in anybody who sends an empty one.
    #[error("{0} holds an empty key")]
    EmptyApiKey(&'static str),
    /// Two places to take the keys from.
    #[error("API_KEY and API_KEY_FILE are both set")]
    TwoApiKeys,
    /// The file with the keys cannot be read.
    #[error("API_KEY_FILE={path} cannot be read: {reason}", path = path.display())]
    ApiKeyFile {
        /// What was given.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// No origin of web pages.
    #[error("CORS_ORIGINS holds {0:?}, which is no origin such as https://example.org")]
    CorsOrigin(String),
    /// No address of a collector.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is no URL: {0}")]
    OtlpEndpoint(url::ParseError),
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
        let api_keys = api_keys(args.api_key, args.api_key_file)?;
        let workers = args.workers.unwrap_or_else(cores);
        let queue_capacity = args.queue_capacity.unwrap_or_else(|| {
            workers.saturating_mul(const { NonZeroUsize::new(QUEUE_CAPACITY_PER_WORKER).unwrap() })
        });
        Ok(Self {
            listen: listen_addresses(args.host, args.port, &api_keys)?,
            api_keys,
            rate_limit_per_minute: NonZeroU32::new(args.rate_limit_per_minute),
            cors_origins: args.cors_origins.as_deref().map_or(Ok(CorsOrigins::None), cors_origins)?,
            log: LogConfig {
                environment: args.env,
                filter: args.log,
                traces: trace_export(args.otel_exporter_otlp_endpoint, args.otel_service_name)?,
            },
            model: args.model.try_into()?,
            encoder: args.encoder,
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
                shutdown_grace: Duration::from_secs_f64(args.shutdown_grace_seconds),
                max_connections: args.max_connections,
            },
            queue: QueueLimits { capacity: queue_capacity, max_batch: args.max_batch },
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
        has_default_key(&self.api_keys)
    }
}

impl HealthcheckArgs {
    /// The URL that says whether the service takes work. One that listens on every address is asked on loopback.
    pub fn url(&self) -> String {
        let host = self.host.as_deref().unwrap_or_default().trim_matches(['[', ']']);
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) if !address.is_unspecified() => format!("[{address}]"),
            Ok(address) if !address.is_unspecified() => address.to_string(),
            Err(_) if !host.is_empty() => host.to_owned(),
            _ => Ipv4Addr::LOCALHOST.to_string(),
        };
        format!("http://{host}:{}/ready", self.port)
    }
}

/// Shows the name alone.
impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedKey").field("name", &self.name).finish_non_exhaustive()
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

/// The keys from the variable or the file; the well-known one if there is neither.
fn api_keys(variable: Option<String>, file: Option<PathBuf>) -> Result<Vec<NamedKey>, ConfigError> {
    // Compose files pass variables on that are not set.
    let file = file.filter(|path| !path.as_os_str().is_empty());
    let (name, text) = match (variable, file) {
        (Some(variable), Some(_)) if !variable.is_empty() => return Err(ConfigError::TwoApiKeys),
        (variable, None) => ("API_KEY", variable.unwrap_or_else(|| DEFAULT_API_KEY.to_owned())),
        (_, Some(path)) => match std::fs::read_to_string(&path) {
            Ok(text) => ("API_KEY_FILE", text.trim().to_owned()),
            Err(reason) => return Err(ConfigError::ApiKeyFile { path, reason }),
        },
    };
    let keys: Vec<NamedKey> = text.split([',', '\n']).map(named_key).collect();
    if keys.iter().any(|key| key.key.is_empty()) {
        return Err(ConfigError::EmptyApiKey(name));
    }
    Ok(keys)
}

/// `NAME:KEY` or `KEY`; a name is made of letters, digits, `-`, `_` and `.`.
fn named_key(text: &str) -> NamedKey {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let text = text.trim();
    let (name, key) = match text.split_once(':') {
        Some((name, key)) if is_name(name) => (name, key),
        _ => ("default", text),
    };
    NamedKey { name: name.to_owned(), key: key.to_owned() }
}

fn has_default_key(keys: &[NamedKey]) -> bool {
    keys.iter().any(|key| key.key == DEFAULT_API_KEY)
}

/// `*`, or origins separated by commas; nothing for none.
fn cors_origins(text: &str) -> Result<CorsOrigins, ConfigError> {
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    if origins == ["*"] {
        return Ok(CorsOrigins::Any);
    }
    let checked = |origin: &&str| {
        let is_origin =
            url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
        if is_origin { Ok((*origin).to_owned()) } else { Err(ConfigError::CorsOrigin((*origin).to_owned())) }
    };
    let list = origins.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    Ok(if list.is_empty() { CorsOrigins::None } else { CorsOrigins::List(list) })
}

fn trace_export(endpoint: Option<String>, service_name: String) -> Result<Option<TraceExport>, ConfigError> {
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else { return Ok(None) };
    url::Url::parse(&endpoint).map_err(ConfigError::OtlpEndpoint)?;
    Ok(Some(TraceExport { endpoint, service_name }))
}

/// Resolves the host; without a key of one's own, only loopback.
fn listen_addresses(
    host: Option<String>,
    port: u16,
    api_keys: &[NamedKey],
) -> Result<Vec<SocketAddr>, ConfigError> {
    let has_own_key = !has_default_key(api_keys);
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
            ("--api-key", "ios:", "API_KEY"),
            ("--api-key-file", "/no/such/file", "API_KEY_FILE"),
            ("--api-key=a --api-key-file", "Cargo.toml", "API_KEY_FILE"),
            ("--rate-limit-per-minute", "-1", "RATE_LIMIT_PER_MINUTE"),
            ("--cors-origins", "example.org", "CORS_ORIGINS"),
            ("--cors-origins", "https://example.org/", "CORS_ORIGINS"),
            ("--cors-origins", "https://example.org,*", "CORS_ORIGINS"),
            ("--max-batch", "0", "MAX_BATCH"),
            ("--max-connections", "0", "MAX_CONNECTIONS"),
            ("--shutdown-grace-seconds", "0", "SHUTDOWN_GRACE_SECONDS"),
            ("--encoder", "tensorrt", "ENCODER"),
            ("--otel-exporter-otlp-endpoint", "localhost", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ];
        for (flag, value, variable) in cases {
            let flags = format!("{flag}={value}");
            let error = parse(&flags.split(' ').collect::<Vec<_>>()).expect_err(&flags);
            assert!(error.contains(variable), "{flag}={value}: {error}");
        }
    }

    #[test]
    fn keys_may_have_names_and_stand_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys");
        std::fs::write(&file, "ios:abc\nweb:d:e\n").unwrap();
        let file = format!("--api-key-file={}", file.display());
        let cases = [
            ("--api-key=abc", &[("default", "abc")][..]),
            ("--api-key=ios:abc, web:def", &[("ios", "abc"), ("web", "def")]),
            ("--api-key=a key:abc,:abc", &[("default", "a key:abc"), ("default", ":abc")]),
            (&file, &[("ios", "abc"), ("web", "d:e")]),
            ("--env=production", &[("default", DEFAULT_API_KEY)]),
        ];
        for (flag, expected) in cases {
            let keys = parse(&[flag]).unwrap().api_keys;
            let keys: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.key.as_str())).collect();
            assert_eq!(keys, expected, "{flag}");
        }
    }

    #[test]
    fn origins_are_none_any_or_a_list() {
        let list = ["https://example.org", "http://localhost:3000"].map(str::to_owned).to_vec();
        let cases = [
            ("", CorsOrigins::None),
            ("*", CorsOrigins::Any),
            ("https://example.org, http://localhost:3000", CorsOrigins::List(list)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&["--cors-origins", text]).unwrap().cors_origins, expected, "{text}");
        }
    }

    #[test]
    fn a_health_check_asks_where_the_service_listens() {
        let cases = [
            (&[][..], "http://127.0.0.1:8000/ready"),
            (&["--host", "0.0.0.0", "--port", "9"], "http://127.0.0.1:9/ready"),
            (&["--host", "[::]"], "http://127.0.0.1:8000/ready"),
            (&["--host", "::1"], "http://[::1]:8000/ready"),
            (&["--host", "10.0.0.7"], "http://10.0.0.7:8000/ready"),
            (&["--host", "voice"], "http://voice:8000/ready"),
        ];
        for (flags, url) in cases {
            let cli = Cli::try_parse_from([&["program", "healthcheck"], flags].concat()).unwrap();
            let Some(Command::Healthcheck(args)) = cli.command else { panic!("not healthcheck") };
            assert_eq!(args.url(), url);
        }
    }
}
