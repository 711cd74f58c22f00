//! The table of errors: code, status, cause and example of each. The OpenAPI document and its tests are built from this table.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, Object, ObjectBuilder, Ref, RefOr, Response, Type};

/// A kind of error.
pub(super) struct ErrorKind {
    pub(super) code: &'static str,
    pub(super) status: u16,
    /// The cause, for the documentation.
    pub(super) when: &'static str,
    /// An example of the message. Empty for an error that lists fields.
    example: &'static str,
}

const fn kind(code: &'static str, status: u16, when: &'static str, example: &'static str) -> ErrorKind {
    ErrorKind { code, status, when, example }
}

/// All kinds of errors.
pub(super) const ERROR_KINDS: [ErrorKind; 42] = [
    kind(
        "invalid_base64",
        400,
        "`audio_base64` does not decode",
        "audio_base64 is not valid base64: Invalid symbol 33, offset 7.",
    ),
    kind(
        "wrong_dimension",
        400,
        "an embedding does not have the model's dimension (256, CAM++ 192), or `dimensions` asks for another number",
        "embedding1 must be 256-dimensional, got 128",
    ),
    kind(
        "invalid_form",
        400,
        "the content type of the form names no boundary",
        "Missing boundary in multipart.",
    ),
    kind(
        "invalid_api_key",
        401,
        "the key is wrong or empty; under `/v1` also if the request has no key",
        "Invalid API key",
    ),
    kind(
        "forbidden",
        403,
        "the key lacks the right that the route or request needs, or may not use the collection; the message names it",
        "The key lacks the right verify",
    ),
    kind("not_found", 404, "the path does not exist", "Not Found"),
    kind(
        "model_not_found",
        404,
        "the model does not exist; the message lists the loaded models",
        "There is no model \"whisper\"; loaded: resemblyzer",
    ),
    kind(
        "no_calibration",
        404,
        "the model has weights of its own, and no calibration was given for them",
        "There is no calibration for the model custom/0123abcd",
    ),
    kind(
        "speaker_not_found",
        404,
        "the collection has no speaker with this id",
        "There is no speaker \"anna\"",
    ),
    kind(
        "enrolment_not_found",
        404,
        "the speaker has no such enrolment",
        "There is no enrolment \"01920000-0000-7000-8000-000000000000\" of that speaker",
    ),
    kind("collection_not_found", 404, "the collection has no speakers", "There is no collection \"family\""),
    kind(
        "method_not_allowed",
        405,
        "the path does not have this method; `Allow` lists its methods",
        "Method Not Allowed",
    ),
    kind(
        "request_timeout",
        408,
        "the body did not arrive within `REQUEST_TIMEOUT_SECONDS`",
        "The request body did not arrive within the limit of 30 seconds",
    ),
    kind(
        "model_mismatch",
        409,
        "embeddings of different models, or a speaker without a profile of the model; the response carries `x-should-retry: false`, which OpenAI's SDKs obey",
        "resemblyzer-0.1.4/00000000 and resemblyzer-0.1.4/39373b86 are different models; their embeddings are not comparable",
    ),
    kind("speaker_exists", 409, "another speaker has the id", "There is a speaker \"anna\" already"),
    kind(
        "not_this_speaker",
        409,
        "a voice to enrol is unlike the speaker's profile",
        "the voice differs from this speaker's enrolments: the similarity is 0.4100, the threshold is 0.75; force overrides this",
    ),
    kind(
        "duplicate_enrolment",
        409,
        "the same recording or embedding is enrolled for another speaker of the collection",
        "The same recording or embedding is already enrolled, for the speaker \"anna\"",
    ),
    kind(
        "too_many_speakers",
        413,
        "there are already `MAX_SPEAKERS` speakers",
        "There are 200000 speakers, as many as may be kept",
    ),
    kind(
        "too_many_enrolments",
        413,
        "the speaker already has 1,024 enrolments",
        "The speaker has 1024 enrolments, the maximum; remove some first",
    ),
    kind(
        "payload_too_large",
        413,
        "the body is larger than the route's limit",
        "The request body is larger than the limit of 33554432 bytes",
    ),
    kind(
        "audio_too_long",
        413,
        "the recording is longer than `MAX_AUDIO_SECONDS`",
        "The audio is longer than the limit of 600 seconds",
    ),
    kind(
        "unsupported_audio",
        415,
        "the service does not decode the format; the message names the format that it recognised",
        "this is a PNG image. Supported: WAV (PCM, float, mu-law, A-law, IMA and MS ADPCM), FLAC, MP3, MP2, AAC (ADTS), Ogg (Vorbis, Opus, FLAC), WebM and Matroska, MP4, M4A and MOV (AAC, ALAC, Opus, MP3, PCM), AIFF, AU, CAF",
    ),
    kind(
        "unsupported_media_type",
        415,
        "the route does not accept the content type, or the body has a content encoding; the message names it and the accepted types",
        "The content type \"image/png\" is not accepted here; send audio/*",
    ),
    kind(
        "validation_error",
        422,
        "malformed JSON or form, a missing or mistyped field, a number out of range; at the root, also a request without a key",
        "",
    ),
    kind(
        "corrupt_audio",
        422,
        "the format is known, but the file cannot be decoded",
        "The audio file is corrupt: the WAV file has no samples",
    ),
    kind("no_speech", 422, "the voice detector finds no speech", "No speech was found in the audio"),
    kind(
        "audio_too_short",
        422,
        "the recording has less speech than `MIN_SPEECH_SECONDS`",
        "The audio holds 0.42 seconds of speech; at least 1 are needed",
    ),
    kind(
        "incomplete",
        422,
        "the import was cut off",
        "The export ends after line 1234 without its last line, {\"end\":true}; it was cut off",
    ),
    kind(
        "too_little_speech",
        422,
        "a voice to enrol has less speech than `MIN_ENROLMENT_SECONDS`",
        "1.2 s of speech is less than the 3 s that an enrolment should have; force overrides this",
    ),
    kind(
        "unfit_recording",
        422,
        "a voice to enrol is noisy, or has several speakers",
        "the recording has the warning several_speakers: enrol a recording of this speaker only; force overrides this",
    ),
    kind(
        "too_many_recordings",
        422,
        "more recordings than `MAX_BATCH_RECORDINGS`, or than the key may send in a minute",
        "A request may have 64 recordings",
    ),
    kind(
        "nothing_embedded",
        422,
        "no recording or segment of the request has an embedding",
        "None of the 2 recordings or segments has an embedding; the first: No speech was found in the audio",
    ),
    kind(
        "upgrade_required",
        426,
        "a request for a live session is not a WebSocket handshake",
        "A live session is a WebSocket: send Upgrade: websocket",
    ),
    kind(
        "rate_limited",
        429,
        "the key has exceeded its own rate or `RATE_LIMIT_PER_MINUTE`",
        "The limit of 60 requests a minute is reached; try again in 12 seconds",
    ),
    kind(
        "too_many_headers",
        431,
        "the request has more than 100 headers",
        "The request has more than 100 headers",
    ),
    kind(
        "no_store",
        501,
        "this service keeps no speakers (`DATABASE_URL`)",
        "This service stores no speakers; its startup log says why (DATABASE_URL)",
    ),
    kind(
        "store_unavailable",
        503,
        "the database of speakers cannot be read or written at the moment; embedding and comparing still work",
        "The database of speakers is unavailable; try again shortly",
    ),
    kind(
        "overloaded",
        503,
        "the queue or the memory for bodies is full; returned at once",
        "The service is at capacity; try again shortly",
    ),
    kind(
        "model_not_ready",
        503,
        "the model is still loading",
        "The model is still loading; try again shortly",
    ),
    kind("shutting_down", 503, "the service is stopping", "The service is shutting down"),
    kind(
        "timeout",
        503,
        "the request took longer than `REQUEST_TIMEOUT_SECONDS`",
        "The request took longer than the limit of 30 seconds",
    ),
    kind("internal", 500, "a bug; it is logged with the request's id", "Internal Server Error"),
];

