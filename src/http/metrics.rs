//! Counters and timings, grouped by the part of the service that records them. Each server has one registry.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::decisions::Reason;
use crate::queue::OnBatch;

pub(super) use prometheus::TEXT_FORMAT;

/// Buckets in seconds, from the time of a comparison to that of ten minutes of audio.
const REQUEST_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Buckets in seconds, from the time of half a second of audio to that of ten minutes.
const STAGE_BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Buckets in seconds, from a search among a hundred speakers to a slow disk.
const STORE_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// All metrics.
pub(super) struct Metrics {
    registry: Registry,
    /// Metrics of requests.
    pub(super) http: HttpMetrics,
    /// Metrics of recordings.
    pub(super) embedding: EmbeddingMetrics,
    /// Metrics of enrolled speakers.
    pub(super) speakers: SpeakerMetrics,
    /// Metrics of connections.
    pub(super) connections: ConnectionMetrics,
    /// Metrics of live sessions.
    pub(super) live: LiveMetrics,
    /// Always 1. The labels name the version, the model and its encoder.
    pub(super) build_info: IntGaugeVec,
}

/// Metrics of requests.
pub(super) struct HttpMetrics {
    /// Responses by route, method and status.
    pub(super) requests: IntCounterVec,
    /// Seconds from the request's head to the response, by route.
    pub(super) request_seconds: HistogramVec,
    /// Error responses by code.
    pub(super) errors: IntCounterVec,
    /// Answered requests by the name of their key.
    pub(super) key_requests: IntCounterVec,
    /// 0 while the key file has changed and is invalid.
    pub(super) keys_file_valid: IntGauge,
    /// Memory that request bodies use, in bytes.
    pub(super) body_bytes: IntGauge,
}

/// Metrics of recordings.
pub(super) struct EmbeddingMetrics {
    /// Seconds that recordings spend in each stage.
    pub(super) stage_seconds: HistogramVec,
    /// Embedded recordings.
    pub(super) recordings: IntCounter,
    /// Windows in each call of the encoder.
    pub(super) batch_windows: Histogram,
    /// Encoded windows.
    pub(super) windows: IntCounter,
    /// Seconds of audio embedded.
    pub(super) audio_seconds: Counter,
    /// Seconds of speech embedded.
    pub(super) speech_seconds: Counter,
    /// Recordings that are waiting or being processed.
    pub(super) queue_depth: IntGauge,
    /// Maximum number of recordings that may wait or be processed.
    pub(super) queue_capacity: IntGauge,
    /// 1 once the model is loaded.
    pub(super) model_loaded: IntGauge,
}

/// Metrics of enrolled speakers. They have no label for the collection, because `/metrics` needs no key.
pub(super) struct SpeakerMetrics {
    /// Stored speakers.
    pub(super) speakers: IntGauge,
    /// Whether the speaker store is available. 1 if there is no store.
    pub(super) store_available: IntGauge,
    /// Number of enrolments made.
    pub(super) enrolments: IntCounter,
    /// Searched voices by decision.
    pub(super) identified: IntCounterVec,
    /// Seconds of a search.
    pub(super) search_seconds: Histogram,
    /// Seconds until a change is committed.
    pub(super) write_seconds: Histogram,
}

/// Metrics of connections.
pub(super) struct ConnectionMetrics {
    /// Open connections.
    pub(super) open: IntGauge,
    /// Connections that were closed at once because there were too many.
    pub(super) refused: IntCounter,
}

/// Metrics of live sessions.
pub(super) struct LiveMetrics {
    /// Open sessions.
    pub(super) sessions: IntGauge,
    /// Maximum number of open sessions.
    pub(super) capacity: IntGauge,
    /// Seconds of audio received.
    pub(super) audio_seconds: Counter,
    /// Seconds from when audio is due for processing until its events are ready.
    pub(super) latency_seconds: Histogram,
    /// Sessions whose audio arrives faster than it is processed.
    pub(super) behind: IntGauge,
    /// Ended sessions by the code of their close message.
    pub(super) ended: IntCounterVec,
}

impl Metrics {
    /// Returns a callback that counts the windows of each encoder call.
    pub(super) fn on_batch(self: &Arc<Self>) -> OnBatch {
        let metrics = Arc::clone(self);
        Box::new(move |n_windows: usize| {
            metrics.embedding.batch_windows.observe(n_windows as f64);
            metrics.embedding.windows.inc_by(n_windows as u64);
        })
    }

