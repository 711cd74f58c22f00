//! Sources of the model: a local file, the cache, and servers on loopback that behave well or badly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use voice_embedding_service::model_files::{
    FetchError, FetchPolicy, ModelError, ModelSource, Origin, Remote,
};
use voice_embedding_service::models::FileDigest;

use super::support::{
    KEY, Server, committed, eventually, exit_code, model, program_outside, repository, say, voice,
};

/// The committed ONNX file.
fn onnx_digest() -> &'static FileDigest {
    &model().spec.files.onnx
}

/// The reaction of a host to one request.
#[derive(Clone, Debug)]
enum Act {
    /// Sends the file, or the requested range of it.
    Good,
    /// Sends the whole file for every requested range.
    NoRange,
    /// Sends other bytes.
    Wrong,
    /// Announces the whole file and closes after this many bytes.
    CutAt(usize),
    /// The same, with other bytes.
    WrongCutAt(usize),
    /// Sends this many bytes, then nothing.
    StallAt(usize),
    /// Responds with a status and further header lines.
    Status(&'static str),
    /// Redirects the client.
    Redirect(String),
}

/// A server on loopback with one file. It follows a script of one act per request, and repeats the last act.
struct Host {
    address: String,
    /// The `Range` of each request so far.
    requests: Arc<Mutex<Vec<Option<String>>>>,
}

impl Host {
    fn start(file: Vec<u8>, script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (file, seen) = (Arc::new(file), Arc::clone(&requests));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (file, seen, script) = (Arc::clone(&file), Arc::clone(&seen), script.clone());
                std::thread::spawn(move || {
                    let mut connection = connection.unwrap();
                    let Some(head) = read_request(&mut connection) else { return };
                    let range = head.lines().find_map(|line| line.strip_prefix("range: ").map(str::to_owned));
                    let act = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(range.clone());
                        script[(seen.len() - 1).min(script.len() - 1)].clone()
                    };
                    // Clients that close early are part of the tests.
                    let _ = answer(&mut connection, &act, &file, range.as_deref());
                });
            }
        });
        Self { address, requests }
    }

    fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads the head of a request, or nothing if it is not HTTP.
