//! Stored speakers survive crashes, full disks, other processes and damaged files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use voice_embedding_service::calibration::Evidence;
use voice_embedding_service::embedding::{Embedding, ModelId};
use voice_embedding_service::speakers::{
    Address, Details, EnrolmentRules, Identifier, Index, NewVoice, SearchOptions,
};
use voice_embedding_service::store::{NewSpeaker, Store, StoreError, StorePlace};

use super::support::{
    FINGERPRINT, KEY, Postgres, Server, answered, assert_error, components, embedding, eventually, fixture,
    mixed, repository, say, unit, voice,
};

const FORCED: EnrolmentRules = EnrolmentRules { min_seconds: 0.0, threshold: 0.75, force: true };

/// Creates a folder, and returns the path of the service's file in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("speakers.db");
    (folder, file)
}

fn url(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

fn serve(file: &Path) -> Server {
    Server::start_with(&[("DATABASE_URL", &url(file))])
}

fn program(file: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    program.current_dir(repository()).env("DATABASE_URL", url(file)).args(arguments).output().unwrap()
}

fn model() -> ModelId {
    ModelId::new("resemblyzer", FINGERPRINT.into(), 256)
}

fn address(id: &str) -> Address {
    Address { collection: Identifier::default_collection(), id: id.parse().unwrap() }
}

fn made_up(model: &ModelId, seed: u64) -> NewVoice {
    let components = components(seed).iter().map(|c| f64::from(*c)).collect();
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&seed.to_le_bytes());
    NewVoice {
        digest,
        embedding: Embedding::new(model, components).unwrap().try_into().unwrap(),
        speech_seconds: Some(5.0),
        warnings: Vec::new(),
    }
}

fn new_speaker(id: &str, voices: Vec<NewVoice>) -> NewSpeaker {
    let Address { collection, id } = address(id);
    NewSpeaker { collection, id: Some(id), details: Details::default(), voices }
}

fn create(server: &Server, id: &str, seeds: &[u64]) -> u16 {
    let voices: Vec<Value> = seeds.iter().map(|seed| embedding(&components(*seed), None)).collect();
    let body = json!({"id": id, "name": format!("Name of {id}"), "voices": voices, "force": true});
    server.post_json("/v1/speakers", body.to_string()).status().as_u16()
}

fn get(server: &Server, path: &str) -> Value {
    answered(200, server.request("GET", path).send().unwrap())
}

fn identified(server: &Server, seed: u64) -> Value {
    let body = json!({"voice": embedding(&components(seed), None)});
    answered(200, server.post_json("/v1/identify", body.to_string()))
}

#[test]
fn the_file_is_made_at_the_first_write_for_its_owner_alone() {
    let (folder, file) = place();
    let mut server = serve(&file);
    assert_eq!(identified(&server, 1)["reason"], "empty_collection");
    assert_eq!(get(&server, "/v1/speakers")["speakers"], json!([]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing has been written");
    assert_eq!(create(&server, "anna", &[1]), 201);
    for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
    }
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["speakers.db", "speakers.db-lock"], "the log is in the file");
    let server = serve(&file);
    assert_eq!(identified(&server, 1)["speaker"], "anna", "kept");
    let line = &server.logged("speakers are kept")[0];
    assert!(line.contains("\"speakers\":1") && line.contains("speakers.db"), "{line}");
}

/// A client's view of its speakers, as the number of enrolments of each.
type Known = BTreeMap<String, usize>;

/// Creates, enrols, moves, merges and deletes until the server is gone. Returns the confirmed state, and the state after
/// the unconfirmed change.
fn change_until_it_is_gone(
    server: &Server,
    n_answered: &AtomicUsize,
    (client, round): (usize, usize),
    known: Known,
) -> (Known, Option<Known>) {
    let mut known = known;
    let mut state = (client * 1_000 + round) as u64 + 1;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for step in 0.. {
        let seed = (client * 100_000_000 + round * 10_000 + step * 2) as u64;
        let ids: Vec<String> = known.keys().cloned().collect();
        let pick = |n: usize| ids.get(n % ids.len().max(1)).cloned();
        let (one, other) = (pick(random(1_000)), pick(random(1_000)));
        let post = |path: String, body: Value| {
            server.request("POST", &path).header("Content-Type", "application/json").body(body.to_string())
        };
        let mut after = known.clone();
        let (request, expected) = match (random(8), one, other) {
            (0, Some(id), _) if known.len() > 6 => {
                after.remove(&id);
                (server.request("DELETE", &format!("/v1/speakers/{id}")), 204)
            }
            (1, Some(one), Some(other)) if one != other => {
                let n = after.remove(&other).unwrap();
                *after.get_mut(&one).unwrap() += n;
                (post(format!("/v1/speakers/{one}/merge"), json!({"from": other})), 200)
            }
            (2 | 3, Some(id), _) => {
                *after.get_mut(&id).unwrap() += 1;
                let body = json!({"voice": embedding(&components(seed), None), "force": true});
                (post(format!("/v1/speakers/{id}/enrolments"), body), 201)
            }
            (4, Some(one), Some(other)) if one != other && known[&one] > 0 => {
                let enrolments = server.request("GET", &format!("/v1/speakers/{one}/enrolments")).send();
                let Ok(Ok(list)) = enrolments.map(reqwest::blocking::Response::json::<Value>) else { break };
                let id = list["enrolments"][0]["id"].as_str().unwrap().to_owned();
                *after.get_mut(&one).unwrap() -= 1;
                *after.get_mut(&other).unwrap() += 1;
                (post(format!("/v1/speakers/{one}/enrolments/{id}/move"), json!({"to": other})), 200)
            }
            _ => {
                let id = format!("c{client}-{round}-{step}");
                after.insert(id.clone(), 2);
                let voices = [seed, seed + 1].map(|seed| embedding(&components(seed), None));
                (post("/v1/speakers".into(), json!({"id": id, "voices": voices, "force": true})), 201)
            }
        };
        match request.send() {
            Ok(response) => {
                let status = response.status().as_u16();
                assert_eq!(status, expected, "{:?}", response.text());
                known = after;
                n_answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => return (known, Some(after)),
        }
    }
    (known, None)
}

/// Returns all speakers with the number of their enrolments.
fn listed(server: &Server) -> Known {
    let mut known = Known::new();
    let mut after = String::new();
    loop {
        let page = get(server, &format!("/v1/speakers?after={after}"));
        for speaker in page["speakers"].as_array().unwrap() {
            let n = speaker["enrolments"].as_u64().unwrap() as usize;
            let in_profiles: u64 = speaker["profiles"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["enrolments"].as_u64().unwrap())
                .sum();
            assert_eq!(in_profiles as usize, n, "half there: {speaker}");
            known.insert(speaker["id"].as_str().unwrap().to_owned(), n);
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return known,
        }
    }
}

/// `KILL_ROUNDS` sets the number of rounds.
#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_answered() {
    let (_folder, file) = place();
    kill_again_and_again(40, &|| serve(&file));
    assert_agrees(&file);
}

