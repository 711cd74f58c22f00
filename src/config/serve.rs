//! The flags of `serve`, and the resulting configuration.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::calibration::CalibrationArgs;
use super::engine::EngineArgs;
use super::error::ConfigError;
use super::keys::{DEFAULT_API_KEY, Key, KeyArgs, KeySource};
use super::listen::{MetricsPlace, listen_addresses, metrics_place};
use super::log::{Environment, LogConfig, checked_filter, trace_export};
use super::model::ConfiguredModel;
use super::origins::{CorsOrigins, cors_origins};
use super::store::StoreArgs;
use super::thresholds::ThresholdArgs;
use super::values::{
    MAX_MAX_BATCH, MAX_MAX_BATCH_RECORDINGS, MAX_MAX_CONNECTIONS, MAX_QUEUE_CAPACITY, Switch, count,
    not_negative, positive, timeout,
};
use crate::calibration::Calibration;
use crate::embedder::EmbedderLimits;
use crate::encoder::MAX_BATCH;
use crate::engine::EngineConfig;
use crate::model_files::ModelSource;
use crate::pipeline::PipelineLimits;
use crate::queue::QueueLimits;
use crate::store::StoreConfig;

/// The default queue capacity per worker, if `QUEUE_CAPACITY` is not set. It includes recordings that are being
/// processed. A worker embeds about 25 clips of 15 seconds per second, so a full queue empties in little over a second.
const QUEUE_CAPACITY_PER_WORKER: usize = 32;