fn read_request(connection: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if connection.read(&mut byte).ok()? == 0 || head.len() > 10_000 {
            return None;
        }
        head.push(byte[0]);
        if !head.starts_with(b"GET /") && head.len() > 5 {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

fn answer(connection: &mut TcpStream, act: &Act, file: &[u8], range: Option<&str>) -> std::io::Result<()> {
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
    let others: Vec<u8> = file.iter().map(|byte| !byte).collect();
    match act {
        Act::Good => {
            match range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()) {
                Some(start) if start < file.len() => {
                    let (end, total) = (file.len() - 1, file.len());
                    write!(
                        connection,
                        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{end}/{total}\r\n"
                    )?;
                    write!(connection, "Content-Length: {}\r\nConnection: close\r\n\r\n", total - start)?;
                    connection.write_all(&file[start..])
                }
                _ => connection.write_all(&[whole.as_bytes(), file].concat()),
            }
        }
        Act::NoRange => connection.write_all(&[whole.as_bytes(), file].concat()),
        Act::Wrong => connection.write_all(&[whole.as_bytes(), &others].concat()),
        Act::CutAt(n) => connection.write_all(&[whole.as_bytes(), &file[..*n]].concat()),
        Act::WrongCutAt(n) => connection.write_all(&[whole.as_bytes(), &others[..*n]].concat()),
        Act::StallAt(n) => {
            connection.write_all(&[whole.as_bytes(), &file[..*n]].concat())?;
            // Waits until the client closes or the test ends.
            connection.set_read_timeout(Some(Duration::from_mins(1)))?;
            connection.read(&mut [0]).map(|_| ())
        }
        Act::Status(status) => {
            write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Act::Redirect(to) => write!(
            connection,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
    }
}

/// Returns a source with only a URL and a cache, and short timeouts.
fn source(url: &str, sha256: &str, cache: &Path) -> ModelSource {
    let files = model().spec.files.clone();
    ModelSource {
        explicit: None,
        explicit_sha256: None,
        directories: Vec::new(),
        cache: cache.to_owned(),
        remote: Remote::new(&files, url, Some(sha256), false).unwrap(),
        files,
        policy: FetchPolicy {
            attempts: 4,
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(20),
            connect_timeout: Duration::from_secs(5),
            unreachable_for: Duration::MAX,
            stall_timeout: Duration::from_millis(300),
        },
    }
}

/// Fetches the committed model from a host with this script. Returns the outcome and the requested ranges.
fn obtain(script: Vec<Act>) -> (Result<(Vec<u8>, Origin), ModelError>, Vec<Option<String>>) {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), script);
    let outcome = source(&host.url("model.onnx"), &onnx_digest().sha256, directory.path()).obtain();
    let left: Vec<PathBuf> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
    for path in left.iter().filter(|path| path.extension().is_some_and(|e| e == "onnx")) {
        assert_eq!(
            FileDigest::compute(&std::fs::read(path).unwrap()),
            *onnx_digest(),
            "what is in the cache is whole"
        );
    }
    (outcome, host.ranges())
}

#[test]
fn a_fetch_survives_what_a_network_does() {
    use Act::*;
    let elsewhere = Host::start(committed(), vec![Good]);
    let cases: [(&str, Vec<Act>, &[Option<&str>]); 10] = [
        ("good", vec![Good], &[None]),
        ("cut short", vec![CutAt(1_000_000), Good], &[None, Some("bytes=1000000-")]),
        (
            "cut twice",
            vec![CutAt(1_000_000), CutAt(10), Good],
            &[None, Some("bytes=1000000-"), Some("bytes=10-")],
        ),
        ("stalls", vec![StallAt(2_000_000), Good], &[None, Some("bytes=2000000-")]),
        ("500 twice", vec![Status("500 Oops"), Status("503 Later"), Good], &[None, None, None]),
        ("429", vec![Status("429 Slow\r\nRetry-After: 1"), Good], &[None, None]),
        ("no ranges", vec![CutAt(1_000), NoRange], &[None, Some("bytes=1000-")]),
        ("pieces of two versions", vec![WrongCutAt(1_000), Good, Good], &[None, Some("bytes=1000-"), None]),
        ("a range not to be had", vec![CutAt(9), Status("416 No"), Good], &[None, Some("bytes=9-"), None]),
        ("redirected", vec![Redirect(elsewhere.url("x"))], &[None]),
    ];
    for (name, script, ranges) in cases {
        let (outcome, asked) = obtain(script);
        let (onnx, origin) = outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(FileDigest::compute(&onnx), *onnx_digest(), "{name}");
        assert!(matches!(origin, Origin::Fetched(_)), "{name}: {origin}");
        assert_eq!(asked.iter().map(Option::as_deref).collect::<Vec<_>>(), ranges, "{name}");
    }
}

#[test]
fn a_fetch_that_cannot_succeed_ends_with_the_reason() {
    use Act::*;
    let cases: [(&str, Vec<Act>, usize, &str); 6] = [
        ("404", vec![Status("404 Not Found")], 1, "the server answered 404"),
        ("403", vec![Status("403 Forbidden")], 1, "the server answered 403"),
        ("wrong bytes", vec![Wrong], 1, "expected 4292567467ba08bd"),
        ("redirected away", vec![Redirect("http://192.0.2.1/model.onnx".into())], 1, "not followed"),
        ("always 500", vec![Status("500 Oops")], 4, "4 attempts failed, the last: the server answered 500"),
        ("always cut", vec![CutAt(0)], 4, "4 attempts failed"),
    ];
    for (name, script, n_requests, expected) in cases {
        let (outcome, asked) = obtain(script);
        let error = outcome.err().unwrap_or_else(|| panic!("{name}: fetched")).to_string();
        assert!(error.contains(expected) && error.contains("MODEL_PATH"), "{name}: {error}");
        assert_eq!(asked.len(), n_requests, "{name}");
    }

    let directory = tempfile::tempdir().unwrap();
    let plain = Host::start(committed(), vec![Good]);
    let secure = plain.url("model.onnx").replace("http:", "https:");
    let error = source(&secure, &onnx_digest().sha256, directory.path()).obtain().err().unwrap();
    let ModelError::Fetch { reason: FetchError::GaveUp { attempts: 4, .. }, .. } = &error else {
        panic!("https to a server without TLS: {error}")
    };
    assert!(plain.ranges().is_empty(), "nothing is asked for in the clear");
}

#[test]
fn the_cache_is_used_and_mended() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), vec![Act::Good]);
    let source = source(&host.url("model.onnx"), &onnx_digest().sha256, directory.path());
    assert_eq!(source.path(), None);
    let Origin::Fetched(path) = source.obtain().unwrap().1 else { panic!("not fetched") };
    assert_eq!(source.path(), Some(path.clone()));
    assert_eq!(source.obtain().unwrap().1, Origin::Cache(path.clone()));
    assert_eq!(host.ranges().len(), 1);

    for damage in [&committed()[..1_000_000], b"", &[committed().as_slice(), b"more"].concat()] {
        std::fs::write(&path, damage).unwrap();
        assert!(source.verify().is_err());
        assert_eq!(source.obtain().unwrap().1, Origin::Fetched(path.clone()));
        assert_eq!(FileDigest::compute(&std::fs::read(&path).unwrap()), *onnx_digest());
    }
    assert!(source.verify().unwrap().is_some());
    assert_eq!(host.ranges().len(), 4);
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let host = Host::start(committed(), vec![Act::Good]);
    let source = source(&host.url("model.onnx"), &onnx_digest().sha256, &file.path().join("cache"));
    for _ in 0..2 {
        assert_eq!(source.obtain().unwrap().1, Origin::Memory);
    }
    assert_eq!(host.ranges().len(), 2);
}