#[test]
fn a_kill_loses_nothing_that_was_answered_from_postgresql() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    kill_again_and_again(10, &|| Server::start_with(&[("DATABASE_URL", &url)]));
    let counts = "SELECT COUNT(*) - (SELECT speakers FROM voice_embedding_service.state) FROM voice_embedding_service.speakers";
    assert_eq!(postgres.psql(&url, counts).unwrap(), "0");
}

/// Kills a server while four clients change its speakers, restarts it, and checks that nothing was lost.
fn kill_again_and_again(rounds: usize, serve: &dyn Fn() -> Server) {
    const CLIENTS: usize = 4;
    let rounds: usize = std::env::var("KILL_ROUNDS").map_or(rounds, |rounds| rounds.parse().unwrap());
    let mut server = serve();
    let mut all: Vec<Known> = vec![Known::new(); CLIENTS];
    for round in 0..rounds {
        let n_answered = AtomicUsize::new(0);
        let outcomes: Vec<(Known, Option<Known>)> = std::thread::scope(|scope| {
            let clients: Vec<_> = std::mem::take(&mut all)
                .into_iter()
                .enumerate()
                .map(|(client, known)| {
                    let (server, n_answered) = (&server, &n_answered);
                    scope.spawn(move || change_until_it_is_gone(server, n_answered, (client, round), known))
                })
                .collect();
            eventually(|| n_answered.load(Ordering::Relaxed) >= 10 + round * 37 % 160);
            server.signal("KILL");
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        drop(server);
        server = serve();
        let found = listed(&server);
        for (client, (answered, perhaps)) in outcomes.into_iter().enumerate() {
            let prefix = format!("c{client}-");
            let own: Known = found
                .iter()
                .filter(|(id, _)| id.starts_with(&prefix))
                .map(|(id, n)| (id.clone(), *n))
                .collect();
            assert!(
                own == answered || Some(&own) == perhaps.as_ref(),
                "round {round}: {own:?}, answered {answered:?}, perhaps {perhaps:?}"
            );
            all.push(own);
        }
        // The index agrees with the file: it contains each speaker that has a profile.
        let with_profile = found.values().filter(|n| **n > 0).count();
        assert_eq!(identified(&server, 7)["searched"].as_u64(), Some(with_profile as u64));
    }
}

/// Compares each profile in a file with the mean of its enrolments, and searches with those in a newly built index.
fn assert_agrees(file: &Path) {
    let store = Store::open(&StorePlace::File(file.to_owned()), 1_000_000, vec![model()]).unwrap();
    let connection = rusqlite::Connection::open(file).unwrap();
    let ok: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(ok, "ok");
    let orphans: i64 = connection
        .query_row(
            "SELECT COUNT(*) FROM enrolments WHERE speaker NOT IN (SELECT key FROM speakers)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(orphans, 0);
    let (counted, state): (i64, i64) = connection
        .query_row("SELECT (SELECT COUNT(*) FROM speakers), speakers FROM state", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(counted, state);
    let mut anew = Index::default();
    let vector = |bytes: Vec<u8>| -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
    };
    let mut speakers = connection.prepare("SELECT key, id FROM speakers").unwrap();
    let speakers =
        speakers.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).unwrap();
    for (key, id) in speakers.map(Result::unwrap) {
        anew.put_speaker(key, &Identifier::default_collection(), id.parse().unwrap(), "");
        let mut samples = connection.prepare("SELECT vector FROM enrolments WHERE speaker = ?1").unwrap();
        let samples = samples.query_map([key], |row| row.get(0)).unwrap();
        let mut sum = vec![0.0_f32; 256];
        let mut n = 0;
        for sample in samples.map(|bytes| vector(bytes.unwrap())) {
            sum.iter_mut().zip(&sample).for_each(|(sum, c)| *sum += c);
            n += 1;
        }
        if n > 0 {
            anew.put_profile(key, &model(), &unit(&sum), Evidence::new(Some(5.0), [], 2));
        }
    }
    for seed in 0..20 {
        let probe = made_up(&model(), seed).embedding;
        let wanted = SearchOptions { collection: Identifier::default_collection(), top: 5, except: None };
        let expected = anew.search(&probe, &wanted);
        let found = store.search(&[probe], &wanted).unwrap().remove(0);
        assert_eq!((found.searched, found.speakers), (expected.searched, expected.speakers));
        for (found, expected) in found.candidates.iter().zip(&expected.candidates) {
            assert_eq!(found.speaker, expected.speaker);
            assert!((found.similarity - expected.similarity).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }
}

/// Uses two processes and the command line on one file.
#[test]
fn processes_on_one_file_are_all_right() {
    let (_folder, file) = place();
    let (one, other) = (serve(&file), serve(&file));
    for seed in 0..20 {
        assert_eq!(create(if seed % 2 == 0 { &one } else { &other }, &format!("s{seed}"), &[seed]), 201);
        for server in [&one, &other] {
            let found = identified(server, seed);
            assert_eq!(
                (&found["speaker"], &found["searched"]),
                (&json!(format!("s{seed}")), &json!(seed + 1))
            );
        }
    }
    assert_eq!(one.request("DELETE", "/v1/speakers/s3").send().unwrap().status(), 204);
    assert_eq!(identified(&other, 3)["speaker"], Value::Null, "gone at the other from the next request on");

    let alan = |n: u8| fixture(&format!("audio/alan-{n}.wav")).display().to_string();
    let enrolled = program(&file, &["speakers", "enrol", "alan", "--name", "Alan", &alan(1)]);
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
    let form = reqwest::blocking::multipart::Form::new().file("file", alan(2)).unwrap();
    let found = answered(200, other.request("POST", "/v1/identify").multipart(form).send().unwrap());
    assert_eq!((&found["speaker"], &found["searched"]), (&json!("alan"), &json!(20)));
    // The service recognises the voice that the command line enrolled.
    let form = reqwest::blocking::multipart::Form::new().file("file", alan(1)).unwrap();
    answered(200, one.request("POST", "/v1/speakers/alan/enrolments").multipart(form).send().unwrap());

    let identified_by_program = program(&file, &["identify", &alan(2)]);
    let line = String::from_utf8(identified_by_program.stdout).unwrap();
    assert!(identified_by_program.status.success() && line.contains(": alan  [alan 0.8"), "{line}");
    assert!(line.contains("20 searched"), "{line}");
    let listed = String::from_utf8(program(&file, &["speakers", "list", "--name", "aLAN"]).stdout).unwrap();
    assert!(listed == "alan\tAlan\t1 enrolment\t6.0 s of speech\n", "{listed}");
    assert!(program(&file, &["speakers", "delete", "alan", "s0"]).status.success());
    for server in [&one, &other] {
        assert_eq!(identified(server, 0)["searched"], 18);
    }
    // Both servers write at the same time.
    std::thread::scope(|scope| {
        for (i, server) in [&one, &other].into_iter().enumerate() {
            scope.spawn(move || {
                for n in 0..50_u64 {
                    assert_eq!(create(server, &format!("p{i}-{n}"), &[1_000 + 100 * i as u64 + n]), 201);
                }
            });
        }
    });
    for server in [&one, &other] {
        assert_eq!(identified(server, 1_149)["speaker"], "p1-49");
        assert_eq!(identified(server, 1_000)["searched"], 118);
    }
}

#[test]
fn the_command_line_enrols_shows_and_names() {
    let (_folder, file) = place();
    let path = |name: &str| fixture(&format!("audio/{name}.wav")).display().to_string();
    let text = |output: &Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let enrol = |id: &str, files: &[&str]| {
        let files: Vec<String> = files.iter().map(|name| path(name)).collect();
        let arguments: Vec<&str> =
            ["speakers", "enrol", id].into_iter().chain(files.iter().map(String::as_str)).collect();
        program(&file, &arguments)
    };
    assert!(enrol("alan", &["alan-1", "alan-2"]).status.success());
    let refused = enrol("alan", &["beth-1"]);
    assert!(!refused.status.success());
    assert!(
        text(&refused).contains("beth-1.wav: the voice differs from this speaker's enrolments"),
        "{}",
        text(&refused)
    );
    let mixed = enrol("cole", &["cole-1", "beth-1"]);
    assert!(text(&mixed).contains("beth-1.wav"), "{}", text(&mixed));
    let shown: Value = serde_json::from_slice(&program(&file, &["speakers", "show", "alan"]).stdout).unwrap();
    assert_eq!(
        (&shown["speaker"]["enrolments"], shown["enrolments"].as_array().unwrap().len()),
        (&json!(2), 2)
    );
    let missing = program(&file, &["speakers", "show", "cole"]);
    assert!(!missing.status.success() && text(&missing).contains("There is no speaker"), "all or none");

    let line = program(&file, &["identify", &path("alan-2"), "--format", "jsonl"]);
    let answer: Value = serde_json::from_slice(&line.stdout).unwrap();
    assert_eq!(
        (&answer["speaker"], &answer["reason"], &answer["searched"]),
        (&json!("alan"), &json!("match"), &json!(1))
    );
    assert_eq!(program(&file, &["identify", &path("beth-1")]).status.code(), Some(1));
    assert_eq!(program(&file, &["identify", "/no/such/file.wav"]).status.code(), Some(2));
    assert!(!program(&file, &["speakers", "delete", "alan", "nobody"]).status.success());
    assert_eq!(
        program(&file, &["identify", &path("alan-2")]).status.code(),
        Some(0),
        "both or none are deleted"
    );
    assert!(program(&file, &["speakers", "delete", "alan"]).status.success());
    let empty = program(&file, &["identify", &path("alan-2")]);
    assert_eq!(empty.status.code(), Some(1));
    let said = text(&empty);
    assert!(
        said.contains("nobody (empty_collection)") && said.contains("There is no collection \"default\""),
        "{said}"
    );
    let mut none = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    let none = none.env("DATABASE_URL", "none").args(["speakers", "list"]).output().unwrap();
    assert!(!none.status.success() && text(&none).contains("no speakers are kept"), "{}", text(&none));
}

#[test]
fn a_file_that_cannot_be_used_ends_the_start_and_stays_as_it_is() {
    let (folder, good) = place();
    let mut server = serve(&good);
    (0..60).for_each(|seed| assert_eq!(create(&server, &format!("s{seed}"), &[seed]), 201));
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    drop(server);
    assert_agrees(&good);
    let of_sql = |name: &str, from: Option<&Path>, sql: &str| {
        let file = folder.path().join(name);
        if let Some(from) = from {
            fs::copy(from, &file).unwrap();
        }
        rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        file
    };
    let from_bytes = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        file
    };
    let bytes = fs::read(&good).unwrap();
    let mut damaged = bytes.clone();
    // Pages in the middle of the file, with tables and indexes.
    damaged[40_960..122_880].fill(0x5a);
    let cases = [
        (of_sql("newer", Some(&good), "PRAGMA user_version = 4"), "has version 4, which this program does not know (it knows 3)"),
        (from_bytes("text", b"This is a text, and no database at all, though it is long enough to be one. It goes on, and on."), "is not an SQLite database"),
        (of_sql("other", None, "CREATE TABLE notes (text)"), "is a database of another program"),
        (from_bytes("damaged", &damaged), "is damaged"),
        (from_bytes("short", &bytes[..bytes.len() / 2]), "is damaged"),
        (from_bytes("header", &[&bytes[..16], &vec![0xff; 8_192][..]].concat()), ""),
        (folder.path().to_owned(), "cannot be opened"),
    ];
    for (file, expected) in cases {
        let before = fs::read(&file).ok();
        let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
        program.current_dir(repository()).envs([("API_KEY", KEY), ("HOST", "127.0.0.1"), ("PORT", "0")]);
        let output = program.env("DATABASE_URL", url(&file)).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{}", file.display());
        assert!(error.contains(expected) && error.contains("DATABASE_URL"), "{}: {error}", file.display());
        assert!(!error.contains("panicked"), "{error}");
        assert!(fs::read(&file).ok() == before, "{} was changed", file.display());
    }
    // An empty file counts as a database that does not exist yet.
    let server = serve(&from_bytes("empty", b""));
    assert_eq!(create(&server, "anna", &[1]), 201);
}

#[test]
fn enrolments_of_a_model_that_is_not_loaded_are_kept_and_not_searched() {
    let (_folder, file) = place();
    let other = ModelId::new("other", "other-1/0123".into(), 256);
    let store = Store::open(&StorePlace::File(file.clone()), 10, vec![other.clone()]).unwrap();
    let voices = vec![made_up(&other, 1), made_up(&other, 2)];
    store.write_and_wait(move |t| t.create(&new_speaker("anna", voices), &FORCED)).unwrap();
    drop(store);
    let server = serve(&file);
    let line = &server.logged("are not searched")[0];
    assert!(line.contains("other-1/0123") && line.contains("\"enrolments\":2"), "{line}");
    let found = identified(&server, 1);
    assert_eq!((&found["reason"], &found["searched"]), (&json!("no_profile_of_model"), &json!(0)));
    let anna = get(&server, "/v1/speakers/anna");
    assert_eq!((&anna["enrolments"], &anna["profiles"][0]["model"]), (&json!(2), &json!("other-1/0123")));
    let answer = server.post_json("/v1/identify", json!({"voice": {"speaker": "anna"}}).to_string());
    assert_error("its profile", answer, 409, "model_mismatch", "has no profile of resemblyzer");
    let body = json!({"voice": embedding(&components(3), None)});
    answered(201, server.post_json("/v1/speakers/anna/enrolments", body.to_string()));
    assert_eq!(identified(&server, 3)["speaker"], "anna");
    assert_eq!(get(&server, "/v1/speakers/anna")["profiles"].as_array().unwrap().len(), 2);
}

/// A service that reads before it writes must still hold the lock that prevents others from deleting its write-ahead log.
#[test]
fn others_that_come_and_go_take_nothing_from_a_running_service() {
    let (_folder, file) = place();
    let log = file.with_file_name("speakers.db-wal");
    let mut server = serve(&file);
    assert_eq!(create(&server, "anna", &[1]), 201);
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let server = serve(&file);
    assert_eq!(identified(&server, 1)["speaker"], "anna");
    assert_eq!(create(&server, "beth", &[2]), 201);
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&log).unwrap());
    let before = inode();
    for (other, speakers) in [("reads", 2), ("writes", 3), ("backs up", 4)] {
        match other {
            "reads" => assert!(program(&file, &["speakers", "list"]).status.success()),
            "writes" => assert!(program(&file, &["speakers", "delete", "beth"]).status.success()),
            _ => {
                // A separate process, as with sqlite3's `.backup`.
                let copy = file.with_file_name("copy.db");
                let script = "import sqlite3, sys; a, b = map(sqlite3.connect, sys.argv[1:]); a.backup(b); a.close(); b.close()";
                let done = Command::new("python3").args(["-c", script]).args([&file, &copy]).status();
                assert!(done.unwrap().success());
                assert_agrees(&copy);
            }
        }
        assert_eq!(inode(), before, "the log is another after one that {other}");
        assert_eq!(create(&server, &format!("new-{speakers}"), &[100 + speakers]), 201);
    }
    drop(server);
    let found = listed(&serve(&file));
    let ids: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(ids, ["anna", "new-2", "new-3", "new-4"]);
}

/// Changes to a removed file would be lost, and changes to a file in its place would destroy that file.
#[test]
fn a_file_that_is_removed_or_replaced_is_noticed() {
    let (folder, file) = place();
    let server = serve(&file);
    assert_eq!(create(&server, "anna", &[1]), 201);
    let aside = folder.path().join("aside.db");
    let ready = || server.get("/ready").send().unwrap().status();
    fs::rename(&file, &aside).unwrap();
    assert_eq!((create(&server, "beth", &[2]), ready().as_u16()), (503, 503));
    assert!(!file.exists(), "no other database takes its place");

    let other = folder.path().join("other.db");
    let stranger = serve(&other);
    assert_eq!(create(&stranger, "cole", &[3]), 201);
    drop(stranger);
    fs::rename(&other, &file).unwrap();
    let before = fs::read(&file).unwrap();
    assert_eq!((create(&server, "dora", &[4]), ready().as_u16()), (503, 503));
    assert_eq!(server.request("GET", "/v1/speakers").send().unwrap().status(), 503);
    assert_eq!(fs::read(&file).unwrap(), before, "the other file is as it was");

    fs::rename(&aside, &file).unwrap();
    assert_eq!(ready(), 200);
    eventually(|| create(&server, "beth", &[2]) == 201);
    assert_eq!(listed(&server).into_keys().collect::<Vec<_>>(), ["anna", "beth"]);
}

#[test]
fn a_kill_while_the_file_is_made_leaves_nothing_half_made() {
    for delay in 0..10 {
        let (folder, file) = place();
        let server = serve(&file);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let body = json!({"id": "anna", "voices": [embedding(&components(1), None)]}).to_string();
                let request =
                    server.request("POST", "/v1/speakers").header("Content-Type", "application/json");
                // The request may get a response or not.
                let _ = request.body(body).send();
            });
            std::thread::sleep(Duration::from_micros(1_000 + 700 * delay));
            server.signal("KILL");
        });
        drop(server);
        let server = serve(&file);
        let status = create(&server, "beth", &[2]);
        assert_eq!(status, 201, "{:?}", fs::read_dir(folder.path()).unwrap().collect::<Vec<_>>());
        assert_eq!(identified(&server, 2)["speaker"], "beth");
    }
}

