//! A server process, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::{Client, RequestBuilder, Response, multipart};
use serde_json::Value;

use super::fixtures::repository;

/// The key of the servers under test.
pub(crate) const KEY: &str = "test-key";

/// A process that is killed on drop.
pub(crate) struct KilledOnDrop(pub(crate) Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server process on a free loopback port. It is killed on drop.
pub(crate) struct Server {
    process: KilledOnDrop,
    pub(crate) address: String,
    client: Client,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server that accepts [`KEY`] and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Server::start`], with additional environment variables.
    pub(crate) fn start_with(variables: &[(&str, &str)]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
        let server = Self::spawn(
            program
                .current_dir(repository())
                // Most tests expect the numbers of this model.
                .envs([("API_KEY", KEY), ("DATABASE_URL", "memory:"), ("MODELS", "resemblyzer")])
                .envs(variables.to_vec()),
        );
        server.wait_until_ready();
        server
    }

    /// Runs a command that serves on a free loopback port, and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::spawn_as_it_is(command.envs([
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("ENV", "production"),
            ("RUST_LOG", "info"),
        ]))
    }

    /// As [`Server::spawn`], but sets no environment variables.
    pub(crate) fn spawn_as_it_is(command: &mut Command) -> Self {
        // Another test may have installed the provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(Duration::from_mins(1)).no_proxy().build().unwrap();
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                serde_json::from_str::<Value>(&line).ok()?["address"].as_str().map(str::to_owned)
            })
            .expect("the server logs where it listens");
        // A thread must keep reading, or the server blocks when the pipe is full.
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            log.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        Self { process: KilledOnDrop(process), address, client, log: lines }
    }

    /// Waits for log lines that contain the text, and returns them. Lines before the server listens are not included.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        for _ in 0..500 {
            let lines = self.log.lock().unwrap();
            let found: Vec<String> = lines.iter().filter(|line| line.contains(text)).cloned().collect();
            drop(lines);
            if !found.is_empty() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nothing logged with {text}");
    }

    /// Returns the log lines since the server is ready that do not contain the text.
    pub(crate) fn logged_anything_but(&self, text: &str) -> Vec<String> {
        let lines = self.log.lock().unwrap();
        lines
            .iter()
            .filter(|line| {
                ![text, "model loaded", "speakers are kept"].iter().any(|known| line.contains(known))
            })
            .cloned()
            .collect()
    }

    /// Starts a request with this content length and sends only some bytes, without waiting for a response.
    pub(crate) fn send_part(&self, content_length: usize, sent: &[u8]) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        write!(connection, "POST /extract-embedding HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n").unwrap();
        write!(connection, "Content-Type: audio/wav\r\nContent-Length: {content_length}\r\n\r\n").unwrap();
        connection.write_all(sent).unwrap();
        connection
    }

    pub(crate) fn wait_until_ready(&self) {
        for _ in 0..600 {
            if self.get("/ready").send().is_ok_and(|r| r.status() == 200) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not become ready");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Builds a GET request without a key.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// Builds a POST request without a key.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Builds a request with the key.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path)).header("X-API-Key", KEY)
    }

    /// Builds a request without a key.
    pub(crate) fn request_without_key(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.to_uppercase().parse().unwrap(), self.url(path))
    }

    /// Sends a POST request with JSON text and the key.
    pub(crate) fn post_json(&self, path: &str, body: impl Into<String>) -> Response {
        let request = self.request("POST", path).header("Content-Type", "application/json");
        request.body(body.into()).send().unwrap()
    }

    /// Uploads a recording with the key.
    pub(crate) fn upload(&self, audio: Vec<u8>) -> Response {
        let form = multipart::Form::new().part("file", multipart::Part::bytes(audio).file_name("voice.wav"));
        self.request("POST", "/extract-embedding/upload").multipart(form).send().unwrap()
    }

    /// Starts a request and waits until the service asks for its body. The request then has its place in the queue.
    pub(crate) fn begin_request(&self, audio: &[u8]) -> BegunRequest {
        let body = format!(r#"{{"audio_base64": "{}"}}"#, BASE64_STANDARD.encode(audio));
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        write!(connection, "POST /extract-embedding HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n").unwrap();
        write!(connection, "Content-Length: {}\r\nExpect: 100-continue\r\n", body.len()).unwrap();
        write!(connection, "Connection: close\r\n\r\n").unwrap();
        let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        connection.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        BegunRequest { connection, body }
    }

    /// Returns the response of `GET /metrics`.
    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics").send().unwrap().text().unwrap()
    }

    /// Returns the peak resident memory of the process in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        self.memory_bytes("VmHWM:")
    }

    /// Returns the address space of the process in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn virtual_memory_bytes(&self) -> u64 {
        self.memory_bytes("VmSize:")
    }

    #[cfg(target_os = "linux")]
    fn memory_bytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Resets the peak of resident memory, and returns the current resident memory.
    #[cfg(target_os = "linux")]
    pub(crate) fn reset_peak_memory(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.0.id()), "5").unwrap();
        self.peak_memory_bytes()
    }

    /// Returns the CPU time of the process. Unlike elapsed time, it does not depend on the load of the machine.
    #[cfg(target_os = "linux")]
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.0.id())).unwrap();
        // After the name in brackets come the state and, as 12th and 13th fields, ticks of 10 ms (proc(5)).
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// Sends a signal by name (`TERM`).
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits at most ten seconds until the process exits, and returns its exit status.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        exit_code(&mut self.process.0)
    }
}

/// A request whose body has not been sent.
pub(crate) struct BegunRequest {
    connection: TcpStream,
    body: String,
}

impl BegunRequest {
    /// Sends the body and returns the status of the response.
    pub(crate) fn finish(mut self) -> u16 {
        self.connection.write_all(self.body.as_bytes()).unwrap();
        status_of(&mut self.connection)
    }
}

/// Reads a response up to its status.
pub(crate) fn status_of(connection: &mut TcpStream) -> u16 {
    let mut head = [0; "HTTP/1.1 200".len()];
    connection.read_exact(&mut head).unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

/// Waits at most ten seconds until a process exits, and returns its exit status.
pub(crate) fn exit_code(process: &mut Child) -> Option<i32> {
    for _ in 0..500 {
        if let Some(status) = process.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the process does not end");
}

/// Returns a key as TOML, with its SHA-256.
pub(crate) fn key_lines(name: &str, secret: &str, rights: &str) -> String {
    use sha2::Digest;

    let digest = sha2::Sha256::digest(secret);
    let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\nrights = {rights}\n", digest.concat())
}