#[test]
fn local_files_come_first_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), vec![Act::Good]);
    let place = |name: &str, content: &[u8]| {
        let folder = directory.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("resemblyzer.onnx"), content).unwrap();
        folder.join("resemblyzer.onnx")
    };
    let (working, beside) = (place("working", b"first"), place("beside", b"second"));
    let mut source = source(&host.url("model.onnx"), &onnx_digest().sha256, &directory.path().join("cache"));
    source.directories = vec![directory.path().join("working"), directory.path().join("beside")];
    assert_eq!(source.obtain().unwrap().1, Origin::Local(working.clone()));
    std::fs::remove_file(&working).unwrap();
    assert_eq!(source.obtain().unwrap().1, Origin::Local(beside.clone()));

    source.explicit = Some(working.clone());
    let missing = source.obtain().err().unwrap();
    assert!(
        matches!(&missing, ModelError::Read { path, .. } if *path == working),
        "nothing else is tried: {missing}"
    );
    source.explicit = Some(beside.clone());
    source.explicit_sha256 = Some("0".repeat(64));
    assert!(matches!(source.obtain(), Err(ModelError::WrongHash { .. })));
    source.explicit_sha256 = Some(FileDigest::compute(b"second").sha256);
    assert_eq!(source.obtain().unwrap().1, Origin::Local(beside));
    assert!(host.ranges().is_empty());
}

#[test]
fn a_file_url_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", repository().join("models/resemblyzer.onnx").display());
    let (onnx, _) = source(&url, &onnx_digest().sha256, directory.path()).obtain().unwrap();
    assert_eq!(FileDigest::compute(&onnx), *onnx_digest());
    let wrong = source(&url, &"0".repeat(64), directory.path()).obtain().err().unwrap();
    assert!(wrong.to_string().contains(&onnx_digest().sha256), "{wrong}");
    let missing = source("file:///no/such.onnx", &"0".repeat(64), directory.path()).obtain().err().unwrap();
    assert!(missing.to_string().contains("No such file"), "{missing}");
}

#[test]
fn the_checkpoint_is_fetched_and_becomes_the_committed_model() {
    let Ok(checkpoint) = std::fs::read(repository().join("target/resemblyzer/pretrained.pt")) else {
        say(
            "SKIPPED the_checkpoint_is_fetched_and_becomes_the_committed_model: `make setup` fetches the checkpoint",
        );
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(checkpoint, vec![Act::CutAt(9_000_000), Act::Good]);
    let sha256 = &model().spec.files.checkpoint.sha256;
    let (onnx, origin) = source(&host.url("pretrained.pt"), sha256, directory.path()).obtain().unwrap();
    assert!(onnx == committed());
    let Origin::Fetched(path) = origin else { panic!("{origin}") };
    assert!(std::fs::read(path).unwrap() == committed());
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "the model and the lock");
}

#[test]
fn a_command_does_not_wait_for_a_network_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("a.wav");
    std::fs::write(&recording, voice()).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program_outside());
        command
            .current_dir(directory.path())
            .args(arguments)
            .env("MODEL_CACHE_DIR", directory.path().join("cache"))
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .env_remove("MODELS");
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(&["embed", "a.wav"]);
    assert!(code == Some(2) && error.contains("the connection failed"), "{error}");
    let (code, error) = run(&["model", "fetch"]);
    assert!(code == Some(1) && error.contains("the connection failed"), "{error}");
    // Missing files are reported before the model is fetched.
    let (code, error) = run(&["verify", "no.wav", "none.wav"]);
    assert_eq!((code, error.lines().count()), (Some(2), 1), "{error}");
    assert!(error.contains("cannot read no.wav: No such file"), "{error}");
}

