//! Keys with rights: their sources, their permissions, and changes to them while the service runs.

use std::process::Command;

use reqwest::blocking::Response;
use serde_json::{Value, json};

use super::support::{KEY, Server, assert_error, eventually, key_lines, voice};

const RIGHTS: [&str; 6] = ["embed", "verify", "identify", "enrol", "read", "admin"];

/// Each route that takes a key, and the right that it requires.
const ROUTES: [(&str, &str, Option<&str>); 30] = [
    ("post", "/extract-embedding", Some("embed")),
    ("post", "/extract-embedding/upload", Some("embed")),
    ("post", "/compare-embeddings", Some("verify")),
    ("get", "/v1/calibration", None),
    ("get", "/v1/models", None),
    ("get", "/v1/models/{model}", None),
    ("get", "/v1/models/{release}/{weights}", None),
    ("get", "/v1/key", None),
    ("post", "/v1/embeddings", Some("embed")),
    ("post", "/v1/verify", Some("verify")),
    ("post", "/v1/similarities", Some("verify")),
    ("post", "/v1/identify", Some("identify")),
    ("post", "/v1/diarize", None),
    ("get", "/v1/live", Some("embed")),
    ("post", "/v1/speakers", Some("enrol")),
    ("get", "/v1/speakers", Some("read")),
    ("get", "/v1/speakers/{id}", Some("read")),
    ("patch", "/v1/speakers/{id}", Some("enrol")),
    ("delete", "/v1/speakers/{id}", Some("admin")),
    ("post", "/v1/speakers/{id}/enrolments", Some("enrol")),
    ("get", "/v1/speakers/{id}/enrolments", Some("read")),
    ("delete", "/v1/speakers/{id}/enrolments", Some("admin")),
    ("get", "/v1/speakers/{id}/enrolments/{enrolment}", Some("read")),
    ("delete", "/v1/speakers/{id}/enrolments/{enrolment}", Some("admin")),
    ("post", "/v1/speakers/{id}/enrolments/{enrolment}/move", Some("enrol")),
    ("post", "/v1/speakers/{id}/merge", Some("enrol")),
    ("get", "/v1/collections", Some("read")),
    ("delete", "/v1/collections/{collection}", Some("admin")),
    ("get", "/v1/export", Some("admin")),
    ("post", "/v1/import", Some("admin")),
];

/// Routes without a key.
const PUBLIC: [&str; 3] = ["/health", "/ready", "/metrics"];

fn with_key(server: &Server, secret: &str, method: &str, path: &str) -> Response {
    let request = server.request_without_key(method, path);
    request.header("Authorization", format!("Bearer {secret}")).send().unwrap()
}

fn status(server: &Server, secret: &str) -> u16 {
    with_key(server, secret, "get", "/v1/key").status().as_u16()
}

#[test]
fn every_route_asks_for_its_right() {
    let keys: String =
        RIGHTS.iter().map(|right| key_lines(right, right, &format!("[\"{right}\"]"))).collect();
    let server = Server::start_with(&[("API_KEY", ""), ("KEYS", &keys)]);
    let document: Value = server.get("/openapi.json").send().unwrap().json().unwrap();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let is_public = PUBLIC.contains(&path.as_str());
            assert_eq!(operation.get("security").is_none(), is_public, "{method} {path}");
            if !is_public {
                routes.push((method.as_str(), path.as_str()));
            }
        }
    }
    let mut known: Vec<(&str, &str)> = ROUTES.iter().map(|(method, path, _)| (*method, *path)).collect();
    routes.sort_unstable();
    known.sort_unstable();
    assert_eq!(routes, known, "a route is missing from the table");

    for (method, path, needed) in ROUTES {
        let path = path
            .replace("{model}", "resemblyzer")
            .replace("{id}", "anna")
            .replace("{enrolment}", "1")
            .replace("{collection}", "default")
            .replace("{release}/{weights}", "resemblyzer-0.1.4/39373b86");
        for (secret, sent) in [("wrong", "a wrong key"), ("", "an empty key")] {
            let refused = with_key(&server, secret, method, &path);
            assert_error((sent, &path), refused, 401, "invalid_api_key", "Invalid API key");
        }
        for right in RIGHTS {
            let response = with_key(&server, right, method, &path);
            if needed.is_none_or(|needed| needed == right || right == "admin") {
                let status = response.status().as_u16();
                assert!(![401, 403].contains(&status), "{right} on {path}: {status}");
            } else {
                let detail = format!("lacks the right {}", needed.unwrap());
                assert_error((right, &path), response, 403, "forbidden", &detail);
            }
        }
    }
    let error: Value = with_key(&server, "read", "post", "/v1/verify").json().unwrap();
    assert_eq!(error["error"]["type"], "permission_error");
}

