//! Binds, loads, serves and stops.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use anyhow::{Context, anyhow};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::extractor::Extractor;
use super::{AppState, router};
use crate::config::{Config, DEFAULT_API_KEY};

/// Serves until SIGTERM or SIGINT, or until it is clear that the model cannot be loaded. The server listens at once and
/// loads the model meanwhile.
#[tokio::main]
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let state = AppState::new(&config);
    let listener = bind(&config.listen).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening on http://{address} (API reference on /docs)");
    if config.has_default_api_key() {
        tracing::warn!("API_KEY is {DEFAULT_API_KEY}: listening on loopback only");
    }

    let request_timeout = config.http.request_timeout;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = router(state.clone());
    let listener = listener.tap_io(|connection| {
        // An answer is one write; waiting for more only delays it.
        let _ = connection.set_nodelay(true);
    });
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        let _ = stopped.changed().await;
    });
    let mut server = tokio::spawn(server.into_future());
    let extractor = state.extractor.clone();
    let mut loading =
        tokio::task::spawn_blocking(move || Extractor::load(&config).map(|e| extractor.set(e).is_ok()));
    let mut loaded = false;
    loop {
        tokio::select! {
            outcome = &mut loading, if !loaded => {
                outcome??;
                loaded = true;
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            ended = &mut server => return Err(anyhow!("the server ended by itself: {ended:?}")),
        }
    }
    tracing::info!("shutting down");
    state.shutting_down.store(true, Ordering::Relaxed);
    let _ = stop.send(true);
    match tokio::time::timeout(request_timeout, server).await {
        Ok(ended) => Ok(ended??),
        Err(_) => Err(anyhow!(
            "requests were still in work after {} seconds",
            request_timeout.as_secs_f64()
        )),
    }
}

async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    let listed = || {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    TcpListener::bind(addresses)
        .await
        .with_context(|| format!("cannot listen on {}", listed()))
}
