//! Connections: accepted up to a number, closed when their clients are slow or idle.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tower::Service;

use super::AppState;

/// Time for a request's head to arrive, and for a connection to stay open without one, unless requests have less.
const MAX_HEAD_TIME: Duration = Duration::from_secs(30);

/// Pause after an error of accepting, which most of the time is that files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until told to stop; then returns once all of them have had their answers.
pub(super) async fn serve(
    listener: TcpListener,
    state: AppState,
    router: Router,
    mut stopped: oneshot::Receiver<()>,
) {
    let AppState { config, metrics, .. } = state;
    let head_time = MAX_HEAD_TIME.min(config.request_timeout);
    let places = Arc::new(Semaphore::new(config.max_connections.get().min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics.connections_refused.inc();
            continue;
        };
        // An answer is one write; waiting for more only delays it. Where it fails, the answer is late, not lost.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            metrics.connections.inc();
            // It ends with an error if its client is slow or goes, which is no news.
            let _ = connection.await;
            metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
