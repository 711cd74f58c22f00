//! The service in operation: its metrics, logs and traces, and its limits on clients.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use super::support::{
    KEY, Server, assert_error, eventually, exit_code, key_lines, long_voice, repository, status_of, voice,
};

fn embeddings() -> String {
    json!({"embedding1": vec![1.0; 256], "embedding2": vec![1.0; 256]}).to_string()
}

#[test]
fn metrics_count_what_was_done() {
    let server = Server::start();
    assert_eq!(server.upload(voice()).status(), 200);
    assert_eq!(server.get("/no/such/path").send().unwrap().status(), 404);
    let wrong = server.post("/compare-embeddings").header("X-API-Key", "wrong").body(embeddings());
    assert_eq!(wrong.send().unwrap().status(), 401);
    assert_eq!(server.get("/metrics").send().unwrap().headers()["content-type"], "text/plain; version=0.0.4");
    let text = server.metrics();
    for line in [
        r#"voice_embedding_http_requests_total{method="POST",route="/extract-embedding/upload",status="200"} 1"#,
        r#"voice_embedding_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        r#"voice_embedding_http_request_duration_seconds_count{route="/extract-embedding/upload"} 1"#,
        r#"voice_embedding_errors_total{code="invalid_api_key"} 1"#,
        r#"voice_embedding_errors_total{code="not_found"} 1"#,
        r#"voice_embedding_stage_duration_seconds_count{stage="queue"} 1"#,
        r#"voice_embedding_stage_duration_seconds_count{stage="decode"} 1"#,
        r#"voice_embedding_stage_duration_seconds_count{stage="preprocess"} 1"#,
        r#"voice_embedding_stage_duration_seconds_count{stage="encode"} 1"#,
        r#"voice_embedding_build_info{encoder="ort",model="resemblyzer-0.1.4/39373b86",version="1.0.0"} 1"#,
        "voice_embedding_queue_depth 0",
        "voice_embedding_model_loaded 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    };
    assert!((value("voice_embedding_audio_seconds_total") - 6.2).abs() < 0.2);
    assert!(value("voice_embedding_windows_total") >= 5.0);
    assert!(value("voice_embedding_batch_windows_count") >= 1.0);
    assert!(value("voice_embedding_queue_capacity") >= 32.0);
    assert!(value("voice_embedding_connections") >= 1.0);
    if cfg!(target_os = "linux") {
        for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
            assert!(value(name) >= 0.0, "{name}");
        }
    }
}

/// Invented methods and paths must not create new metric labels without bound.
#[test]
fn labels_are_bounded() {
    let server = Server::start();
    for i in 0..20 {
        let url = server.url(&format!("/path-{i}"));
        let method = format!("METHOD{i}").parse().unwrap();
        reqwest::blocking::Client::new().request(method, url).send().unwrap();
    }
    let text = server.metrics();
    let unmatched: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("voice_embedding_http_requests_total{") && line.contains("unmatched"))
        .collect();
    assert_eq!(unmatched.len(), 1, "{unmatched:?}");
}

#[test]
fn each_request_is_one_line_of_the_log() {
    let keys =
        format!("{}{}", key_lines("ios", KEY, "[\"embed\"]"), key_lines("web", "other", "[\"verify\"]"));
    let server = Server::start_with(&[("API_KEY", ""), ("KEYS", &keys)]);
    let upload = server.request("POST", "/extract-embedding").header("Content-Type", "audio/wav");
    let answer = upload.header("X-Request-Id", "request-1").body(voice()).send().unwrap();
    assert_eq!(answer.status(), 200);
    let lines = server.logged("request-1");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((line["level"].as_str(), line["status"].as_u64()), (Some("INFO"), Some(200)));
    assert_eq!(line["key"], "ios");
    assert!(line["duration_ms"].as_f64().unwrap() > 1.0);
    assert!((line["audio_seconds"].as_f64().unwrap() - 6.2).abs() < 0.2);
    let expected = json!({"name": "request", "method": "POST", "route": "/extract-embedding",
        "request_id": "request-1", "bytes": voice().len()});
    assert_eq!(line["span"], expected);

    let refused =
        server.post("/compare-embeddings").header("X-API-Key", "guess").header("X-Request-Id", "request-2");
    refused.body(embeddings()).send().unwrap();
    let line = server.logged("request-2").remove(0);
    assert!(line.contains("invalid_api_key") && !line.contains("guess"), "{line}");
}

