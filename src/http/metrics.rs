//! `GET /metrics`: what is counted and timed, as Prometheus reads it.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TEXT_FORMAT, TextEncoder,
};

use super::AppState;
use super::error::ApiError;

/// From a comparison to ten minutes of audio.
const REQUEST_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// From half a second of audio to ten minutes.
const STAGE_BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What the service counts. One registry a server.
pub(super) struct Metrics {
    registry: Registry,
    /// Answers by route, method and status.
    pub(super) requests: IntCounterVec,
    /// Seconds from head to answer by route.
    pub(super) request_seconds: HistogramVec,
    /// Seconds that recordings spend in each stage.
    pub(super) stage_seconds: HistogramVec,
    /// Answers with an error, by its code.
    pub(super) errors: IntCounterVec,
    /// Windows in each call of the encoder.
    pub(super) batch_windows: Histogram,
    /// Seconds of audio embedded.
    pub(super) audio_seconds: prometheus::Counter,
    /// Seconds of speech embedded.
    pub(super) speech_seconds: prometheus::Counter,
    /// Windows encoded.
    pub(super) windows: IntCounter,
    /// Connections that are open.
    pub(super) connections: IntGauge,
    /// Connections closed at once because there were too many.
    pub(super) connections_refused: IntCounter,
    body_bytes: IntGauge,
    queue_depth: IntGauge,
    queue_capacity: IntGauge,
    model_loaded: IntGauge,
    build_info: IntGaugeVec,
}

/// Makes a metric and registers it. Names are constants: they are valid and each is there once.
macro_rules! registered {
    ($registry:expr, $metric:expr) => {{
        let metric = $metric.expect("the name is valid");
        $registry.register(Box::new(metric.clone())).expect("the name is new");
        metric
    }};
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            registry.register(Box::new(process)).expect("its names are new");
        }
        let opts = |name: &str, help: &str| Opts::new(format!("voice_embedding_{name}"), help);
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(opts(name, help), labels);
        let gauge = |name: &str, help: &str| IntGauge::with_opts(opts(name, help));
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            HistogramOpts::new(format!("voice_embedding_{name}"), help).buckets(buckets.to_vec())
        };
        let requests = counters("http_requests_total", "Requests answered.", &["route", "method", "status"]);
        let request_seconds = HistogramVec::new(
            histogram(
                "http_request_duration_seconds",
                "Time from a request's head to its answer.",
                &REQUEST_BUCKETS,
            ),
            &["route"],
        );
        let stage_seconds = HistogramVec::new(
            histogram(
                "stage_duration_seconds",
                "Time of a recording in a stage: queue, decode, preprocess, encode (with its turns).",
                &STAGE_BUCKETS,
            ),
            &["stage"],
        );
        let batch_windows =
            histogram("batch_windows", "Windows in one call of the encoder.", &[1.0, 2.0, 4.0, 6.0, 8.0]);
        Self {
            requests: registered!(registry, requests),
            request_seconds: registered!(registry, request_seconds),
            stage_seconds: registered!(registry, stage_seconds),
            errors: registered!(registry, counters("errors_total", "Answers with an error.", &["code"])),
            batch_windows: registered!(registry, Histogram::with_opts(batch_windows)),
            audio_seconds: registered!(
                registry,
                prometheus::Counter::with_opts(opts("audio_seconds_total", "Audio embedded."))
            ),
            speech_seconds: registered!(
                registry,
                prometheus::Counter::with_opts(opts("speech_seconds_total", "Speech in the audio embedded."))
            ),
            windows: registered!(registry, IntCounter::with_opts(opts("windows_total", "Windows encoded."))),
            connections: registered!(registry, gauge("connections", "Open connections.")),
            connections_refused: registered!(
                registry,
                IntCounter::with_opts(opts(
                    "connections_refused_total",
                    "Connections closed because there were too many."
                ))
            ),
            body_bytes: registered!(registry, gauge("body_bytes", "Memory that request bodies take.")),
            queue_depth: registered!(registry, gauge("queue_depth", "Recordings that wait or are in work.")),
            queue_capacity: registered!(
                registry,
                gauge("queue_capacity", "Recordings that may wait or be in work.")
            ),
            model_loaded: registered!(registry, gauge("model_loaded", "Whether the model is loaded.")),
            build_info: registered!(
                registry,
                IntGaugeVec::new(
                    opts("build_info", "Always 1; the labels say what runs."),
                    &["version", "model", "encoder"]
                )
            ),
            registry,
        }
    }
}

/// What the service has done so far, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Operation", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(state): State<AppState>) -> Result<impl IntoResponse, ApiError> {
    let metrics = &state.metrics;
    metrics.body_bytes.set(state.body_bytes.load(Ordering::Relaxed) as i64);
    if let Some(extractor) = state.extractor.get() {
        metrics.queue_depth.set(extractor.queue_depth() as i64);
        metrics.queue_capacity.set(extractor.queue_capacity() as i64);
        metrics.model_loaded.set(1);
        let what_runs = [env!("CARGO_PKG_VERSION"), extractor.fingerprint(), extractor.encoder()];
        metrics.build_info.with_label_values(&what_runs).set(1);
    }
    let mut text = Vec::new();
    let encoded = TextEncoder::new().encode(&metrics.registry.gather(), &mut text);
    encoded.map_err(|error| ApiError::Internal(format!("metrics cannot be written: {error}")))?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}
