//! Exports and imports, which are applied completely or not at all.

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::support::{
    FINGERPRINT, Postgres, Server, answered, assert_error, components, embedding, fixture, key_lines, mixed,
    repository, unit,
};

fn get(server: &Server, path: &str) -> Value {
    answered(200, server.request("GET", path).send().unwrap())
}

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let response = server.post_json(path, body.to_string());
    assert!(response.status().is_success(), "{path} {body}: {}", response.text().unwrap());
    response.json().unwrap()
}

fn export(server: &Server, query: &str) -> Vec<String> {
    let response = server.request("GET", &format!("/v1/export{query}")).send().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    response.text().unwrap().lines().map(str::to_owned).collect()
}

fn import(server: &Server, query: &str, body: String) -> reqwest::blocking::Response {
    server
        .request("POST", &format!("/v1/import{query}"))
        .header("Content-Type", "application/x-ndjson")
        .body(body)
        .send()
        .unwrap()
}

fn imported(speakers: usize, enrolments: usize, replaced: usize, skipped: usize) -> Value {
    json!({"speakers": speakers, "enrolments": enrolments, "replaced": replaced, "skipped": skipped})
}

/// Joins lines to the text of a file.
fn file_of(lines: &[String]) -> String {
    lines.join("\n") + if lines.is_empty() { "" } else { "\n" }
}

/// Returns an export of made-up speakers `s0`, `s1` and so on, each with one enrolment.
pub(crate) fn made_up_export(ids: std::ops::Range<usize>) -> Vec<String> {
    let n = ids.len();
    let head = json!({"format": "voice-embedding-service/speakers/1", "models": [{"fingerprint": FINGERPRINT, "dimension": 256}],
        "exported_at": "2026-11-26T09:30:00.000Z"});
    let time = "2026-11-25T08:00:00.123Z";
    let speaker = |id: usize| {
        let bytes: Vec<u8> = unit(&components(id as u64)).iter().flat_map(|c| c.to_le_bytes()).collect();
        let enrolment = json!({"id": format!("019aa7f3-5c1e-7f00-8000-{id:012x}"), "model": FINGERPRINT, "sha256": format!("{id:064x}"),
            "embedding": BASE64_STANDARD.encode(bytes), "speech_seconds": 5.25, "similarity_to_profile": null, "warnings": [], "created_at": time});
        json!({"id": format!("s{id}"), "name": format!("Speaker {id}"), "collection": "default", "metadata": {"n": id}, "created_at": time,
            "updated_at": time, "enrolments": [enrolment]})
    };
    let tail = json!({"end": true, "speakers": n});
    [head].into_iter().chain(ids.map(speaker)).chain([tail]).map(|line| line.to_string()).collect()
}

