//! Measures the service under load: `cargo bench --bench load -- [SCENARIO...]`, after `cargo build --release`.
//!
//! Each scenario starts its own servers on loopback, is limited in time and prints its measurements:
//!
//! - `overload`: for a minute, four times as many requests as the service can process
//! - `fairness`: clips of 2 seconds, alone and while a recording of 10 minutes is embedded
//! - `batches`: clips of 2 seconds, alone and beside batches of 64; a batch of 64 and as many single requests
//! - `long`: eight recordings of 10 minutes at once, with clips of 2 seconds meanwhile, with each model
//! - `spread`: one recording on an idle machine, with one worker and with two: 15 seconds, and 60 seconds with CAM++
//! - `batching`: 32 clients with clips of half a second, with batches of up to 8 windows and of 1
//! - `soak`: 10,000 requests of every length and format
//! - `stop`: 20 stops under load
//! - `slow`: 1,000 connections that each send a byte per second, and one normal client
//! - `speakers`: enrolment, search, memory and start with 1,000, 10,000 and 100,000 enrolled speakers
//! - `attack`: forty long recordings at once (MP3 and Opus), 4,096 idle connections, and sixty responses of 36 MB that the
//!   clients do not read; clips of 2 seconds meanwhile
//! - `behind`: clips of 2 seconds behind 25 minutes of Opus sent to /v1/diarize, on one worker
//! - `live`: the maximum number of live sessions, with each model, for LIVE_SECONDS (60); clips of 2 seconds meanwhile
//! - `replicas`: three processes on the empty PostgreSQL database that `POSTGRES_URL` names: search latency compared with
//!   SQLite, and changes per second; 100,000 speakers imported, exported and loaded in both

#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "a measurement that cannot go on has failed")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::Client;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};
use support::clip;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

mod support;

const KEY: &str = "load";

fn main() -> Result<()> {
    let scenarios: [(&str, fn() -> Result<()>); 14] = [
        ("spread", spread),
        ("fairness", fairness),
        ("long", long),
        ("batches", batches),
        ("batching", batching),
        ("slow", slow),
        ("stop", stop),
        ("overload", overload),
        ("soak", soak),
        ("speakers", speakers),
        ("attack", attack),
        ("behind", behind),
        ("live", live),
        ("replicas", replicas),
    ];
    // `cargo bench` adds the option --bench.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    for (name, run) in scenarios {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            println!("== {name}");
            run()?;
        }
    }
    Ok(())
}

fn overload() -> Result<()> {
    let server = Server::start(&[("QUEUE_CAPACITY", "32")])?;
    let body = clip(5.0)?;
    let (_, best) = server.closed_loop(&body, 16, Duration::from_secs(15));
    let best = best.len() as f64 / 15.0;
    let rate = 4.0 * best;
    println!("best: {best:.1} requests/s; offered for 60 s: {rate:.1} requests/s");
    let (offered, begun) = (AtomicUsize::new(0), Instant::now());
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..128 {
            scope.spawn(|| {
                let client = client();
                loop {
                    let due = Duration::from_secs_f64(offered.fetch_add(1, Ordering::Relaxed) as f64 / rate);
                    if due > Duration::from_mins(1) || begun.elapsed() > Duration::from_mins(1) {
                        return;
                    }
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                    let answer = server.ask(&client, &body);
                    answers.lock().unwrap().push(answer);
                }
            });
        }
        scope.spawn(|| {
            for seconds in [15, 30, 45, 58] {
                std::thread::sleep(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
                println!("after {seconds} s: {:.0} MB resident", server.resident_megabytes());
            }
        });
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let answers = answers.into_inner().unwrap();
    let with = |status: u16| answers.iter().filter(move |answer| answer.status == status);
    let accepted: Vec<Duration> = with(200).map(|answer| answer.time).collect();
    println!(
        "{} answers: {} of 200, {} of 503, {} others",
        answers.len(),
        accepted.len(),
        with(503).count(),
        answers.len() - accepted.len() - with(503).count()
    );
    println!(
        "accepted: {:.1} requests/s, {:.3} of the best; p50 {}, p99 {}; a full queue explains {:.0} ms",
        accepted.len() as f64 / elapsed,
        accepted.len() as f64 / elapsed / best,
        quantile(&accepted, 0.5),
        quantile(&accepted, 0.99),
        32.0 / best * 1e3
    );
    Ok(())
}

fn fairness() -> Result<()> {
    let server = Server::start(&[])?;
    let (short, long) = (clip(2.0)?, clip(595.0)?);
    let (_, alone) = server.closed_loop(&short, 1, Duration::from_secs(8));
    let done = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                server.ask(&client(), &long);
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        let (_, beside) = server.closed_loop(&short, 1, Duration::from_secs(20));
        done.store(true, Ordering::Relaxed);
        beside
    });
    let (alone_p95, beside_p95) = (quantile(&alone, 0.95), quantile(&beside, 0.95));
    println!(
        "2-second clips: p95 alone {alone_p95}, beside a 10-minute recording {beside_p95}: {:.2} times",
        beside_p95.0 / alone_p95.0
    );
    Ok(())
}

