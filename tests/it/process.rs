//! The program as a process: how it starts, refuses to start, and stops.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::blocking::Response;
use serde_json::{Value, json};
use voice_embedding_service::encoder::InstructionSet;

use super::support::{
    KEY, Server, assert_error, eventually, exit_code, is_root, long_voice, repository, say, status_of, voice,
    wav,
};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    command.current_dir(repository()).env("PORT", "0").env("HOST", "127.0.0.1");
    // Variables that the developer's environment may contain.
    for variable in [
        "API_KEY",
        "ENV",
        "RUST_LOG",
        "MODELS",
        "MODELS_DIR",
        "MODEL_PATH",
        "MODEL_URL",
        "MODEL_SHA256",
        "MODEL_CACHE_DIR",
        "CAMPPLUS_MODEL_PATH",
        "CAMPPLUS_MODEL_URL",
        "CAMPPLUS_MODEL_SHA256",
        "SEGMENTATION_MODEL_PATH",
        "SEGMENTATION_MODEL_URL",
        "SEGMENTATION_MODEL_SHA256",
        "SAME_SPEAKER_THRESHOLD",
        "ENCODER",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Runs a program that should stop with an error. Returns its exit status and the last line of its log.
fn give_up(command: &mut Command) -> (Option<i32>, String) {
    let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let code = exit_code(&mut process);
    let log = std::io::read_to_string(process.stderr.take().unwrap()).unwrap();
    (code, log.lines().last().unwrap_or_default().to_owned())
}

/// Builds a shared library that claims to be ONNX Runtime 1.10.
fn old_onnx_runtime(directory: &Path) -> std::path::PathBuf {
    let (source, library) = (directory.join("old.c"), directory.join("old.so"));
    let code = "static const char *version(void) { return \"1.10.0\"; }\n\
        static const void *api(unsigned v) { (void)v; return 0; }\n\
        static struct { const void *(*api)(unsigned); const char *(*version)(void); } base = { api, version };\n\
        const void *OrtGetApiBase(void) { return &base; }\n";
    std::fs::write(&source, code).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    library
}

#[test]
fn what_prevents_serving_is_one_clear_line_and_status_1() {
    let directory = tempfile::tempdir().unwrap();
    let old = old_onnx_runtime(directory.path());
    let not_onnx = directory.path().join("model.onnx");
    std::fs::write(&not_onnx, "no model").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases = [
        (
            "no library",
            ("ORT_DYLIB_PATH", "/no/such/library.so"),
            "cannot load ONNX Runtime from /no/such/library.so",
        ),
        ("not a library", ("ORT_DYLIB_PATH", not_onnx.to_str().unwrap()), "cannot load ONNX Runtime from"),
        ("an old library", ("ORT_DYLIB_PATH", old.to_str().unwrap()), "1.10.0"),
        ("no model", ("MODEL_PATH", "/no/such/model.onnx"), "cannot read the model /no/such/model.onnx"),
        ("not a model", ("MODEL_PATH", not_onnx.to_str().unwrap()), "the model cannot be loaded"),
        ("exposed default key", ("HOST", "0.0.0.0"), "API_KEY is still dev-key-change-me"),
        ("taken port", ("PORT", &port), "cannot listen on 127.0.0.1"),
    ];
    for (name, (variable, value), expected) in cases {
        let (code, line) = give_up(program().env(variable, value));
        assert_eq!(code, Some(1), "{name}: {line}");
        let is_config = variable == "HOST";
        let line: Value = match line.strip_prefix("error: ") {
            Some(line) if is_config => line.into(),
            _ => serde_json::from_str::<Value>(&line).unwrap()["message"].clone(),
        };
        let line = line.as_str().unwrap();
        assert_eq!(line.matches(expected).count(), 1, "{name}: {line}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_volume_that_cannot_be_written_stops_the_start() {
    use std::os::unix::fs::PermissionsExt;

    // A program that an unprivileged user may run, in a folder that this user may enter.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("service");
    std::fs::copy(env!("CARGO_BIN_EXE_voice-embedding-service"), &copy).unwrap();
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=65534", "--clear-groups"]);
    }
    command.arg("--no-new-privs").arg(copy).current_dir(&folder);
    // `/proc` is a mounted file system in which files cannot be created.
    command.env("DATA_MOUNT", "/proc").env_remove("DATABASE_URL").env("PORT", "0");
    let (code, line) = give_up(&mut command);
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.contains("DATA_MOUNT: /proc cannot be written") && line.contains("DATABASE_URL=none"),
        "{line}"
    );
}

#[test]
fn nothing_listens_that_cannot_work() {
    for (variable, value) in
        [("ORT_DYLIB_PATH", "/no/such/library.so"), ("MODEL_PATH", "/no/such/model.onnx")]
    {
        let output = program().env(variable, value).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(value) && !log.contains("listening"), "{log}");
    }
}