    pub(super) fn new() -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            registry.register(Box::new(process)).expect("its names are new");
        }
        let maker = Maker { registry: &registry };
        Self {
            http: HttpMetrics::new(&maker),
            embedding: EmbeddingMetrics::new(&maker),
            speakers: SpeakerMetrics::new(&maker),
            connections: ConnectionMetrics::new(&maker),
            live: LiveMetrics::new(&maker),
            build_info: maker.register_metric(IntGaugeVec::new(
                opts("build_info", "Always 1; the labels name the version, the model and its encoder."),
                &["version", "model", "encoder"],
            )),
            registry,
        }
    }

    /// Returns the metrics in Prometheus' text format.
    pub(super) fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl HttpMetrics {
    fn new(maker: &Maker) -> Self {
        let request_seconds = histogram_opts(
            "http_request_duration_seconds",
            "Time from a request's head to its response.",
            &REQUEST_BUCKETS,
        );
        let keys_file_valid =
            maker.gauge("keys_file_valid", "0 while KEYS_FILE has changed and is invalid, otherwise 1.");
        keys_file_valid.set(1);
        Self {
            requests: maker.register_metric(IntCounterVec::new(
                opts("http_requests_total", "Responses, by route, method and status."),
                &["route", "method", "status"],
            )),
            request_seconds: maker.register_metric(HistogramVec::new(request_seconds, &["route"])),
            errors: maker.register_metric(IntCounterVec::new(
                opts("errors_total", "Error responses, by code."),
                &["code"],
            )),
            key_requests: maker.register_metric(IntCounterVec::new(
                opts("key_requests_total", "Responses, by the name of the request's key."),
                &["key"],
            )),
            keys_file_valid,
            body_bytes: maker.gauge("body_bytes", "Memory that request bodies use, in bytes."),
        }
    }
}

impl EmbeddingMetrics {
    fn new(maker: &Maker) -> Self {
        let stage_seconds = histogram_opts(
            "stage_duration_seconds",
            "Time of a recording in a stage: queue, decode, preprocess, encode (with pauses for others).",
            &STAGE_BUCKETS,
        );
        let batch_windows = histogram_opts(
            "batch_windows",
            "Windows in one call of the encoder.",
            &[1.0, 2.0, 4.0, 6.0, 8.0],
        );
        Self {
            stage_seconds: maker.register_metric(HistogramVec::new(stage_seconds, &["stage"])),
            recordings: maker
                .register_metric(IntCounter::with_opts(opts("recordings_total", "Embedded recordings."))),
            batch_windows: maker.register_metric(Histogram::with_opts(batch_windows)),
            windows: maker.register_metric(IntCounter::with_opts(opts("windows_total", "Encoded windows."))),
            audio_seconds: maker
                .register_metric(Counter::with_opts(opts("audio_seconds_total", "Embedded audio."))),
            speech_seconds: maker.register_metric(Counter::with_opts(opts(
                "speech_seconds_total",
                "Speech in the embedded audio.",
            ))),
            queue_depth: maker.gauge("queue_depth", "Recordings that are waiting or being processed."),
            queue_capacity: maker.gauge("queue_capacity", "Recordings that may wait or be processed."),
            model_loaded: maker.gauge("model_loaded", "1 once the models are loaded."),
        }
    }
}

impl LiveMetrics {
    fn new(maker: &Maker) -> Self {
        let latency_seconds = histogram_opts(
            "live_latency_seconds",
            "Time from when audio of a live session is due for processing until its events are ready.",
            &REQUEST_BUCKETS,
        );
        let ended = maker.register_metric(IntCounterVec::new(
            opts("live_sessions_ended_total", "Ended live sessions, by the code of their close message."),
            &["code"],
        ));
        ended.with_label_values(&["1000"]);
        Self {
            sessions: maker.gauge("live_sessions", "Open live sessions."),
            capacity: maker.gauge("live_sessions_capacity", "Maximum number of open live sessions."),
            audio_seconds: maker.register_metric(Counter::with_opts(opts(
                "live_audio_seconds_total",
                "Audio received in live sessions.",
            ))),
            latency_seconds: maker.register_metric(Histogram::with_opts(latency_seconds)),
            behind: maker.gauge(
                "live_sessions_behind",
                "Live sessions whose audio arrives faster than it is processed.",
            ),
            ended,
        }
    }
}

impl SpeakerMetrics {
    fn new(maker: &Maker) -> Self {
        let search_seconds = histogram_opts(
            "identify_search_duration_seconds",
            "Time to search the speakers of a collection for the voices of a request.",
            &STORE_BUCKETS,
        );
        let write_seconds = histogram_opts(
            "store_write_duration_seconds",
            "Time until a change of speakers is committed, including the wait for earlier changes.",
            &STORE_BUCKETS,
        );
        let identified = maker.register_metric(IntCounterVec::new(
            opts("identifications_total", "Searched voices, by decision."),
            &["result"],
        ));
        for reason in Reason::ALL {
            identified.with_label_values(&[reason.name()]);
        }
        let store_available = maker.gauge("store_available", "0 while speakers cannot be changed.");
        store_available.set(1);
        Self {
            speakers: maker.gauge("speakers", "Stored speakers."),
            store_available,
            enrolments: maker
                .register_metric(IntCounter::with_opts(opts("enrolments_total", "Enrolments made."))),
            identified,
            search_seconds: maker.register_metric(Histogram::with_opts(search_seconds)),
            write_seconds: maker.register_metric(Histogram::with_opts(write_seconds)),
        }
    }
}

impl ConnectionMetrics {
    fn new(maker: &Maker) -> Self {
        Self {
            open: maker.gauge("connections", "Open connections."),
            refused: maker.register_metric(IntCounter::with_opts(opts(
                "connections_refused_total",
                "Connections closed because there were too many.",
            ))),
        }
    }
}

/// Registers metrics. Their names are constants, so they are valid and unique.
struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn register_metric<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("the name is valid");
        self.registry.register(Box::new(metric.clone())).expect("the name is new");
        metric
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register_metric(IntGauge::with_opts(opts(name, help)))
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("voice_embedding_{name}"), help)
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(format!("voice_embedding_{name}"), help).buckets(buckets.to_vec())
}