/// Returns a conversation of two people in turns, as 16-bit samples.
fn conversation() -> Result<Vec<u8>> {
    let mut samples = Vec::new();
    for name in ["alan-1", "beth-1", "alan-2", "beth-2"] {
        let mut reader = hound::WavReader::open(format!("tests/fixtures/audio/{name}.wav"))?;
        samples.extend(reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?);
        samples.extend(vec![0; 12_800]);
    }
    Ok(samples.into_iter().flat_map(i16::to_le_bytes).collect())
}

fn live() -> Result<()> {
    for model in ["resemblyzer", "campplus"] {
        live_sessions(model)?;
    }
    Ok(())
}

fn live_sessions(model: &str) -> Result<()> {
    let server = Server::start(&[("MODELS", model)])?;
    let seconds = std::env::var("LIVE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60_u64);
    let (audio, short) = (conversation()?, clip(2.0)?);
    let (_, alone) = server.closed_loop(&short, 1, Duration::from_secs(5));
    // Open a first session before reading how many sessions are allowed.
    drop(server.open_session()?);
    let capacity = server.metric("voice_embedding_live_sessions_capacity")? as usize;
    let (begun, cpu_before) = (Instant::now(), server.cpu_seconds());
    let (beside, quiet, memory) = std::thread::scope(|scope| -> Result<_> {
        for number in 0..capacity {
            let (server, audio) = (&server, &audio);
            scope.spawn(move || server.play(number, audio, Duration::from_secs(seconds)).unwrap());
        }
        // In the first half, the sessions run without other requests.
        std::thread::sleep(Duration::from_secs(seconds / 2));
        let quiet = server.live_steps()?;
        let cpu = server.cpu_seconds() - cpu_before;
        let cost = 1e3 * cpu / server.metric("voice_embedding_live_audio_seconds_total")?;
        let early = server.resident_megabytes();
        let left = Duration::from_secs(seconds).saturating_sub(begun.elapsed());
        let (_, beside) = server.closed_loop(&short, 1, left.saturating_sub(Duration::from_secs(3)));
        Ok((beside, (quiet, cost), (early, server.resident_megabytes())))
    })?;
    let ((n, in_time), cost) = quiet;
    let (n_all, in_time_of_all) = server.live_steps()?;
    println!(
        "{model}: {capacity} sessions, {cost:.1} ms of a core a second each; steps within 0.25 s {:.1} %, beside clips {:.1} %; \
         2-second clips: p95 alone {}, beside {}; memory {:.0} MB, then {:.0} MB",
        100.0 * in_time / n,
        100.0 * (in_time_of_all - in_time) / (n_all - n),
        quantile(&alone, 0.95),
        quantile(&beside, 0.95),
        memory.0,
        memory.1,
    );
    Ok(())
}

fn batches() -> Result<()> {
    const N: usize = 64;
    let server = Server::start(&[])?;
    let short = clip(2.0)?;
    let batch = |body: &[u8]| {
        let files = (0..N)
            .fold(Form::new(), |form, _| form.part("file", Part::bytes(body.to_vec()).file_name("a.wav")));
        let begun = Instant::now();
        let request =
            client().post(format!("http://{}/v1/embeddings", server.address)).header("X-API-Key", KEY);
        let answer =
            request.multipart(files).send().and_then(|answer| Ok((answer.status(), answer.bytes()?)));
        assert!(answer.is_ok_and(|(status, _)| status == 200), "a batch is answered");
        begun.elapsed()
    };

    let (_, alone) = server.closed_loop(&short, 1, Duration::from_secs(8));
    let done = AtomicBool::new(false);
    let (beside, n_batches) = std::thread::scope(|scope| {
        let batches = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                batch(&short);
                n += 1;
            }
            n
        });
        std::thread::sleep(Duration::from_millis(500));
        let (_, beside) = server.closed_loop(&short, 1, Duration::from_secs(20));
        done.store(true, Ordering::Relaxed);
        (beside, batches.join().unwrap())
    });
    let (alone_p95, beside_p95) = (quantile(&alone, 0.95), quantile(&beside, 0.95));
    println!(
        "2-second clips: p95 alone {alone_p95}, beside {n_batches} batches of {N}: {beside_p95}, {:.2} times",
        beside_p95.0 / alone_p95.0
    );

    let (mut together, mut single) = (Vec::new(), Vec::new());
    let clients: Vec<Client> = (0..8).map(|_| client()).collect();
    for _ in 0..20 {
        together.push(batch(&short));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for client in &clients {
                let (server, short) = (&server, &short);
                scope.spawn(move || {
                    (0..N / 8).for_each(|_| {
                        server.ask(client, short);
                    });
                });
            }
        });
        single.push(begun.elapsed());
    }
    let (together, single) = (quantile(&together, 0.5), quantile(&single, 0.5));
    println!(
        "{N} 2-second clips: median {together} in a batch, {single} over 8 connections: {:.2}",
        together.0 / single.0
    );

    let before = server.resident_megabytes();
    // 64 recordings fill the body limit of 32 MiB.
    let time = batch(&clip(16.3)?);
    let after = server.resident_megabytes();
    let peak = server.peak_megabytes();
    println!(
        "{N} recordings of 16.3 s: {:.2} s, {before:.0} MB resident before, {peak:.0} at most, {after:.0} after",
        time.as_secs_f64()
    );
    Ok(())
}