#[test]
fn a_bad_value_stops_the_start_and_is_named() {
    let cases = [
        ("PORT", "eight", "PORT=eight"),
        ("RUST_LOG", "verbose", "RUST_LOG=verbose: \"verbose\" is no level"),
        ("RUST_LOG", "a=b=c", "RUST_LOG"),
        ("CORS_ORIGINS", "https://*.example.org", "CORS_ORIGINS"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("KEEP_ALIVE_SECONDS", "0", "KEEP_ALIVE_SECONDS=0"),
        ("API_KEY", "two\nlines", "API_KEY holds several lines"),
        ("MODELS", "resemblyzer,whisper", "there is no model \"whisper\"; there are resemblyzer, campplus"),
        ("MODELS", "campplus, campplus", "MODELS names campplus twice"),
        (
            "SAME_SPEAKER_THRESHOLD",
            "0.8,campplus=75",
            "SAME_SPEAKER_THRESHOLD=0.8,campplus=75: \"75\" must be from -1 to 1",
        ),
        ("MODELS_DIR", "/no/such/folder", "MODELS_DIR=/no/such/folder is not a folder"),
        ("MODEL_SHA256", "00", "MODEL_SHA256 is set, but neither MODEL_URL nor MODEL_PATH"),
    ];
    for (variable, value, expected) in cases {
        let (code, line) = give_up(program().env(variable, value));
        assert!(code != Some(0) && line.starts_with("error: ") && line.contains(expected), "{value}: {line}");
    }
}

/// Compose and Railway pass unset variables as empty ones, and some editors add blanks.
#[test]
fn an_empty_variable_is_an_unset_one_and_blanks_do_not_count() {
    let help = program().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let variables: Vec<&str> =
        help.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap()).collect();
    assert!(variables.len() > 25, "{variables:?}");
    let mut command = program();
    command.envs(variables.iter().filter(|name| **name != "ORT_DYLIB_PATH").map(|name| (*name, "")));
    command.env("PORT", " 0 ").env("HOST", "127.0.0.1 ").env("WORKERS", "\t1").env("ENV", "staging");
    let server = Server::spawn_as_it_is(&mut command);
    server.wait_until_ready();
    let upload = server.post("/extract-embedding").header("X-API-Key", "dev-key-change-me");
    assert_eq!(upload.header("Content-Type", "audio/wav").body(voice()).send().unwrap().status(), 200);
}

