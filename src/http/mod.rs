//! The HTTP API: every route, layer and limit is on this screen.

mod auth;
mod body;
mod compare_embeddings;
mod connections;
mod docs;
mod engine;
mod error;
mod extract_embedding;
mod extractor;
mod health;
#[cfg(feature = "internals")]
pub mod internals;
mod metrics;
mod observe;
mod request_id;
mod serve;
mod upload;
mod validation;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware::{Next, from_fn_with_state, map_request, map_response};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::{Config, CorsOrigins, HttpConfig};
use auth::ApiKeys;
use error::ApiError;
use extractor::Extractor;
use metrics::Metrics;

pub use engine::LoadError;
pub use serve::{ServeError, serve};

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
struct AppState {
    config: HttpConfig,
    api_keys: Arc<ApiKeys>,
    /// Empty until the model is loaded.
    extractor: Arc<OnceLock<Extractor>>,
    shutting_down: Arc<AtomicBool>,
    /// Held while ONNX Runtime is being loaded: a process that exits in the middle of that crashes.
    native_code: Arc<Mutex<()>>,
    /// Requests being answered that stopping must wait for.
    in_hand: Arc<watch::Sender<usize>>,
    /// Memory that request bodies take.
    body_bytes: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// The service as a router.
///
/// Layers, from the outside in: browsers of other origins are answered first; errors have one shape, around the router
/// because that is what adds `Allow`; the request id is there before anything is logged; what is below the log cannot
/// panic through it; a body that no handler reads is drained. The routes that compute want a key before anything else, are
/// waited for when the service stops, answer within the time limit and share the memory for bodies.
fn router(state: AppState, cors_origins: &CorsOrigins) -> Router {
    let with_key = ServiceBuilder::new()
        .layer(from_fn_with_state(state.clone(), auth::require_api_key))
        .layer(from_fn_with_state(state.clone(), take_in_hand))
        .layer(from_fn_with_state(state.clone(), answer_in_time))
        .layer(from_fn_with_state(state.clone(), body::bound_memory))
        // The handlers keep a limit of their own; axum's would be 2 MB.
        .layer(DefaultBodyLimit::disable());
    let routes = Router::new()
        .route("/extract-embedding", post(extract_embedding::extract_embedding).route_layer(with_key.clone()))
        .route("/extract-embedding/upload", post(upload::upload).route_layer(with_key.clone()))
        .route("/compare-embeddings", post(compare_embeddings::compare_embeddings).route_layer(with_key))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .merge(docs::routes())
        .fallback(no_such_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(map_request(async |request| request_id::drop_insane(request)))
                .layer(request_id::set())
                .layer(from_fn_with_state(state.clone(), observe::observe))
                .layer(request_id::propagate())
                .layer(CatchPanicLayer::custom(error::panicked))
                .layer(map_request(async |request| body::drain_when_dropped(request))),
        )
        .with_state(state);
    let service = Router::new().fallback_service(routes).layer(map_response(error::in_our_shape));
    match cors_origins {
        CorsOrigins::None => service,
        CorsOrigins::Any => service.layer(cors(AllowOrigin::any())),
        CorsOrigins::List(origins) => {
            let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
            service.layer(cors(AllowOrigin::list(origins)))
        }
    }
}

/// What pages of other origins may send and read.
fn cors(origins: AllowOrigin) -> CorsLayer {
    const SENT: [HeaderName; 6] = [
        CONTENT_TYPE,
        AUTHORIZATION,
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
    ];
    const READ: [HeaderName; 6] = [
        RETRY_AFTER,
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("server-timing"),
        HeaderName::from_static("ratelimit-limit"),
        HeaderName::from_static("ratelimit-remaining"),
        HeaderName::from_static("ratelimit-reset"),
    ];
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(SENT)
        .expose_headers(READ)
        .max_age(Duration::from_hours(1))
}

impl AppState {
    fn new(config: &Config) -> Self {
        Self {
            config: config.http,
            api_keys: Arc::new(ApiKeys::new(config)),
            extractor: Arc::default(),
            shutting_down: Arc::default(),
            native_code: Arc::default(),
            in_hand: Arc::default(),
            body_bytes: Arc::default(),
            metrics: Arc::new(Metrics::new()),
        }
    }

    /// The pipeline, if it takes work.
    fn extractor(&self) -> Result<&Extractor, ApiError> {
        if self.shutting_down.load(Ordering::Relaxed) {
            return Err(ApiError::ShuttingDown);
        }
        self.extractor.get().ok_or(ApiError::ModelNotReady)
    }
}

/// Counts a request, so that stopping waits for it; once stopping has begun, refuses it.
async fn take_in_hand(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    struct Counted(Arc<watch::Sender<usize>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.send_modify(|in_hand| *in_hand -= 1);
        }
    }

    state.in_hand.send_modify(|in_hand| *in_hand += 1);
    let counted = Counted(Arc::clone(&state.in_hand));
    if state.shutting_down.load(Ordering::Relaxed) {
        drop(counted);
        // The connection is closed behind the answer; a client that still sends would not get to read it.
        body::drain_briefly(request).await;
        return Err(ApiError::ShuttingDown);
    }
    Ok(next.run(request).await)
}

async fn answer_in_time(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let limit = state.config.request_timeout;
    let timeout = ApiError::Timeout { seconds: limit.as_secs_f64() };
    tokio::time::timeout(limit, next.run(request)).await.map_err(|_| timeout)
}

/// A route with a slash behind it is redirected to the route, as FastAPI does; anything else is not found.
async fn no_such_path(uri: Uri) -> Result<Redirect, ApiError> {
    let path = uri.path().strip_suffix('/').filter(|path| docs::is_route(path)).ok_or(ApiError::NotFound)?;
    Ok(Redirect::temporary(path))
}