/// Another process keeps a read transaction open for a while.
#[test]
fn what_was_removed_is_erased_once_readers_have_gone_whoever_removed_it() {
    let (folder, file) = place();
    let server = serve(&file);
    (0..6).for_each(|seed| assert_eq!(create(&server, &format!("s{seed}"), &[seed]), 201));
    let part = |seed| {
        let bytes: Vec<u8> = unit(&components(seed)).iter().flat_map(|c| c.to_le_bytes()).collect();
        bytes[400..432].to_vec()
    };
    let reader = rusqlite::Connection::open(&file).unwrap();
    let hold = || reader.execute_batch("BEGIN; SELECT * FROM speakers").unwrap();
    // The service deletes a speaker and is killed before it can erase the data.
    hold();
    assert_eq!(server.request("DELETE", "/v1/speakers/s0").send().unwrap().status(), 204);
    // The service tries to erase the data before it writes again.
    assert_eq!(create(&server, "later", &[7]), 201);
    assert!(is_in_folder(folder.path(), &part(0)), "the reader is in the way");
    server.signal("KILL");
    drop(server);
    reader.execute_batch("COMMIT").unwrap();
    let mut server = serve(&file);
    eventually(|| !is_in_folder(folder.path(), &part(0)));
    // The command line deletes a speaker, reports that it cannot erase the data, and exits. The service erases it later.
    hold();
    let deleted = program(&file, &["speakers", "delete", "s1"]);
    let said = String::from_utf8_lossy(&deleted.stderr);
    assert!(!deleted.status.success() && said.contains("another program reads"), "{said}");
    assert!(is_in_folder(folder.path(), &part(1)));
    reader.execute_batch("COMMIT").unwrap();
    eventually(|| !is_in_folder(folder.path(), &part(1)));
    // The service waits for a moment when it shuts down.
    hold();
    assert_eq!(server.request("DELETE", "/v1/speakers/s2").send().unwrap().status(), 204);
    server.signal("TERM");
    server.logged("waiting for readers of the database");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(server.exit_code(), Some(0));
    assert!(!is_in_folder(folder.path(), &part(2)));
    assert!(is_in_folder(folder.path(), &part(3)));
}

