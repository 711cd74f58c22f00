//! All routes, layers and limits.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state, map_request, map_response};
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::layers::body_memory::BodyLimit::{self, Embeddings, File, LongRecording, Options, Voices};
use super::layers::local::LocalOnly;
use super::layers::{
    auth, body_memory, cors, drain, headers, in_hand, local, observe, request_id, time_limit, uniform_errors,
};
use super::pages::{app, docs, document, redirects};
use super::routes::v1::{self, speakers};
use super::routes::{compare_embeddings, extract_embedding, health, metrics, upload};
use super::state::AppState;
use crate::config::{CorsOrigins, Right};

/// Returns the router of the service. Each route is listed once, because the OpenAPI document is built from the same
/// declarations.
///
/// The layers do the following, from the outside in:
///
/// - Answer cross-origin requests.
/// - Give errors a uniform format. This layer is around the router, because the router adds `Allow`.
/// - Set the request id, before anything is logged.
/// - Log the request, and catch panics below the log.
/// - Drain bodies that no handler reads.
/// - Reject pages of other machines while the default key is in use.
///
/// Routes with a key first check the key and its right. Shutdown waits for their requests. These routes respond within
/// the time limit and share the memory for bodies.
pub(super) fn router(state: AppState, cors_origins: &CorsOrigins) -> Router {
    let dimension = state.root_model.dimension();
    let with_key = |right: Option<Right>, limit: BodyLimit| {
        ServiceBuilder::new()
            .layer(from_fn_with_state((state.clone(), right), auth::require_api_key))
            .layer(from_fn(headers::refuse_encoded))
            .layer(from_fn_with_state(state.clone(), in_hand::take_in_hand))
            .layer(from_fn_with_state(state.clone(), time_limit::answer_in_time))
            .layer(from_fn_with_state((state.clone(), limit), body_memory::bound_memory))
            // The handlers enforce their own limit. axum's limit would be 2 MB.
            .layer(DefaultBodyLimit::disable())
    };
    let local = LocalOnly::new(state.config.has_default_key, cors_origins);
    let for_all = ServiceBuilder::new()
        .layer(map_request(async |request| request_id::remove_unsafe(request)))
        .layer(request_id::set())
        .layer(from_fn_with_state(state.clone(), observe::observe))
        .layer(request_id::propagate())
        .layer(CatchPanicLayer::custom(uniform_errors::panicked))
        .layer(map_request(async |request| drain::drain_when_dropped(request)))
        .layer(from_fn(headers::bound_headers))
        .layer(from_fn_with_state(local, local::require_local));

    let keyed = |routes: UtoipaMethodRouter<AppState>, right: Right, limit: BodyLimit| {
        routes.map(|route| route.route_layer(with_key(Some(right), limit)))
    };
    let with_any_key = |routes: UtoipaMethodRouter<AppState>, limit: BodyLimit| {
        routes.map(|route| route.route_layer(with_key(None, limit)))
    };

    let (routes, api) = OpenApiRouter::with_openapi(document::head())
        .routes(keyed(routes!(extract_embedding::extract_embedding), Right::Embed, Voices))
        .routes(keyed(routes!(upload::upload), Right::Embed, Voices))
        .routes(keyed(routes!(compare_embeddings::compare_embeddings), Right::Verify, Embeddings))
        .routes(with_any_key(routes!(v1::models::models), Options))
        .routes(with_any_key(routes!(v1::models::model), Options))
        .routes(with_any_key(routes!(v1::models::model_by_fingerprint), Options))
        .routes(with_any_key(routes!(v1::calibration::calibration), Options))
        .routes(with_any_key(routes!(v1::key::key), Options))
        .routes(keyed(routes!(v1::embeddings::embeddings), Right::Embed, Voices))
        .routes(keyed(routes!(v1::verify::verify), Right::Verify, Voices))
        .routes(keyed(routes!(v1::similarities::similarities), Right::Verify, Voices))
        .routes(keyed(routes!(v1::identify::identify), Right::Identify, Voices))
        .routes(with_any_key(routes!(v1::diarize::diarize_recording), LongRecording))
        .routes(keyed(routes!(v1::live::live), Right::Embed, Options))
        .routes(keyed(routes!(speakers::create::create), Right::Enrol, Voices))
        .routes(keyed(routes!(speakers::list::list), Right::Read, Options))
        .routes(keyed(routes!(speakers::one::speaker), Right::Read, Options))
        .routes(keyed(routes!(speakers::one::change), Right::Enrol, Options))
        .routes(keyed(routes!(speakers::one::remove), Right::Admin, Options))
        .routes(keyed(routes!(speakers::enrol::enrol), Right::Enrol, Voices))
        .routes(keyed(routes!(speakers::enrolments::enrolments), Right::Read, Options))
        .routes(keyed(routes!(speakers::enrolments::remove_all), Right::Admin, Options))
        .routes(keyed(routes!(speakers::enrolments::enrolment), Right::Read, Options))
        .routes(keyed(routes!(speakers::enrolments::remove), Right::Admin, Options))
        .routes(keyed(routes!(speakers::transfer::move_enrolment), Right::Enrol, Options))
        .routes(keyed(routes!(speakers::transfer::merge), Right::Enrol, Options))
        .routes(keyed(routes!(speakers::collections::collections), Right::Read, Options))
        .routes(keyed(routes!(speakers::collections::remove), Right::Admin, Options))
        .routes(keyed(routes!(speakers::export::export), Right::Admin, Options))
        .routes(keyed(routes!(speakers::import::import), Right::Admin, File))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
        .split_for_parts();
    let known_paths = redirects::known_paths(&api);
    let page = if state.config.has_page {
        app::routes(state.config.has_default_key)
    } else {
        Router::new().route("/", get(redirects::to_docs))
    };
    let routes = routes
        .merge(docs::routes(document::complete(api, dimension)))
        .merge(page)
        .route("/favicon.ico", get(docs::icon))
        .fallback(async move |uri: Uri| redirects::without_trailing_slash(&known_paths, &uri))
        .method_not_allowed_fallback(uniform_errors::method_not_allowed)
        .layer(for_all)
        .with_state(state);
    let service = Router::new()
        .fallback_service(routes)
        .layer(map_response(uniform_errors::with_uniform_errors))
        .layer(from_fn(uniform_errors::with_v1_conventions))
        .layer(map_request(async |request| headers::with_plain_path(request)));
    cors::allow(service, cors_origins)
}