#[test]
fn a_key_says_what_it_may_do() {
    let ios = key_lines("ios", "secret", "[\"embed\", \"verify\"]")
        + "collections = [\"family-*\"]\nrate_limit_per_minute = 3\n";
    let server = Server::start_with(&[("KEYS", &ios)]);
    let answer: Value = with_key(&server, "secret", "get", "/v1/key").json().unwrap();
    let expected = json!({"name": "ios", "rights": ["embed", "verify"], "collections": ["family-*"],
        "rate_limit_per_minute": 3});
    assert_eq!(answer, expected);
    let answer: Value = with_key(&server, KEY, "get", "/v1/key").json().unwrap();
    assert_eq!(
        answer,
        json!({"name": "default", "rights": ["admin"], "collections": ["*"], "rate_limit_per_minute": null})
    );
    assert_eq!(
        [status(&server, "secret"), status(&server, "secret"), status(&server, "secret")],
        [200, 200, 429]
    );
    assert_eq!(status(&server, KEY), 200, "its own rate is not limited");
    let metrics = server.metrics();
    assert!(metrics.contains("voice_embedding_key_requests_total{key=\"ios\"} 4"), "{metrics}");
    assert!(metrics.contains("voice_embedding_keys_file_valid 1"), "there is no file that could be bad");
}

#[test]
fn api_key_is_one_key_and_may_come_from_a_file() {
    let server = Server::start_with(&[("API_KEY", "ios:a,b")]);
    assert_eq!([status(&server, "ios:a,b"), status(&server, "a"), status(&server, "b")], [200, 401, 401]);
    assert_eq!(server.logged("API_KEY is one key").len(), 1);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "from a file\n").unwrap();
    let server = Server::start_with(&[("API_KEY", ""), ("API_KEY_FILE", file.to_str().unwrap())]);
    assert_eq!([status(&server, "from a file"), status(&server, "dev-key-change-me")], [200, 401]);
}

/// Follows docs/operation.md: adds a new key, then removes the old one, without a restart.
#[test]
fn keys_change_while_the_service_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let (old, new) = (key_lines("old", "before", "[\"admin\"]"), key_lines("new", "after", "[\"admin\"]"));
    write(&old);
    let server = Server::start_with(&[("API_KEY", ""), ("KEYS_FILE", file.to_str().unwrap())]);
    assert_eq!([status(&server, "before"), status(&server, "after")], [200, 401]);

    write(&format!("{old}{new}"));
    server.signal("HUP");
    eventually(|| status(&server, "after") == 200);
    assert_eq!(status(&server, "before"), 200);

    write("[[keys]]\nname = \"broken\"\n");
    server.signal("HUP");
    let line = server.logged("the keys in force stay as they are").remove(0);
    assert!(line.contains("KEYS_FILE: line 1") && line.contains("sha256"), "{line}");
    assert!(server.metrics().contains("voice_embedding_keys_file_valid 0"));
    assert_eq!([status(&server, "before"), status(&server, "after")], [200, 200]);

    // Without a signal, the service notices a changed link, as in Kubernetes, within ten seconds.
    let other = directory.path().join("other.toml");
    std::fs::write(&other, &new).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&other, &file).unwrap();
    eventually(|| status(&server, "before") == 401);
    assert_eq!(status(&server, "after"), 200);
    assert!(server.metrics().contains("voice_embedding_keys_file_valid 1"));
}

#[test]
fn bad_keys_end_the_start_with_one_line() {
    let good = key_lines("ios", "secret", "[\"embed\"]");
    let cases = [
        (good.repeat(2), "another key has its name"),
        (good.clone() + &good.replace("ios", "web"), "another key has its sha256"),
        (good.replace("embed", "fly"), "\"fly\" is no right"),
        (
            "[[keys]]\nname = \"ios\"\nsha256 = \"clear-text\"\nrights = [\"embed\"]".into(),
            "key \"ios\": sha256 should be",
        ),
        ("[[keys]]\nname = \"ios\"\nkey = \"clear-text\"".into(), "line 3 cannot be read"),
    ];
    for (keys, expected) in cases {
        let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
        let output = program.env("KEYS", &keys).env("PORT", "0").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expected), "{keys}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("clear-text"), "{error}");
    }
}

#[test]
fn a_new_key_works_as_it_is_printed() {
    let program = || Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    let new = |arguments: &[&str]| program().args(["key", "new"]).args(arguments).output().unwrap();
    let made = new(&["ios", "--rights", "embed,verify", "--collections", "family-*"]);
    assert!(made.status.success());
    let lines = String::from_utf8(made.stdout).unwrap();
    let told = String::from_utf8(made.stderr).unwrap();
    let key = told.split_whitespace().find(|word| word.starts_with("ves_")).unwrap();
    assert_eq!(key.len(), "ves_".len() + 43, "256 bits");
    assert!(!lines.contains(key));
    let server = Server::start_with(&[("API_KEY", ""), ("KEYS", &lines)]);
    let upload =
        server.post("/extract-embedding").header("X-API-Key", key).header("Content-Type", "audio/wav");
    assert_eq!(upload.body(voice()).send().unwrap().status(), 200);

    let list = program().args(["key", "list"]).env("KEYS", &lines).output().unwrap();
    assert_eq!(String::from_utf8(list.stdout).unwrap(), "ios\tembed,verify\tfamily-*\n");
    for arguments in [&["ios"][..], &["ios", "--rights", "fly"], &["a b", "--rights", "embed"]] {
        assert!(!new(arguments).status.success(), "{arguments:?}");
    }
}
