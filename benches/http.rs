//! Compares this service, with both models and both encoders, with the Python service, if `PEER` names a program that
//! starts it. Run `cargo bench --bench http` after `cargo build --release`.
//!
//! All services run at once on loopback, and only one at a time receives requests: the same files, in turn, for several
//! rounds. The summary goes between markers of `docs/performance.md`. With `PEER`, all figures go to
//! `docs/performance-tables.md`, and the plot to `docs/performance.svg`.
//!
//! `PEER` is started with `PORT`, `WORKERS=2` and `API_KEY`, and must listen on loopback. `ROUNDS` (3) is the number of
//! rounds. `SECONDS` (1.5) is the time for one row in one round.

#![allow(missing_docs, reason = "a program")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plotters::prelude::*;
use support::clip;

mod support;

const KEY: &str = "bench";

/// The name of the service with CAM++ in ONNX Runtime.
const CAMPPLUS_ORT: &str = "CAM++ ort";

const WARM_UP: Duration = Duration::from_secs(5);

const CLIP_SECONDS: [u32; 4] = [2, 5, 15, 60];

const PLOTTED_SECONDS: [u32; 3] = [2, 15, 60];

const CLIENTS: [usize; 4] = [1, 2, 8, 32];

const BODIES: [Body; 2] = [Body::Multipart, Body::Base64];

/// Indexes of the user time and the system time, in ticks, among the fields of `/proc/PID/stat` after the name. The
/// first of these is the file's third field.
const STAT_TICKS: [usize; 2] = [11, 12];
const STAT_PARENT: usize = 1;
const TICKS_PER_SECOND: f64 = 100.0;

/// The encoding of a recording in a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Body {
    Multipart,
    Base64,
}

/// One line of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    body: Body,
    seconds: u32,
    clients: usize,
}

/// The measurements of one round of a row.
#[derive(Clone, Copy)]
struct Measured {
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
    peak_megabytes: f64,
}

/// One of the measured figures.
type Figure = fn(&Measured) -> f64;

/// The rounds of a row, by the service's place in the list.
type Results = BTreeMap<(Row, usize), Vec<Measured>>;

fn main() -> Result<()> {
    let rounds: usize = variable("ROUNDS", 3)?;
    let round = Duration::from_secs_f64(variable("SECONDS", 1.5)?);
    let own = "target/release/voice-embedding-service";
    let mut services = Vec::new();
    let peer = std::env::var_os("PEER").filter(|peer| !peer.is_empty());
    if let Some(peer) = &peer {
        let mut command = Command::new(peer);
        command.env("WORKERS", "2");
        services.push(Service::start("Python", command, false)?);
    }
    let variants = [
        ("ort", "ort", "resemblyzer"),
        ("native", "native", "resemblyzer"),
        (CAMPPLUS_ORT, "ort", "campplus"),
        ("CAM++ native", "native", "campplus"),
    ];
    for (name, encoder, model) in variants {
        let mut command = Command::new(own);
        command.envs([("ENCODER", encoder), ("MODELS", model), ("DATABASE_URL", "none")]);
        command.envs([("HOST", "127.0.0.1"), ("WORKERS", "2"), ("RUST_LOG", "warn")]);
        services.push(Service::start(name, command, true)?);
    }

    // Warm up until all processes of all services have loaded everything that they load late.
    for service in &services {
        service.measure(&service.request(Body::Multipart, &clip(2.0)?), 8, WARM_UP)?;
    }
    let mut results = Results::new();
    for turn in 0..rounds {
        for row in rows() {
            let file = clip(f64::from(row.seconds))?;
            // Each service goes first as often as the others.
            for i in 0..services.len() {
                let which = (i + turn) % services.len();
                let request = services[which].request(row.body, &file);
                let measured = services[which].measure(&request, row.clients, round)?;
                results.entry((row, which)).or_default().push(measured);
            }
            eprintln!("round {turn}: {} s, {} clients", row.seconds, row.clients);
        }
    }
    let head = conditions(rounds)?;
    let summary = format!("{head}\n\n{}", summary(&services, &results)?);
    print!("{summary}");
    let Some(_) = peer else {
        return replace_between_markers("docs/performance.md", "bench-http without PEER", &summary);
    };
    replace_between_markers("docs/performance.md", "bench-http", &summary)?;
    let tables = format!("# All figures of `make bench-http`\n\n{head}\n{}", tables(&services, &results)?);
    std::fs::write("docs/performance-tables.md", tables)?;
    plot("docs/performance.svg", &services, &results)
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> Result<T> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().ok().with_context(|| format!("{name}={text} is no number"))
}

