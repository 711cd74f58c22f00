//! Connections: accepted up to a limit, and closed when their clients are slow or idle.

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

/// Maximum number of headers that are read. It exceeds the limit of `layers::headers`, so that the service itself rejects
/// a request with too many headers.
const MAX_READ_HEADERS: usize = 1_000;

/// Maximum size of a connection's buffer in bytes. The buffer exists while the connection is open.
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// Time limit for the first request head on a connection.
const FIRST_HEAD: Duration = Duration::from_secs(10);

/// Interval between checks whether all connections are closed.
const CLOSING: Duration = Duration::from_millis(20);

/// Pause after a failed accept. The usual cause is that the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for clients to notice the shutdown, after the service has stopped accepting connections.
const LINGER: Duration = Duration::from_millis(500);

/// Serves connections until `stopped` fires, then waits until all of them are closed. A connection with a request in
/// progress closes after its response, and an idle connection closes at the end.
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
    // Connections that are waiting to be accepted also get a response.
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
    /// Notified when connections must close after their responses.
    closing: watch::Sender<()>,
    state: AppState,
    router: Router,
}

impl Server {
    /// Serves a connection, unless the limits are reached.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let metrics = Arc::clone(&self.state.metrics);
        let Some(open) = self.open.admit(peer.ip()).map(Arc::new) else {
            metrics.connections.refused.inc();
            return;
        };
        // A response is a single write, so waiting for more data would only delay it. If this call fails, responses are
        // late but not lost.
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
                    // Tells the client to send nothing more, because the connection is about to close.
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                body_state.note_response(expects_continue, &mut answer);
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
                // An error here means that the client is slow or has disconnected.
                _ = connection => {}
                () = is_silent => {}
                // The connection is idle, so closing it truncates no response.
                () = open.closed() => metrics.connections.refused.inc(),
            }
            metrics.connections.open.dec();
        });
    }
}

/// A connection is busy until the body of its response has been sent.
impl Watch for Busy {}