/// Follows docs/operation.md.
#[test]
fn a_backup_of_the_file_is_restored() {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        say("skipped: there is no sqlite3");
        return;
    }
    let (folder, file) = place();
    let operation = fs::read_to_string(repository().join("docs/operation.md")).unwrap();
    let run = |recipe: &str| {
        let command = operation.split('`').find(|text| text.starts_with(recipe)).unwrap();
        assert!(Command::new("sh").args(["-ec", command]).current_dir(&folder).status().unwrap().success());
    };
    let mut server = serve(&file);
    assert_eq!((create(&server, "anna", &[1]), create(&server, "beth", &[2])), (201, 201));
    run("sqlite3 ");
    assert_eq!(server.request("DELETE", "/v1/speakers/anna").send().unwrap().status(), 204);
    assert_eq!(create(&server, "cole", &[3]), 201);
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    for ending in ["", "-wal", "-shm"] {
        // SQLite removes the other two files when it closes the database.
        let _ = fs::remove_file(folder.path().join(format!("speakers.db{ending}")));
    }
    run("cp copy.db");
    let server = serve(&file);
    assert_eq!(listed(&server).into_keys().collect::<Vec<_>>(), ["anna", "beth"]);
    assert_eq!(identified(&server, 1)["speaker"], "anna");
}