/// Flags of `serve`. Each is also an environment variable.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: API_KEY=secret voice-embedding-service serve --port 9000")]
pub struct ServeArgs {
    /// Recordings and comparisons that each key may send per minute; 0 for no limit.
    #[arg(long, env, default_value = "0")]
    rate_limit_per_minute: u32,
    /// Origins of web pages that may call the service from a browser, separated by commas, or `*` [default: none].
    #[arg(long, env)]
    cors_origins: Option<String>,
    /// Serve a web page at `/`. If off, `/` redirects to the documentation.
    #[arg(long, env, default_value = "on")]
    page: Switch,
    /// Address to listen on [default: 0.0.0.0 once a key of your own is set, else 127.0.0.1].
    #[arg(long, env)]
    host: Option<String>,
    /// Separate address and port for /metrics, or `off` for no metrics [default: where the service listens].
    #[arg(long, env)]
    metrics_address: Option<String>,
    /// Port to listen on; 0 selects any free port.
    #[arg(long, env, default_value_t = 8000)]
    port: u16,
    /// `development` for readable logs at level debug; any other value means production.
    #[arg(long, env, default_value = "production")]
    env: Environment,
    /// Log filter, e.g. `debug` or `voice_embedding_service=debug,tower_http=info`.
    #[arg(long, env = "RUST_LOG", value_name = "RUST_LOG", value_parser = checked_filter)]
    log: Option<String>,
    /// Minimum speech in a recording for enrolment, in seconds.
    #[arg(long, env, default_value = "3", value_parser = not_negative)]
    min_enrolment_seconds: f64,
    /// Largest request body, in bytes.
    #[arg(long, env, default_value = "33554432")]
    max_body_bytes: NonZeroUsize,
    /// Longest recording, in seconds.
    #[arg(long, env, default_value = "600", value_parser = positive)]
    max_audio_seconds: f64,
    /// Longest recording for diarization, in seconds.
    #[arg(long, env, default_value = "7200", value_parser = positive)]
    max_diarize_seconds: f64,
    /// Longest live session, in seconds.
    #[arg(long, env, default_value = "14400", value_parser = positive)]
    max_live_seconds: f64,
    /// Maximum number of concurrent live sessions; 0 for none [default: as many as half of the workers' time allows].
    #[arg(long, env)]
    max_live_sessions: Option<u16>,
    /// Largest request body of /v1/diarize, in bytes.
    #[arg(long, env, default_value = "268435456")]
    max_diarize_body_bytes: NonZeroUsize,
    /// Largest request body of /v1/import, in bytes.
    #[arg(long, env, default_value = "1073741824")]
    max_import_bytes: NonZeroUsize,
    /// Minimum speech in a recording, in seconds. 0 accepts any amount, with a warning below 1.6.
    #[arg(long, env, default_value = "0", value_parser = not_negative)]
    min_speech_seconds: f64,
    /// Time limit from a request's head to its response, in seconds.
    #[arg(long, env, default_value = "30", value_parser = timeout)]
    request_timeout_seconds: f64,
    /// Maximum number of recordings that wait or are being processed [default: 32 for each worker].
    #[arg(long, env, value_parser = count::<MAX_QUEUE_CAPACITY>)]
    queue_capacity: Option<NonZeroUsize>,
    /// Largest batch of a worker, in windows of 1.6 seconds. For other models, the largest batch is the number of units
    /// that costs as much.
    #[arg(long, env, default_value_t = MAX_BATCH, value_parser = count::<MAX_MAX_BATCH>)]
    max_batch: NonZeroUsize,
    /// Maximum number of recordings in a request.
    #[arg(long, env, default_value = "64", value_parser = count::<MAX_MAX_BATCH_RECORDINGS>)]
    max_batch_recordings: NonZeroUsize,
    /// Maximum number of open connections. A further connection replaces the one that has been idle longest.
    #[arg(long, env, default_value = "4096", value_parser = count::<MAX_MAX_CONNECTIONS>)]
    max_connections: NonZeroUsize,
    /// Maximum number of connections from one address; further ones are closed. A proxy in front of the service counts
    /// as one address.
    #[arg(long, env, default_value = "1024", value_parser = count::<MAX_MAX_CONNECTIONS>)]
    max_connections_per_address: NonZeroUsize,
    /// Seconds that a connection stays open without a request, or without its client reading a response. Choose more
    /// than a load balancer in front of the service does.
    #[arg(long, env, default_value = "75", value_parser = timeout)]
    keep_alive_seconds: f64,
    /// Time to finish requests after a signal to stop, in seconds.
    #[arg(long, env, default_value = "25", value_parser = timeout)]
    shutdown_grace_seconds: f64,
    /// OpenTelemetry collector that receives traces, e.g. http://localhost:4318 [default: none].
    #[arg(long, env)]
    otel_exporter_otlp_endpoint: Option<String>,
    /// Service name in traces.
    #[arg(long, env, default_value = env!("CARGO_PKG_NAME"))]
    otel_service_name: String,
    #[command(flatten, next_help_heading = "Keys")]
    keys: KeyArgs,
    #[command(flatten, next_help_heading = "Models and encoder")]
    engine: EngineArgs,
    #[command(flatten, next_help_heading = "Enrolled speakers")]
    store: StoreArgs,
    #[command(flatten, next_help_heading = "Decisions")]
    thresholds: ThresholdArgs,
    #[command(flatten, next_help_heading = "Decisions")]
    calibration: CalibrationArgs,
}

/// The complete, validated configuration of the service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sources of keys.
    pub keys: KeySource,
    /// The keys that are valid at the start.
    pub api_keys: Vec<Key>,
    /// The recordings and comparisons per minute for keys without their own rate; `None` for no limit.
    pub rate_limit_per_minute: Option<NonZeroU32>,
    /// Origins of web pages that may call the service from a browser.
    pub cors_origins: CorsOrigins,
    /// The addresses to listen on, all of one host name.
    pub listen: Vec<SocketAddr>,
    /// The address that serves metrics.
    pub metrics: MetricsPlace,
    /// The logging configuration.
    pub log: LogConfig,
    /// The models and their sources.
    pub models: Vec<ConfiguredModel>,
    /// The source of the segmentation network.
    pub segmentation: ModelSource,
    /// Calibrations that replace those of the models.
    pub calibrations: Vec<Calibration>,
    /// How models are run.
    pub engine: EngineConfig,
    /// The configuration of the speaker store.
    pub store: StoreConfig,
    /// Limits on recordings, and on the number of them computed at once.
    pub embedder: EmbedderLimits,
    /// Limits and defaults of the HTTP API.
    pub http: HttpConfig,
}