#[test]
fn what_is_wrong_with_the_second_model_is_said_of_its_variables() {
    let mistaken = repository().join("models/resemblyzer.onnx");
    let cases = [
        (
            ("CAMPPLUS_MODEL_PATH", mistaken.to_str().unwrap()),
            "the model file holds another encoder: campplus: its input is not feats",
        ),
        (("CAMPPLUS_MODEL_PATH", "/no/such/model.onnx"), "cannot read the model /no/such/model.onnx"),
        (("CAMPPLUS_MODEL_URL", "ftp://example.org/x.pt"), "CAMPPLUS_MODEL_URL has the scheme ftp"),
        (
            ("CAMPPLUS_MODEL_URL", "https://example.org/x.pt"),
            "CAMPPLUS_MODEL_URL needs CAMPPLUS_MODEL_SHA256",
        ),
        (("CAMPPLUS_MODEL_SHA256", "00"), "CAMPPLUS_MODEL_SHA256 is set, but neither CAMPPLUS_MODEL_URL"),
    ];
    for ((variable, value), expected) in cases {
        let (code, line) = give_up(program().env("MODELS", "resemblyzer,campplus").env(variable, value));
        assert!(code != Some(0) && line.contains(expected), "{variable}={value}: {line}");
        if variable != "CAMPPLUS_MODEL_PATH" {
            continue;
        }
        // Files of unused models are not read.
        let mut alone = program();
        alone.env("API_KEY", KEY).env("MODELS", "resemblyzer").env(variable, value);
        Server::spawn(&mut alone).wait_until_ready();
    }
}

#[test]
fn models_come_from_their_folder_and_each_has_its_encoder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["resemblyzer.onnx", "campplus.onnx"] {
        std::fs::copy(repository().join("models").join(name), folder.path().join(name)).unwrap();
    }
    let native = InstructionSet::fast().map_or("ort".to_owned(), |set| format!("native-{}", set.name()));
    let cases = [(None, [&*native, "ort"]), (Some("ort"), ["ort"; 2]), (Some("auto"), [&*native; 2])];
    for (encoder, expected) in cases {
        let mut command = program();
        command.env("API_KEY", KEY).env("MODELS", "campplus,resemblyzer").env("MODELS_DIR", folder.path());
        let server = Server::spawn(command.envs(encoder.map(|encoder| ("ENCODER", encoder))));
        server.wait_until_ready();
        let loaded = server.logged("model loaded");
        assert_eq!(loaded.len(), 2, "{loaded:?}");
        for ((line, name), encoder) in loaded.iter().zip(["campplus.onnx", "resemblyzer.onnx"]).zip(expected)
        {
            assert!(line.contains(folder.path().join(name).to_str().unwrap()), "{line}");
            assert!(line.contains(&format!("\"encoder\":\"{encoder}\"")), "{line}");
        }
        assert_eq!(server.upload(voice()).status(), 200);
    }
}

#[test]
fn campplus_runs_without_onnx_runtime() {
    if InstructionSet::fast().is_none() {
        say("SKIPPED campplus_runs_without_onnx_runtime: this CPU has no AVX2");
        return;
    }
    let mut command = program();
    command.env("API_KEY", KEY).env("MODELS", "campplus").env("ORT_DYLIB_PATH", "/no/such/library.so");
    let server = Server::spawn(&mut command);
    server.wait_until_ready();
    assert_eq!(server.upload(voice()).status(), 200);
    let turns = server.request("POST", "/v1/diarize").header("Content-Type", "audio/wav");
    assert_eq!(turns.body(voice()).send().unwrap().status(), 200);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let mut command = program();
    command.env("API_KEY", KEY).env("RUST_LOG", "trace").env("PORT", port.to_string());
    // A pipe holds 64 KiB before its writer blocks.
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let get = |path: &str| client.get(format!("http://127.0.0.1:{port}{path}")).send();
    eventually(|| get("/ready").is_ok_and(|answer| answer.status() == 200));
    for _ in 0..1_000 {
        assert_eq!(get("/health").unwrap().status(), 200);
    }
    assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
    assert_eq!(exit_code(&mut process), Some(0));
}

#[test]
fn a_model_beside_the_program_is_found_from_anywhere() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = home.path().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_voice-embedding-service"), &program).unwrap();
    std::fs::create_dir(home.path().join("models")).unwrap();
    let model = "models/resemblyzer.onnx";
    std::fs::copy(repository().join(model), home.path().join(model)).unwrap();
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap();
    let library_name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    std::fs::copy(library, home.path().join(library_name)).unwrap();
    let mut command = Command::new(program);
    command.current_dir(elsewhere.path()).env("API_KEY", KEY).env_remove("ORT_DYLIB_PATH");
    let server = Server::spawn(&mut command);
    server.wait_until_ready();
    assert_eq!(server.upload(voice()).status(), 200);
}