#[test]
fn what_is_left_of_another_database_is_not_taken_for_this_ones() {
    let (folder, file) = place();
    let server = serve(&file);
    assert_eq!(create(&server, "anna", &[1]), 201);
    server.signal("KILL");
    drop(server);
    assert!(file.with_file_name("speakers.db-wal").metadata().unwrap().len() > 0);
    let moved = folder.path().join("moved.db");
    fs::rename(&file, &moved).unwrap();
    let refused = program(&file, &["speakers", "list"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("speakers.db-wal remains of it"), "{said}");
    fs::rename(&moved, &file).unwrap();
    assert_eq!(listed(&serve(&file)).len(), 1, "nothing is lost");
}

#[test]
fn a_link_to_the_file_is_as_good_as_the_file() {
    let (folder, file) = place();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink("speakers.db", &link).unwrap();
    let server = serve(&link);
    assert_eq!(create(&server, "anna", &[1]), 201);
    assert_eq!(create(&server, "beth", &[2]), 201);
    assert!(file.is_file());
    assert_eq!(server.request("DELETE", "/v1/speakers/anna").send().unwrap().status(), 204);
    server.signal("KILL");
    drop(server);
    let bytes: Vec<u8> = unit(&components(1)).iter().flat_map(|c| c.to_le_bytes()).collect();
    let server = serve(&link);
    eventually(|| !is_in_folder(folder.path(), &bytes[400..432]));
    assert_eq!(identified(&server, 2)["speaker"], "beth");
}

/// In a container with no other writable place.
#[test]
fn large_changes_need_no_temporary_files() {
    let (_folder, file) = place();
    let nowhere = "/proc/nowhere";
    let variables = [("DATABASE_URL", &*url(&file)), ("SQLITE_TMPDIR", nowhere), ("TMPDIR", nowhere)];
    let server = Server::start_with(&variables);
    let seeds: Vec<u64> = (0..200).collect();
    assert_eq!(create(&server, "large", &seeds), 201);
    assert_eq!(create(&server, "other", &[1_000]), 201);
    assert_eq!(server.request("DELETE", "/v1/speakers/large").send().unwrap().status(), 204);
    assert_eq!(server.request("DELETE", "/v1/collections/default").send().unwrap().status(), 204);
}

#[test]
fn a_database_that_becomes_newer_is_left_alone() {
    let (_folder, file) = place();
    let server = serve(&file);
    assert_eq!(create(&server, "anna", &[1]), 201);
    let other = rusqlite::Connection::open(&file).unwrap();
    let version = || other.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap();
    other.execute_batch("PRAGMA user_version = 4").unwrap();
    assert_eq!(create(&server, "beth", &[2]), 503);
    assert_eq!(version(), 4);
    assert!(server.logged("the store of speakers is unavailable")[0].contains("version 4"));
    other.execute_batch("PRAGMA user_version = 3").unwrap();
    eventually(|| get(&server, "/ready")["store"] == "ok");
    assert_eq!(create(&server, "beth", &[2]), 201);
}

#[test]
fn a_database_of_the_first_version_learns_its_profiles_warnings() {
    let (_folder, file) = place();
    let with = |seed: u64, warnings: &[&str]| NewVoice {
        warnings: warnings.iter().map(|code| (*code).to_owned()).collect(),
        ..made_up(&model(), seed)
    };
    let store = Store::open(&StorePlace::File(file.clone()), 10, vec![model()]).unwrap();
    let phone = new_speaker("phone", vec![with(1, &["short_speech", "narrowband"]), with(2, &[])]);
    let clean = new_speaker("clean", vec![with(3, &[])]);
    let of_unknown = |seed| NewVoice { speech_seconds: None, ..made_up(&model(), seed) };
    let partly = new_speaker("partly", vec![with(4, &[]), of_unknown(5)]);
    store.write_and_wait(move |t| t.create(&partly, &FORCED)).unwrap();
    store.write_and_wait(move |t| t.create(&phone, &FORCED)).unwrap();
    store.write_and_wait(move |t| t.create(&clean, &FORCED)).unwrap();
    drop(store);
    let first = rusqlite::Connection::open(&file).unwrap();
    first.execute_batch("ALTER TABLE profiles DROP COLUMN warnings; ALTER TABLE profiles DROP COLUMN without_seconds; PRAGMA user_version = 1").unwrap();
    drop(first);
    let store = Store::open(&StorePlace::File(file), 10, vec![model()]).unwrap();
    let warnings = |id| store.voice(&address(id), &model()).unwrap().profile.unwrap().warnings;
    assert_eq!(Vec::from_iter(warnings("phone")), ["narrowband", "short_speech"]);
    assert_eq!(Vec::from_iter(warnings("clean")), Vec::<String>::new());
    let probe = with(1, &[]).embedding;
    let wanted = SearchOptions { collection: Identifier::default_collection(), top: 3, except: None };
    let found = store.search(&[probe], &wanted).unwrap().remove(0);
    let evidence = |warnings: &[&str], enrolments| {
        Evidence::new(Some(5.0 * enrolments as f64), warnings.iter().copied(), enrolments)
    };
    let by_id = |id: &str| found.candidates.iter().find(|c| c.speaker.as_str() == id).unwrap().evidence;
    assert_eq!(by_id("phone"), evidence(&["narrowband"], 2));
    assert_eq!(by_id("clean"), evidence(&[], 1));
    assert_eq!(by_id("partly"), Evidence::new(None, [], 2), "seconds that are known in part are not known");
}

#[test]
fn a_speaker_has_so_many_enrolments_at_the_most() {
    let store = Store::open(&StorePlace::Memory, 10, vec![model()]).unwrap();
    let voices = |seeds: std::ops::Range<u64>| seeds.map(|seed| made_up(&model(), seed)).collect::<Vec<_>>();
    let full = new_speaker("full", voices(0..1_024));
    store.write_and_wait(move |t| t.create(&full, &FORCED)).unwrap();
    let other = new_speaker("other", voices(2_000..2_002));
    store.write_and_wait(move |t| t.create(&other, &FORCED)).unwrap();
    let one_more = made_up(&model(), 3_000);
    let is_full = |outcome: Result<(), StoreError>| {
        assert!(matches!(outcome, Err(StoreError::TooManyEnrolments { max: 1_024 })), "{outcome:?}");
    };
    is_full(store.write_and_wait(move |t| t.enrol(&address("full"), &one_more, &FORCED).map(drop)));
    is_full(store.write_and_wait(|t| t.merge(&address("full"), &address("other").id).map(drop)));
    assert_eq!(store.speaker(&address("full")).unwrap().enrolments, 1_024);
    let again = made_up(&model(), 0);
    assert!(!store.write_and_wait(move |t| t.enrol(&address("full"), &again, &FORCED)).unwrap().is_new);
}

/// Returns whether a file in the folder contains the bytes.
fn is_in_folder(folder: &Path, bytes: &[u8]) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.into_iter().any(|file| contains_bytes(&file, bytes))
}