#[test]
fn a_round_trip_through_every_store_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("speakers.db").display());
    let first = Server::start_with(&[("DATABASE_URL", &url)]);
    assert_eq!(export(&first, "").len(), 2, "there is nothing to export, and that is told");
    for (id, file) in [("alan", "alan-1"), ("beth", "beth-1")] {
        let form =
            reqwest::blocking::multipart::Form::new().file("file", fixture(&format!("audio/{file}.wav")));
        let form =
            form.unwrap().text("id", id).text("name", "Zoë \u{1F399}").text("metadata", "{\"a\":\n 1.50}");
        answered(201, first.request("POST", "/v1/speakers").multipart(form).send().unwrap());
    }
    // Several enrolments with known and unknown lengths, one of them moved by a merge, and a speaker without enrolments.
    let voices: Vec<Value> =
        (1..5).map(|n| embedding(&mixed(7, n, 0.3), (n % 2 == 0).then_some(n as f64 / 3.0))).collect();
    post(&first, "/v1/speakers", &json!({"id": "many", "voices": voices, "force": true}));
    post(
        &first,
        "/v1/speakers",
        &json!({"id": "other", "voices": [embedding(&mixed(7, 9, 0.2), Some(1.0 / 3.0))], "force": true}),
    );
    post(&first, "/v1/speakers/many/merge", &json!({"from": "other"}));
    post(&first, "/v1/speakers", &json!({"id": "nobody", "collection": "team-a"}));

    let lines = export(&first, "");
    assert_eq!(lines.len(), 6);
    let head: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(head["models"], json!([{"fingerprint": FINGERPRINT, "dimension": 256}]));
    assert_eq!(lines[5], r#"{"end":true,"speakers":4}"#);
    assert_eq!(export(&first, "?collection=team-a").len(), 3);
    assert_eq!(export(&first, "?collection=nowhere").len(), 2);

    let program = |url: &str, arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
        program.env("MODELS", "resemblyzer");
        let output =
            program.current_dir(repository()).env("DATABASE_URL", url).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let by_program: Vec<String> = program(&url, &["speakers", "export"]).lines().map(str::to_owned).collect();
    assert_eq!(by_program[1..], lines[1..], "the command line exports the same");

    // Imports by HTTP into PostgreSQL if it is installed, and by the command line into another SQLite file.
    let second = match Postgres::shared() {
        Some(postgres) => Server::start_with(&[("DATABASE_URL", &postgres.database())]),
        None => Server::start(),
    };
    assert_eq!(answered(200, import(&second, "", file_of(&lines))), imported(4, 7, 0, 0));
    let again = export(&second, "");
    assert_eq!(again[1..], lines[1..]);
    let file = folder.path().join("speakers.ndjson");
    std::fs::write(&file, file_of(&again)).unwrap();
    let other = format!("sqlite:{}", folder.path().join("other.db").display());
    let said = program(&other, &["speakers", "import", file.to_str().unwrap()]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), imported(4, 7, 0, 0));
    program(&other, &["speakers", "export", "--output", file.to_str().unwrap()]);
    let last = std::fs::read_to_string(&file).unwrap();
    assert_eq!(last.lines().skip(1).collect::<Vec<_>>(), lines[1..]);

    // The rebuilt profiles have the same bits.
    let third = Server::start_with(&[("DATABASE_URL", &other)]);
    let body = json!({"voice": embedding(&mixed(7, 2, 0.4), None), "top": 4});
    let found = |server: &Server| post(server, "/v1/identify", &body);
    for server in [&second, &third] {
        assert_eq!(found(server), found(&first));
        assert_eq!(get(server, "/v1/speakers"), get(&first, "/v1/speakers"));
        assert_eq!(get(server, "/v1/speakers/many/enrolments"), get(&first, "/v1/speakers/many/enrolments"));
    }
}