/// Limits and defaults of the HTTP API.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct HttpConfig {
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Largest request body of `/v1/diarize`.
    pub max_diarize_body_bytes: usize,
    /// Longest live session, in seconds.
    pub max_live_seconds: f64,
    /// The maximum number of concurrent live sessions; `None` for as many as the workers can handle.
    pub max_live_sessions: Option<usize>,
    /// Largest request body of `/v1/import`. The service writes the body to a file.
    pub max_import_bytes: usize,
    /// Minimum speech in a recording for enrolment, in seconds.
    pub min_enrolment_seconds: f64,
    /// Time limit from a request's head to its response.
    pub request_timeout: Duration,
    /// Time that a connection stays open without a complete request head, or without its client reading a response.
    pub keep_alive: Duration,
    /// Time to finish requests after a signal to stop.
    pub shutdown_grace: Duration,
    /// The maximum number of open connections.
    pub max_connections: NonZeroUsize,
    /// The maximum number of connections from one address.
    pub max_connections_per_address: NonZeroUsize,
    /// The maximum number of recordings in a request.
    pub max_batch_recordings: usize,
    /// Whether `/` is a web page.
    pub has_page: bool,
    /// Whether the default key is valid.
    pub has_default_key: bool,
    /// Whether the service's own address serves metrics.
    pub has_metrics: bool,
}