/// Returns the kind of error for a code.
///
/// # Panics
/// Panics if the table does not contain the code.
pub(super) fn kind_of(code: &str) -> &'static ErrorKind {
    ERROR_KINDS.iter().find(|kind| kind.code == code).expect("every code is in the table")
}

impl ErrorKind {
    /// Returns an example of the error's body, under /v1 or elsewhere.
    pub(super) fn example(&self, is_v1: bool) -> Value {
        let field = json!({"type": "missing", "loc": ["body", "audio_base64"], "msg": "Field required", "input": null});
        let (detail, message) = match self.example {
            "" => (json!([field]), "audio_base64: Field required"),
            sentence => (json!(sentence), sentence),
        };
        let param = self.example.is_empty().then_some("audio_base64");
        let mut body = json!({"detail": detail, "code": self.code});
        if is_v1 {
            body["error"] = json!({"message": message, "type": openai_type(self.status), "param": param, "code": self.code});
        }
        body
    }
}

/// Returns OpenAI's error type for a status.
pub(super) fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// Returns the schema of the field `code`, which lists all codes.
pub(super) fn codes_schema() -> Object {
    let mut codes: Vec<&str> = ERROR_KINDS.iter().map(|kind| kind.code).collect();
    codes.sort_unstable();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("A machine-readable error code."))
        .enum_values(Some(codes))
        .build()
}

/// Returns the responses of an operation with these error codes, by status.
pub(super) fn responses(codes: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<&ErrorKind>> = BTreeMap::new();
    for code in codes {
        let kind = kind_of(code);
        by_status.entry(kind.status).or_default().push(kind);
    }
    let response = |(status, kinds): (u16, Vec<&ErrorKind>)| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        let description: Vec<String> =
            kinds.iter().map(|kind| format!("`{}`: {}", kind.code, kind.when)).collect();
        let mut response = Response::new(description.join("\n\n"));
        response.content.insert("application/json".into(), content.into());
        (status.to_string(), response.into())
    };
    by_status.into_iter().map(response).collect()
}

/// Declares the errors of an operation, for `responses` in its description.
macro_rules! error_responses {
    ($name:ident, $($code:literal),+) => {
        pub(in crate::http) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::http::error_table::responses(&[$($code),+])
            }
        }
    };
}
pub(super) use error_responses;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_code() {
        let documentation = include_str!("../../docs/api.md");
        for ErrorKind { code, status, when, .. } in &ERROR_KINDS {
            let line = format!("\n| {status} | `{code}` | {when} |\n");
            assert!(documentation.contains(&line), "{line}");
        }
    }
}
