//! The command `score`, which compares turns with references.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const REFERENCE: &str = "\
SPEAKER call 1 0.000 10.000 <NA> <NA> ann <NA> <NA>
SPEAKER call 1 8.000 6.000 <NA> <NA> ben <NA> <NA>
SPEAKER other 1 1.000 4.000 <NA> <NA> ann <NA> <NA>
";

const FOUND: &str = "\
;; what was found
SPEAKER call 1 0.200 8.300 <NA> <NA> S1 <NA> <NA>
SPEAKER call 1 8.500 6.500 <NA> <NA> S2 <NA> <NA>
SPEAKER other 1 0.000 3.000 <NA> <NA> S1 <NA> <NA>
SPEAKER other 1 3.000 1.500 <NA> <NA> S2 <NA> <NA>
";

fn score(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    program.args(["score", "--reference"]).args(&paths[..1]).args(arguments).args(&paths[1..]);
    program.output().unwrap()
}

/// The expected values come from pyannote.metrics 4.2.0.
#[test]
fn rates_are_those_of_the_reference_implementation() {
    let folder = tempfile::tempdir().unwrap();
    let (references, found) = (folder.path().join("references"), folder.path().join("found.rttm"));
    std::fs::create_dir(&references).unwrap();
    std::fs::write(references.join("all.rttm"), REFERENCE).unwrap();
    std::fs::write(references.join("notes.txt"), "no turns").unwrap();
    std::fs::write(&found, FOUND).unwrap();
    let rates = |arguments: &[&str]| -> Value {
        let output = score(&[arguments, &["--format", "json"]].concat(), &[&references, &found]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let scores = rates(&[]);
    let of = |scored: &Value| {
        ["error_rate", "missed", "false_alarm", "confusion", "jaccard_error_rate"]
            .map(|name| scored[name].as_f64().unwrap())
    };
    assert_eq!(of(&rates(&[])["all"]), [31.0, 13.5, 10.0, 7.5, 32.81]);
    assert_eq!(of(&rates(&["--collar", "0.25"])["all"]), [27.14, 10.0, 8.57, 8.57, 30.03]);
    assert_eq!(of(&rates(&["--skip-overlap"])["all"]), [26.25, 4.38, 12.5, 9.38, 27.5]);
    assert_eq!(scores["wrong_speaker_counts"], 1);
    assert_eq!((&scores["all"]["speakers"], &scores["all"]["speakers_found"]), (&json!(3), &json!(4)));
    let table = String::from_utf8(score(&[], &[&references, &found]).stdout).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("recording") && lines[1].starts_with("call "), "{table}");
    assert!(lines[4] == "1 of 2 with a wrong number of speakers", "{table}");
}

#[test]
fn bad_inputs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (reference, empty) = (path("reference.rttm", REFERENCE), path("empty.rttm", ""));
    let bad = path("bad.rttm", "SPEAKER call 1 0 1 <NA> <NA> S1\nSPEAKER call 1 x 1 <NA> <NA> S1\n");
    let line = |i: usize| format!("SPEAKER call 1 {i} 1 <NA> <NA> S{i} <NA> <NA>");
    let many = path("many.rttm", &(0..1_001).map(line).collect::<Vec<String>>().join("\n"));
    let missing = folder.path().join("missing.rttm");
    let bare = tempfile::tempdir().unwrap();
    let cases: [(&[&Path], &str); 6] = [
        (&[&reference, &bad], "bad.rttm: line 2: its start is no number of seconds"),
        (&[&reference, &missing], "cannot read"),
        (&[&empty, &reference], "no SPEAKER line"),
        (&[&reference, bare.path()], "no file that ends in .rttm"),
        (&[&reference, &many], "1001 speakers"),
        (&[&reference], "required"),
    ];
    for (paths, expected) in cases {
        let output = score(&[], paths);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{paths:?}: {said}");
    }
    let negative = score(&["--collar", "-1"], &[&reference, &reference]);
    assert_eq!(negative.status.code(), Some(2));
    // A reference recording for which no turns were found is reported, and all its speech counts as missed.
    let output = score(&[], &[&reference, &empty]);
    let (said, table) =
        (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert!(said.contains("call: no turns were found") && table.contains("100.00"), "{said}{table}");
}