fn rows() -> impl Iterator<Item = Row> {
    BODIES.into_iter().flat_map(|body| {
        CLIP_SECONDS
            .into_iter()
            .flat_map(move |seconds| CLIENTS.into_iter().map(move |clients| Row { body, seconds, clients }))
    })
}

struct Service {
    name: &'static str,
    process: Child,
    address: String,
    /// The time from the start of the process to the first embedding.
    start: Duration,
}

impl Service {
    /// Starts the service several times, more often if it starts fast, and keeps the median of the start times.
    fn start(name: &'static str, mut command: Command, is_fast: bool) -> Result<Self> {
        let mut starts = Vec::new();
        loop {
            let mut service = Self::start_once(name, &mut command)?;
            starts.push(service.start);
            if starts.len() == if is_fast { 11 } else { 3 } {
                starts.sort();
                service.start = starts[starts.len() / 2];
                return Ok(service);
            }
        }
    }

    fn start_once(name: &'static str, command: &mut Command) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let begun = Instant::now();
        // A separate process group, so that all processes of the service can be ended.
        let process = command
            .envs([("PORT", &*port.to_string()), ("API_KEY", KEY)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not start; cargo build --release?"))?;
        let mut service = Self { name, process, address: format!("127.0.0.1:{port}"), start: Duration::ZERO };
        let request = service.request(Body::Multipart, &clip(2.0)?);
        while service.ask(&request).is_err() {
            ensure!(begun.elapsed() < Duration::from_mins(2), "{name} does not answer");
            std::thread::sleep(Duration::from_millis(1));
        }
        service.start = begun.elapsed();
        Ok(service)
    }

    /// Returns the bytes of a request.
    fn request(&self, body: Body, file: &[u8]) -> Vec<u8> {
        let (path, content_type, body) = match body {
            Body::Multipart => {
                let head = b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
                    Content-Type: audio/wav\r\n\r\n";
                let form = [head, file, b"\r\n--X--\r\n"].concat();
                ("/extract-embedding/upload", "multipart/form-data; boundary=X", form)
            }
            Body::Base64 => {
                let json =
                    format!(r#"{{"audio_base64": "{}", "format": "wav"}}"#, BASE64_STANDARD.encode(file));
                ("/extract-embedding", "application/json", json.into_bytes())
            }
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {KEY}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        [head.as_bytes(), &body].concat()
    }

    /// Sends a request on a new connection, as most clients do, and reads the response.
    fn ask(&self, request: &[u8]) -> Result<Duration> {
        let begun = Instant::now();
        let mut connection = TcpStream::connect(&self.address)?;
        connection.set_read_timeout(Some(Duration::from_mins(1)))?;
        connection.write_all(request)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            let head: String = answer.iter().take(300).map(|byte| char::from(*byte)).collect();
            bail!("{}: {head}", self.name);
        }
        Ok(begun.elapsed())
    }

    /// Runs clients that each send the next request once they have the response.
    fn measure(&self, request: &[u8], clients: usize, time: Duration) -> Result<Measured> {
        self.ask(request)?;
        self.forget_peak();
        let answered = Mutex::new(Ok(Vec::new()));
        let (cpu_before, begun) = (self.cpu_seconds(), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    while begun.elapsed() < time {
                        let outcome = self.ask(request);
                        let mut answered = answered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        match (&mut *answered, outcome) {
                            (Ok(times), Ok(time)) => times.push(time.as_secs_f64() * 1e3),
                            (Ok(_), Err(error)) => *answered = Err(error),
                            (Err(_), _) => return,
                        }
                    }
                });
            }
        });
        let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), self.cpu_seconds() - cpu_before);
        let mut times = answered.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)?;
        times.sort_by(f64::total_cmp);
        let quantile = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
        Ok(Measured {
            requests_per_second: times.len() as f64 / elapsed,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            cpu_ms: cpu / times.len() as f64 * 1e3,
            peak_megabytes: self.peak_megabytes(),
        })
    }

    /// Returns the service's process and the processes that it has started.
    fn processes(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, *stat(pid)?.get(STAT_PARENT)? as u32)))
            .collect();
        let mut all = vec![self.process.id()];
        let mut next = 0;
        while let Some(parent) = all.get(next).copied() {
            all.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            next += 1;
        }
        all
    }

    fn cpu_seconds(&self) -> f64 {
        let ticks = |pid: u32| -> Option<u64> {
            let stat = stat(pid)?;
            Some(STAT_TICKS.iter().filter_map(|at| stat.get(*at)).sum())
        };
        self.processes().into_iter().filter_map(ticks).sum::<u64>() as f64 / TICKS_PER_SECOND
    }

    /// Resets the peak of [`Service::peak_megabytes`].
    fn forget_peak(&self) {
        for pid in self.processes() {
            // A process that has ended in the meantime has no peak.
            let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// Returns the peak resident memory of the service's processes, summed.
    fn peak_megabytes(&self) -> f64 {
        let peak = |pid: u32| -> Option<f64> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        self.processes().into_iter().filter_map(peak).sum::<f64>() / 1e3
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.process.id())]).status();
        let _ = self.process.wait();
    }
}