impl TryFrom<ServeArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: ServeArgs) -> Result<Self, ConfigError> {
        let keys = KeySource::try_from(args.keys)?;
        let api_keys = keys.keys()?;
        let mut models = args.engine.models()?;
        for model in &mut models {
            Arc::make_mut(&mut model.spec).threshold = args.thresholds.threshold_for(&model.spec);
        }
        let segmentation = args.engine.segmentation()?;
        let engine = args.engine.config();
        let shutdown_grace = Duration::from_secs_f64(args.shutdown_grace_seconds);
        let queue_capacity = args.queue_capacity.unwrap_or_else(|| {
            engine.workers.saturating_mul(const { NonZeroUsize::new(QUEUE_CAPACITY_PER_WORKER).unwrap() })
        });
        let cors_origins = args.cors_origins.as_deref().map_or(Ok(CorsOrigins::None), cors_origins)?;
        if keys.has_default_key() && cors_origins == CorsOrigins::Any {
            return Err(ConfigError::DefaultKeyForAllPages { key: DEFAULT_API_KEY });
        }
        let has_default_key = keys.has_default_key();
        let metrics =
            args.metrics_address.as_deref().map_or(Ok(MetricsPlace::WithTheService), metrics_place)?;
        Ok(Self {
            listen: listen_addresses(args.host, args.port, has_default_key)?,
            keys,
            api_keys,
            rate_limit_per_minute: NonZeroU32::new(args.rate_limit_per_minute),
            cors_origins,
            metrics,
            log: LogConfig {
                environment: args.env,
                filter: args.log,
                traces: trace_export(
                    args.otel_exporter_otlp_endpoint.as_deref(),
                    args.otel_service_name,
                    shutdown_grace,
                )?,
            },
            calibrations: args.calibration.calibrations()?,
            engine,
            store: args.store.try_into()?,
            embedder: EmbedderLimits {
                pipeline: PipelineLimits {
                    max_audio_seconds: args.max_audio_seconds,
                    min_speech_seconds: args.min_speech_seconds,
                    max_turns_seconds: args.max_diarize_seconds,
                },
                queue: QueueLimits { capacity: queue_capacity, max_batch: args.max_batch },
            },
            http: HttpConfig {
                max_body_bytes: args.max_body_bytes.get(),
                max_diarize_body_bytes: args.max_diarize_body_bytes.get(),
                max_live_seconds: args.max_live_seconds,
                max_live_sessions: args.max_live_sessions.map(usize::from),
                max_import_bytes: args.max_import_bytes.get(),
                min_enrolment_seconds: args.min_enrolment_seconds,
                request_timeout: Duration::from_secs_f64(args.request_timeout_seconds),
                keep_alive: Duration::from_secs_f64(args.keep_alive_seconds),
                shutdown_grace,
                max_connections: args.max_connections,
                max_connections_per_address: args.max_connections_per_address,
                max_batch_recordings: args.max_batch_recordings.get(),
                has_page: args.page == Switch::On,
                has_default_key,
                has_metrics: metrics == MetricsPlace::WithTheService,
            },
            models,
            segmentation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn parse(flags: &[&str]) -> Result<Config, String> {
        let flags = Flags::try_parse_from([&["program"], flags].concat()).map_err(|e| e.to_string())?;
        Config::try_from(flags.args).map_err(|e| e.to_string())
    }

    #[test]
    fn the_default_key_stays_on_loopback() {
        let cases = [
            (&[][..], Ok("127.0.0.1:8000")),
            (&["--host", "localhost", "--port", "9"], Ok("127.0.0.1:9")),
            (&["--host", "[::1]"], Ok("[::1]:8000")),
            (&["--host", "0.0.0.0"], Err("API_KEY is still")),
            (&["--host", "0.0.0.0", "--api-key", "dev-key-change-me"], Err("API_KEY is still")),
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
            ("--metrics-address", "9100", "METRICS_ADDRESS"),
            ("--max-body-bytes", "0", "MAX_BODY_BYTES"),
            ("--max-audio-seconds", "inf", "MAX_AUDIO_SECONDS"),
            ("--max-audio-seconds", "0", "MAX_AUDIO_SECONDS"),
            ("--min-speech-seconds", "-1", "MIN_SPEECH_SECONDS"),
            ("--same-speaker-threshold", "75", "SAME_SPEAKER_THRESHOLD"),
            ("--calibration-path", "/no/such/file", "CALIBRATION_PATH"),
            ("--calibration-path", "Cargo.toml", "CALIBRATION_PATH"),
            ("--request-timeout-seconds", "soon", "REQUEST_TIMEOUT_SECONDS"),
            ("--request-timeout-seconds", "1e300", "REQUEST_TIMEOUT_SECONDS"),
            ("--queue-capacity", "0", "QUEUE_CAPACITY"),
            ("--queue-capacity", "65537", "QUEUE_CAPACITY"),
            ("--workers", "two", "WORKERS"),
            ("--workers", "100000", "WORKERS"),
            ("--max-batch", "257", "MAX_BATCH"),
            ("--max-connections", "4294967296", "MAX_CONNECTIONS"),
            ("--model-url", "https://example.org/model.onnx", "MODEL_SHA256"),
            ("--model-url", "model.onnx", "MODEL_URL"),
            ("--model-sha256", "39373b86", "MODEL_SHA256"),
            ("--model-path=m.onnx --model-sha256", "39373b86", "MODEL_SHA256"),
            ("--model-allow-http", "perhaps", "MODEL_ALLOW_HTTP"),
            ("--page", "perhaps", "PAGE"),
            ("--api-key", "", "API_KEY"),
            ("--keys-file", "/no/such/file", "KEYS_FILE"),
            ("--keys", "name=3", "KEYS"),
            ("--api-key-file", "/no/such/file", "API_KEY_FILE"),
            ("--api-key=a --api-key-file", "Cargo.toml", "API_KEY_FILE"),
            ("--rate-limit-per-minute", "-1", "RATE_LIMIT_PER_MINUTE"),
            ("--database-url", "mysql://localhost", "DATABASE_URL"),
            ("--max-speakers", "0", "MAX_SPEAKERS"),
            ("--min-enrolment-seconds", "-1", "MIN_ENROLMENT_SECONDS"),
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
    fn origins_are_none_any_or_a_list() {
        let list = ["https://example.org", "http://localhost:3000"].map(str::to_owned).to_vec();
        let cases = [
            ("", CorsOrigins::None),
            ("https://example.org, http://localhost:3000", CorsOrigins::List(list)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&["--cors-origins", text]).unwrap().cors_origins, expected, "{text}");
        }
        let any = parse(&["--cors-origins", "*", "--api-key", "secret"]).unwrap().cors_origins;
        assert_eq!(any, CorsOrigins::Any);
        let error = parse(&["--cors-origins", "*"]).unwrap_err();
        assert!(error.contains("API_KEY is still"), "{error}");
    }
}
