//! Rules for the structure of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::support::repository;

/// A module may import only from modules before it.
const ORDER: [&str; 32] = [
    "notation",
    "vectors",
    "pseudo_random",
    "pace",
    "report",
    "embedding",
    "compare",
    "calibration",
    "audio",
    "speech",
    "front_end",
    "encoder",
    "models",
    "memory",
    "queue",
    "pipeline",
    "diarization",
    "listening",
    "transcript",
    "speakers",
    "decisions",
    "live",
    "engine",
    "embedder",
    "random",
    "tls",
    "store",
    "model_files",
    "config",
    "logging",
    "loading",
    "http",
];

/// The outermost modules, which may import from all others.
const TOP: [&str; 3] = ["cli", "lib", "main"];

/// Names that only one file (or folder) may use. Paths are relative to `src`.
const ENGINES: [(&str, &[&str]); 31] = [
    ("ort::", &["encoder/onnxruntime.rs"]),
    ("axum", &["http"]),
    (
        "utoipa",
        &[
            "http",
            "report.rs",
            "calibration",
            "speakers/details.rs",
            "decisions",
            "live/events.rs",
            "store/reads.rs",
            "store/transfer/import.rs",
        ],
    ),
    ("tokio::", &["http", "cli/interrupt.rs", "cli/live/remote.rs", "store/postgres/connection.rs"]),
    ("tokio_tungstenite", &["http/live", "cli/live/remote.rs"]),
    ("clap", &["cli", "config"]),
    ("hound", &["audio/wav.rs"]),
    ("symphonia::", &["audio/codec.rs"]),
    ("ropus", &["audio/codec.rs"]),
    ("rubato", &["audio/resample.rs"]),
    ("realfft", &["front_end/mel.rs", "front_end/fbank.rs"]),
    ("half::", &["models/onnx.rs", "models/graph.rs", "front_end/features.rs", "front_end/fbank_pieces.rs"]),
    ("reqwest", &["model_files/fetch.rs", "cli/healthcheck.rs"]),
    ("rustls", &["tls.rs", "random.rs"]),
    ("prometheus", &["http/metrics.rs"]),
    ("governor", &["http/keys.rs"]),
    ("opentelemetry", &["logging.rs"]),
    ("plotters::", &["cli/calibrate/picture.rs"]),
    ("walkdir::", &["cli/files.rs"]),
    ("npyz::", &["cli/output/numpy.rs"]),
    ("zip::", &["cli/output/numpy.rs"]),
    ("rusqlite", &["store/sqlite"]),
    ("tokio_postgres", &["store/postgres"]),
    ("uuid::", &["store"]),
    ("time::", &["store/reads.rs"]),
    ("rustix::", &["config/store.rs", "http/serve.rs", "store/sqlite/opened.rs"]),
    ("webrtc_vad", &["speech/detector.rs"]),
    ("std::env::", &["config/places.rs", "config/variables.rs", "cli/mod.rs"]),
    ("std::arch", &["encoder/native/simd.rs"]),
    ("unsafe ", &["encoder/native/simd.rs", "memory.rs"]),
    ("libc::", &["memory.rs"]),
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_test = |path: &PathBuf| path.to_string_lossy().ends_with("_tests.rs");
    let is_source = |path: &PathBuf| path.extension().is_some_and(|e| e == "rs") && !is_test(path);
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(is_source)
        .collect()
}

/// Returns the path of each source file under `src` of the engine or the service, and its code without comments and unit tests.
fn code() -> BTreeMap<String, String> {
    let code_of = |(root, path): (&PathBuf, PathBuf)| {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), code.join("\n"))
    };
    let roots = ["engine/src", "src"].map(|root| repository().join(root));
    roots
        .iter()
        .flat_map(|root| sources(root).into_iter().map(move |path| (root, path)))
        .map(code_of)
        .collect()
}

/// Returns the paths that a file imports or names. These are `crate::a::b` and the resolved form of `super::b`. Groups in
/// braces are expanded.
fn imports(file: &str, code: &str) -> BTreeSet<Vec<String>> {
    let module: Vec<&str> = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        // `pub(in crate::http)` is not an import.
        let before = &code[..start];
        if before.ends_with("(in ") || before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        {
            continue;
        }
        let mut path: Vec<String> = Vec::new();
        let mut rest = &code[start..];
        if let Some(after) = rest.strip_prefix("crate::") {
            rest = after;
        } else {
            path = module.iter().map(|part| (*part).to_owned()).collect();
            while let Some(after) = rest.strip_prefix("super::") {
                rest = after;
                path.pop();
            }
        }
        expand(path, rest, &mut found);
    }
    // A `mod.rs`, or a file that declares modules, names its child modules without a prefix.
    for line in code
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("pub use ").or(line.strip_prefix("use ")))
    {
        let first = line.split("::").next().unwrap();
        if code.contains(&format!("mod {first};")) {
            let path = module.iter().map(|part| (*part).to_owned()).chain([first.to_owned()]).collect();
            found.insert(path);
        }
    }
    found
}