/// Returns the numbers after the name in `/proc/PID/stat`. The state, a letter, counts as 0.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let numbers = text.rsplit_once(')')?.1.split_whitespace();
    Some(numbers.map(|number| number.parse().unwrap_or(0)).collect())
}

/// Ratios of two services' figures, round by round.
struct Ratio {
    median: f64,
    least: f64,
    most: f64,
}

impl Ratio {
    fn of(figures: &[Measured], base: &[Measured], figure: Figure) -> Self {
        let mut ratios: Vec<f64> = figures.iter().zip(base).map(|(a, b)| figure(a) / figure(b)).collect();
        ratios.sort_by(f64::total_cmp);
        Self { median: ratios[ratios.len() / 2], least: ratios[0], most: ratios[ratios.len() - 1] }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

fn median(figures: &[Measured], figure: Figure) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Describes where and how the figures were measured.
fn conditions(rounds: usize) -> Result<String> {
    let machine = command_line("sh", &["-c", "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 && nproc"])?;
    let date = command_line("date", &["+%F"])?;
    let commit = command_line("git", &["describe", "--always", "--dirty"])?;
    Ok(format!(
        "{} cores, {date}, commit {commit}, `make bench-http`: medians of {rounds} rounds (minimum to maximum).",
        machine.split_whitespace().collect::<Vec<_>>().join(" ")
    ))
}

/// Returns a table of the start, the memory, and the throughput of forms over 8 connections. The throughput is a number
/// for the first service, and for each other service a multiple of its base.
fn summary(services: &[Service], results: &Results) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "| | {} |", services.iter().map(|s| s.name).collect::<Vec<_>>().join(" | "))?;
    writeln!(text, "| --- |{}", " --- |".repeat(services.len()))?;
    let figures =
        |figure: &dyn Fn(&Service) -> String| services.iter().map(figure).collect::<Vec<_>>().join(" | ");
    writeln!(
        text,
        "| start to first embedding | {} |",
        figures(&|s| format!("{:.0} ms", s.start.as_secs_f64() * 1e3))
    )?;
    let usual = Row { body: Body::Multipart, seconds: 15, clients: 32 };
    let peaks = |which: usize| format!("{:.0} MB", median(&results[&(usual, which)], |m| m.peak_megabytes));
    let peaks: Vec<String> = (0..services.len()).map(peaks).collect();
    writeln!(text, "| peak resident memory, 32 clients of 15 s | {} |", peaks.join(" | "))?;
    for seconds in CLIP_SECONDS {
        let row = Row { body: Body::Multipart, seconds, clients: 8 };
        let cell = |which: usize| {
            let figures = &results[&(row, which)];
            if which == 0 {
                return format!("{:.1}", median(figures, |m| m.requests_per_second));
            }
            let base = &results[&(row, base_of(services, which))];
            format!("x {}", Ratio::of(figures, base, |m| m.requests_per_second))
        };
        let cells: Vec<String> = (0..services.len()).map(cell).collect();
        writeln!(text, "| {seconds} s clips per second, 8 clients | {} |", cells.join(" | "))?;
    }
    Ok(text)
}

/// Returns the base that a service is a multiple of: the service before it or, for CAM++ in ONNX Runtime, Resemblyzer in
/// the same encoder.
fn base_of(services: &[Service], which: usize) -> usize {
    let ort = services.iter().position(|service| service.name == "ort");
    ort.filter(|_| services[which].name == CAMPPLUS_ORT).unwrap_or(which - 1)
}

