//! Connections: accepted up to a number, closed when their clients are slow or idle.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, EXPECT};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use super::layers::drain::BodyState;
use super::layers::watched::{Watch, watched};
use super::open_connections::{Busy, ConnectionLimits, OfConnection, OpenConnections};
use super::state::AppState;

/// Headers of a request that are read; those with more than `layers::headers` allows are refused in the service's own words.
const MAX_READ_HEADERS: usize = 1_000;

/// Buffer of a connection at the most; it is kept while the connection is open.
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// The longest until the first head of a connection is there.
const FIRST_HEAD: Duration = Duration::from_secs(10);

/// Between two looks whether all connections are closed.
const CLOSING: Duration = Duration::from_millis(20);

/// Pause after an error of accepting, which most of the time is that files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for clients to see that the service stops, once no further connection is accepted.
const LINGER: Duration = Duration::from_millis(500);

/// Serves connections until told to stop, then until all of them are closed: one with a request in work is closed with its
/// answer, idle ones at the end.
pub(super) async fn serve(
    listener: TcpListener,
    state: AppState,
    router: Router,
    mut stopped: oneshot::Receiver<()>,
) {
    let max_connections = state.config.max_connections.get().min(u32::MAX as usize);
    let per_address = state.config.max_connections_per_address.get();
    let server = Server {
        open: OpenConnections::new(ConnectionLimits { all: max_connections, per_address }),
        closing: watch::Sender::new(()),
        state,
        router,
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        match accepted {
            Ok((stream, peer)) => server.admit(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Connections that wait to be accepted get an answer, too.
    for _ in 0..max_connections {
        match tokio::time::timeout(Duration::ZERO, listener.accept()).await {
            Ok(Ok((stream, peer))) => server.admit(stream, peer),
            _ => break,
        }
    }
    drop(listener);
    let all_closed = async || {
        while server.open.count() > 0 {
            tokio::time::sleep(CLOSING).await;
        }
    };
    let _ = tokio::time::timeout(LINGER, all_closed()).await;
    server.closing.send_replace(());
    all_closed().await;
}

struct Server {
    open: OpenConnections,
    /// Told once connections are to be closed with their answers.
    closing: watch::Sender<()>,
    state: AppState,
    router: Router,
}

impl Server {
    /// Serves a connection, if there is a place for it.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let metrics = Arc::clone(&self.state.metrics);
        let Some(open) = self.open.admit(peer.ip()).map(Arc::new) else {
            metrics.connections.refused.inc();
            return;
        };
        // An answer is one write; waiting for more only delays it. Where it fails, the answer is late, not lost.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.state.config.keep_alive));
        let (router, shutting_down) = (self.router.clone(), Arc::clone(&self.state.shutting_down));
        let asked = Arc::clone(&open);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let busy = asked.busy();
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(OfConnection::new(&asked));
            let body_state = Arc::<BodyState>::default();
            request.extensions_mut().insert(Arc::clone(&body_state));
            let expects_continue = request.headers().contains_key(EXPECT);
            let answer = router.clone().call(request.map(Body::new));
            let shutting_down = Arc::clone(&shutting_down);
            async move {
                let mut answer = answer.await?;
                if shutting_down.load(Ordering::Relaxed) {
                    // So that the client sends nothing more on a connection that is about to be closed.
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                body_state.answered(expects_continue, &mut answer);
                Ok::<_, Infallible>(answer.map(|body| watched(body, busy)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(MAX_BUFFER_BYTES)
            .max_headers(MAX_READ_HEADERS)
            .header_read_timeout(self.state.config.keep_alive)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
            .with_upgrades();
        let mut closing = self.closing.subscribe();
        tokio::spawn(async move {
            metrics.connections.open.inc();
            let is_silent = async {
                tokio::time::sleep(FIRST_HEAD).await;
                if open.has_asked() {
                    std::future::pending::<()>().await;
                }
            };
            let connection = async {
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    _ = closing.changed() => connection.as_mut().graceful_shutdown(),
                }
                connection.await
            };
            tokio::select! {
                // An error here is a client that is slow or has gone.
                _ = connection => {}
                () = is_silent => {}
                // It is idle, so nothing of an answer is lost.
                () = open.closed() => metrics.connections.refused.inc(),
            }
            metrics.connections.open.dec();
        });
    }
}

/// A connection is busy until the body of its answer is sent.
impl Watch for Busy {}
