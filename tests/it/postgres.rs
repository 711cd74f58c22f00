//! Several replicas with one PostgreSQL database.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{
    Postgres, Server, answered, assert_error, components, embedding, eventually, free_port, repository, say,
    voice,
};

fn serve(url: &str) -> Server {
    Server::start_with(&[("DATABASE_URL", url)])
}

fn create(server: &Server, id: &str, seed: u64) -> u16 {
    let body = json!({"id": id, "voices": [embedding(&components(seed), Some(5.0))]});
    server.post_json("/v1/speakers", body.to_string()).status().as_u16()
}

fn identified(server: &Server, seed: u64) -> Value {
    let body = json!({"voice": embedding(&components(seed), None)});
    answered(200, server.post_json("/v1/identify", body.to_string()))
}

fn get(server: &Server, path: &str) -> Value {
    answered(200, server.request("GET", path).send().unwrap())
}

#[test]
fn replicas_agree_from_the_next_request_on() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    let replicas = [serve(&url), serve(&url), serve(&url)];
    for seed in 0..20 {
        assert_eq!(create(&replicas[seed as usize % 3], &format!("s{seed}"), seed), 201);
        for replica in &replicas {
            let found = identified(replica, seed);
            assert_eq!(
                (&found["speaker"], &found["searched"]),
                (&json!(format!("s{seed}")), &json!(seed + 1))
            );
        }
    }
    assert_eq!(replicas[0].request("DELETE", "/v1/speakers/s3").send().unwrap().status(), 204);
    for replica in &replicas {
        assert_eq!(identified(replica, 3)["searched"], 19);
        let gone = replica.request("GET", "/v1/speakers/s3").send().unwrap();
        assert_error("gone", gone, 404, "speaker_not_found", "s3");
    }
}

#[test]
fn a_store_that_is_away_refuses_heals_and_loses_nothing() {
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.database();
    let server = serve(&url);
    assert_eq!(create(&server, "anna", 1), 201);
    postgres.stop();
    let begun = Instant::now();
    assert_eq!(create(&server, "beth", 2), 503);
    let body = json!({"voice": embedding(&components(1), None)}).to_string();
    assert_error("identify", server.post_json("/v1/identify", body), 503, "store_unavailable", "try again");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(get(&server, "/ready")["store"], "unavailable");
    // Requests without speakers still work.
    let voices = json!({"voices": [embedding(&components(1), None), embedding(&components(2), None)]});
    answered(200, server.post_json("/v1/similarities", voices.to_string()));
    // A server that starts in the meantime waits for the database.
    let late = serve(&url);
    postgres.go_on();
    for server in [&server, &late] {
        eventually(|| get(server, "/ready")["store"] == "ok");
        assert_eq!(identified(server, 1)["speaker"], "anna");
    }
    assert_eq!(create(&server, "beth", 2), 201);
    assert_eq!(identified(&late, 2)["speaker"], "beth");
    // A restart of the database between two requests causes no error.
    postgres.stop();
    postgres.go_on();
    assert_eq!(identified(&server, 2)["speaker"], "beth");
    assert_eq!(create(&late, "cole", 3), 201);
}

/// A proxy between a replica and its database. It forwards data, and can cut a connection at a commit.
struct Proxy {
    address: String,
    cut: Arc<AtomicU8>,
}

const FORWARD: u8 = 0;
const CUT_BEFORE_COMMIT: u8 = 1;
const CUT_AFTER_COMMIT: u8 = 2;

impl Proxy {
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap().to_string(), cut: Arc::default() };
        let cut = Arc::clone(&proxy.cut);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (cut, server) = (Arc::clone(&cut), TcpStream::connect(("127.0.0.1", port)).unwrap());
                let (mut from_server, mut to_client) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
                std::thread::spawn(move || forward(client, server, &cut));
            }
        });
        proxy
    }
}

fn forward(mut client: TcpStream, mut server: TcpStream, cut: &AtomicU8) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        let is_commit = buffer[..n].windows(7).any(|bytes| bytes == b"COMMIT\0");
        let order = if is_commit { cut.swap(FORWARD, Ordering::Relaxed) } else { FORWARD };
        if order == CUT_BEFORE_COMMIT {
            break;
        }
        if order == CUT_AFTER_COMMIT {
            // The client receives no response.
            client.shutdown(Shutdown::Both).unwrap();
        }
        if server.write_all(&buffer[..n]).is_err() || order == CUT_AFTER_COMMIT {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    std::thread::sleep(Duration::from_millis(50));
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn connections_cut_at_a_commit_lose_nothing_and_enrol_nothing_twice() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    let proxy = Proxy::start(postgres.port());
    let other = serve(&url);
    let server = serve(&url.replace(&format!("127.0.0.1:{}", postgres.port()), &proxy.address));
    for seed in 0..12 {
        let order = if seed % 2 == 0 { CUT_BEFORE_COMMIT } else { CUT_AFTER_COMMIT };
        // A search also ends with a commit, but no other client is active.
        proxy.cut.store(order, Ordering::Relaxed);
        assert_eq!(create(&server, &format!("s{seed}"), seed), 503, "{seed}");
        assert_eq!(proxy.cut.load(Ordering::Relaxed), FORWARD, "it was cut at the commit");
        let is_there = || identified(&other, seed)["speaker"] == json!(format!("s{seed}"));
        if order == CUT_AFTER_COMMIT {
            eventually(is_there);
        }
        let there = is_there();
        let again = create(&server, &format!("s{seed}"), seed);
        assert_eq!(again, if there { 200 } else { 201 }, "{seed}: what was made is found again");
        let speaker = get(&other, &format!("/v1/speakers/s{seed}"));
        assert_eq!(speaker["enrolments"], 1);
        for replica in [&server, &other] {
            assert_eq!(identified(replica, seed)["searched"], seed + 1);
        }
    }
}