#[test]
fn a_client_that_goes_is_logged_and_its_work_dropped() {
    let server = Server::start();
    let long = long_voice(500);
    let connection = server.send_part(long.len(), &long);
    eventually(|| server.metrics().contains("voice_embedding_queue_depth 1"));
    drop(connection);
    assert!(server.logged("the client has gone")[0].contains("499"));
    eventually(|| server.metrics().contains("voice_embedding_queue_depth 0"));
    assert!(server.metrics().contains(r#"status="499"} 1"#));
}

#[test]
fn an_answer_says_where_its_time_went() {
    let server = Server::start();
    let answer = server.upload(voice());
    let timing = answer.headers()["server-timing"].to_str().unwrap();
    let stages: Vec<(&str, f64)> = timing
        .split(", ")
        .map(|entry| entry.split_once(";dur=").unwrap())
        .map(|(stage, milliseconds)| (stage, milliseconds.parse().unwrap()))
        .collect();
    let names: Vec<&str> = stages.iter().map(|(stage, _)| *stage).collect();
    assert_eq!(names, ["queue", "decode", "preprocess", "encode"]);
    assert!(stages[3].1 > 1.0, "{timing}");
}

fn rate_limit(answer: &Response) -> [u64; 3] {
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]
        .map(|name| answer.headers()[name].to_str().unwrap().parse().unwrap())
}

#[test]
fn each_key_has_its_own_rate() {
    let other = key_lines("web", "other", "[\"verify\"]");
    let server = Server::start_with(&[("KEYS", &other), ("RATE_LIMIT_PER_MINUTE", "2")]);
    for remaining in [1, 0] {
        let answer = server.post_json("/compare-embeddings", embeddings());
        let [limit, left, reset] = rate_limit(&answer);
        assert_eq!((answer.status().as_u16(), limit, left), (200, 2, remaining));
        assert!((30..=60).contains(&reset), "{reset}");
    }
    let refused = server.upload(voice());
    assert_eq!(rate_limit(&refused)[..2], [2, 0]);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_error("third", refused, 429, "rate_limited", "limit of 2 requests a minute");
    let other = server.post("/compare-embeddings").header("Authorization", "Bearer other").body(embeddings());
    assert_eq!(other.send().unwrap().status(), 200);
    assert_eq!(server.get("/health").send().unwrap().status(), 200);
}

#[test]
fn who_guesses_keys_is_slowed_down_and_others_are_not() {
    let server = Server::start();
    let guess = || server.post("/compare-embeddings").header("X-API-Key", "guess").body("{}").send().unwrap();
    for _ in 0..10 {
        assert_eq!(guess().status(), 401);
    }
    let begun = Instant::now();
    assert_eq!(guess().status(), 401);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!(server.post_json("/compare-embeddings", embeddings()).status(), 200);
}

#[test]
fn pages_of_named_origins_may_ask() {
    let preflight = |server: &Server, origin: &str| {
        let request = server.request("OPTIONS", "/extract-embedding/upload").header("Origin", origin);
        request
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "x-api-key,x-stainless-os")
            .send()
            .unwrap()
    };
    let allowed = |answer: &Response| answer.headers().get("access-control-allow-origin").cloned();

    let closed = Server::start();
    assert_eq!(allowed(&preflight(&closed, "https://example.org")), None);
    let open = Server::start_with(&[("CORS_ORIGINS", "https://example.org, tauri://localhost")]);
    assert_eq!(allowed(&preflight(&open, "tauri://localhost")).unwrap(), "tauri://localhost");
    assert_eq!(allowed(&preflight(&open, "https://evil.example")), None);
    let answer = preflight(&open, "https://example.org");
    assert_eq!(answer.status(), 200);
    assert_eq!(allowed(&answer).unwrap(), "https://example.org");
    assert_eq!(answer.headers()["access-control-allow-headers"], "x-api-key,x-stainless-os");
    let methods = answer.headers()["access-control-allow-methods"].to_str().unwrap();
    assert!(["GET", "POST", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    let upload = open.request("POST", "/extract-embedding").header("Origin", "https://example.org");
    let answer = upload.header("Content-Type", "audio/wav").body(voice()).send().unwrap();
    assert_eq!(
        (answer.status().as_u16(), allowed(&answer).unwrap().to_str().unwrap()),
        (200, "https://example.org")
    );
    assert!(answer.headers()["access-control-expose-headers"].to_str().unwrap().contains("server-timing"));
    let any = Server::start_with(&[("CORS_ORIGINS", "*")]);
    assert_eq!(allowed(&preflight(&any, "https://example.org")).unwrap(), "*");
}

#[test]
fn pages_tell_browsers_what_they_may_do() {
    let server = Server::start();
    for path in ["/docs/", "/redoc"] {
        let answer = server.get(path).send().unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        assert!(
            answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'")
        );
    }
}

fn healthcheck(address: &str) -> (Option<i32>, String) {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut probe = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
        .current_dir(repository())
        .args(["healthcheck", "--host", host, "--port", port])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let code = exit_code(&mut probe);
    (code, std::io::read_to_string(probe.stderr.take().unwrap()).unwrap())
}

#[test]
fn a_health_check_asks_whether_the_service_takes_work() {
    let server = Server::start();
    assert_eq!(healthcheck(&server.address), (Some(0), String::new()));
    let address = server.address.clone();
    drop(server);
    let (code, reason) = healthcheck(&address);
    assert_eq!(code, Some(1));
    assert!(reason.contains("no answer from http://127.0.0.1:"), "{reason}");
}

/// Waits for the server to close a connection.
fn is_closed(mut connection: &TcpStream) -> bool {
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::io::copy(&mut connection, &mut std::io::sink()).is_ok()
}

#[test]
fn slow_and_idle_connections_are_closed() {
    let server = Server::start_with(&[("REQUEST_TIMEOUT_SECONDS", "1"), ("KEEP_ALIVE_SECONDS", "1")]);
    let silent = TcpStream::connect(&server.address).unwrap();
    let mut slow_head = TcpStream::connect(&server.address).unwrap();
    slow_head.write_all(b"GET /health HTTP/1.1\r\nHost:").unwrap();
    let mut idle = TcpStream::connect(&server.address).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut slow_body = server.send_part(100_000, b"RIFF");
    assert_eq!(status_of(&mut slow_body), 408);
    for (name, connection) in [("silent", &silent), ("slow head", &slow_head), ("idle", &idle)] {
        assert!(is_closed(connection), "{name}");
    }
}

#[test]
fn a_client_that_takes_no_answers_is_not_kept() {
    let server = Server::start_with(&[("KEEP_ALIVE_SECONDS", "1")]);
    let mut connection = TcpStream::connect(&server.address).unwrap();
    connection.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    // Sends requests until the responses fill all buffers on the way and the server stops reading.
    let begun = Instant::now();
    while connection.write_all(&request.repeat(100)).is_ok() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the connection is kept");
    }
    eventually(|| server.metrics().contains("voice_embedding_connections 1\n"));
}

#[test]
fn slow_senders_keep_nobody_waiting() {
    let server = Server::start_with(&[("QUEUE_CAPACITY", "2"), ("WORKERS", "1")]);
    let slow: Vec<TcpStream> = (0..200)
        .map(|i| {
            if i % 2 == 0 {
                return server.send_part(1_000_000, b"R");
            }
            let mut connection = TcpStream::connect(&server.address).unwrap();
            connection.write_all(b"POST").unwrap();
            connection
        })
        .collect();
    for mut connection in &slow {
        connection.write_all(b"I").unwrap();
    }
    assert_eq!(server.upload(voice()).status(), 200);
}

#[test]
fn connections_are_limited() {
    let server = Server::start_with(&[("MAX_CONNECTIONS", "3")]);
    // The third connection belongs to the client that asked whether the server is ready. It is reused, so these two are
    // idle for longer.
    let first = TcpStream::connect(&server.address).unwrap();
    let second = TcpStream::connect(&server.address).unwrap();
    eventually(|| server.metrics().contains("voice_embedding_connections 3"));
    let third = TcpStream::connect(&server.address).unwrap();
    assert!(is_closed(&first), "the one that is idle for longest makes room");
    eventually(|| server.metrics().contains("voice_embedding_connections_refused_total 1"));
    let _fourth = TcpStream::connect(&server.address).unwrap();
    assert!(is_closed(&second));
    assert_eq!(server.get("/health").send().unwrap().status(), 200);
    drop(third);
}

/// An address with as many connections as it may have leaves the other connections to other addresses.
#[test]
fn connections_of_an_address_are_limited() {
    let server = Server::start_with(&[("MAX_CONNECTIONS_PER_ADDRESS", "2")]);
    let _open = TcpStream::connect(&server.address).unwrap();
    eventually(|| server.metrics().contains("voice_embedding_connections 2"));
    let refused = TcpStream::connect(&server.address).unwrap();
    assert!(is_closed(&refused));
    assert!(server.metrics().contains("voice_embedding_connections_refused_total 1"));
}

/// A body takes no memory before it arrives.
#[cfg(target_os = "linux")]
#[test]
fn announced_bodies_take_no_memory() {
    let server = Server::start();
    server.upload(voice());
    let before = server.virtual_memory_bytes();
    let held: Vec<TcpStream> = (0..40).map(|_| server.send_part(30_000_000, b"RIFF")).collect();
    eventually(|| server.metrics().contains("voice_embedding_body_bytes 160"));
    let taken = server.virtual_memory_bytes().saturating_sub(before);
    assert!(taken < 300_000_000, "{taken} bytes for 40 bodies of which 4 bytes came each");
    drop(held);
}

/// Responses that a client does not read count towards the memory of bodies.
#[test]
fn the_memory_of_answers_is_bounded() {
    // Bodies and responses together may have eight times this size, which is enough for one matrix of 36 MB.
    let server = Server::start_with(&[("MAX_BODY_BYTES", "6000000")]);
    let numbers: Vec<u8> = (0..256).flat_map(|_| 0.0625_f32.to_le_bytes()).collect();
    let one = format!(r#"{{"embedding":"{}","model":"resemblyzer"}}"#, BASE64_STANDARD.encode(numbers));
    let body = format!(r#"{{"voices":[{}]}}"#, vec![one; 2_000].join(","));
    let ask = || {
        let request = server.request("POST", "/v1/similarities").header("Content-Type", "application/json");
        request.body(body.clone()).send().unwrap().status()
    };
    assert_eq!(ask(), 200);
    let mut unread = TcpStream::connect(&server.address).unwrap();
    write!(unread, "POST /v1/similarities HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n").unwrap();
    write!(unread, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    assert_eq!(status_of(&mut unread), 200);
    assert_eq!(ask(), 503);
    drop(unread);
    eventually(|| server.metrics().contains("voice_embedding_body_bytes 0"));
    assert_eq!(ask(), 200);
}

#[test]
fn metrics_may_be_served_elsewhere_or_nowhere() {
    let off = Server::start_with(&[("METRICS_ADDRESS", "off")]);
    assert_eq!(off.get("/metrics").send().unwrap().status(), 404);
    let elsewhere = Server::start_with(&[("METRICS_ADDRESS", "127.0.0.1:0")]);
    assert_eq!(elsewhere.get("/metrics").send().unwrap().status(), 404);
}

/// A web page whose host name resolves to this machine cannot use the default key.
#[test]
fn the_well_known_key_is_for_this_machine_alone() {
    let server = Server::start_with(&[("API_KEY", "")]);
    let status = |host: &str, origin: Option<&str>| {
        let mut request =
            server.get("/v1/models").header("Host", host).header("X-API-Key", "dev-key-change-me");
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        request.send().unwrap().status().as_u16()
    };
    assert_eq!(status("localhost:8000", None), 200);
    assert_eq!(status("127.0.0.1:8000", Some("http://localhost:3000")), 200);
    assert_eq!(status("evil.example:8000", None), 403);
    assert_eq!(status("localhost:8000", Some("https://evil.example")), 403);
    let page = server.get("/").header("Host", "evil.example").send().unwrap();
    assert_eq!(page.status(), 403);
}

#[test]
fn the_memory_of_bodies_is_bounded() {
    let server = Server::start_with(&[("MAX_BODY_BYTES", "100000")]);
    let mut part = vec![0; 90_000];
    let held: Vec<TcpStream> = (0..8).map(|_| server.send_part(99_000, &part)).collect();
    part.resize(99_000, 0);
    eventually(|| server.metrics().contains("voice_embedding_body_bytes 720000"));
    assert_eq!(status_of(&mut server.send_part(99_000, &part)), 503);
    drop(held);
    eventually(|| server.metrics().contains("voice_embedding_body_bytes 0"));
    assert_eq!(status_of(&mut server.send_part(99_000, &part)), 415);
}

/// Receives one request as a collector does, and returns its path and body.
fn collect(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut connection, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    let mut block = [0; 10_000];
    loop {
        let n_read = connection.read(&mut block).unwrap();
        bytes.extend(&block[..n_read]);
        let Some(head_len) = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4) else {
            continue;
        };
        let head = String::from_utf8(bytes[..head_len].to_vec()).unwrap().to_lowercase();
        let body_len: usize =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        if n_read == 0 || bytes.len() == head_len + body_len {
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            return (head.lines().next().unwrap().to_owned(), bytes.split_off(head_len));
        }
    }
}

#[test]
fn a_collector_that_fails_is_logged_and_one_that_never_answers_holds_no_stop() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    drop(refusing);
    let with_collector = |address: std::net::SocketAddr| {
        let endpoint = format!("http://{address}/v1/traces");
        let server = Server::start_with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
            ("SHUTDOWN_GRACE_SECONDS", "1"),
        ]);
        assert_eq!(server.upload(voice()).status(), 200);
        server
    };
    let server = with_collector(address);
    let line = server.logged("BatchSpanProcessor").remove(0);
    assert!(line.contains("ERROR") || line.contains("WARN"), "{line}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = with_collector(silent.local_addr().unwrap());
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn traces_go_to_a_collector_and_continue_the_callers() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(collect(&collector)));
    let mut server = Server::start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let traced = server
        .request("POST", "/extract-embedding")
        .header("Content-Type", "audio/wav")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(traced.body(voice()).send().unwrap().status(), 200);
    // The remaining traces are sent before the process ends.
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let (head, body) = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(head, "post /v1/traces http/1.1");
    let trace_id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let has = |part: &[u8]| body.windows(part.len()).any(|found| found == part);
    assert!(has(&trace_id), "the caller's trace");
    for name in ["request", "decode", "preprocess", "encode", "voice-embedding-service"] {
        assert!(has(name.as_bytes()), "{name}");
    }
}
