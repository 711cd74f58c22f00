//! The OpenAPI document: its head, and what every operation has without saying so. Routes describe the rest themselves.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr, Required, Schema, Server, Type};
use utoipa::{Modify, OpenApi as _};

use crate::http::error::ErrorBody;
use crate::http::error_table::{self, ERROR_KINDS};
use crate::http::layers::auth::API_KEY_HEADER;

/// The OpenAPI document's head.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Voice Embedding Service",
        description = "Turns voice recordings into speaker embeddings, and says whose voice it is: [try it on the page](./).\n\n\
            **The key** is the value of `API_KEY`, or one of `KEYS_FILE`. Where neither is set, which is for a machine of \
            your own, it is `dev-key-change-me`.\n\n\
            **Recordings** are WAV, AIFF, CAF, FLAC, MP3, Ogg (Vorbis, Opus), MP4, M4A and QuickTime (AAC, ALAC), WebM and \
            Matroska, AAC (ADTS), or samples without a header; mono or up to 8 channels, 4 to 384 kHz. One holds a single \
            speaker.\n\n\
            **Limits**, unless the operator has set others: 32 MiB a body (`MAX_BODY_BYTES`), 600 seconds a recording \
            (`MAX_AUDIO_SECONDS`), 64 recordings a request (`MAX_BATCH_RECORDINGS`), 30 seconds a request \
            (`REQUEST_TIMEOUT_SECONDS`; more for many recordings), 100 headers.\n\n\
            **Warnings** (`audio.warnings`) come with an embedding that should be trusted less: `short_speech` (under 1.6 \
            seconds), `narrowband` (sampled below 16 kHz), `clipped`, `low_level`, `truncated` (the file proves that \
            something is missing), `noise` (level and spectrum hardly move: no voice, most likely) and `several_speakers`.\n\n\
            **Errors** of every route are `{\"detail\", \"code\"}`; those under /v1 have OpenAI's `error` beside."
    ),
    tags(
        (name = "Embeddings", description = "Recordings to embeddings, embeddings to decisions."),
        (name = "Voices", description = "Many recordings in one call, and voices compared: recordings, embeddings, or both."),
        (name = "Speakers", description = "Enrolled speakers: kept, searched, and forgotten."),
        (name = "Operation", description = "For probes and monitors; no key needed."),
    ),
    components(schemas(ErrorBody)),
    modifiers(&SecuritySchemes),
)]
struct ApiDoc;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let header =
            ApiKeyValue::with_description(API_KEY_HEADER, "The key that the operator has given out.");
        components.add_security_scheme("ApiKey", SecurityScheme::ApiKey(ApiKey::Header(header)));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The same key, for clients that send it as `Authorization: Bearer KEY`."))
            .build();
        components.add_security_scheme("Bearer", SecurityScheme::Http(bearer));
    }
}

/// The document without routes.
pub(in crate::http) fn head() -> OpenApi {
    ApiDoc::openapi()
}

/// Half a second of a synthetic voice in base64, small enough to be read over.
pub(in crate::http) fn example_recording() -> String {
    BASE64_STANDARD.encode(include_bytes!("../../../assets/example.opus"))
}

/// The same of another voice.
pub(in crate::http) fn other_example_recording() -> String {
    BASE64_STANDARD.encode(include_bytes!("../../../assets/example-other.opus"))
}

/// Adds what every operation has: errors of any request, an example for each error, and headers; and how many components the default
/// model's embeddings have.
pub(in crate::http) fn complete(mut document: OpenApi, dimension: usize) -> OpenApi {
    set_dimension(&mut document, dimension);
    // Behind a proxy's path prefix the document lies there, too.
    document.servers = Some(vec![Server::new(".")]);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            complete_operation(operation, path.starts_with("/v1/"));
        }
    }
    document
}

/// The embeddings that the root's routes answer and take are Resemblyzer's, unless another model is loaded alone.
fn set_dimension(document: &mut OpenApi, dimension: usize) {
    let schemas = document.components.iter_mut().flat_map(|components| components.schemas.iter_mut());
    let of_root = schemas.filter(|(name, _)| ["ExtractResponse", "CompareRequest"].contains(&name.as_str()));
    for (_, schema) in of_root {
        let RefOr::T(Schema::Object(schema)) = schema else { continue };
        for property in schema.properties.values_mut() {
            if let RefOr::T(Schema::Array(array)) = property {
                (array.min_items, array.max_items) = (Some(dimension), Some(dimension));
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
    operations.into_iter().filter_map(Option::as_mut)
}

fn complete_operation(operation: &mut Operation, is_v1: bool) {
    let has_key = operation.security.is_some();
    let of_any_request: &[&str] = if has_key {
        &["too_many_headers", "internal", "request_timeout"]
    } else {
        &["too_many_headers", "internal"]
    };
    let responses = &mut operation.responses.responses;
    for (status, response) in error_table::responses(of_any_request) {
        responses.entry(status).or_insert(response);
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response {
            complete_response(response, status, has_key, is_v1);
        }
    }
    let request_id = ParameterBuilder::new()
        .name("X-Request-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Comes back, and stands in the log: up to 128 letters, digits and `-_.:+/=`."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(request_id.into());
}

fn complete_response(response: &mut Response, status: &str, has_key: bool, is_v1: bool) {
    // Every answer to a key has them; a reader needs them once.
    let tells_rate = has_key && (status.starts_with('2') || status == "429");
    let headers = [
        (true, "X-Request-Id", Type::String, "The request's id."),
        (tells_rate, "RateLimit-Limit", Type::Integer, "Recordings a minute, if the key has a rate."),
        (tells_rate, "RateLimit-Remaining", Type::Integer, "What is left of them."),
        (tells_rate, "RateLimit-Reset", Type::Integer, "Seconds until all are back."),
        (
            ["429", "503"].contains(&status),
            "Retry-After",
            Type::Integer,
            "Seconds to wait before the next try.",
        ),
    ];
    for (is_there, name, kind, description) in headers {
        if is_there {
            let schema = ObjectBuilder::new().schema_type(kind).build();
            let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
            response.headers.insert(name.into(), header.into());
        }
    }
    let is_error = status.starts_with(['4', '5']);
    let Some(RefOr::T(content)) = response.content.get_mut("application/json").filter(|_| is_error) else {
        return;
    };
    let named = |code: &str| response.description.split('`').any(|word| word == code);
    for kind in ERROR_KINDS.iter().filter(|kind| named(kind.code)) {
        let example = ExampleBuilder::new().summary(kind.code).value(Some(kind.example(is_v1))).build();
        content.examples.insert(kind.code.into(), example.into());
    }
}