#[test]
fn another_server_takes_over() {
    let Some(mut postgres) = Postgres::start() else { return };
    let (first, second) = (postgres.port(), free_port());
    let name = postgres.database();
    let name = name.rsplit('/').next().unwrap();
    let server = serve(&format!("postgres://voices@127.0.0.1:{first},127.0.0.1:{second}/{name}"));
    assert_eq!((create(&server, "anna", 1), create(&server, "beth", 2)), (201, 201));
    postgres.stop();
    postgres.move_to(second);
    postgres.go_on();
    // Removes the last commit, which an asynchronous standby may lack.
    let lost = "DELETE FROM voice_embedding_service.speakers WHERE id = 'beth';
        UPDATE voice_embedding_service.state SET speakers = 1, revision = revision - 1";
    postgres.psql(name, lost).unwrap();
    assert_eq!(identified(&server, 1)["searched"], 1, "the index is made anew");
    assert_eq!(identified(&server, 2)["speaker"], Value::Null);
    assert_eq!(create(&server, "beth", 2), 201);
    assert_eq!(identified(&server, 2)["speaker"], "beth");
    // The same without a restart, as after a restored backup.
    postgres.psql(name, lost).unwrap();
    assert_eq!(identified(&server, 2)["searched"], 1);
}

#[test]
fn a_server_that_does_not_answer_holds_nobody_else_up() {
    let Some(postgres) = Postgres::start() else { return };
    let server = serve(&postgres.database());
    assert_eq!(create(&server, "anna", 1), 201);
    let signal = |name: &str| {
        let (signal, server) = (format!("-{name}"), postgres.pid().to_string());
        assert!(Command::new("kill").args([&signal, &server]).status().unwrap().success());
        assert!(Command::new("pkill").args([&signal, "-P", &server]).status().unwrap().success());
    };
    signal("STOP");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let body = json!({"voice": embedding(&components(1), None)}).to_string();
                let refused = server.post_json("/v1/identify", body);
                assert_error("identify", refused, 503, "store_unavailable", "try again");
            });
        }
        // More searches than there are workers are waiting, and recordings are still embedded.
        eventually(|| server.metrics().contains("voice_embedding_queue_depth 4"));
        let embedding = Instant::now();
        answered(200, server.upload(voice()));
        assert!(embedding.elapsed() < Duration::from_secs(4), "{:?}", embedding.elapsed());
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    signal("CONT");
    let body = json!({"voice": embedding(&components(1), None)}).to_string();
    eventually(|| server.post_json("/v1/identify", body.clone()).status() == 200);
    eventually(|| get(&server, "/ready")["store"] == "ok");
    assert_eq!(create(&server, "beth", 2), 201);
}