fn long() -> Result<()> {
    const N: usize = 8;
    let (short, long) = (clip(2.0)?, clip(599.0)?);
    for model in ["resemblyzer", "campplus"] {
        let server = Server::start(&[("MODELS", model), ("REQUEST_TIMEOUT_SECONDS", "300")])?;
        let before = server.resident_megabytes();
        let (n_done, begun) = (AtomicUsize::new(0), Instant::now());
        let clips = std::thread::scope(|scope| {
            for _ in 0..N {
                scope.spawn(|| {
                    let answer = server.ask(&client(), &long);
                    assert_eq!(answer.status, 200, "a long recording is answered");
                    n_done.fetch_add(1, Ordering::Relaxed);
                });
            }
            let (client, mut times) = (client(), Vec::new());
            while n_done.load(Ordering::Relaxed) < N {
                std::thread::sleep(Duration::from_millis(300));
                times.push(server.ask(&client, &short).time);
            }
            times
        });
        println!(
            "{model}: {N} recordings of 10 minutes in {:.1} s; {before:.0} MB resident before, {:.0} at most, {:.0} after; 2-second clips \
             meanwhile: median {}, p95 {}",
            begun.elapsed().as_secs_f64(),
            server.peak_megabytes(),
            server.resident_megabytes(),
            quantile(&clips, 0.5),
            quantile(&clips, 0.95)
        );
    }
    Ok(())
}

fn spread() -> Result<()> {
    for (model, seconds) in [("resemblyzer", 15.0), ("campplus", 60.0)] {
        let server = |workers| Server::start(&[("MODELS", model), ("WORKERS", workers)]);
        let (one, two) = (server("1")?, server("2")?);
        let (body, client) = (clip(seconds)?, client());
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..60 / (seconds as usize / 15) {
            for (server, times) in [&one, &two].into_iter().zip(&mut times) {
                times.push(server.ask(&client, &body).time);
            }
        }
        let (one, two) = (quantile(&times[0], 0.5), quantile(&times[1], 0.5));
        println!(
            "{model}, {seconds} seconds: median {one} with one worker, {two} with two: {:.3}",
            two.0 / one.0
        );
    }
    Ok(())
}

fn batching() -> Result<()> {
    let (eight, one) = (Server::start(&[])?, Server::start(&[("MAX_BATCH", "1")])?);
    let body = clip(0.5)?;
    let mut done = [0, 0];
    for _ in 0..4 {
        for (server, done) in [&eight, &one].into_iter().zip(&mut done) {
            *done += server.closed_loop(&body, 32, Duration::from_secs(5)).1.len();
        }
    }
    let [eight, one] = done.map(|done| done as f64 / 20.0);
    println!(
        "32 clients of 0.5 seconds: {eight:.1} requests/s, {one:.1} with batches of 1: {:.2} times",
        eight / one
    );
    Ok(())
}