#[test]
fn until_the_model_is_loaded_only_comparing_works() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("model.onnx");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut server = Server::spawn(program().env("API_KEY", KEY).env("MODEL_PATH", &pipe));

    let health = server.get("/health").send().unwrap();
    assert_eq!(health.status(), 200);
    let expected = json!({"status": "starting", "model_loaded": false, "version": "1.0.0"});
    assert_eq!(health.json::<serde_json::Value>().unwrap(), expected);
    for (name, response) in
        [("ready", server.get("/ready").send().unwrap()), ("extract", server.upload(voice()))]
    {
        assert!(response.headers().contains_key("retry-after"), "{name}");
        assert_error(name, response, 503, "model_not_ready", "still loading");
    }
    let body = json!({"embedding1": vec![1.0; 256], "embedding2": vec![1.0; 256]}).to_string();
    assert_eq!(server.post_json("/compare-embeddings", body).status(), 200);

    let model = std::fs::read(repository().join("models/resemblyzer.onnx")).unwrap();
    std::fs::OpenOptions::new().write(true).open(&pipe).unwrap().write_all(&model).unwrap();
    server.wait_until_ready();
    assert_eq!(server.upload(voice()).status(), 200);
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_stop_while_the_model_loads_does_not_wait_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("model.onnx");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut server = Server::spawn(program().env("API_KEY", KEY).env("MODEL_PATH", &pipe));
    server.signal("INT");
    assert_eq!(server.exit_code(), Some(0));
}

/// Waits until the service reports that it is not ready, and returns the response.
fn eventually_not_ready(server: &Server) -> Response {
    eventually(|| server.get("/ready").send().unwrap().status() == 503);
    server.get("/ready").send().unwrap()
}

#[test]
fn a_stop_finishes_what_is_in_hand_and_refuses_the_rest() {
    let mut server = Server::start();
    // The service does not wait for a connection without a request.
    let _idle = std::net::TcpStream::connect(&server.address).unwrap();
    let in_hand = server.begin_request(&voice());
    server.signal("TERM");
    let ready = eventually_not_ready(&server);
    assert_error("ready", ready, 503, "shutting_down", "shutting down");
    assert_error("extract", server.upload(voice()), 503, "shutting_down", "shutting down");
    assert_eq!(server.get("/health").send().unwrap().status(), 200);
    assert_eq!(in_hand.finish(), 200);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = Server::start();
    let _in_hand = server.begin_request(&voice());
    server.signal("TERM");
    eventually_not_ready(&server);
    server.signal("INT");
    assert_eq!(server.exit_code(), Some(1));
}

/// The workers' tasks in this test take minutes.
#[test]
fn a_second_signal_stops_a_busy_process_at_once() {
    let mut server = Server::start_with(&[("WORKERS", "1"), ("REQUEST_TIMEOUT_SECONDS", "600")]);
    let long = long_voice(590);
    let head = format!(
        "POST /extract-embedding HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: audio/wav\r\nContent-Length: {}\r\n\r\n",
        long.len()
    );
    let _busy: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut connection = TcpStream::connect(&server.address).unwrap();
            connection.write_all(head.as_bytes()).unwrap();
            connection.write_all(&long).unwrap();
            connection
        })
        .collect();
    eventually(|| server.metrics().contains("queue_depth 8"));
    server.signal("TERM");
    eventually_not_ready(&server);
    server.signal("TERM");
    assert!(matches!(server.exit_code(), None | Some(1)), "it ends within ten seconds, not minutes");
}