#[test]
fn what_cannot_be_imported_is_named_and_changes_nothing() {
    let mut servers = vec![Server::start_with(&[("MAX_SPEAKERS", "400"), ("MAX_IMPORT_BYTES", "2000000")])];
    servers.extend(Postgres::shared().map(|postgres| {
        let url = postgres.database();
        Server::start_with(&[
            ("DATABASE_URL", &url),
            ("MAX_SPEAKERS", "400"),
            ("MAX_IMPORT_BYTES", "2000000"),
        ])
    }));
    for server in &servers {
        // More than one chunk is imported before the error.
        let good = made_up_export(0..350);
        let there = made_up_export(900..901);
        assert_eq!(answered(200, import(server, "", file_of(&there))), imported(1, 1, 0, 0));
        let before = export(server, "");
        let edited = |line: usize, from: &str, to: &str| {
            let mut lines = good.clone();
            assert!(lines[line - 1].contains(from), "{from}");
            lines[line - 1] = lines[line - 1].replacen(from, to, 1);
            file_of(&lines)
        };
        let without = |line: usize| {
            let mut lines = good.clone();
            lines.remove(line - 1);
            file_of(&lines)
        };
        let whole = file_of(&good);
        let zeros = BASE64_STANDARD.encode([0; 1024]);
        let vector = serde_json::from_str::<Value>(&good[300]).unwrap()["enrolments"][0]["embedding"]
            .as_str()
            .unwrap()
            .to_owned();
        let line: Value = serde_json::from_str(&good[300]).unwrap();
        let again = line["enrolments"][0].to_string().replace("\"019a", "\"029a");
        let twice = format!("\"enrolments\":[{again},{{");
        let nans = BASE64_STANDARD.encode(f32::NAN.to_le_bytes().repeat(256));
        let cases = [
            ("cut in a line", whole[..whole.len() / 2].to_owned(), 422, "incomplete", "ends after line"),
            ("cut between lines", file_of(&good[..200]), 422, "incomplete", "ends after line 200"),
            ("cut at the end", file_of(&good[..351]), 422, "incomplete", "ends after line 351"),
            ("empty", String::new(), 422, "incomplete", "ends after line 0"),
            ("a line is missing", without(100), 422, "validation_error", "line 351"),
            ("more behind the end", whole.clone() + &good[1], 422, "validation_error", "line 353"),
            ("another format", edited(1, "speakers/1", "speakers/2"), 422, "validation_error", "line 1"),
            ("another dimension", edited(1, "256", "255"), 422, "validation_error", "line 1"),
            ("no JSON", edited(301, "{", "{{"), 422, "validation_error", "line 301"),
            (
                "zeros",
                edited(301, &vector, &zeros),
                422,
                "validation_error",
                "line 301: enrolments[0]: embedding should be finite",
            ),
            ("no numbers", edited(301, &vector, &nans), 422, "validation_error", "line 301"),
            ("short", edited(301, &vector, &vector[..1360]), 422, "validation_error", "256 components"),
            ("no base64", edited(301, &vector, "%%%"), 422, "validation_error", "line 301"),
            ("an unknown field", edited(301, "\"name\"", "\"nome\""), 422, "validation_error", "line 301"),
            ("a bad id", edited(301, "\"s299\"", "\"s 299\""), 422, "validation_error", "line 301"),
            (
                "a bad time",
                edited(301, "2026-11-25T08", "2026-11-25 at 8"),
                422,
                "validation_error",
                "RFC 3339",
            ),
            ("seconds", edited(301, "5.25", "-1"), 422, "validation_error", "speech_seconds"),
            (
                "a warning with a space",
                edited(301, "\"warnings\":[]", "\"warnings\":[\"a b\"]"),
                422,
                "validation_error",
                "codes",
            ),
            (
                "twice in the file",
                edited(301, "\"s299\"", "\"s7\""),
                422,
                "validation_error",
                "\\\"s7\\\" is in an earlier line",
            ),
            ("there already", edited(301, "\"s299\"", "\"s900\""), 409, "speaker_exists", "line 301"),
            // The first enrolment with this embedding is in another chunk.
            (
                "a duplicate",
                edited(301, &format!("{:064x}", 299), &format!("{:064x}", 5)),
                409,
                "duplicate_enrolment",
                "line 301",
            ),
            (
                "of one that is there",
                edited(301, &format!("{:064x}", 299), &format!("{:064x}", 900)),
                409,
                "duplicate_enrolment",
                "line 301",
            ),
            (
                "an enrolment's id",
                edited(301, &format!("{:012x}", 299), &format!("{:012x}", 298)),
                409,
                "duplicate_enrolment",
                "line 301",
            ),
            (
                "an enrolment's id that is there",
                edited(301, &format!("{:012x}", 299), &format!("{:012x}", 900)),
                409,
                "duplicate_enrolment",
                "line 301",
            ),
            (
                "twice for one",
                edited(301, "\"enrolments\":[{", &twice),
                422,
                "validation_error",
                "line 301: enrolments[1]: the same",
            ),
            ("a name of a model", edited(1, "0.1.4", "0 1"), 422, "validation_error", "ASCII"),
            (
                "a time beyond",
                edited(301, "2026-11-25T08:00:00.123Z", "9999-12-31T23:59:59-23:59"),
                422,
                "validation_error",
                "RFC 3339",
            ),
            (
                "another model",
                edited(1, FINGERPRINT, "other/1").replace(FINGERPRINT, "other/1"),
                409,
                "model_mismatch",
                "line 2",
            ),
            ("too many", file_of(&made_up_export(1_000..1_400)), 413, "too_many_speakers", "400"),
            ("too large", file_of(&made_up_export(0..1_500)), 413, "payload_too_large", "2000000"),
        ];
        for (name, body, status, code, detail) in cases {
            assert_error(name, import(server, "", body), status, code, detail);
            assert_eq!(export(server, "")[1..], before[1..], "{name} has changed something");
        }
        assert_error(
            "conflict",
            import(server, "?conflict=perhaps", whole),
            422,
            "validation_error",
            "conflict",
        );
        assert_eq!(get(server, "/v1/speakers")["speakers"].as_array().unwrap().len(), 1);
    }
}