fn soak() -> Result<()> {
    const REQUESTS: usize = 10_000;
    let server = Server::start(&[])?;
    let mut bodies = Vec::new();
    // Most recordings are short.
    for (seconds, share) in [(0.5, 6), (1.0, 6), (2.0, 6), (5.0, 6), (15.0, 3), (30.0, 2), (60.0, 1)] {
        let body = clip(seconds)?;
        bodies.extend(std::iter::repeat_n(body, share));
    }
    for entry in std::fs::read_dir("tests/fixtures/encodings")? {
        bodies.push(std::fs::read(entry?.path())?);
    }
    let (next, others) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = client();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= REQUESTS {
                        return;
                    }
                    if n.is_multiple_of(2_000) && n > 0 {
                        println!("after {n} requests: {:.1} MB resident", server.resident_megabytes());
                    }
                    // A stride that is coprime to the number of bodies mixes them.
                    let answer = server.ask(&client, &bodies[n * 7919 % bodies.len()]);
                    others.fetch_add(usize::from(answer.status != 200), Ordering::Relaxed);
                }
            });
        }
    });
    println!(
        "after {REQUESTS} requests: {:.1} MB resident; answers other than 200: {others:?}",
        server.resident_megabytes()
    );
    Ok(())
}

fn stop() -> Result<()> {
    let body = clip(5.0)?;
    let (mut answered, mut refused, mut lost, mut slowest) = (0, 0, 0, Duration::ZERO);
    for _ in 0..20 {
        let mut server = Server::start(&[])?;
        let address = server.address.clone();
        let (done, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        std::thread::scope(|scope| -> Result<()> {
            for _ in 0..8 {
                scope.spawn(|| {
                    let client = client();
                    while !done.load(Ordering::Relaxed) {
                        let answer = ask(&address, &client, &body);
                        let is_over = answer.status == 0;
                        answers.lock().unwrap().push(answer);
                        if is_over {
                            return;
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(700));
            let begun = Instant::now();
            let stopped = server.stop();
            done.store(true, Ordering::Relaxed);
            slowest = slowest.max(begun.elapsed());
            let status = stopped?;
            if status != Some(0) {
                bail!("exit status {status:?}");
            }
            Ok(())
        })?;
        for answer in answers.into_inner().unwrap() {
            match answer.status {
                200 => answered += 1,
                503 => refused += 1,
                // If the server no longer accepted the connection, no accepted request is lost.
                _ if answer.was_never_connected => {}
                _ => lost += 1,
            }
        }
    }
    println!(
        "20 stops: {answered} answers of 200, {refused} of 503, {lost} lost; slowest stop {:.0} ms",
        slowest.as_secs_f64() * 1e3
    );
    Ok(())
}

fn slow() -> Result<()> {
    let server = Server::start(&[])?;
    let body = clip(2.0)?;
    let (_, alone) = server.closed_loop(&body, 1, Duration::from_secs(5));
    let done = AtomicBool::new(false);
    let head = format!(
        "POST /extract-embedding HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: audio/wav\r\nContent-Length: 100000\r\n\r\n"
    );
    let connections: Vec<TcpStream> =
        (0..1_000).map(|_| TcpStream::connect(&server.address)).collect::<Result<_, _>>()?;
    // Half of the connections are slow with their heads, half with their bodies.
    for connection in connections.iter().step_by(2) {
        let mut connection = connection;
        connection.write_all(head.as_bytes())?;
    }
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..30 {
                for mut connection in &connections {
                    // Connections that the server has closed meanwhile stay closed.
                    let _ = connection.write_all(&head.as_bytes()[i..=i]);
                }
                if done.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        std::thread::sleep(Duration::from_secs(2));
        let (_, beside) = server.closed_loop(&body, 1, Duration::from_secs(10));
        done.store(true, Ordering::Relaxed);
        beside
    });
    println!(
        "one client of 2-second clips: {} alone; {} beside 1,000 slow connections",
        p50_p95(&alone),
        p50_p95(&beside)
    );
    Ok(())
}

/// Repeats a fixture of two seconds: joined or chained files are one recording.
fn joined(name: &str, seconds: usize) -> Result<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/encodings/");
    Ok(std::fs::read(format!("{path}{name}"))?.repeat(seconds / 2))
}

fn attack() -> Result<()> {
    let short = clip(2.0)?;
    let clips = |server: &Server, is_over: &AtomicBool| {
        let (client, mut times) = (client(), Vec::new());
        while !is_over.load(Ordering::Relaxed) {
            let answer = server.ask(&client, &short);
            if answer.status == 200 {
                times.push(answer.time);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        times
    };
    for name in ["clip.mp3", "clip.opus"] {
        let (server, long) = (Server::start(&[])?, joined(name, 560)?);
        let (is_over, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let times = std::thread::scope(|scope| {
            let beside = scope.spawn(|| clips(&server, &is_over));
            let senders: Vec<_> = (0..40)
                .map(|_| {
                    scope.spawn(|| {
                        let answer = server.ask(&client(), &long);
                        answers.lock().unwrap().push(answer);
                    })
                })
                .collect();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            is_over.store(true, Ordering::Relaxed);
            beside.join().unwrap()
        });
        let answers = answers.into_inner().unwrap();
        let times_of = |status: u16| -> Vec<Duration> {
            answers.iter().filter(|answer| answer.status == status).map(|answer| answer.time).collect()
        };
        let (done, refused) = (times_of(200), times_of(503));
        println!(
            "40 recordings of 9 minutes ({name}, {:.1} MB): {} done (the last after {}), {} refused (the last after {}); clips: {}; {:.0} MB at most",
            40.0 * long.len() as f64 / 1e6,
            done.len(),
            quantile(&done, 1.0),
            refused.len(),
            quantile(&refused, 1.0),
            p50_p95(&times),
            server.peak_megabytes()
        );
    }

    let server = Server::start(&[("MAX_CONNECTIONS_PER_ADDRESS", "65536")])?;
    let idle: Vec<TcpStream> =
        (0..4_096).map(|_| TcpStream::connect(&server.address)).collect::<Result<_, _>>()?;
    let answer = server.ask(&client(), &short);
    println!("{} idle connections: a clip is answered {} after {:?}", idle.len(), answer.status, answer.time);
    drop(idle);

    let server = Server::start(&[])?;
    let numbers: Vec<u8> = components(1).take(256).flat_map(f32::to_le_bytes).collect();
    let one = format!(r#"{{"embedding":"{}","model":"resemblyzer"}}"#, BASE64_STANDARD.encode(numbers));
    let body = format!(r#"{{"voices":[{}]}}"#, vec![one; 2_000].join(","));
    let head = format!(
        "POST /v1/similarities HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let is_over = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let beside = scope.spawn(|| clips(&server, &is_over));
        let unread: Vec<TcpStream> = (0..60)
            .filter_map(|_| {
                let mut connection = TcpStream::connect(&server.address).ok()?;
                connection
                    .write_all(head.as_bytes())
                    .and_then(|()| connection.write_all(body.as_bytes()))
                    .ok()?;
                Some(connection)
            })
            .collect();
        std::thread::sleep(Duration::from_secs(10));
        is_over.store(true, Ordering::Relaxed);
        drop(unread);
        beside.join().unwrap()
    });
    println!(
        "60 answers of 36 MB that nobody reads: {:.0} MB at most; clips: {}",
        server.peak_megabytes(),
        p50_p95(&times)
    );
    Ok(())
}

fn behind() -> Result<()> {
    let server = Server::start(&[("WORKERS", "1"), ("REQUEST_TIMEOUT_SECONDS", "300")])?;
    let (short, long) = (clip(2.0)?, joined("clip.opus", 1_500)?);
    let alone: Vec<Duration> = (0..50).map(|_| server.ask(&client(), &short).time).collect();
    let is_over = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        scope.spawn(|| {
            let request = client().post(format!("http://{}/v1/diarize", server.address));
            let request = request.header("X-API-Key", KEY).header("Content-Type", "audio/ogg");
            let status = request.body(long.clone()).send().map(|answer| answer.status());
            println!("25 minutes of Opus ({:.1} MB): {status:?}", long.len() as f64 / 1e6);
            is_over.store(true, Ordering::Relaxed);
        });
        let (client, mut times) = (client(), Vec::new());
        while !is_over.load(Ordering::Relaxed) {
            times.push(server.ask(&client, &short).time);
            std::thread::sleep(Duration::from_millis(20));
        }
        times
    });
    println!(
        "clips of 2 s on one worker: {}, at most {} alone; {}, at most {} behind it",
        p50_p95(&alone),
        quantile(&alone, 1.0),
        p50_p95(&times),
        quantile(&times, 1.0)
    );
    Ok(())
}

fn speakers() -> Result<()> {
    const CLIENTS: usize = 16;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("speakers.db");
    let url = format!("sqlite:{}", file.display());
    let mut server = Server::start(&[
        ("DATABASE_URL", &url),
        ("RUST_LOG", "warn,voice_embedding_service::http::serve=info"),
    ])?;
    let mut enrolled = 0;
    for speakers in [1_000, 10_000, 100_000] {
        let (next, begun) = (AtomicUsize::new(enrolled), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let client = client();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= speakers {
                            return;
                        }
                        let new = json!({"id": format!("s{seed}"), "name": format!("Speaker {seed}"), "voices": [made_up_voice(seed)]});
                        posted(&server, &client, "/v1/speakers", &new);
                    }
                });
            }
        });
        let rate = (speakers - enrolled) as f64 / begun.elapsed().as_secs_f64();
        enrolled = speakers;
        // Both requests are measured in turn: they take the same path except for the search.
        let client = client();
        let pair = json!({"a": made_up_voice(1), "b": made_up_voice(2)});
        let probe = json!({"voice": made_up_voice(speakers / 2)});
        let (mut compared, mut searched) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            compared.push(posted(&server, &client, "/v1/verify", &pair));
            searched.push(posted(&server, &client, "/v1/identify", &probe));
        }
        let (verify, identify) = (quantile(&compared, 0.5).0, quantile(&searched, 0.5).0);
        println!(
            "{speakers} speakers: {rate:.0} enrolments/s of {CLIENTS} clients; identify p50 {identify:.2} ms, verify {verify:.2} ms, \
             the search {:.2} ms; {:.0} MB resident",
            identify - verify,
            server.resident_megabytes()
        );
    }
    server.stop()?;
    let begun = Instant::now();
    let server = Server::start(&[("DATABASE_URL", &url)])?;
    println!(
        "started with 100,000 in {:.2} s, {:.0} MB resident; the file has {:.0} MB",
        begun.elapsed().as_secs_f64(),
        server.resident_megabytes(),
        file.metadata()?.len() as f64 / 1e6
    );
    Ok(())
}