/// Returns the program in a folder without a model, which fetches from a host.
fn program(host: &Host, directory: &Path) -> Command {
    let mut command = Command::new(program_outside());
    command
        .current_dir(directory)
        .env("MODELS", "resemblyzer")
        .env("API_KEY", KEY)
        .env("MODEL_URL", host.url("model.onnx"))
        .env("MODEL_SHA256", &onnx_digest().sha256)
        .env("MODEL_CACHE_DIR", directory.join("cache"));
    command
}

#[test]
fn processes_that_start_at_once_fetch_once() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), vec![Act::Good]);
    let servers: Vec<Server> = (0..3).map(|_| Server::spawn(&mut program(&host, directory.path()))).collect();
    servers.iter().for_each(Server::wait_until_ready);
    assert_eq!(servers[2].upload(voice()).status(), 200);
    assert_eq!(host.ranges().len(), 1);
}

#[test]
fn a_start_after_a_kill_goes_on_where_the_fetch_was() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), vec![Act::StallAt(3_000_000), Act::Good]);
    let killed = Server::spawn(&mut program(&host, directory.path()));
    let part = || {
        let files = std::fs::read_dir(directory.path().join("cache")).into_iter().flatten();
        files.map(|e| e.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "part"))
    };
    let has_come = || part().and_then(|path| path.metadata().ok()).map_or(0, |m| m.len());
    eventually(|| has_come() >= 3_000_000);
    assert_eq!(
        killed.get("/health").send().unwrap().json::<serde_json::Value>().unwrap()["status"],
        "starting"
    );
    drop(killed); // with SIGKILL

    let server = Server::spawn(&mut program(&host, directory.path()));
    server.wait_until_ready();
    assert_eq!(host.ranges(), [None, Some("bytes=3000000-".to_owned())]);
    assert_eq!(part(), None);
}

#[test]
fn a_stop_does_not_wait_for_a_fetch() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), vec![Act::StallAt(1_000)]);
    let mut server = Server::spawn(&mut program(&host, directory.path()));
    eventually(|| !host.ranges().is_empty());
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_start_that_cannot_fetch_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), vec![Act::Status("404 Not Found")]);
    let mut process = program(&host, directory.path())
        .env("PORT", "0")
        .env("HOST", "127.0.0.1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(exit_code(&mut process), Some(1));
    let log = std::io::read_to_string(process.stderr.take().unwrap()).unwrap();
    let line = log.lines().last().unwrap();
    let expected =
        format!("\"cannot fetch the model from {}: the server answered 404", host.url("model.onnx"));
    assert!(line.contains(&expected) && line.contains("\"ERROR\""), "{line}");
    assert!(line.contains("MODEL_PATH") && line.contains("HTTPS_PROXY"), "{line}");
}

#[test]
fn the_model_commands_find_fetch_and_check() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(committed(), vec![Act::Good]);
    let run = |arguments: &[&str]| {
        let output = program(&host, directory.path()).arg("model").args(arguments).output().unwrap();
        let text =
            String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap();
        (output.status.code(), text.trim().to_owned())
    };
    let (code, error) = run(&["path"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no model yet"), "{error}");
    assert_eq!(run(&["verify"]).0, Some(1));

    let (code, path) = run(&["fetch"]);
    assert_eq!(code, Some(0), "{path}");
    assert!(std::fs::read(&path).unwrap() == committed());
    assert_eq!(run(&["fetch"]), (Some(0), path.clone()));
    assert_eq!(run(&["path"]), (Some(0), path.clone()));
    let (code, verdict) = run(&["verify"]);
    assert!(code == Some(0) && verdict.contains("resemblyzer-0.1.4/39373b86"), "{verdict}");

    let copy = directory.path().join("copy.onnx");
    assert_eq!(run(&["fetch", "--output", copy.to_str().unwrap()]).0, Some(0));
    assert!(std::fs::read(&copy).unwrap() == committed());
    assert_eq!(host.ranges().len(), 1);

    std::fs::write(&path, "damaged").unwrap();
    let (code, verdict) = run(&["verify"]);
    assert!(code == Some(1) && verdict.contains("SHA-256"), "{verdict}");
}