#[test]
fn a_full_queue_refuses_at_once() {
    let server = Server::start_with(&[("QUEUE_CAPACITY", "1"), ("WORKERS", "1")]);
    std::thread::scope(|scope| {
        let long = scope.spawn(|| server.upload(long_voice(300)));
        let is_taken = || server.metrics().contains("queue_depth 1");
        eventually(is_taken);
        let refused = server.upload(voice());
        assert!(refused.headers().contains_key("retry-after"));
        assert_error("second", refused, 503, "overloaded", "at capacity");
        // The client sends none of the body, and the server does not wait for it.
        assert_eq!(status_of(&mut server.send_part(10_000_000, b"")), 503);
        assert!(!long.is_finished(), "the recording is long enough for this test");
        assert_eq!(long.join().unwrap().status(), 200);
    });
    assert_eq!(server.upload(voice()).status(), 200, "the place is free again");
    assert_error("silence", server.upload(wav(vec![0.0; 16_000])), 422, "no_speech", "No speech");
    assert_eq!(server.upload(voice()).status(), 200);
    assert_eq!(server.upload(voice()).status(), 200, "an error gives its place back");
}

#[test]
fn a_stop_does_not_wait_longer_than_its_grace() {
    let mut server = Server::start_with(&[("SHUTDOWN_GRACE_SECONDS", "0.5")]);
    let _in_hand = server.begin_request(&voice());
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(1));
}

#[test]
fn a_short_clip_does_not_wait_for_a_long_recording() {
    let server = Server::start_with(&[("WORKERS", "1")]);
    std::thread::scope(|scope| {
        let long = scope.spawn(|| server.upload(long_voice(590)));
        // Whatever the order of the requests, the clip's few windows are encoded between the 766 windows of the long recording.
        eventually(|| server.metrics().contains("voice_embedding_queue_depth 1"));
        assert!(!long.is_finished(), "the recording is long enough for this test");
        assert_eq!(server.upload(voice()).status(), 200);
        assert!(!long.is_finished());
        assert_eq!(long.join().unwrap().status(), 200);
    });
}

#[test]
fn what_cannot_be_done_in_time_is_refused_at_once() {
    let server =
        Server::start_with(&[("WORKERS", "1"), ("REQUEST_TIMEOUT_SECONDS", "1"), ("QUEUE_CAPACITY", "1")]);
    let late = server.upload(long_voice(590));
    assert!(late.headers().contains_key("retry-after"));
    assert_error("590 seconds of speech", late, 503, "overloaded", "at capacity");
    // The rejected request's place in the queue is free again.
    eventually(|| server.upload(voice()).status() == 200);
}

#[test]
fn the_flags_of_serve_are_its_variables() {
    let output = program().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for variable in [
        "API_KEY",
        "HOST",
        "PORT",
        "ENV",
        "MODEL_PATH",
        "MODEL_CACHE_DIR",
        "MODEL_URL",
        "MODEL_SHA256",
        "ORT_DYLIB_PATH",
        "MAX_BODY_BYTES",
        "MAX_AUDIO_SECONDS",
        "MIN_SPEECH_SECONDS",
        "SAME_SPEAKER_THRESHOLD",
        "REQUEST_TIMEOUT_SECONDS",
        "QUEUE_CAPACITY",
        "WORKERS",
        "API_KEY_FILE",
        "KEYS",
        "KEYS_FILE",
        "MAX_BATCH_RECORDINGS",
        "RATE_LIMIT_PER_MINUTE",
        "CORS_ORIGINS",
        "MAX_BATCH",
        "MAX_CONNECTIONS",
        "SHUTDOWN_GRACE_SECONDS",
        "KEEP_ALIVE_SECONDS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_SERVICE_NAME",
    ] {
        let flag = format!("--{} <{variable}>", variable.to_lowercase().replace('_', "-"));
        assert!(help.contains(&flag), "{flag} is not in:\n{help}");
        assert!(help.contains(&format!("[env: {variable}")), "{variable}");
    }
    assert!(!help.contains(KEY));
}

#[test]
fn development_logs_are_for_reading() {
    let mut process = program().env("ENV", "development").stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = log.find(|line| line.contains("listening on http://127.0.0.1"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(line.is_some_and(|line| !line.contains("\"level\"") && !line.contains('\u{1b}')));
}
