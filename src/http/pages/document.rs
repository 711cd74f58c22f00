//! The OpenAPI document: its head, and the parts that all operations share. Routes describe the rest themselves.

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
        description = "Turns voice recordings into speaker embeddings, and identifies speakers: [try it in your browser](./).\n\n\
            **The key** is the value of `API_KEY`, or one of the keys in `KEYS_FILE`. If neither is set, the key is \
            `dev-key-change-me`, which is meant for use on your own machine only.\n\n\
            **Recordings** are WAV, AIFF, CAF, FLAC, MP3, Ogg (Vorbis, Opus), MP4, M4A and QuickTime (AAC, ALAC), WebM and \
            Matroska, AAC (ADTS), or samples without a header. They have 1 to 8 channels and sample rates of 4 to 384 kHz. \
            A recording to embed should contain a single speaker.\n\n\
            **Limits**, unless the operator has set others, are 32 MiB per body (`MAX_BODY_BYTES`), 600 seconds per recording \
            (`MAX_AUDIO_SECONDS`), 64 recordings per request (`MAX_BATCH_RECORDINGS`), 30 seconds per request \
            (`REQUEST_TIMEOUT_SECONDS`; more for many recordings) and 100 headers.\n\n\
            **Warnings** (`audio.warnings`) mark an embedding as less reliable. They are `short_speech` (under 1.6 seconds), \
            `narrowband` (sampled below 16 kHz), `clipped`, `low_level`, `truncated` (the file proves that a part of it is \
            missing), `noise` (level and spectrum hardly change, so there is probably no voice) and `several_speakers`.\n\n\
            **Errors** of every route have the form `{\"detail\", \"code\"}`. Under /v1, they also have OpenAI's `error`."
    ),
    tags(
        (name = "Embeddings", description = "Extract embeddings from recordings, and compare embeddings."),
        (name = "Voices", description = "Embed many recordings in one request, and compare voices: recordings, embeddings or both."),
        (name = "Speakers", description = "Enrol, search and delete speakers."),
        (name = "Operation", description = "Routes for probes and monitoring, which need no key."),
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
            ApiKeyValue::with_description(API_KEY_HEADER, "The API key that the operator has issued.");
        components.add_security_scheme("ApiKey", SecurityScheme::ApiKey(ApiKey::Header(header)));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The same key, for clients that send it as `Authorization: Bearer KEY`."))
            .build();
        components.add_security_scheme("Bearer", SecurityScheme::Http(bearer));
    }
}

/// Returns the document without routes.
pub(in crate::http) fn head() -> OpenApi {
    ApiDoc::openapi()
}

/// Returns half a second of a synthetic voice in base64, which is short enough for readers to skip.
pub(in crate::http) fn example_recording() -> String {
    BASE64_STANDARD.encode(include_bytes!("../../../assets/example.opus"))
}

/// Returns the same for another voice.
pub(in crate::http) fn other_example_recording() -> String {
    BASE64_STANDARD.encode(include_bytes!("../../../assets/example-other.opus"))
}

/// Adds the parts that all operations share: the errors of any request, an example of each error, and headers. Also sets
/// the dimension of the root routes' embeddings.
pub(in crate::http) fn complete(mut document: OpenApi, dimension: usize) -> OpenApi {
    set_dimension(&mut document, dimension);
    // The document has the same path prefix as the service, even behind a proxy.
    document.servers = Some(vec![Server::new(".")]);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            complete_operation(operation, path.starts_with("/v1/"));
        }
    }
    document
}

/// Sets the dimension of the embeddings that the root routes return and accept. They are Resemblyzer's, unless only
/// another model is loaded.
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
        .description(Some("Echoed in the response and logged. Up to 128 letters, digits and `-_.:+/=`."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(request_id.into());
}

fn complete_response(response: &mut Response, status: &str, has_key: bool, is_v1: bool) {
    // Every response to a request with a key has these headers, but readers need them only once.
    let tells_rate = has_key && (status.starts_with('2') || status == "429");
    let headers = [
        (true, "X-Request-Id", Type::String, "The request's id."),
        (tells_rate, "RateLimit-Limit", Type::Integer, "Recordings per minute, if the key has a limit."),
        (tells_rate, "RateLimit-Remaining", Type::Integer, "Recordings that the key may still send."),
        (tells_rate, "RateLimit-Reset", Type::Integer, "Seconds until the full limit is available again."),
        (
            ["429", "503"].contains(&status),
            "Retry-After",
            Type::Integer,
            "Seconds to wait before the next attempt.",
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
