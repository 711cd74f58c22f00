//! Binds, loads, serves and stops.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::extractor::{Extractor, LoadError};
use super::{AppState, router};
use crate::config::{Config, DEFAULT_API_KEY};

/// Why serving ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The first address that was tried.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// The model or ONNX Runtime cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The system has no signals or no threads left for us.
    #[error("the system does not let the server run: {0}")]
    System(#[from] io::Error),
    /// The server, or the thread that loads, ended by itself: a bug.
    #[error("the server ended by itself")]
    Ended,
    /// Requests were still in work when the time to finish them was over.
    #[error("requests were still in work after {seconds} seconds")]
    Unfinished {
        /// The time they had.
        seconds: f64,
    },
}

/// Serves until SIGTERM or SIGINT, or until it is clear that the model cannot be loaded. The server listens at once and
/// loads the model meanwhile.
#[tokio::main]
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let listener = bind(&config.listen).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening on http://{address} (API reference on /docs)");
    if config.has_default_api_key() {
        tracing::warn!("API_KEY is {DEFAULT_API_KEY}: listening on loopback only");
    }
    let listener = listener.tap_io(|connection| {
        // An answer is one write; waiting for more only delays it. Where it fails, the answer is late, not lost.
        let _ = connection.set_nodelay(true);
    });

    let state = AppState::new(&config);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(state.clone())).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let mut server = tokio::spawn(server.into_future());

    let time_limit = config.http.request_timeout;
    let loading = load(config, state.clone());
    tokio::select! {
        outcome = loaded_and_signalled(loading) => outcome?,
        _ = &mut server => return Err(ServeError::Ended),
    }
    tracing::info!("shutting down");
    state.shutting_down.store(true, Ordering::Relaxed);
    let finish = async {
        // New requests are still accepted, to be told why they are refused, until the last one in hand is answered.
        let _ = state.in_hand.subscribe().wait_for(|in_hand| *in_hand == 0).await;
        let _ = stop.send(());
        server.await.map_err(|_| ServeError::Ended)?.map_err(ServeError::System)
    };
    let unfinished = |_| ServeError::Unfinished { seconds: time_limit.as_secs_f64() };
    tokio::time::timeout(time_limit, finish).await.map_err(unfinished)?
}

async fn bind(addresses: &[SocketAddr]) -> Result<TcpListener, ServeError> {
    TcpListener::bind(addresses).await.map_err(|reason| ServeError::Bind { address: addresses[0], reason })
}

/// Loads the model on a thread of its own, which a process that stops meanwhile need not wait for.
fn load(config: Config, state: AppState) -> oneshot::Receiver<Result<(), LoadError>> {
    let (outcome, loading) = oneshot::channel();
    std::thread::spawn(move || {
        let loaded = Extractor::load(&config).map(|extractor| {
            assert!(state.extractor.set(extractor).is_ok(), "the model is loaded once");
        });
        // If nobody listens any more, the process is stopping.
        let _ = outcome.send(loaded);
    });
    loading
}

/// Waits for SIGTERM or SIGINT, or for the model to fail to load.
async fn loaded_and_signalled(loading: oneshot::Receiver<Result<(), LoadError>>) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(signalled);
    tokio::select! {
        outcome = loading => outcome.map_err(|_| ServeError::Ended)??,
        () = &mut signalled => return Ok(()),
    }
    signalled.await;
    Ok(())
}