fn replicas() -> Result<()> {
    const QUIET: (&str, &str) = ("RUST_LOG", "warn,voice_embedding_service::http::serve=info");
    let Ok(url) = std::env::var("POSTGRES_URL") else {
        println!("skipped: POSTGRES_URL names no database");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let file = format!("sqlite:{}", folder.path().join("speakers.db").display());
    let start = |url: &str| Server::start(&[("DATABASE_URL", url), QUIET]);
    let servers = [start(&url)?, start(&url)?, start(&url)?];
    let single = start(&file)?;
    let client = client();
    let new = |seed: usize| json!({"id": format!("r{seed}"), "voices": [made_up_voice(seed)]});
    for server in [&servers[0], &single] {
        for seed in 0..1_000 {
            posted(server, &client, "/v1/speakers", &new(seed));
        }
    }
    let probe = json!({"voice": made_up_voice(1)});
    let (mut of_server, mut from_file) = (Vec::new(), Vec::new());
    for _ in 0..1_000 {
        of_server.push(posted(&servers[1], &client, "/v1/identify", &probe));
        from_file.push(posted(&single, &client, "/v1/identify", &probe));
    }
    println!(
        "identify among 1,000, p50 and p99: PostgreSQL {} and {}, SQLite {} and {}",
        quantile(&of_server, 0.5),
        quantile(&of_server, 0.99),
        quantile(&from_file, 0.5),
        quantile(&from_file, 0.99)
    );
    let (next, begun) = (AtomicUsize::new(1_000), Instant::now());
    let searches = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for place in 0..24 {
            let (servers, searches, next) = (&servers, &searches, &next);
            scope.spawn(move || {
                let client = self::client();
                while begun.elapsed() < Duration::from_secs(10) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    posted(&servers[place % 3], &client, "/v1/speakers", &new(seed));
                    if place == 0 {
                        let time = posted(
                            &servers[1],
                            &client,
                            "/v1/identify",
                            &json!({"voice": made_up_voice(seed)}),
                        );
                        searches.lock().unwrap().push(time);
                    }
                }
            });
        }
    });
    let changes = (next.into_inner() - 1_000) as f64 / begun.elapsed().as_secs_f64();
    let searches = searches.into_inner()?;
    println!(
        "{changes:.0} new speakers a second by 24 clients of three replicas; a search meanwhile, p50 {}, p99 {}",
        quantile(&searches, 0.5),
        quantile(&searches, 0.99)
    );
    // Both databases are emptied and import the same speakers.
    for server in [&servers[0], &single] {
        client
            .delete(format!("http://{}/v1/collections/default", server.address))
            .header("X-API-Key", KEY)
            .send()?
            .error_for_status()?;
    }
    drop((servers, single));
    let export = made_up_export(100_000);
    println!("an export of 100,000 speakers has {:.0} MB", export.len() as f64 / 1e6);
    for url in [&url, &file] {
        let server = start(url)?;
        let at = |path: &str| format!("http://{}{path}", server.address);
        let begun = Instant::now();
        let slow = Client::builder().no_proxy().timeout(Duration::from_mins(5)).build()?;
        slow.post(at("/v1/import"))
            .header("X-API-Key", KEY)
            .body(export.clone())
            .send()?
            .error_for_status()?;
        let (imported, peak) = (begun.elapsed(), server.peak_megabytes());
        let begun = Instant::now();
        let n = slow.get(at("/v1/export")).header("X-API-Key", KEY).send()?.bytes()?.len();
        let exported = begun.elapsed();
        let peak_of_export = server.peak_megabytes();
        drop(server);
        let begun = Instant::now();
        let server = start(url)?;
        println!(
            "{}: imported in {:.1} s (peak {peak:.0} MB), {:.0} MB exported in {:.1} s (peak {peak_of_export:.0} MB), started in {:.2} s ({:.0} MB)",
            url.split(':').next().unwrap_or_default(),
            imported.as_secs_f64(),
            n as f64 / 1e6,
            exported.as_secs_f64(),
            begun.elapsed().as_secs_f64(),
            server.resident_megabytes()
        );
    }
    Ok(())
}