/// A client that changes speakers at one replica finds the changes at the others, even while many clients change speakers.
#[test]
fn searches_are_exact_under_a_stream_of_changes() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    let replicas = [serve(&url), serve(&url), serve(&url)];
    let deadline = Instant::now() + Duration::from_secs(3);
    let changes = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..8_u64 {
            let (replicas, changes) = (&replicas, &changes);
            scope.spawn(move || {
                for n in 0.. {
                    if Instant::now() > deadline {
                        break;
                    }
                    let (seed, id) = (client * 100_000 + n, format!("c{client}-{n}"));
                    let (one, other) = (&replicas[n as usize % 3], &replicas[(n as usize + 1) % 3]);
                    assert_eq!(create(one, &id, seed), 201);
                    assert_eq!(identified(other, seed)["speaker"], json!(id));
                    if n % 3 == 0 {
                        let gone = other.request("DELETE", &format!("/v1/speakers/{id}")).send().unwrap();
                        assert_eq!(gone.status(), 204);
                        let found = identified(one, seed);
                        assert!(
                            found["candidates"].as_array().unwrap().iter().all(|c| c["speaker"] != json!(id))
                        );
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                    changes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(changes.into_inner() > 50);
    for seed in 900_000..900_010 {
        let [a, b, c] = [0, 1, 2].map(|i| identified(&replicas[i], seed)["candidates"].clone());
        assert!(a == b && b == c, "{a} {b} {c}");
    }
}

#[test]
fn the_servers_certificate_is_verified_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem &&
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr &&
        printf 'subjectAltName=DNS:localhost' > san &&
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem";
    let made = Command::new("sh").args(["-c", script]).current_dir(&folder).output();
    if !made.is_ok_and(|made| made.status.success()) {
        say("skipped: there is no openssl");
        return;
    }
    let Some(mut postgres) = Postgres::start() else { return };
    let plain = postgres.database();
    postgres.stop();
    postgres.secure(&folder.path().join("server.pem"), &folder.path().join("server.key"));
    postgres.go_on();
    let roots = folder.path().join("ca.pem").display().to_string();
    let localhost = plain.replace("127.0.0.1", "localhost");
    for url in [
        format!("{plain}?sslmode=disable"),
        plain.clone(),
        format!("{plain}?sslmode=require"),
        format!("{localhost}?sslmode=verify-full&sslrootcert={roots}"),
    ] {
        let server = serve(&url);
        assert_eq!(identified(&server, 1)["searched"], 0, "{url}");
    }
    let backends = "SELECT COUNT(*) FROM pg_stat_ssl WHERE NOT ssl AND pid <> pg_backend_pid() AND pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend')";
    assert_eq!(postgres.psql(&plain, backends).unwrap(), "0", "nobody is left without TLS");
    for (url, reason) in [
        // The certificate is for localhost, and its issuer is unknown to the system.
        (format!("{plain}?sslmode=verify-full&sslrootcert={roots}"), "certificate"),
        (format!("{localhost}?sslmode=verify-full"), "certificate"),
        (plain.replace("voices@", "nobody@"), "nobody"),
        (format!("{plain}x"), "does not exist"),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
        program.current_dir(repository()).envs([("API_KEY", "a-key"), ("HOST", "127.0.0.1"), ("PORT", "0")]);
        let output = program.env("DATABASE_URL", &url).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("DATABASE_URL"), "{url}: {error}");
        assert!(error.contains(reason), "{url}: {error}");
    }
}

#[test]
fn tables_of_a_newer_version_are_left_alone() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    let server = serve(&url);
    assert_eq!(create(&server, "anna", 1), 201);
    let version = |n: u8| format!("UPDATE voice_embedding_service.state SET version = {n}");
    postgres.psql(&url, &version(2)).unwrap();
    assert_eq!(create(&server, "beth", 2), 503);
    assert!(server.logged("the store of speakers is unavailable")[0].contains("version 2"));
    let mut list = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    let output = list.env("DATABASE_URL", &url).args(["speakers", "list"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("version 2"), "{error}");
    postgres.psql(&url, &version(1)).unwrap();
    eventually(|| get(&server, "/ready")["store"] == "ok");
    assert_eq!(create(&server, "beth", 2), 201);
}

/// Follows docs/operation.md while the service runs.
#[test]
fn a_backup_is_restored_under_a_running_service() {
    let Some(postgres) = Postgres::shared() else { return };
    let (url, folder) = (postgres.database(), tempfile::tempdir().unwrap());
    let operation = std::fs::read_to_string(repository().join("docs/operation.md")).unwrap();
    let run = |recipe: &str| {
        let mut commands = operation.split('`').filter(|text| text.starts_with(recipe));
        let path = format!("{}:{}", postgres.programs().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-ec", commands.next_back().unwrap()]).env("PATH", path).env("DATABASE_URL", &url);
        let output = shell.current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{recipe}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let server = serve(&url);
    assert_eq!((create(&server, "anna", 1), create(&server, "beth", 2)), (201, 201));
    run("pg_dump ");
    assert_eq!(server.request("DELETE", "/v1/speakers/anna").send().unwrap().status(), 204);
    assert_eq!(create(&server, "cole", 3), 201);
    assert_eq!(identified(&server, 1)["searched"], 2);
    run("pg_restore ");
    let found = identified(&server, 1);
    assert_eq!((&found["speaker"], &found["searched"]), (&json!("anna"), &json!(2)));
    assert_eq!(identified(&server, 3)["speaker"], Value::Null);
    assert_eq!(create(&server, "dora", 4), 201);
    assert_eq!(identified(&server, 4)["searched"], 3);
}

#[test]
fn tables_that_are_gone_are_made_again() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    let server = serve(&url);
    assert_eq!(create(&server, "anna", 1), 201);
    postgres.psql(&url, "DROP SCHEMA voice_embedding_service CASCADE").unwrap();
    assert_eq!(identified(&server, 1)["reason"], "empty_collection");
    assert_eq!(get(&server, "/v1/speakers")["speakers"], json!([]));
    eventually(|| create(&server, "beth", 2) == 201);
    assert_eq!(identified(&server, 2)["searched"], 1);
}

#[test]
fn a_user_without_rights_ends_the_start() {
    let Some(postgres) = Postgres::shared() else { return };
    let url = postgres.database();
    postgres.psql(&url, "CREATE ROLE guest LOGIN").unwrap();
    let list = |url: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
        program.env("DATABASE_URL", url).args(["speakers", "list"]).output().unwrap()
    };
    let as_guest = url.replace("voices@", "guest@");
    let refused = list(&as_guest);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("permission denied"), "{error}");
    // Another user creates the schema.
    postgres.psql(&url, "CREATE SCHEMA voice_embedding_service AUTHORIZATION guest").unwrap();
    assert!(list(&as_guest).status.success());
}