fn contains_bytes(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn what_is_deleted_is_in_no_file_after_five_seconds() {
    let (folder, file) = place();
    let server = serve(&file);
    // Enough speakers for pages to be split and merged.
    (0..120).for_each(|seed| assert_eq!(create(&server, &format!("s{seed}"), &[seed, 1_000 + seed]), 201));
    let bytes = |vector: &[f32]| -> Vec<u8> { unit(vector).iter().flat_map(|c| c.to_le_bytes()).collect() };
    // Part of the middle of a vector is enough to recognise it.
    let part = |vector: &[f32]| bytes(vector)[400..432].to_vec();
    for seed in 0..100 {
        assert!(is_in_folder(folder.path(), &part(&components(seed))), "{seed} is not there at first");
    }
    for seed in 0..98 {
        assert_eq!(server.request("DELETE", &format!("/v1/speakers/s{seed}")).send().unwrap().status(), 204);
    }
    let list = get(&server, "/v1/speakers/s98/enrolments");
    let first = list["enrolments"][0]["id"].as_str().unwrap();
    assert_eq!(
        server.request("DELETE", &format!("/v1/speakers/s98/enrolments/{first}")).send().unwrap().status(),
        204
    );
    assert_eq!(server.request("DELETE", "/v1/speakers/s99/enrolments").send().unwrap().status(), 204);
    let begun = Instant::now();
    let gone: Vec<Vec<u8>> = (0..100)
        .chain((1_000..1_098).chain([1_099]))
        .map(|seed| part(&components(seed)))
        .chain([
            b"Name of s42".to_vec(),
            part(&mixed_profile(42)),
            part(&mixed_profile(98)),
            part(&mixed_profile(99)),
        ])
        .collect();
    eventually(|| gone.iter().all(|bytes| !is_in_folder(folder.path(), bytes)));
    assert!(begun.elapsed() < Duration::from_secs(5), "docs/privacy.md promises it: {:?}", begun.elapsed());
    assert_eq!(identified(&server, 110)["searched"], 21);
    assert!(is_in_folder(folder.path(), &part(&components(110))), "others stay");
}

/// Returns the profile of a speaker with two embeddings.
fn mixed_profile(seed: u64) -> Vec<f32> {
    mixed(seed, 1_000 + seed, 1.0)
}

/// The kernel limits the size of files that the process writes. For the store, this is like a full disk.
#[test]
fn a_full_disk_refuses_changes_and_nothing_else() {
    let (_folder, file) = place();
    let mut shell = Command::new("sh");
    shell.current_dir(repository()).envs([
        ("API_KEY", KEY),
        ("DATABASE_URL", &url(&file)),
        ("PROGRAM", env!("CARGO_BIN_EXE_voice-embedding-service")),
    ]);
    // 800 blocks of 512 bytes, which is 400 kB for the database or for its log.
    let server = Server::spawn(shell.args(["-c", "trap '' XFSZ; ulimit -f 800; exec \"$PROGRAM\" serve"]));
    server.wait_until_ready();
    let mut kept = 0;
    let refused = loop {
        let voices = [embedding(&components(kept), None)];
        let body = json!({"id": format!("s{kept}"), "voices": voices, "metadata": {"a": "x".repeat(3_000)}});
        let answer = server.post_json("/v1/speakers", body.to_string());
        if answer.status() != 201 {
            break answer;
        }
        kept += 1;
        assert!(kept < 1_000, "the disk is never full");
    };
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_error("full", refused, 503, "store_unavailable", "try again");
    assert_eq!(get(&server, "/ready"), json!({"status": "ready", "store": "unavailable"}));
    assert!(server.metrics().contains("voice_embedding_store_available 0"));
    assert_eq!(server.logged("the store of speakers is unavailable").len(), 1);
    // All other requests still work.
    assert_eq!(server.upload(voice()).status(), 200);
    assert_eq!(identified(&server, kept - 1)["speaker"], format!("s{}", kept - 1));
    assert_eq!(identified(&server, kept)["speaker"], Value::Null, "what was refused is not there");
    assert_eq!(get(&server, "/v1/speakers/s0")["enrolments"], 1);
    drop(server);
    // With space again, the state equals the confirmed changes.
    let server = serve(&file);
    assert_eq!(identified(&server, 0)["searched"], kept);
    assert_eq!(create(&server, "more", &[9_999]), 201);
    drop(server);
    assert_agrees(&file);
}

#[test]
fn a_store_that_was_unavailable_heals_by_itself() {
    let (folder, file) = place();
    let server = serve(&file);
    assert_eq!(create(&server, "anna", &[1]), 201);
    // Another process holds the lock for longer than the service waits.
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    assert_eq!(create(&server, "beth", &[2]), 503);
    assert!(begun.elapsed() > Duration::from_secs(4), "it waits for a while");
    assert_eq!(identified(&server, 1)["speaker"], "anna", "reading goes on");
    assert_eq!(get(&server, "/ready")["store"], "unavailable");
    other.execute_batch("COMMIT").unwrap();
    eventually(|| get(&server, "/ready")["store"] == "ok");
    assert_eq!(create(&server, "beth", &[2]), 201);
    assert_eq!(server.logged("available again").len(), 1);
    drop(folder);
}

/// The store remembers a limited number of removals. A process that is further behind rereads the whole file.
#[test]
fn a_process_that_slept_for_long_catches_up() {
    let (_folder, file) = place();
    let open = || Store::open(&StorePlace::File(file.clone()), 1_000, vec![model()]).unwrap();
    let (busy, sleeper) = (open(), open());
    let wanted = SearchOptions { collection: Identifier::default_collection(), top: 3, except: None };
    let probe = |seed| [made_up(&model(), seed).embedding];
    let create = |store: &Store, id: &'static str, seed: u64| {
        store
            .write_and_wait(move |t| t.create(&new_speaker(id, vec![made_up(&model(), seed)]), &FORCED))
            .unwrap();
    };
    create(&busy, "anna", 1);
    create(&busy, "beth", 2);
    assert_eq!(sleeper.search(&probe(1), &wanted).unwrap()[0].searched, 2);
    busy.write_and_wait(|t| t.remove(&address("anna"))).unwrap();
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("UPDATE state SET revision = revision + 200000")
        .unwrap();
    create(&busy, "cole", 3);
    busy.write_and_wait(|t| t.remove(&address("cole"))).unwrap();
    let remembered: i64 = rusqlite::Connection::open(&file)
        .unwrap()
        .query_row("SELECT COUNT(*) FROM removals", [], |row| row.get(0))
        .unwrap();
    assert_eq!(remembered, 1, "the first is forgotten");
    let found = sleeper.search(&probe(1), &wanted).unwrap().remove(0);
    assert_eq!((found.searched, found.candidates[0].speaker.as_str()), (1, "beth"));
    let missing = sleeper.speaker(&address("cole"));
    assert!(matches!(missing, Err(StoreError::SpeakerNotFound { .. })), "{missing:?}");
}

