//! Binds the address, loads the models, serves requests and shuts down.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Signal as KillSignal, getpid, kill_process};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::connections;
use super::key_file;
use super::router::router;
use super::routes::metrics;
use super::state::AppState;
use crate::config::{Config, DEFAULT_API_KEY, MIN_KEY_BYTES, MetricsPlace};
use crate::encoder::prevent_loading;
use crate::loading::{LoadError, check, load, open_store};

/// An error that ended the service.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The first address that was tried.
        address: SocketAddr,
        /// The reason that the system gives.
        reason: io::Error,
    },
    /// The model or ONNX Runtime cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The system provides no more signals or threads.
    #[error("the system does not let the server run: {0}")]
    System(#[from] io::Error),
    /// The server or the loading thread has ended unexpectedly, which is a bug.
    #[error("the server stopped unexpectedly")]
    Ended,
    /// A second signal arrived before the last request was answered.
    #[error("stopped before the last requests were answered")]
    Interrupted,
    /// Requests were still in progress when the time to finish them ended.
    #[error("requests were still running after {seconds} seconds")]
    Unfinished {
        /// The time to finish requests.
        seconds: f64,
    },
}

/// Number of open files other than connections: the listener, pipes, and the model during its download.
const OTHER_OPEN_FILES: u64 = 64;

/// Time for connections to close after every request has been answered.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Maximum time that the process lives on after it stops with requests in progress.
const LAST_MOMENT: Duration = Duration::from_millis(800);

/// Serves until SIGTERM or SIGINT arrives, or until loading the model fails. The server listens immediately, and loads
/// the model in the meantime.
pub fn serve(config: Config) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let state = AppState::new(&config);
    let outcome = runtime.block_on(serve_until_stopped(config, &state));
    let is_unfinished = matches!(outcome, Err(ServeError::Interrupted | ServeError::Unfinished { .. }));
    if is_unfinished {
        end_within(LAST_MOMENT);
    }
    if let Some(Some(store)) = state.store.get() {
        store.close();
    }
    // Shutdown does not wait for the loading thread, which may download a model for minutes.
    prevent_loading();
    // It also does not wait for threads that wait for a database, or for workers whose results are no longer needed.
    runtime.shutdown_background();
    if is_unfinished {
        std::mem::forget(state);
    }
    outcome
}

/// Ends the process after this time, even if threads are still running. Otherwise, the system's exit handlers may wait
/// for them.
fn end_within(time: Duration) {
    let ending = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(time);
        // If this fails, there is nothing else to try.
        let _ = kill_process(getpid(), KillSignal::KILL);
    });
    if ending.is_err() {
        let _ = kill_process(getpid(), KillSignal::KILL);
    }
}

async fn serve_until_stopped(config: Config, state: &AppState) -> Result<(), ServeError> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: Some(signal(SignalKind::hangup())?),
    };
    check(&config)?;
    let listener = bind(&config.listen).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening on http://{address} (API reference on /docs)");
    if config.keys.has_default_key() {
        tracing::warn!("API_KEY is {DEFAULT_API_KEY}: listening on loopback only");
    }
    if config.keys.is_short() && !address.ip().is_loopback() {
        tracing::warn!("API_KEY has fewer than {MIN_KEY_BYTES} characters and may be guessed");
    }
    for warning in config.keys.warnings() {
        tracing::warn!("{warning}");
    }
    if config.keys.file().is_some()
        && let Some(hangups) = signals.hangup.take()
    {
        let (source, keys) = (config.keys.clone(), config.api_keys.clone());
        tokio::spawn(key_file::watch(source, keys, state.clone(), hangups));
    }
    allow_open_files(config.http.max_connections);

    if let MetricsPlace::Address(address) = config.metrics {
        let listener = bind(&[address]).await?;
        let address = listener.local_addr()?;
        tracing::info!(metrics_address = %address, "metrics are on http://{address}/metrics");
        let router = metrics::alone(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let router = router(state.clone(), &config.cors_origins);
    let mut server = tokio::spawn(connections::serve(listener, state.clone(), router, stopped));

    let time_limit = config.http.shutdown_grace;
    let loading = load_on_a_thread(config, state.clone());
    tokio::select! {
        outcome = loaded_and_signalled(loading, &mut signals) => outcome?,
        _ = &mut server => return Err(ServeError::Ended),
    }
    tracing::info!("shutting down");
    state.shutting_down.store(true, Ordering::Relaxed);
    // The server still accepts new requests, and rejects them with the reason, until the last request in progress is answered.
    let mut in_hand = state.in_hand.subscribe();
    tokio::select! {
        all_answered = tokio::time::timeout(time_limit, in_hand.wait_for(|in_hand| *in_hand == 0)) => {
            all_answered.map_err(|_| ServeError::Unfinished { seconds: time_limit.as_secs_f64() })?.ok();
        }
        () = signals.next() => return Err(ServeError::Interrupted),
    }
    let _ = stop.send(());
    // Waits for the last responses to be sent, but not for connections without a request in progress.
    match tokio::time::timeout(LAST_ANSWERS, server).await {
        Ok(ended) => ended.map_err(|_| ServeError::Ended),
        Err(_) => Ok(()),
    }
}

/// Raises the limit on open files. Each connection is an open file, and systems allow few by default.
fn allow_open_files(max_connections: NonZeroUsize) {
    let wanted = (max_connections.get() as u64).saturating_add(OTHER_OPEN_FILES);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) if allowed < wanted => {
            tracing::warn!(allowed, wanted, "the system allows fewer open files than MAX_CONNECTIONS needs");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files cannot be raised"),
    }
}

async fn bind(addresses: &[SocketAddr]) -> Result<TcpListener, ServeError> {
    TcpListener::bind(addresses).await.map_err(|reason| ServeError::Bind { address: addresses[0], reason })
}

/// Loads the models on a separate thread. A process that shuts down in the meantime does not need to wait for it.
fn load_on_a_thread(config: Config, state: AppState) -> oneshot::Receiver<Result<(), LoadError>> {
    let (outcome, loading) = oneshot::channel();
    std::thread::spawn(move || {
        let loaded = load(&config, state.metrics.on_batch()).and_then(|embedder| {
            let store = open_store(&config.store, &embedder)?;
            assert!(state.store.set(store).is_ok(), "the store is opened once");
            assert!(state.embedder.set(embedder).is_ok(), "models are loaded once");
            Ok(())
        });
        // If sending fails, the process is shutting down.
        let _ = outcome.send(loaded);
    });
    loading
}

/// The signals that stop the service. If there is a key file, SIGHUP does not stop the service but makes it read that
/// file again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Waits for a signal, or for the model to fail to load.
async fn loaded_and_signalled(
    loading: oneshot::Receiver<Result<(), LoadError>>,
    signals: &mut Signals,
) -> Result<(), ServeError> {
    tokio::select! {
        outcome = loading => outcome.map_err(|_| ServeError::Ended)??,
        () = signals.next() => return Ok(()),
    }
    signals.next().await;
    Ok(())
}