/// Returns a made-up embedding as a voice.
fn made_up_voice(seed: usize) -> Value {
    let bytes: Vec<u8> = components(seed as u64).flat_map(f32::to_le_bytes).collect();
    json!({"embedding": BASE64_STANDARD.encode(bytes), "model": "resemblyzer", "speech_seconds": 5.0})
}

/// Posts JSON, which must succeed, and returns the time that this took.
fn posted(server: &Server, client: &Client, path: &str, body: &Value) -> Duration {
    let request = client.post(format!("http://{}{path}", server.address)).header("X-API-Key", KEY);
    let begun = Instant::now();
    let answer = request.json(body).send().and_then(|answer| Ok((answer.status(), answer.bytes()?)));
    assert!(answer.is_ok_and(|(status, _)| status.is_success()), "{path} is answered");
    begun.elapsed()
}

/// Returns an export of made-up speakers.
fn made_up_export(n: usize) -> String {
    const MODEL: &str = "resemblyzer-0.1.4/39373b86";
    const TIME: &str = "2026-11-26T09:30:00.000Z";
    let mut export = json!({"format": "voice-embedding-service/speakers/1", "models": [{"fingerprint": MODEL, "dimension": 256}], "exported_at": TIME})
        .to_string();
    for seed in 0..n {
        let made_up: Vec<f32> = components(seed as u64).collect();
        let norm = made_up.iter().map(|c| c * c).sum::<f32>().sqrt();
        let bytes: Vec<u8> = made_up.iter().flat_map(|c| (c / norm).to_le_bytes()).collect();
        let enrolment = json!({"id": format!("019aa7f3-5c1e-7f00-8000-{seed:012x}"), "model": MODEL, "sha256": format!("{seed:064x}"),
            "embedding": BASE64_STANDARD.encode(bytes), "speech_seconds": 5.25, "similarity_to_profile": null, "warnings": [], "created_at": TIME});
        let speaker = json!({"id": format!("s{seed}"), "name": format!("Speaker {seed}"), "collection": "default", "metadata": {},
            "created_at": TIME, "updated_at": TIME, "enrolments": [enrolment]});
        export.push('\n');
        export += &speaker.to_string();
    }
    export + &format!("\n{{\"end\":true,\"speakers\":{n}}}\n")
}