/// A panic in a change fails only that change.
#[test]
fn a_change_that_panics_is_undone_and_the_next_is_made() {
    let store = Store::open(&StorePlace::Memory, 10, vec![model()]).unwrap();
    let panicked = store.write_and_wait(|t| -> Result<(), StoreError> {
        t.create(&new_speaker("anna", vec![made_up(&model(), 1)]), &FORCED)?;
        panic!("on purpose");
    });
    assert!(matches!(panicked, Err(StoreError::Internal(_))), "{panicked:?}");
    store.write_and_wait(|t| t.create(&new_speaker("beth", vec![made_up(&model(), 1)]), &FORCED)).unwrap();
    assert_eq!(store.speaker_count(), 1);
}

/// A panic after the commit costs one response, but neither the writer thread nor other changes in the same commit.
#[test]
fn an_answer_that_panics_costs_itself_alone() {
    let store = Store::open(&StorePlace::Memory, 10, vec![model()]).unwrap();
    store.write(|_| Ok(()), |_| panic!("on purpose"));
    let anna = new_speaker("anna", vec![made_up(&model(), 1)]);
    store.write_and_wait(move |t| t.create(&anna, &FORCED)).unwrap();
    assert!(store.is_available());
}

/// A response that is being sent is finished before the process ends.
#[test]
fn a_stop_waits_until_answers_have_left() {
    use std::io::{Read, Write};
    let mut server = Server::start();
    let voices: Vec<Value> = (0..1_500).map(|seed| embedding(&components(seed), None)).collect();
    let body = json!({"voices": voices}).to_string();
    let mut connection = std::net::TcpStream::connect(&server.address).unwrap();
    write!(
        connection,
        "POST /v1/similarities HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    connection.write_all(body.as_bytes()).unwrap();
    let mut start = [0; 512];
    connection.read_exact(&mut start).unwrap();
    let head = String::from_utf8_lossy(&start).into_owned();
    let head_length = head.find("\r\n\r\n").unwrap() + 4;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse::<usize>()
        .unwrap();
    assert!(length > 15_000_000, "{length}");
    // A connection without a request is closed as soon as the service no longer waits for its connections.
    let mut idle = std::net::TcpStream::connect(&server.address).unwrap();
    eventually(|| server.metrics().contains("voice_embedding_connections 3\n"));
    server.signal("TERM");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len() + start.len() - head_length, length, "all of it has arrived");
    assert_eq!(server.exit_code(), Some(0));
}