/// Returns tables with every row of every service.
fn tables(services: &[Service], results: &Results) -> Result<String> {
    let mut text = String::new();
    let columns: [(&str, Figure); 5] = [
        ("requests/s", |m| m.requests_per_second),
        ("p50, ms", |m| m.p50_ms),
        ("p99, ms", |m| m.p99_ms),
        ("CPU, ms per request", |m| m.cpu_ms),
        ("peak memory, MB", |m| m.peak_megabytes),
    ];
    // The first service's figures are numbers, those of each other service multiples of its base.
    for body in BODIES {
        let name = if body == Body::Multipart { "a form" } else { "base64 in JSON" };
        for (which, service) in services.iter().enumerate() {
            match which {
                0 => writeln!(text, "\nRecordings sent as {name}, `{}`:\n", service.name)?,
                _ => writeln!(
                    text,
                    "\nRecordings sent as {name}, `{}` divided by `{}`:\n",
                    service.name,
                    services[base_of(services, which)].name
                )?,
            }
            writeln!(text, "| clip | clients | {} |", columns.map(|(name, _)| name).join(" | "))?;
            writeln!(text, "| --- | --- |{}", " --- |".repeat(columns.len()))?;
            for row in rows().filter(|row| row.body == body) {
                let figures = &results[&(row, which)];
                let cells = columns.map(|(_, figure)| match which {
                    0 => format!("{:.1}", median(figures, figure)),
                    _ => Ratio::of(figures, &results[&(row, base_of(services, which))], figure).to_string(),
                });
                writeln!(text, "| {} s | {} | {} |", row.seconds, row.clients, cells.join(" | "))?;
            }
        }
    }
    Ok(text)
}

fn command_line(program: &str, arguments: &[&str]) -> Result<String> {
    Ok(String::from_utf8(Command::new(program).args(arguments).output()?.stdout)?.trim().to_owned())
}

fn replace_between_markers(path: &str, name: &str, text: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
    let old = std::fs::read_to_string(path)?;
    let (before, rest) = old.split_once(&begin).context("no marker")?;
    let (_, after) = rest.split_once(&end).context("no end marker")?;
    Ok(std::fs::write(path, format!("{before}{begin}\n{text}{end}{after}"))?)
}

/// Plots throughput and p99 of forms against the number of clients: a curve for each service, two panels for each length.
fn plot(path: &str, services: &[Service], results: &Results) -> Result<()> {
    let panels: [(&str, Figure); 2] = [("requests/s", |m| m.requests_per_second), ("p99, ms", |m| m.p99_ms)];
    let colours =
        [RGBColor(200, 90, 40), RGBColor(60, 110, 180), RGBColor(40, 140, 80), RGBColor(130, 80, 160)];
    let area = SVGBackend::new(path, (1_000, 900)).into_drawing_area();
    area.fill(&WHITE)?;
    let areas = area.split_evenly((PLOTTED_SECONDS.len(), panels.len()));
    let shown = PLOTTED_SECONDS.into_iter().flat_map(|seconds| panels.map(|panel| (seconds, panel)));
    for (area, (seconds, (name, figure))) in areas.iter().zip(shown) {
        let value = |clients: usize, which: usize| {
            median(&results[&(Row { body: Body::Multipart, seconds, clients }, which)], figure)
        };
        let highest = CLIENTS
            .iter()
            .flat_map(|clients| (0..services.len()).map(move |which| value(*clients, which)))
            .fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(format!("{seconds} s clips: {name}"), ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d((1_f64..32.0).log_scale(), 0.0..highest * 1.08)?;
        chart
            .configure_mesh()
            .x_desc("clients")
            .x_label_formatter(&|clients| format!("{clients:.0}"))
            .light_line_style(WHITE)
            .draw()?;
        for (which, service) in services.iter().enumerate() {
            let colour = colours[which % colours.len()];
            let points = CLIENTS.map(|clients| (clients as f64, value(clients, which)));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                .label(service.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        let corner =
            if name == "p99, ms" { SeriesLabelPosition::UpperLeft } else { SeriesLabelPosition::LowerRight };
        chart
            .configure_series_labels()
            .position(corner)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
    }
    area.present()?;
    Ok(())
}
