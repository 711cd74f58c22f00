//! Writes logs to stderr, and sends traces to an OpenTelemetry collector if one is configured.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::audio;
use crate::config::{Environment, LogConfig, TraceExport};
use crate::tls;

/// The reason why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is invalid.
    #[error("RUST_LOG: {0}")]
    Filter(#[from] ParseError),
    /// Traces cannot be sent to this collector.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Export(#[from] ExporterBuildError),
}

/// Active logging. When it is dropped, the remaining traces and lines are sent.
pub struct Logging {
    traces: Option<(SdkTracerProvider, Duration)>,
    /// Writes lines on a separate thread, so that a slow or missing reader of stderr delays no other thread.
    _lines: WorkerGuard,
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some((provider, timeout)) = self.traces.take()
            && let Err(error) = provider.shutdown_with_timeout(timeout)
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Starts logging for the process: JSON in production, readable lines in development. A panic is logged with the span in
/// which it happened.
pub fn init(config: &LogConfig) -> Result<Logging, LoggingError> {
    let default_filter = match config.environment {
        Environment::Production => "info",
        Environment::Development => "info,voice_embedding_service=debug,voice_embedding_engine=debug",
    };
    let filter =
        EnvFilter::builder().parse(without_decoders(config.filter.as_deref().unwrap_or(default_filter)))?;
    let (writer, guard) = NonBlocking::new(std::io::stderr());
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(writer);
    let lines = match config.environment {
        Environment::Production => lines.json().flatten_event(true).with_span_list(false).boxed(),
        Environment::Development => lines.boxed(),
    };
    let provider = config.traces.as_ref().map(tracer_provider).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        // The exporter's own activity is not traced.
        let crates = [env!("CARGO_CRATE_NAME"), "voice_embedding_engine"];
        let ours = Targets::new().with_targets(crates.map(|name| (name, LevelFilter::INFO)));
        tracing_opentelemetry::layer().with_tracer(provider.tracer(env!("CARGO_PKG_NAME"))).with_filter(ours)
    });
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces).init();
    std::panic::set_hook(Box::new(log_panic));
    let traces = provider.zip(config.traces.as_ref().map(|export| export.last_timeout));
    Ok(Logging { traces, _lines: guard })
}

/// Extends a filter to silence decoders, whose messages concern clients' files, unless the filter mentions them.
fn without_decoders(filter: &str) -> String {
    if filter.contains("symphonia") { filter.to_owned() } else { format!("{filter},symphonia=off") }
}

fn tracer_provider(export: &TraceExport) -> Result<SdkTracerProvider, ExporterBuildError> {
    tls::install_provider();
    let exporter = SpanExporter::builder().with_http().with_endpoint(&export.url).build()?;
    let resource = Resource::builder().with_service_name(export.service_name.clone()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

pub(crate) fn log_panic(panic: &PanicHookInfo) {
    if audio::is_decoding() {
        // A decoder has given up on a damaged file. The client receives an error.
        tracing::debug!(reason = panic.payload_as_str(), "a decoder panicked");
        return;
    }
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(reason = panic.payload_as_str(), location, backtrace, "a bug: a thread panicked");
}

/// Makes a span part of the request's trace, if the request's headers (W3C Trace Context) name one.
pub fn continue_trace<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    if header("traceparent").is_none() {
        return;
    }
    let sent = ["traceparent", "tracestate"]
        .map(|name| (name.to_owned(), header(name).unwrap_or_default().to_owned()));
    // Without an exporter, there is no trace to continue.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&HashMap::from(sent)));
}