/// Returns the components of a made-up embedding.
fn components(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    (0..256).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1_u32 << 24) as f32 - 0.3).max(0.0)
    })
}

struct Server {
    process: Child,
    address: String,
}

struct Answer {
    /// 0 if there was no response.
    status: u16,
    was_never_connected: bool,
    time: Duration,
}

impl Server {
    fn start(variables: &[(&str, &str)]) -> Result<Self> {
        // The program of the same build is in the folder above the examples.
        let built =
            std::env::current_exe()?.ancestors().nth(2).context("it is in a folder of a build")?.to_owned();
        let mut process = Command::new(built.join("voice-embedding-service"))
            .envs([
                ("API_KEY", KEY),
                ("HOST", "127.0.0.1"),
                ("PORT", "0"),
                ("ENV", "production"),
                ("RUST_LOG", "info"),
            ])
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .context("cargo build --release")?;
        let mut log = BufReader::new(process.stderr.take().context("it is piped")?).lines();
        let address = log
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                serde_json::from_str::<serde_json::Value>(&line).ok()?["address"].as_str().map(str::to_owned)
            })
            .context("the server ended")?;
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let server = Self { process, address };
        let client = client();
        for _ in 0..5_000 {
            if client.get(format!("http://{}/ready", server.address)).send().is_ok_and(|r| r.status() == 200)
            {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("the server does not become ready")
    }

    fn ask(&self, client: &Client, body: &[u8]) -> Answer {
        ask(&self.address, client, body)
    }

    /// Runs clients that each send the next request once they have the response. Returns every response, and the times
    /// of those with status 200.
    fn closed_loop(&self, body: &[u8], clients: usize, time: Duration) -> (Vec<Answer>, Vec<Duration>) {
        let begun = Instant::now();
        let answers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let client = client();
                    while begun.elapsed() < time {
                        let answer = self.ask(&client, body);
                        answers.lock().unwrap().push(answer);
                    }
                });
            }
        });
        let answers = answers.into_inner().unwrap();
        let accepted =
            answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.time).collect();
        (answers, accepted)
    }

    fn open_session(&self) -> Result<WebSocket<TcpStream>> {
        let mut request = format!("ws://{}/v1/live", self.address).into_client_request()?;
        request.headers_mut().insert("X-API-Key", HeaderValue::from_static(KEY));
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        Ok(tungstenite::client(request, stream).map_err(|error| anyhow!("{error}"))?.0)
    }

    /// Plays audio in a live session in real time, again and again.
    fn play(&self, number: usize, audio: &[u8], time: Duration) -> Result<()> {
        const PIECE_BYTES: usize = 6_400;
        const PIECE: Duration = Duration::from_millis(200);

        // The sessions begin at different times.
        std::thread::sleep(Duration::from_millis(number as u64 * 73 % 1_000));
        let mut socket = self.open_session()?;
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(1)))?;
        let begun = Instant::now();
        let mut pieces = audio.chunks_exact(PIECE_BYTES).cycle();
        for n in 1.. {
            socket.send(Message::binary(pieces.next().unwrap().to_vec()))?;
            while socket.read().is_ok() {}
            if begun.elapsed() >= time {
                break;
            }
            std::thread::sleep((begun + PIECE * n).saturating_duration_since(Instant::now()));
        }
        socket.send(Message::text(r#"{"type": "end"}"#))?;
        socket.get_ref().set_read_timeout(None)?;
        while !matches!(socket.read()?, Message::Close(_)) {}
        Ok(())
    }

    /// Returns the number of steps of live sessions, and of steps that took at most a quarter of a second.
    fn live_steps(&self) -> Result<(f64, f64)> {
        let name = "voice_embedding_live_latency_seconds";
        Ok((self.metric(&format!("{name}_count"))?, self.metric(&format!("{name}_bucket{{le=\"0.25\"}}"))?))
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let text = client().get(format!("http://{}/metrics", self.address)).send()?.text()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.with_context(|| format!("there is no metric {name}"))
    }

    /// Returns the CPU time that the process has used on all cores.
    fn cpu_seconds(&self) -> f64 {
        self.metric("process_cpu_seconds_total").unwrap_or(f64::NAN)
    }

    fn resident_megabytes(&self) -> f64 {
        self.megabytes("VmRSS:")
    }

    fn peak_megabytes(&self) -> f64 {
        self.megabytes("VmHWM:")
    }

    fn megabytes(&self, field: &str) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<f64>().ok()).unwrap_or(f64::NAN)
            / 1e3
    }

    /// Asks the server to stop, waits for it and returns its exit status.
    fn stop(&mut self) -> Result<Option<i32>> {
        Command::new("kill").arg(self.process.id().to_string()).status()?;
        Ok(self.process.wait()?.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client() -> Client {
    // Another thread may have installed the provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .timeout(Duration::from_mins(1))
        .build()
        .expect("it needs nothing of the system")
}

fn ask(address: &str, client: &Client, body: &[u8]) -> Answer {
    let begun = Instant::now();
    let request = client
        .post(format!("http://{address}/extract-embedding"))
        .header("X-API-Key", KEY)
        .header("Content-Type", "audio/wav");
    let answer = request.body(body.to_vec()).send().and_then(|answer| Ok((answer.status(), answer.bytes()?)));
    let was_never_connected = answer.as_ref().is_err_and(reqwest::Error::is_connect);
    if let Err(error) = &answer
        && !was_never_connected
    {
        println!("lost after {:.0} ms: {error:?}", begun.elapsed().as_secs_f64() * 1e3);
    }
    Answer {
        status: answer.map_or(0, |(status, _)| status.as_u16()),
        was_never_connected,
        time: begun.elapsed(),
    }
}

struct Milliseconds(f64);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ms", self.0)
    }
}

/// Formats the median and the 95th percentile.
fn p50_p95(times: &[Duration]) -> String {
    format!("p50 {}, p95 {}", quantile(times, 0.5), quantile(times, 0.95))
}

fn quantile(times: &[Duration], share: f64) -> Milliseconds {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    Milliseconds(sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3))
}
