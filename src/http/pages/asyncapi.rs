//! The AsyncAPI document, which describes the messages of live sessions for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::live::LiveEvent;

/// The messages of a client: name, purpose and example.
const OF_CLIENTS: [(&str, &str, &str); 4] = [
    (
        "transcript",
        "Output of a speech recogniser, in seconds of the session. The service sends it back with speakers.",
        r#"{"type": "transcript", "segments": [{"start": 1.2, "end": 3.4, "text": "Shall we begin?"}]}"#,
    ),
    ("keep_alive", "Sent instead of samples while the microphone is off.", r#"{"type": "keep_alive"}"#),
    ("flush", "Settles everything received so far.", r#"{"type": "flush"}"#),
    ("end", "No more samples follow.", r#"{"type": "end"}"#),
];

/// Returns the document. Its schemas are those of the events and of the OpenAPI document.
pub(in crate::http) fn document(openapi: &OpenApi) -> Value {
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let known = openapi.components.iter().flat_map(|components| components.schemas.iter());
    schemas.extend(known.map(|(name, schema)| (name.clone(), json!(schema))));
    let mut of_events: Vec<(String, RefOr<Schema>)> = Vec::new();
    <LiveEvent as ToSchema>::schemas(&mut of_events);
    of_events.push(("LiveEvent".into(), LiveEvent::schema()));
    schemas.extend(of_events.into_iter().map(|(name, schema)| (name, json!(schema))));
    let text = |name: &str, summary: &str, payload: &Value| json!({"name": name, "summary": summary, "contentType": "application/json", "payload": payload});
    let mut messages = serde_json::Map::new();
    let samples = json!({
        "name": "samples",
        "summary": "Samples without a header, in any number of bytes. A sample may be split across two messages.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    });
    messages.insert("samples".into(), samples);
    for (name, summary, example) in OF_CLIENTS {
        let example: Value = serde_json::from_str(example).expect("it is JSON");
        let mut properties = json!({"type": {"const": name}});
        let mut required = vec!["type"];
        if name == "transcript" {
            properties["segments"] = json!({"type": "array", "items": {"type": "object"}});
            required.push("segments");
        }
        let payload = json!({"type": "object", "required": required, "properties": properties});
        let mut message = text(name, summary, &payload);
        message["examples"] = json!([{"payload": example}]);
        messages.insert(name.into(), message);
    }
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let with_type = |kind: &str, more: &Value| {
        let own = json!({"type": "object", "required": ["type"], "properties": {"type": {"const": kind}}});
        json!({"allOf": [own, more]})
    };
    let string = json!({"type": "string"});
    let ready = json!({"type": "object", "properties": {
        "session": string, "model": string, "sample_rate": {"type": "integer"}, "latency_seconds": {"type": "number"},
    }});
    let error = json!({"type": "object", "properties": {"code": string, "message": string}});
    let of_service = [
        ("ready", "The session is open.", with_type("ready", &ready)),
        ("event", "An event of the session.", reference("LiveEvent")),
        (
            "final",
            "The result: the response of /v1/diarize for the same samples.",
            with_type("final", &reference("DiarizeAnswer")),
        ),
        ("error", "The reason why the service is about to close the session.", with_type("error", &error)),
    ];
    for (name, summary, payload) in &of_service {
        messages.insert((*name).into(), text(name, summary, payload));
    }
    let of_channel = |name: &str| json!({"$ref": format!("#/channels/live/messages/{name}")});
    let sent = std::iter::once("samples").chain(OF_CLIENTS.map(|(name, ..)| name)).map(of_channel);
    let received = of_service.iter().map(|(name, ..)| of_channel(name));
    let channel_messages: serde_json::Map<String, Value> = messages
        .keys()
        .map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")})))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Voice Embedding Service: live sessions",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Reports who is speaking while audio arrives. docs/live.md describes the protocol.",
        },
        "defaultContentType": "application/json",
        "channels": {"live": {
            "address": "v1/live",
            "description": "A WebSocket with the subprotocol voice-live.v1. Its options are those of GET /v1/live.",
            "messages": channel_messages,
        }},
        "operations": {
            "send": {"action": "receive", "channel": {"$ref": "#/channels/live"}, "messages": sent.collect::<Vec<_>>()},
            "listen": {"action": "send", "channel": {"$ref": "#/channels/live"}, "messages": received.collect::<Vec<_>>()},
        },
        "components": {"messages": messages, "schemas": schemas},
    })
}