/// Imports more speakers than a store merges at once.
#[test]
fn speakers_who_are_there_stay_or_are_replaced() {
    let mut servers = vec![Server::start()];
    servers.extend(
        Postgres::shared().map(|postgres| Server::start_with(&[("DATABASE_URL", &postgres.database())])),
    );
    for server in &servers {
        assert_eq!(
            answered(200, import(server, "", file_of(&made_up_export(0..600)))),
            imported(600, 600, 0, 0)
        );
        let backup = export(server, "");
        let patch = server.request("PATCH", "/v1/speakers/s1").header("Content-Type", "application/json");
        assert_eq!(answered(200, patch.body(r#"{"name":"Ann"}"#).send().unwrap())["name"], "Ann");
        let all = file_of(&made_up_export(0..700));
        assert_eq!(answered(200, import(server, "?conflict=skip", all.clone())), imported(100, 100, 0, 600));
        assert_eq!(get(server, "/v1/speakers/s1")["name"], "Ann");
        assert_eq!(answered(200, import(server, "?conflict=replace", all)), imported(700, 700, 700, 0));
        assert_eq!(get(server, "/v1/speakers/s1")["name"], "Speaker 1");
        let found = post(server, "/v1/identify", &json!({"voice": embedding(&components(699), None)}));
        assert_eq!((&found["speaker"], &found["searched"]), (&json!("s699"), &json!(700)));
        // An enrolment that has since moved to a later speaker comes back.
        let enrolments = get(server, "/v1/speakers/s0/enrolments");
        let move_it = format!(
            "/v1/speakers/s0/enrolments/{}/move",
            enrolments["enrolments"][0]["id"].as_str().unwrap()
        );
        post(server, &move_it, &json!({"to": "s599"}));
        assert_eq!(
            answered(200, import(server, "?conflict=replace", file_of(&backup))),
            imported(600, 600, 600, 0)
        );
        assert_eq!(export(server, "").len(), 702);
        assert_eq!(get(server, "/v1/speakers/s599")["enrolments"], 1);
    }
    let line = &servers[0].logged("\"action\":\"import\"")[0];
    assert!(line.contains("\"speakers\":600") && !line.contains("Speaker"), "{line}");
}

#[test]
fn unknown_models_are_kept_where_that_is_asked_for() {
    let server = Server::start();
    let lines = file_of(&made_up_export(0..2)).replace(FINGERPRINT, "other/1");
    assert_eq!(answered(200, import(&server, "?unknown_models=keep", lines.clone())), imported(2, 2, 0, 0));
    let found = post(&server, "/v1/identify", &json!({"voice": embedding(&components(1), None)}));
    assert_eq!((&found["reason"], &found["searched"]), (&json!("no_profile_of_model"), &json!(0)));
    assert_eq!(export(&server, "").len(), 4);
    // The known dimension of the model applies.
    let mut other: Vec<Value> =
        made_up_export(7..8).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let half: Vec<f32> = components(7)[..128].to_vec();
    let bytes: Vec<u8> = unit(&half).iter().flat_map(|c| c.to_le_bytes()).collect();
    other[0]["models"] = json!([{"fingerprint": "other/1", "dimension": 128}]);
    other[1]["enrolments"][0]["model"] = json!("other/1");
    other[1]["enrolments"][0]["embedding"] = json!(BASE64_STANDARD.encode(bytes));
    let other = file_of(&other.iter().map(Value::to_string).collect::<Vec<_>>());
    let refused = import(&server, "?unknown_models=keep", other);
    assert_error("dimension", refused, 409, "model_mismatch", "another dimension");
}

#[test]
fn keys_export_and_import_what_is_theirs() {
    let keys = key_lines("team", "of-team", "[\"admin\"]")
        + "collections = [\"team-*\"]\n"
        + &key_lines("reader", "of-reader", "[\"read\", \"enrol\"]");
    let server = Server::start_with(&[("KEYS", &keys)]);
    let of = |ids, collection: &str| {
        file_of(&made_up_export(ids)).replace("\"default\"", &format!("\"{collection}\""))
    };
    answered(200, import(&server, "", of(0..2, "default")));
    let ask = |secret: &str, method: &str, path: &str, body: String| {
        let request = server.request_without_key(method, path);
        request.header("Authorization", format!("Bearer {secret}")).body(body).send().unwrap()
    };
    let sent = |ids, collection| ask("of-team", "POST", "/v1/import", of(ids, collection));
    assert_error("another's", sent(10..12, "default"), 403, "forbidden", "line 2");
    assert_eq!(answered(200, sent(10..12, "team-a")), imported(2, 2, 0, 0));
    let get = |secret, path| ask(secret, "GET", path, String::new());
    let text = get("of-team", "/v1/export").text().unwrap();
    assert_eq!((text.lines().count(), text.contains("\"default\"")), (4, false), "{text}");
    assert_error("export", get("of-team", "/v1/export?collection=default"), 403, "forbidden", "default");
    assert_error("export", get("of-reader", "/v1/export"), 403, "forbidden", "admin");
    assert_error("import", ask("of-reader", "POST", "/v1/import", String::new()), 403, "forbidden", "admin");
}

/// Runs the statements of docs/scaling.md.
#[test]
fn an_export_loads_into_pgvector() {
    let Some(postgres) = Postgres::with_vectors() else { return };
    let server = Server::start();
    answered(200, import(&server, "", file_of(&made_up_export(0..300))));
    let folder = tempfile::tempdir().unwrap();
    let (lines, rows) = (folder.path().join("speakers.ndjson"), folder.path().join("rows"));
    std::fs::write(&lines, file_of(&export(&server, ""))).unwrap();
    let script = repository().join("scripts/export_to_rows.py");
    let made =
        Command::new("python3").arg(script).stdin(std::fs::File::open(&lines).unwrap()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::write(&rows, made.stdout).unwrap();
    let url = postgres.database();
    let scaling = std::fs::read_to_string(repository().join("docs/scaling.md")).unwrap();
    let statements = scaling.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let (tables, search) = statements.split_once("\n\n").unwrap();
    postgres.psql(&url, tables).unwrap();
    postgres.psql(&url, &format!("\\copy voices FROM '{}'", rows.display())).unwrap();
    let probe = format!("{:?}", unit(&components(7)));
    let found = postgres.psql(&url, &search.replace("$1", &format!("'{probe}'"))).unwrap();
    assert!(found.starts_with("s7|1") && found.lines().count() == 5, "{found}");
}

/// A client that disconnects or stops reading does not block enrolments, and its export is cut off.
#[test]
fn an_export_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("speakers.db").display());
    let postgres = Postgres::shared().map(|postgres| {
        let url = postgres.database();
        let name = url.rsplit('/').next().unwrap();
        let limits = ["statement_timeout", "idle_in_transaction_session_timeout"];
        for limit in limits {
            postgres.psql(&url, &format!("ALTER DATABASE {name} SET {limit} TO '300ms'")).unwrap();
        }
        url
    });
    for url in ["memory:".to_owned(), file].into_iter().chain(postgres) {
        let server = Server::start_with(&[("DATABASE_URL", &url)]);
        answered(200, import(&server, "", file_of(&made_up_export(0..12_000))));
        let begin = || {
            let mut export = server.request("GET", "/v1/export").send().unwrap();
            export.read_exact(&mut [0; 1_000]).unwrap();
            export
        };
        let (slow, mut other) = (begin(), begin());
        let head = server.request("HEAD", "/v1/export").send().unwrap();
        assert_eq!(
            (head.status().as_u16(), head.headers()["content-type"].to_str().unwrap()),
            (200, "application/x-ndjson")
        );
        let third = server.request("GET", "/v1/export").send().unwrap();
        assert_error(&url, third, 503, "overloaded", "capacity");
        let body = json!({"id": "anna", "voices": [embedding(&components(90_000), Some(5.0))]});
        post(&server, "/v1/speakers", &body);
        let found = post(&server, "/v1/identify", &json!({"voice": embedding(&components(90_000), None)}));
        assert_eq!((&found["speaker"], &found["searched"]), (&json!("anna"), &json!(12_001)), "{url}");
        // Longer than the limits set for the database.
        std::thread::sleep(Duration::from_millis(700));
        let mut rest = String::new();
        other.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("{\"end\":true,\"speakers\":12000}\n") && !rest.contains("anna"), "{url}");
        drop(slow);
        server.logged("an export has ended early");
        assert_eq!(export(&server, "").len(), 12_003);
    }
}
