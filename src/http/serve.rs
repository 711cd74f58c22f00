//! Binds, loads, serves and stops.

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

/// Why serving ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The first address that was tried.
        address: SocketAddr,
        /// The system's reason.
        reason: io::Error,
    },
    /// The model or ONNX Runtime cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The system has no signals or threads left.
    #[error("the system does not let the server run: {0}")]
    System(#[from] io::Error),
    /// The server, or the thread that loads, ended by itself: a bug.
    #[error("the server ended by itself")]
    Ended,
    /// A second signal came before the last request was answered.
    #[error("stopped before the last requests were answered")]
    Interrupted,
    /// Requests were still in work when the time to finish them was over.
    #[error("requests were still in work after {seconds} seconds")]
    Unfinished {
        /// The time they had.
        seconds: f64,
    },
}

/// Open files beside connections: the listener, pipes, the model being fetched.
const OTHER_OPEN_FILES: u64 = 64;

/// Time for connections to close once every request is answered.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The longest that the process may live on once it stops with requests in work.
const LAST_MOMENT: Duration = Duration::from_millis(800);

/// Serves until SIGTERM or SIGINT, or until it is clear that the model cannot be loaded. The server listens at once and
/// loads the model meanwhile.
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
    // The loading thread is not waited for: it may fetch a model for minutes.
    prevent_loading();
    // Neither are threads that wait for a database, nor workers whose results nobody will get.
    runtime.shutdown_background();
    if is_unfinished {
        std::mem::forget(state);
    }
    outcome
}

/// Ends the process after so long, whatever its threads do: the system's own handlers at exit may wait for them.
fn end_within(time: Duration) {
    let ending = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(time);
        // If that fails, there is nothing else to try.
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
        tracing::warn!("API_KEY has less than {MIN_KEY_BYTES} characters, and may be guessed");
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
    // New requests are still accepted, and refused with the reason, until the last one in hand is answered.
    let mut in_hand = state.in_hand.subscribe();
    tokio::select! {
        all_answered = tokio::time::timeout(time_limit, in_hand.wait_for(|in_hand| *in_hand == 0)) => {
            all_answered.map_err(|_| ServeError::Unfinished { seconds: time_limit.as_secs_f64() })?.ok();
        }
        () = signals.next() => return Err(ServeError::Interrupted),
    }
    let _ = stop.send(());
    // The last answers leave; a connection that has nothing in hand is not waited for.
    match tokio::time::timeout(LAST_ANSWERS, server).await {
        Ok(ended) => ended.map_err(|_| ServeError::Ended),
        Err(_) => Ok(()),
    }
}

/// A connection is an open file, of which systems allow few unless asked.
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

/// Loads the models on a thread of its own, which a process that stops meanwhile need not wait for.
fn load_on_a_thread(config: Config, state: AppState) -> oneshot::Receiver<Result<(), LoadError>> {
    let (outcome, loading) = oneshot::channel();
    std::thread::spawn(move || {
        let loaded = load(&config, state.metrics.on_batch()).and_then(|embedder| {
            let store = open_store(&config.store, &embedder)?;
            assert!(state.store.set(store).is_ok(), "the store is opened once");
            assert!(state.embedder.set(embedder).is_ok(), "models are loaded once");
            Ok(())
        });
        // If it cannot be sent, the process is stopping.
        let _ = outcome.send(loaded);
    });
    loading
}

/// The signals that stop the service. The last one does unless there is a file of keys, which it has read again.
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
