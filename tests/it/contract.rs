//! The HTTP contract: routes, fields, statuses and error shapes of a server process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::blocking::multipart;
use serde_json::{Value, json};

use super::support::{KEY, Server, assert_close, assert_error, key_lines, voice};

/// A body for `POST /compare-embeddings` that repeats two numbers.
fn pair(first: f64, second: f64, threshold: &Value) -> String {
    json!({"embedding1": vec![first; 256], "embedding2": vec![second; 256], "threshold": threshold})
        .to_string()
}

fn embedding(answer: &Value) -> Vec<f32> {
    answer["embedding"].as_array().unwrap().iter().map(|c| c.as_f64().unwrap() as f32).collect()
}

#[test]
fn an_answer_has_every_field() {
    let server = Server::start();
    let mut answer: Value = server.upload(voice()).json().unwrap();
    let embedding = embedding(&answer);
    assert_eq!(embedding.len(), 256);
    let norm: f32 = embedding.iter().map(|c| c * c).sum::<f32>().sqrt();
    assert!((norm - 1.0).abs() < 1e-6 && embedding.iter().all(|c| *c >= 0.0), "norm {norm}");
    answer["embedding"] = json!("256 numbers");
    insta::assert_json_snapshot!(answer);
}

#[test]
fn every_way_to_send_a_recording_gives_the_same_embedding() {
    let server = Server::start();
    let uploaded = embedding(&server.upload(voice()).json().unwrap());
    let base64 = BASE64_STANDARD.encode(voice());
    let broken_lines: Vec<&str> =
        base64.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let cases = [
        ("plain", json!({"audio_base64": base64}).to_string()),
        ("with format", json!({"audio_base64": base64, "format": "wav"}).to_string()),
        ("null format", json!({"audio_base64": base64, "format": null}).to_string()),
        ("wrong format", json!({"audio_base64": base64, "format": "mp3"}).to_string()),
        ("unknown field", json!({"audio_base64": base64, "language": "en"}).to_string()),
        ("slashes escaped, as Swift does", format!(r#"{{"audio_base64":"{}"}}"#, base64.replace('/', r"\/"))),
        ("line breaks", json!({"audio_base64": broken_lines.join("\r\n")}).to_string()),
        ("no padding", json!({"audio_base64": base64.trim_end_matches('=')}).to_string()),
        ("URL-safe", json!({"audio_base64": BASE64_URL_SAFE_NO_PAD.encode(voice())}).to_string()),
        ("data URL", json!({"audio_base64": format!("data:audio/wav;base64,{base64}")}).to_string()),
        (
            "data URL in capitals",
            json!({"audio_base64": format!("DATA:audio/wav;name=\"a,b\";BASE64,{base64}")}).to_string(),
        ),
        ("byte order mark", format!("\u{feff}{{\"audio_base64\": \"{base64}\"}}")),
        ("white space around", format!("\n {{\"audio_base64\": \"{base64}\"}} \r\n")),
        ("the last of two", format!(r#"{{"audio_base64":"","audio_base64":"{base64}"}}"#)),
    ];
    for (name, body) in cases {
        let response = server.post_json("/extract-embedding", body);
        assert_eq!(response.status(), 200, "{name}");
        assert_close(name, &embedding(&response.json().unwrap()), &uploaded, |_| 1e-6);
    }

    let other_parts = multipart::Form::new()
        .text("note", "before the file")
        .text("file", "a first one, which does not count")
        .part("file", multipart::Part::bytes(voice()));
    let response = server.request("POST", "/extract-embedding/upload").multipart(other_parts).send().unwrap();
    assert_close("other parts", &embedding(&response.json().unwrap()), &uploaded, |_| 1e-6);
}

#[test]
fn requests_that_are_not_valid_are_answered_as_fastapi_answers() {
    let server = Server::start();
    let extract = "/extract-embedding";
    let compare = "/compare-embeddings";
    let zeros = vec![0.0; 256];
    let with = |value: &str| {
        let zeros = serde_json::to_string(&zeros).unwrap();
        format!(r#"{{"embedding1":{zeros},"embedding2":{}}}"#, zeros.replacen("0.0", value, 1))
    };
    let cases = [
        ("empty body", extract, String::new(), "missing", json!(["body"])),
        ("no JSON", extract, "audio".into(), "json_invalid", json!(["body"])),
        ("cut short", extract, r#"{"audio_base64": "AA"#.into(), "json_invalid", json!(["body"])),
        ("two values", extract, "{} {}".into(), "json_invalid", json!(["body"])),
        (
            "not UTF-8 escapes",
            extract,
            r#"{"audio_base64": "\ud800"}"#.into(),
            "string_type",
            json!(["body", "audio_base64"]),
        ),
        ("a list", extract, "[]".into(), "model_attributes_type", json!(["body"])),
        ("null", extract, "null".into(), "model_attributes_type", json!(["body"])),
        ("no audio", extract, r#"{"audio": "AA"}"#.into(), "missing", json!(["body", "audio_base64"])),
        (
            "null audio",
            extract,
            r#"{"audio_base64": null}"#.into(),
            "string_type",
            json!(["body", "audio_base64"]),
        ),
        (
            "a number as audio",
            extract,
            r#"{"audio_base64": 7}"#.into(),
            "string_type",
            json!(["body", "audio_base64"]),
        ),
        (
            "a number as format",
            extract,
            r#"{"audio_base64": "AA", "format": 7}"#.into(),
            "string_type",
            json!(["body", "format"]),
        ),
        ("100,000 brackets", extract, "[".repeat(100_000), "json_invalid", json!(["body"])),
        (
            "100,000 brackets in a field",
            extract,
            format!(r#"{{"audio_base64": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)),
            "string_type",
            json!(["body", "audio_base64"]),
        ),
        ("one embedding", compare, r#"{"embedding1": []}"#.into(), "missing", json!(["body", "embedding2"])),
        (
            "a string as embedding",
            compare,
            r#"{"embedding1": "AA", "embedding2": []}"#.into(),
            "list_type",
            json!(["body", "embedding1"]),
        ),
        ("a word as component", compare, with("\"half\""), "float_parsing", json!(["body", "embedding2", 0])),
        ("\"inf\"", compare, with("\"inf\""), "finite_number", json!(["body", "embedding2", 0])),
        ("null as component", compare, with("null"), "float_type", json!(["body", "embedding2", 0])),
        ("1e999", compare, with("1e999"), "finite_number", json!(["body", "embedding2", 0])),
        ("-1e999", compare, with("-1e999"), "finite_number", json!(["body", "embedding2", 0])),
        (
            "a list of 100,000 numbers",
            extract,
            format!(r#"{{"audio_base64": [0{}]}}"#, ",0".repeat(100_000)),
            "string_type",
            json!(["body", "audio_base64"]),
        ),
        (
            "a long name",
            extract,
            format!(r#"{{"{}": 1}}"#, "x".repeat(100_000)),
            "missing",
            json!(["body", "audio_base64"]),
        ),
        ("NaN", compare, with("NaN"), "json_invalid", json!(["body"])),
        (
            "a string as threshold",
            compare,
            pair(1.0, 1.0, &json!("high")),
            "float_parsing",
            json!(["body", "threshold"]),
        ),
    ];
    for (name, path, body, kind, loc) in cases {
        let response = server.post_json(path, body);
        assert_eq!(response.status(), 422, "{name}");
        let body: Value = response.json().unwrap();
        let error = &body["detail"][0];
        assert_eq!(
            (&body["code"], &error["type"], &error["loc"]),
            (&json!("validation_error"), &json!(kind), &loc),
            "{name}: {body}"
        );
        assert!(error["msg"].is_string() && error.get("input").is_some(), "{name}: {body}");
        assert!(body.to_string().len() < 2_000, "{name}: the answer is short");
    }
    let missing = server.post_json(extract, r#"{"audio": "AA"}"#).json::<Value>().unwrap();
    let field_required = json!({"type": "missing", "loc": ["body", "audio_base64"], "msg": "Field required", "input": {"audio": "AA"}});
    assert_eq!(missing["detail"], json!([field_required]));
}

#[test]
fn bad_fields_and_forms_are_refused() {
    let server = Server::start();
    let extract =
        |audio: &str| server.post_json("/extract-embedding", json!({"audio_base64": audio}).to_string());
    assert_error("base64", extract("not base64!"), 400, "invalid_base64", "base64");
    assert_error("empty base64", extract(""), 422, "corrupt_audio", "empty");
    assert_error("no audio", extract("AAAA"), 415, "unsupported_audio", "WAV");

    let compare = |body: Value| server.post_json("/compare-embeddings", body.to_string());
    let short = compare(json!({"embedding1": vec![0.5; 128], "embedding2": vec![0.5; 256]}));
    assert_error("128", short, 400, "wrong_dimension", "embedding1 must be 256-dimensional, got 128");
    let none = compare(json!({"embedding1": vec![0.5; 256], "embedding2": []}));
    assert_error("none", none, 400, "wrong_dimension", "embedding2 must be 256-dimensional, got 0");
    let huge = compare(json!({"embedding1": vec![0.5; 1_000_000], "embedding2": []}));
    assert_error("a million", huge, 413, "payload_too_large", "1048576 bytes");

    let upload = || server.request("POST", "/extract-embedding/upload");
    let other_name = multipart::Form::new().part("audio", multipart::Part::bytes(voice()));
    let forms = [
        ("no form", upload().body("audio"), r#"["body","file"]"#),
        ("no file part", upload().multipart(other_name), r#"["body","file"]"#),
        (
            "cut form",
            upload().header("Content-Type", "multipart/form-data; boundary=x").body("--x\r\nContent-Dispo"),
            "multipart_invalid",
        ),
    ];
    for (name, request, detail) in forms {
        assert_error(name, request.send().unwrap(), 422, "validation_error", detail);
    }
}

#[test]
fn embeddings_compare_as_numbers_do() {
    let server = Server::start_with(&[("SAME_SPEAKER_THRESHOLD", "0.6")]);
    let cases = [
        ("equal", pair(0.0625, 0.0625, &Value::Null), 1.0, true, 0.6),
        ("opposite", pair(0.0625, -0.0625, &Value::Null), -1.0, false, 0.6),
        ("zero vector", pair(0.0, 1.0, &Value::Null), 0.0, false, 0.6),
        ("integers", pair(1.0, 3.0, &json!(1)).replace(".0", ""), 1.0, false, 1.0),
        ("the threshold of the request", pair(0.0, 1.0, &json!(-0.1)), 0.0, true, -0.1),
        ("numbers in strings", pair(0.5, 0.5, &json!("0.25")).replace("0.5", "\"0.5\""), 1.0, true, 0.25),
        ("huge", pair(1e38, 1e38, &Value::Null), 1.0, true, 0.6),
        ("tiny", pair(1e-30, 1e-30, &Value::Null), 1.0, true, 0.6),
    ];
    for (name, body, similarity, is_same_speaker, threshold) in cases {
        let response = server.post_json("/compare-embeddings", body);
        assert_eq!(response.status(), 200, "{name}");
        let answer: Value = response.json().unwrap();
        assert!((answer["similarity"].as_f64().unwrap() - similarity).abs() < 1e-12, "{name}: {answer}");
        assert_eq!(answer["is_same_speaker"], is_same_speaker, "{name}");
        assert_eq!(answer["threshold"], threshold, "{name}");
        assert_eq!(answer.as_object().unwrap().len(), 3, "{name}");
    }
}

#[test]
fn keys_are_asked_for_before_anything_else() {
    let second = key_lines("second", "second", "[\"verify\"]");
    let server = Server::start_with(&[("API_KEY", "first"), ("KEYS", &second)]);
    let cases = [
        ("none", &[][..], 422),
        ("first", &[("X-API-Key", "first")], 400),
        ("second", &[("X-API-Key", "second")], 400),
        ("bearer", &[("Authorization", "Bearer second")], 400),
        ("bearer and two blanks", &[("Authorization", "Bearer  second")], 400),
        ("bearer in small letters", &[("Authorization", "bearer first")], 400),
        ("wrong", &[("X-API-Key", "third")], 401),
        ("empty", &[("X-API-Key", "")], 401),
        ("a part", &[("X-API-Key", "firs")], 401),
        ("wrong bearer", &[("Authorization", "Bearer x")], 401),
        ("empty bearer", &[("Authorization", "Bearer ")], 401),
        ("another scheme", &[("Authorization", "Basic Zmlyc3Q=")], 422),
        ("the header counts", &[("X-API-Key", "third"), ("Authorization", "Bearer first")], 401),
    ];
    let body = json!({"embedding1": [], "embedding2": []}).to_string();
    for (name, headers, status) in cases {
        let request = headers
            .iter()
            .fold(server.post("/compare-embeddings"), |r, (name, value)| r.header(*name, *value));
        let response = request.body(body.clone()).send().unwrap();
        assert_eq!(response.status(), status, "{name}");
        if status == 401 {
            assert_eq!(response.headers()["www-authenticate"], "ApiKey", "{name}");
            assert_eq!(
                response.json::<Value>().unwrap(),
                json!({"detail": "Invalid API key", "code": "invalid_api_key"})
            );
        } else if status == 422 {
            let missing = json!([{"type": "missing", "loc": ["header", "X-API-Key"], "msg": "Field required", "input": null}]);
            assert_eq!(
                response.json::<Value>().unwrap(),
                json!({"detail": missing, "code": "validation_error"})
            );
        }
    }
}

#[test]
fn unknown_paths_and_methods() {
    let server = Server::start();
    assert_error("path", server.get("/nope").send().unwrap(), 404, "not_found", "Not Found");
    assert_error("in the docs", server.get("/docs/nope").send().unwrap(), 404, "not_found", "Not Found");
    let get = server.get("/extract-embedding").send().unwrap();
    assert_eq!(get.headers()["allow"], "POST,OPTIONS");
    assert_error("method", get, 405, "method_not_allowed", "Method Not Allowed");
    let put = server.request("PUT", "/openapi.json").send().unwrap();
    assert_error("method of the docs", put, 405, "method_not_allowed", "Method Not Allowed");

    for (path, allow) in [("/extract-embedding", "POST,OPTIONS"), ("/health", "GET,HEAD,OPTIONS")] {
        let options = server.request("OPTIONS", path).send().unwrap();
        assert_eq!(
            (options.status().as_u16(), &options.headers()["allow"]),
            (204, &allow.parse().unwrap()),
            "{path}"
        );
    }
    for path in ["/health/", "/redoc/", "/docs"] {
        assert_eq!(server.get(path).send().unwrap().status(), 200, "{path} leads on");
    }
    let slash = server.post_json("/extract-embedding/", r#"{"audio_base64": ""}"#);
    assert_error("slash", slash, 422, "corrupt_audio", "empty");
    assert_error("slash on no path", server.get("/nope/").send().unwrap(), 404, "not_found", "Not Found");
    for path in ["/health", "/ready", "/docs/", "/redoc", "/openapi.json"] {
        let head = server.request("HEAD", path).send().unwrap();
        assert_eq!(head.status(), 200, "{path}");
        assert!(head.headers().contains_key("content-type") && head.bytes().unwrap().is_empty(), "{path}");
    }
}

#[test]
fn health_and_readiness() {
    let server = Server::start();
    let health: Value = server.get("/health").send().unwrap().json().unwrap();
    assert_eq!(health, json!({"status": "healthy", "model_loaded": true, "version": "1.0.0"}));
    let ready: Value = server.get("/ready").send().unwrap().json().unwrap();
    assert_eq!(ready, json!({"status": "ready", "store": "ok"}));
}

#[test]
fn a_sane_request_id_comes_back() {
    let server = Server::start();
    let id_of = |id: &str| {
        let response = server.get("/health").header("X-Request-Id", id).send().unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id_of("call-7_a.b:c"), "call-7_a.b:c");
    for insane in ["", "two words", "a\"quote", &"x".repeat(129)] {
        let id = id_of(insane);
        assert!(id != insane && id.len() == 36, "{insane:?} became {id:?}");
    }
    assert_ne!(id_of(""), id_of(""));
}

/// Sends a whole request with a body of zeros before it reads, as a simple client does. Returns the first line of the response.
fn send_then_read(server: &Server, head: &str, chunked: bool, body_bytes: usize) -> String {
    let mut connection = TcpStream::connect(&server.address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length =
        if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {body_bytes}") };
    write!(connection, "{head}\r\nHost: x\r\n{length}\r\nConnection: close\r\n\r\n").unwrap();
    let block = vec![0; 1 << 20];
    for _ in 0..body_bytes >> 20 {
        if chunked {
            write!(connection, "{:x}\r\n", block.len()).unwrap();
        }
        connection.write_all(&block).unwrap();
        if chunked {
            write!(connection, "\r\n").unwrap();
        }
    }
    if chunked {
        write!(connection, "0\r\n\r\n").unwrap();
    }
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_body_over_the_limit_is_answered_not_reset() {
    let server = Server::start();
    let key = format!("X-API-Key: {KEY}");
    let form = "Content-Type: multipart/form-data; boundary=x";
    let cases = [
        (
            "announced",
            format!("POST /extract-embedding HTTP/1.1\r\n{key}"),
            false,
            "413",
            "payload_too_large",
        ),
        ("chunked", format!("POST /extract-embedding HTTP/1.1\r\n{key}"), true, "413", "payload_too_large"),
        (
            "upload",
            format!("POST /extract-embedding/upload HTTP/1.1\r\n{key}\r\n{form}"),
            false,
            "413",
            "payload_too_large",
        ),
        (
            "chunked upload",
            format!("POST /extract-embedding/upload HTTP/1.1\r\n{key}\r\n{form}"),
            true,
            "413",
            "payload_too_large",
        ),
        ("no key", "POST /extract-embedding HTTP/1.1".into(), false, "422", "validation_error"),
        (
            "wrong key",
            "POST /extract-embedding HTTP/1.1\r\nX-API-Key: x".into(),
            false,
            "401",
            "invalid_api_key",
        ),
        ("no such path", "POST /nope HTTP/1.1".into(), false, "404", "not_found"),
    ];
    for (name, head, chunked, status, code) in cases {
        let answer = send_then_read(&server, &head, chunked, 40 << 20);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert!(answer.contains(code), "{name}: {answer}");
        assert!(status != "413" || answer.contains("33554432 bytes"), "{name}: {answer}");
    }
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let server = Server::start();
    for expectation in ["", "Expect: 100-continue\r\n"] {
        let mut connection = TcpStream::connect(&server.address).unwrap();
        // Shorter than a body may take.
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!(
            "POST /extract-embedding HTTP/1.1\r\nHost: x\r\n{expectation}Content-Length: 41943040\r\n"
        );
        write!(connection, "{head}X-API-Key: {KEY}\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "{expectation}");
    }
}

#[test]
fn a_connection_outlives_an_error() {
    let server = Server::start();
    let mut connection = TcpStream::connect(&server.address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for _ in 0..3 {
        write!(connection, "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        let mut answer = vec![0; 1_000];
        let n = connection.read(&mut answer).unwrap();
        assert!(answer[..n].starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer[..n]));
    }
}

#[test]
fn the_api_document_is_as_agreed() {
    let server = Server::start();
    let document: Value = server.get("/openapi.json").send().unwrap().json().unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{model}", "resemblyzer");
        let path = path.replace("{release}/{weights}", "resemblyzer-0.1.4/39373b86");
        let path =
            path.replace("{id}", "anna").replace("{enrolment}", "1").replace("{collection}", "default");
        for method in operations.as_object().unwrap().keys() {
            let answer = server.request(&method.to_uppercase(), &path).send().unwrap();
            let status = answer.status().as_u16();
            // No speaker is enrolled, so 404 may also mean that the speaker is missing.
            let is_missing = status == 404 && answer.json::<Value>().unwrap()["code"] == "not_found";
            assert!(!is_missing && status != 405, "{method} {path}: {status}");
        }
    }
    insta::assert_json_snapshot!(document);
}

#[test]
fn the_pages_come_from_the_server_alone() {
    let server = Server::start();
    let pages = [("/docs", "swagger-ui-bundle.js"), ("/redoc", "redoc/redoc.standalone.js")];
    for (page, script) in pages {
        let response = server.get(page).send().unwrap();
        assert_eq!(response.status(), 200, "{page}");
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{page}");
        let html = response.text().unwrap();
        assert!(html.contains(script), "{page}: {html}");
        assert!(!html.contains("src=\"http") && !html.contains("href=\"http"), "{page}: {html}");
    }
    for file in [
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/docs/swagger-initializer.js",
        "/redoc/redoc.standalone.js",
    ] {
        let response = server.get(file).header("Accept-Encoding", "gzip").send().unwrap();
        assert_eq!(response.status(), 200, "{file}");
        assert!(!response.bytes().unwrap().is_empty(), "{file}");
    }
    let settings = server.get("/docs/swagger-initializer.js").send().unwrap().text().unwrap();
    assert!(settings.contains("\"tryItOutEnabled\": true"), "{settings}");
}

#[test]
fn a_content_type_that_is_not_taken_is_named_with_the_right_one() {
    let server = Server::start();
    let cases = [
        ("/extract-embedding", "multipart/form-data; boundary=x", "--x--", "/extract-embedding/upload"),
        ("/extract-embedding", "image/png", "{}", "application/json, audio/*"),
        ("/extract-embedding", "application/x-www-form-urlencoded", "audio_base64=AA", "application/json"),
        ("/extract-embedding/upload", "application/json", "{}", "JSON or the recording itself to"),
        ("/extract-embedding/upload", "audio/wav", "RIFF", "send multipart/form-data"),
        ("/compare-embeddings", "audio/wav", "RIFF", "recordings to /v1/verify"),
        ("/v1/embeddings", "text/html", "{}", "application/json, multipart/form-data"),
    ];
    for (path, content_type, body, expected) in cases {
        let request = server.request("POST", path).header("Content-Type", content_type);
        let name = format!("{content_type} to {path}");
        let response = request.body(body).send().unwrap();
        let named = content_type.to_owned();
        let detail = response.json::<Value>().unwrap()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(&named) && detail.contains(expected), "{name}: {detail}");
        let request = server.request("POST", path).header("Content-Type", content_type);
        assert_error(&name, request.body(body).send().unwrap(), 415, "unsupported_media_type", expected);
    }
    // curl sends this content type by default.
    let body = json!({"audio_base64": BASE64_STANDARD.encode(voice())}).to_string();
    for content_type in ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8"] {
        let request = server.request("POST", "/extract-embedding").header("Content-Type", content_type);
        assert_eq!(request.body(body.clone()).send().unwrap().status(), 200, "{content_type}");
    }
    let recorder = server.request("POST", "/extract-embedding").header("Content-Type", "video/webm");
    assert_eq!(recorder.body(voice()).send().unwrap().status(), 200);

    let boundless =
        server.request("POST", "/extract-embedding/upload").header("Content-Type", "multipart/form-data");
    let boundless = boundless.body("--x--").send().unwrap();
    assert_error("no boundary", boundless, 400, "invalid_form", "Missing boundary in multipart.");
    let packed = server.request("POST", "/extract-embedding").header("Content-Encoding", "gzip");
    let packed = packed.header("Content-Type", "audio/wav").body(voice()).send().unwrap();
    assert_error("gzip", packed, 415, "unsupported_media_type", "gzip");
}

#[test]
fn a_form_is_read_however_its_parts_are_named() {
    let server = Server::start();
    let expected = embedding(&server.upload(voice()).json().unwrap());
    for disposition in [
        "form-data; Name=\"file\"; FileName=\"a.wav\"",
        "form-data; filename=\"name=\\\"channel\\\".wav\"; name=\"file\"",
        "FORM-DATA; name=file",
    ] {
        let mut form = format!("--x\r\nContent-Disposition: {disposition}\r\n\r\n").into_bytes();
        form.extend(voice());
        form.extend(b"\r\n--x--\r\n");
        let request = server.request("POST", "/extract-embedding/upload");
        let response =
            request.header("Content-Type", "multipart/form-data; boundary=x").body(form).send().unwrap();
        assert_eq!(response.status(), 200, "{disposition}");
        assert_close(disposition, &embedding(&response.json().unwrap()), &expected, |_| 1e-6);
    }
}

#[test]
fn paths_and_heads_are_read_as_their_standards_say() {
    let server = Server::start();
    let mut connection = TcpStream::connect(&server.address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut ask = |head: &str| {
        write!(connection, "{head}\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = vec![0; 4_000];
        let n = connection.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..n]).into_owned()
    };
    let encoded = ask("GET /%68ealth?x=%2F HTTP/1.1");
    assert!(encoded.starts_with("HTTP/1.1 200"), "{encoded}");
    let many = "\r\nX-Header: 1".repeat(150);
    let refused = ask(&format!("GET /health HTTP/1.1{many}"));
    assert!(refused.starts_with("HTTP/1.1 431") && refused.contains("too_many_headers"), "{refused}");
}

#[test]
fn paths_lead_on_relatively() {
    let server = Server::start();
    let client = reqwest::blocking::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let cases = [
        ("/docs", "docs/"),
        ("/redoc/", "../redoc"),
        ("/health/?a=1", "../health?a=1"),
        ("/v1/models/", "../models"),
    ];
    for (path, expected) in cases {
        let answer = client.get(server.url(path)).send().unwrap();
        assert!(answer.status().is_redirection(), "{path}");
        assert_eq!(answer.headers()["location"], expected, "{path}");
        assert_ne!(server.get(path).send().unwrap().status(), 404, "{path}");
    }
    let icon = server.get("/favicon.ico").send().unwrap();
    assert_eq!(
        (icon.status().as_u16(), &icon.headers()["content-type"]),
        (200, &"image/svg+xml".parse().unwrap())
    );
}

/// Some clients wait for `100 Continue` (curl, Go, .NET), and others do not. Both read a response that rejects the
/// request early.
#[test]
fn a_refusal_is_read_by_clients_that_expect_to_continue() {
    let server = Server::start();
    let slowed = || {
        for _ in 0..12 {
            let guess = server.post("/compare-embeddings").header("X-API-Key", "guess").body("{}");
            assert_eq!(guess.send().unwrap().status(), 401);
        }
    };
    slowed();
    let body = vec![0; 3 << 20];
    let key = format!("X-API-Key: {KEY}");
    for (name, credentials, length, status) in [
        ("wrong key", "X-API-Key: guess", 3 << 20, "401"),
        ("no key", "X-Other: 1", 3 << 20, "422"),
        ("too large", &key, 40 << 20, "413"),
    ] {
        for waits in [true, false] {
            let mut connection = TcpStream::connect(&server.address).unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let head = format!(
                "POST /extract-embedding HTTP/1.1\r\nHost: x\r\n{credentials}\r\nExpect: 100-continue\r\n\
                 Content-Type: audio/wav\r\nContent-Length: {length}\r\n\r\n"
            );
            connection.write_all(head.as_bytes()).unwrap();
            if !waits {
                for _ in 0..length / body.len() {
                    connection.write_all(&body).unwrap();
                }
                connection.write_all(&body[..length % body.len()]).unwrap();
            }
            let mut answer = String::new();
            let mut begin = [0; 12];
            connection.read_exact(&mut begin).unwrap();
            if waits {
                // At the same moment, the client stops waiting and sends the body.
                connection.write_all(&body).unwrap();
                connection.shutdown(std::net::Shutdown::Write).unwrap();
            }
            connection.read_to_string(&mut answer).unwrap();
            let begin = String::from_utf8_lossy(&begin).into_owned();
            assert_eq!(begin, format!("HTTP/1.1 {status}"), "{name}, waits: {waits}");
            assert!(answer.to_lowercase().contains("connection: close"), "{name}: {answer}");
        }
    }
}