/// Adds the paths of a use tree that begins with `rest`.
fn expand(mut path: Vec<String>, mut rest: &str, found: &mut BTreeSet<Vec<String>>) {
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let end = group.find(|c| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                depth < 0
            });
            let group = &group[..end.unwrap()];
            let mut depth = 0;
            let items = group.split(|c| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                c == ',' && depth == 0
            });
            items
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .for_each(|item| expand(path.clone(), item, found));
            return;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        path.push(rest[..end].to_owned());
        match rest[end..].strip_prefix("::") {
            Some(after) => rest = after,
            None => break,
        }
    }
    found.insert(path);
}

/// Returns the file for a path, which is the file of the longest prefix that is a module.
fn file_of(path: &[String], files: &BTreeMap<String, String>) -> Option<String> {
    (1..=path.len()).rev().find_map(|n| {
        let joined = path[..n].join("/");
        [format!("{joined}.rs"), format!("{joined}/mod.rs")].into_iter().find(|file| files.contains_key(file))
    })
}

#[test]
fn modules_import_only_from_those_above() {
    let mut wrong = Vec::new();
    for (file, code) in code() {
        let module = file.split(['/', '.']).next().unwrap();
        let Some(place) = ORDER.iter().position(|name| *name == module) else {
            assert!(TOP.contains(&module), "{module} is missing from the order");
            continue;
        };
        for path in imports(&file, &code) {
            let imported = path.first().map_or("", String::as_str);
            if ORDER.iter().position(|name| *name == imported).is_none_or(|other| other > place) {
                wrong.push(format!("{file} imports {}", path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = code();
    let imported: BTreeMap<&str, BTreeSet<String>> = files
        .iter()
        .map(|(file, code)| {
            let targets =
                imports(file, code).iter().filter_map(|path| file_of(path, &files)).collect::<BTreeSet<_>>();
            (file.as_str(), targets.into_iter().filter(|target| target != file).collect())
        })
        .collect();
    assert!(imported["http/router.rs"].contains("http/routes/upload.rs"), "groups in braces are understood");
    assert!(imported["encoder/session.rs"].contains("encoder/error.rs"), "`super` is understood");
    assert!(imported["queue/mod.rs"].contains("queue/workers.rs"), "children are understood");
    let mut open: BTreeMap<&str, BTreeSet<&str>> = imported
        .iter()
        .map(|(file, targets)| (*file, targets.iter().map(String::as_str).collect()))
        .collect();
    // A file is in no cycle if it imports no remaining file, or if no remaining file imports it.
    loop {
        let targets: BTreeSet<&str> = open.values().flatten().copied().collect();
        let Some(done) =
            open.iter().find(|(file, of)| of.is_empty() || !targets.contains(*file)).map(|(file, _)| *file)
        else {
            break;
        };
        open.remove(done);
        open.values_mut().for_each(|targets| {
            targets.remove(done);
        });
    }
    assert!(open.is_empty(), "a circle is among these: {open:#?}");
}

#[test]
fn each_outside_engine_is_named_in_one_place() {
    let mut wrong = Vec::new();
    for (file, code) in code() {
        for (engine, homes) in ENGINES {
            let is_home = homes.iter().any(|home| file.starts_with(home));
            let named = code
                .match_indices(engine)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            if named && !is_home {
                wrong.push(format!("{file} names {engine}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Only the files listed here may choose HTTP statuses.
#[test]
fn only_errors_choose_statuses() {
    for (file, code) in code() {
        let allowed = [
            "http/error.rs",
            "http/answer.rs",
            "http/layers/uniform_errors.rs",
            "http/request/body.rs",
            "cli/healthcheck.rs",
            "model_files/fetch.rs",
        ];
        if !allowed.contains(&file.as_str()) {
            assert!(!code.contains("StatusCode::"), "{file} chooses a status");
        }
    }
}
