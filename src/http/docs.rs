//! `/openapi.json`, `/docs` (Swagger UI) and `/redoc` (ReDoc): the API for people and programs, all from the binary.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::auth::API_KEY_HEADER;
use super::{AppState, compare_embeddings, extract_embedding, health, upload};

/// The API, as the handlers describe themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Voice Embedding Service",
        description = "Turns a voice recording into a 256-dimensional speaker embedding, and says whether two \
            embeddings are the same speaker."
    ),
    paths(
        extract_embedding::extract_embedding,
        upload::upload,
        compare_embeddings::compare_embeddings,
        health::health,
        health::ready,
    ),
    tags(
        (name = "Embeddings", description = "Recordings to embeddings, embeddings to decisions."),
        (name = "Operation", description = "For probes and monitors; no key needed."),
    ),
    modifiers(&SecuritySchemes),
)]
struct ApiDoc;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let api_key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(API_KEY_HEADER)));
        components.add_security_scheme("ApiKey", api_key);
        components.add_security_scheme("Bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The routes of the documentation.
pub(super) fn routes() -> Router<AppState> {
    let swagger_config = Config::from("../openapi.json")
        .try_it_out_enabled(true)
        .persist_authorization(true);
    Router::new()
        .route("/openapi.json", get(async || Json(ApiDoc::openapi())))
        .merge(SwaggerUi::new("/docs").config(swagger_config))
        .route(
            "/redoc",
            get(async || Html(include_str!("../../assets/redoc/index.html"))),
        )
        .route("/redoc/redoc.standalone.js", get(redoc_script))
}

/// ReDoc's script, compressed as every browser takes it.
async fn redoc_script() -> impl IntoResponse {
    let headers = [(CONTENT_TYPE, "text/javascript"), (CONTENT_ENCODING, "gzip")];
    (
        headers,
        include_bytes!("../../assets/redoc/redoc.standalone.js.gz"),
    )
}
