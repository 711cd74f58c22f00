//! What the repository promises about its own shape.

use std::path::{Path, PathBuf};

use super::support::repository;

/// A module may import only from those before it.
const ORDER: [&str; 13] = [
    "tls",
    "hparams",
    "embedding",
    "similarity",
    "audio",
    "preprocess",
    "encoder",
    "pipeline",
    "model",
    "config",
    "logging",
    "healthcheck",
    "http",
];

/// What only one file (or folder) may name, from the root of `src`.
const ENGINES: [(&str, &[&str]); 18] = [
    ("ort::", &["encoder/onnxruntime.rs"]),
    ("axum", &["http"]),
    ("utoipa", &["http"]),
    ("tokio", &["http"]),
    ("hound", &["audio/wav.rs"]),
    ("symphonia", &["audio/container.rs"]),
    ("ropus", &["audio/container.rs"]),
    ("rubato", &["audio/resample.rs"]),
    ("realfft", &["preprocess/mel.rs"]),
    ("reqwest", &["model/fetch.rs", "healthcheck.rs"]),
    ("rustls", &["tls.rs"]),
    ("prometheus", &["http/metrics.rs"]),
    ("governor", &["http/auth.rs"]),
    ("opentelemetry", &["logging.rs"]),
    ("webrtc_vad", &["preprocess/vad.rs"]),
    ("std::env::", &["config.rs"]),
    ("std::arch", &["encoder/native/simd.rs"]),
    ("unsafe ", &["encoder/native/simd.rs"]),
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Each source file's path under `src`, and its code without comments.
fn code() -> Vec<(String, String)> {
    let src = repository().join("src");
    sources(&src)
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(), code.join("\n"))
        })
        .collect()
}

#[test]
fn modules_import_only_from_the_left() {
    let mut wrong = Vec::new();
    for (path, code) in code() {
        let module = path.split(['/', '.']).next().unwrap();
        let Some(place) = ORDER.iter().position(|name| *name == module) else {
            assert!(["lib", "main"].contains(&module), "{module} is missing from the order");
            continue;
        };
        for imported in code.split("crate::").skip(1) {
            let imported = imported.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if ORDER.iter().position(|name| *name == imported).is_none_or(|other| other > place) {
                wrong.push(format!("{path} imports crate::{imported}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_outside_engine_is_named_in_one_place() {
    let mut wrong = Vec::new();
    for (path, code) in code() {
        for (engine, homes) in ENGINES {
            let is_home = homes.iter().any(|home| path.starts_with(home));
            let named = code
                .match_indices(engine)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            if named && !is_home {
                wrong.push(format!("{path} names {engine}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
