//! Several replicas on one PostgreSQL.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Postgres, Server, answered, assert_error, components, embedding, eventually};

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
    let Some(mut postgres) = Postgres::start(&[]) else { return };
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
    // What needs no speakers goes on.
    let voices = json!({"voices": [embedding(&components(1), None), embedding(&components(2), None)]});
    answered(200, server.post_json("/v1/similarities", voices.to_string()));
    // One that starts meanwhile waits for it.
    let late = serve(&url);
    postgres.go_on();
    for server in [&server, &late] {
        eventually(|| get(server, "/ready")["store"] == "ok");
        assert_eq!(identified(server, 1)["speaker"], "anna");
    }
    assert_eq!(create(&server, "beth", 2), 201);
    assert_eq!(identified(&late, 2)["speaker"], "beth");
    // A restart between two requests is not noticed.
    postgres.stop();
    postgres.go_on();
    assert_eq!(identified(&server, 2)["speaker"], "beth");
    assert_eq!(create(&late, "cole", 3), 201);
}
