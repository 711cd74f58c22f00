//! The commands `embed`, `verify`, `similarities`, `completions` and `man`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::support::{
    Server, assert_close, eventually, exit_code, fixture, is_root, parity_data, repository, say, voice,
    voice_samples, wav,
};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    command.env("MODELS", "resemblyzer");
    command.current_dir(repository());
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Returns the exit status, standard output and standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Parses the JSON lines of standard output or of a file.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn embedding(row: &Value) -> Vec<f32> {
    row["embedding"]
        .as_array()
        .unwrap_or_else(|| panic!("{row}"))
        .iter()
        .map(|c| c.as_f64().unwrap() as f32)
        .collect()
}

/// Creates a folder with two recordings of one voice, one of another voice in a subfolder, a text file and a file that is
/// not a recording.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        std::fs::copy(fixture(&format!("audio/{from}.wav")), folder.path().join(to)).unwrap()
    };
    std::fs::create_dir(folder.path().join("below")).unwrap();
    copy("alan-1", "a.wav");
    copy("alan-2", "b.WAV");
    copy("beth-1", "below/c.wav");
    std::fs::write(folder.path().join("notes.txt"), "no recording").unwrap();
    std::fs::write(folder.path().join("z.mp3"), "not audio").unwrap();
    folder
}

#[test]
fn a_folder_is_embedded_as_the_service_embeds_it() {
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    for (encoder, tolerance) in [("ort", 1e-6), ("native", 0.0)] {
        if encoder == "native" && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let output = program().args(["embed", "--recursive", path]).env("ENCODER", encoder).output().unwrap();
        let (code, out, err) = told(&output);
        if encoder == "native" && err.contains("AVX2") {
            say("SKIPPED the native encoder's part: the CPU lacks AVX2");
            continue;
        }
        assert_eq!(code, Some(1), "one file is bad: {err}");
        assert!(err.contains("z.mp3: unsupported_audio: ") && err.contains("4 files, 1 failed"), "{err}");
        let rows = json_lines(&out);
        let names: Vec<&str> =
            rows.iter().map(|row| row["path"].as_str().unwrap().strip_prefix(path).unwrap()).collect();
        assert_eq!(names, ["/a.wav", "/b.WAV", "/below/c.wav", "/z.mp3"]);
        assert_eq!(rows[3]["code"], "unsupported_audio");
        let server = Server::start_with(&[("ENCODER", encoder)]);
        for row in &rows[..3] {
            let answer: Value =
                server.upload(std::fs::read(row["path"].as_str().unwrap()).unwrap()).json().unwrap();
            assert_close(row["path"].as_str().unwrap(), &embedding(row), &embedding(&answer), |_| tolerance);
            assert_eq!((&row["model"], &row["audio"]), (&answer["model"], &answer["audio"]));
        }
    }
    let (_, out, _) = told(&run(&["embed", "--quiet", path]));
    assert_eq!(out.lines().count(), 3, "without --recursive");
}

#[test]
fn every_format_holds_the_same_embeddings() {
    let folder = folder();
    let files =
        ["alan-1", "beth-1"].map(|name| fixture(&format!("audio/{name}.wav")).to_str().unwrap().to_owned());
    let (_, lines, _) = told(&run(&["embed", &files[0], &files[1]]));
    let expected: Vec<Vec<f32>> = json_lines(&lines).iter().map(embedding).collect();
    let write = |format: &str, more: &[&str]| {
        let output = folder.path().join(format!("out.{format}"));
        let arguments =
            ["embed", "--format", format, "--output", output.to_str().unwrap(), &files[0], &files[1]];
        let (code, out, err) = told(&run(&[&arguments[..], more].concat()));
        assert_eq!((code, &*out), (Some(0), ""), "{format}: {err}");
        output
    };

    let csv = std::fs::read_to_string(write("csv", &[])).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), rows[0][0], rows[0][10], rows[0].len()), (3, "path", "e0", 266));
    for (row, expected) in rows[1..].iter().zip(&expected) {
        let components: Vec<f32> = row[10..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert_close(row[0], &components, expected, |_| 1e-6);
    }

    let npy = write("npy", &[]);
    let array: ndarray::Array2<f32> = ndarray_npy::read_npy(&npy).unwrap();
    assert_eq!(array.dim(), (2, 256));
    for (row, expected) in array.rows().into_iter().zip(&expected) {
        assert_close("npy", row.as_slice().unwrap(), expected, |_| 1e-6);
    }
    assert_eq!(std::fs::read_to_string(npy.with_extension("txt")).unwrap(), files.join("\n") + "\n");

    let npz = write("npz", &[]);
    let script = "import sys, zipfile; names = zipfile.ZipFile(sys.argv[1]).namelist(); print(sorted(names))";
    let python = Command::new("python3").args(["-c", script]).arg(npz).output().unwrap();
    assert_eq!(told(&python).1.trim(), "['embeddings.npy', 'paths.npy']");
    let leftovers: Vec<_> =
        folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!leftovers.iter().any(|name| name.to_string_lossy().ends_with(".rows")), "{leftovers:?}");

    let (_, mean, _) = told(&run(&["embed", "--mean", &files[0], &files[1]]));
    let mean = &json_lines(&mean)[0];
    assert_eq!(mean["files"], 2);
    let sums: Vec<f32> = expected[0].iter().zip(&expected[1]).map(|(a, b)| a + b).collect();
    let norm = sums.iter().map(|sum| sum * sum).sum::<f32>().sqrt();
    let expected: Vec<f32> = sums.iter().map(|sum| sum / norm).collect();
    assert_close("mean", &embedding(mean), &expected, |_| 1e-6);
}

#[test]
fn an_output_is_resumed_and_never_replaced_unasked() {
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    for format in ["jsonl", "csv", "npy", "npz"] {
        let output = folder.path().join(format!("out.{format}"));
        let output = output.to_str().unwrap();
        let first = fixture("audio/cole-1.wav");
        let embed = |more: &[&str]| {
            run(&[&["embed", "--quiet", "--format", format, "--output", output], more].concat())
        };
        assert_eq!(told(&embed(&[first.to_str().unwrap()])).0, Some(0));
        let before = std::fs::read(output).unwrap();
        let (code, _, err) = told(&embed(&[path]));
        assert!(code == Some(2) && err.contains("exists; --resume"), "{format}: {err}");
        assert_eq!(std::fs::read(output).unwrap(), before, "{format}");
        if format == "jsonl" || format == "csv" {
            // Appends the partial line of a process that was killed while writing.
            std::fs::OpenOptions::new()
                .append(true)
                .open(output)
                .unwrap()
                .write_all(b"{\"path\": \"half")
                .unwrap();
        }
        assert_eq!(told(&embed(&["--resume", path, first.to_str().unwrap()])).0, Some(1), "z.mp3 is bad");
        let (_, _, err) = told(&embed(&["--resume", path]));
        let n_rows = match format {
            "jsonl" => json_lines(&std::fs::read_to_string(output).unwrap()).len() - 1,
            "csv" => std::fs::read_to_string(output).unwrap().lines().count() - 2,
            "npy" => ndarray_npy::read_npy::<_, ndarray::Array2<f32>>(output).unwrap().nrows(),
            _ => 3,
        };
        assert_eq!(n_rows, 3, "{format}: cole, a and b: {err}");
        assert_eq!(told(&embed(&["--overwrite", first.to_str().unwrap()])).0, Some(0), "{format}");
    }
    for text in ["something else\n", "without a line break"] {
        let bad = folder.path().join("bad.jsonl");
        std::fs::write(&bad, text).unwrap();
        for format in ["jsonl", "csv", "npz"] {
            let output = bad.to_str().unwrap();
            let (code, _, err) =
                told(&run(&["embed", "--resume", "--format", format, "--output", output, path]));
            assert!(code == Some(2) && err.contains("cannot be resumed"), "{format}: {err}");
            assert_eq!(std::fs::read_to_string(&bad).unwrap(), text);
        }
    }
    // A missing list leaves the output unchanged, and an array is not written over a list of paths.
    let output = folder.path().join("out.jsonl");
    let before = std::fs::read(&output).unwrap();
    let (code, _, _) = told(&run(&[
        "embed",
        "--overwrite",
        "--output",
        output.to_str().unwrap(),
        "--files-from",
        "/no/such/list",
    ]));
    assert_eq!((code, std::fs::read(&output).unwrap()), (Some(2), before));
    let (list, array) = (folder.path().join("list.txt"), folder.path().join("list.npy"));
    std::fs::write(&list, folder.path().join("a.wav").to_str().unwrap()).unwrap();
    let arguments = ["embed", "--format", "npy", "--files-from", list.to_str().unwrap(), "--output"];
    for output in [&array, &list] {
        let (code, _, err) = told(&program().args(arguments).arg(output).output().unwrap());
        assert!(code == Some(2), "{err}");
    }
    assert!(!array.exists() && std::fs::read_to_string(&list).unwrap().ends_with("a.wav"));
}

#[test]
fn windows_and_segments_have_their_times() {
    let folder = folder();
    let recording = folder.path().join("a.wav");
    let recording = recording.to_str().unwrap();
    let (_, out, _) = told(&run(&["embed", "--partials", recording]));
    let row = &json_lines(&out)[0];
    let partials = row["partials"].as_array().unwrap();
    assert_eq!(partials.len() as u64, row["audio"]["windows"].as_u64().unwrap());
    assert!(partials[0]["start"].as_f64().unwrap() < partials[1]["start"].as_f64().unwrap());
    let (_, out, _) = told(&run(&["embed", "--partials", "--format", "csv", recording]));
    assert_eq!(out.lines().count(), partials.len() + 1);

    let rttm = folder.path().join("turns.rttm");
    std::fs::write(
        &rttm,
        "SPEAKER a 1 0.5 2.0 <NA> <NA> anna <NA> <NA>\nSPEAKER a 1 6.0 9.0 <NA> <NA> ben <NA> <NA>\n",
    )
    .unwrap();
    let (code, out, err) = told(&run(&["embed", "--segments", rttm.to_str().unwrap(), recording]));
    assert_eq!(code, Some(1), "{err}");
    assert!(
        out.contains("validation_error") && err.contains("segments[1]"),
        "the second ends behind the end: {out}{err}"
    );
    std::fs::write(
        &rttm,
        "SPEAKER a 1 0.5 2.0 <NA> <NA> anna <NA> <NA>\nSPEAKER a 1 3 2 <NA> <NA> ben <NA> <NA>\n",
    )
    .unwrap();
    let (code, out, err) = told(&run(&["embed", "--segments", rttm.to_str().unwrap(), recording]));
    assert_eq!(code, Some(0), "{err}");
    let rows = json_lines(&out);
    let told: Vec<Value> = rows.iter().map(|row| json!([row["start"], row["end"], row["label"]])).collect();
    assert_eq!(told, [json!([0.5, 2.5, "anna"]), json!([3.0, 5.0, "ben"])]);
    // Resuming a partly written recording adds its missing segments.
    let output = folder.path().join("segments.jsonl");
    std::fs::write(&output, out.lines().next().unwrap().to_owned() + "\n").unwrap();
    let arguments = ["embed", "--resume", "--segments", rttm.to_str().unwrap(), recording, "--output"];
    assert!(program().args(arguments).arg(&output).status().unwrap().success());
    assert_eq!(json_lines(&std::fs::read_to_string(&output).unwrap()).len(), 2);
    std::fs::write(&rttm, "SPEAKER other 1 0.5 2.0 <NA> <NA> anna <NA> <NA>\n").unwrap();
    let (code, out, err) =
        super::command_line::told(&run(&["embed", "--segments", rttm.to_str().unwrap(), recording]));
    assert!(code == Some(1) && err.contains("other: unreadable: there are segments"), "{err}");
    assert_eq!(out.lines().count(), 1, "it is embedded whole");
}

#[test]
fn two_voices_are_told_apart_by_exit_status() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cases = [
        (vec![at("a.wav"), at("b.WAV")], 0, "the same speaker"),
        (vec![at("a.wav"), at("below/c.wav")], 1, "different speakers"),
        (vec![at("a.wav"), at("b.WAV"), "--threshold".into(), "0.99".into()], 1, "different speakers"),
        (vec![at("a.wav"), at("z.mp3")], 2, "unsupported_audio"),
        (vec![at("a.wav"), at("nothing.wav")], 2, "unreadable"),
        (vec![at("a.wav"), at("notes.txt")], 2, "unsupported_audio"),
        (vec!["-".into(), "-".into()], 2, "standard input can be read once"),
        (vec![at("a.wav")], 2, "required"),
        (vec![at("a.wav"), at("b.WAV"), "--threshold".into(), "2".into()], 2, "from -1 to 1"),
        (vec![at("a.wav"), at("b.WAV"), "--model".into(), "whisper".into()], 2, "there is no model"),
    ];
    for (arguments, status, expected) in cases {
        let (code, out, err) = told(&program().arg("verify").args(&arguments).output().unwrap());
        assert_eq!(code, Some(status), "{arguments:?}: {out}{err}");
        assert!(format!("{out}{err}").contains(expected), "{arguments:?}: {out}{err}");
        assert!(!out.contains('\u{1b}'), "no colours where there is no terminal");
    }
    let (_, lines, _) = told(&run(&["embed", &at("a.wav")]));
    let stored = at("stored.json");
    std::fs::write(&stored, &lines).unwrap();
    let (code, out, _) = told(&run(&["verify", &stored, &at("a.wav"), "--format", "json"]));
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert!(code == Some(0) && answer["similarity"].as_f64().unwrap() > 0.999_999, "{answer}");
    for (text, expected) in [
        (lines.replace("39373b86", "00000000"), "its model is"),
        ("{}".into(), "no list of numbers"),
        ("[1, 2]".into(), "2"),
        ("not JSON".into(), "no JSON"),
    ] {
        std::fs::write(&stored, text).unwrap();
        let (code, _, err) = told(&run(&["verify", &stored, &at("a.wav")]));
        assert!(code == Some(2) && err.contains(expected), "{expected}: {err}");
    }
    let mut from_stdin = program()
        .args(["verify", "-", &at("b.WAV")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    from_stdin.stdin.take().unwrap().write_all(&voice()).unwrap();
    assert_eq!(exit_code(&mut from_stdin), Some(0));
}

#[test]
fn similarities_are_a_table_csv_or_json() {
    let folder = folder();
    std::fs::remove_file(folder.path().join("z.mp3")).unwrap();
    let path = folder.path().to_str().unwrap();
    let (code, out, err) = told(&run(&["similarities", "--recursive", path]));
    assert_eq!((code, out.lines().count()), (Some(0), 4), "{out}{err}");
    // With colours as on a terminal, and with `NO_COLOR`.
    for (variables, expected) in [(&["CLICOLOR_FORCE"][..], true), (&["CLICOLOR_FORCE", "NO_COLOR"], false)] {
        let mut coloured = program();
        coloured.args(["similarities", "--recursive", path]).envs(variables.iter().map(|name| (*name, "1")));
        let (_, out, _) = told(&coloured.output().unwrap());
        assert_eq!(out.contains("\u{1b}[32m"), expected, "{out}");
    }
    let (_, csv, _) = told(&run(&["similarities", "--recursive", "--format", "csv", path]));
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), rows[0].len(), rows[1][1]), (4, 4, "1.000000"));
    let (_, json, _) = told(&run(&["similarities", "--recursive", "--format", "json", path]));
    let answer: Value = serde_json::from_str(&json).unwrap();
    let matrix = |i: usize, j: usize| answer["matrix"][i][j].as_f64().unwrap();
    assert!(
        matrix(0, 1) > 0.75 && matrix(0, 2) < 0.75 && (matrix(0, 2) - matrix(2, 0)).abs() < 1e-9,
        "{answer}"
    );

    let below = folder.path().join("below");
    let below = below.to_str().unwrap();
    let (code, out, err) = told(&run(&["similarities", "--between", path, below, "--format", "json"]));
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, answer["pairs"].as_u64(), answer["best"].as_array().unwrap().len()),
        (Some(0), Some(2), 2),
        "{err}"
    );
    assert!(
        (answer["mean"].as_f64().unwrap() - f64::midpoint(matrix(0, 2), matrix(1, 2))).abs() < 1e-5,
        "{answer}"
    );
}

#[test]
fn the_program_finds_what_it_needs_in_its_checkout() {
    let folder = folder();
    let mut command = program();
    command.current_dir(folder.path()).env_remove("ORT_DYLIB_PATH");
    let (code, out, err) = told(&command.args(["verify", "a.wav", "b.WAV"]).output().unwrap());
    assert_eq!(code, Some(0), "{out}{err}");
}

#[test]
fn bad_inputs_are_one_line_each() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::create_dir(path("loop")).unwrap();
    symlink(path("loop"), path("loop/again")).unwrap();
    std::fs::copy(path("a.wav"), path("loop/a.wav")).unwrap();
    let cases: [(&[&str], i32, &str); 10] = [
        (&["embed"], 2, "no recordings: name files"),
        (&["embed", &text("empty")], 2, "there are no recordings in"),
        (&["similarities", &text("a.wav")], 2, "of two voices or more; there is one"),
        // Missing files are reported before a model is loaded or fetched.
        (&["embed", "--model-path", "/no/such", &text("missing.wav")], 2, "missing.wav: No such file"),
        (&["embed", &text("missing.wav"), &text("a.wav")], 1, "unreadable"),
        (&["embed", "--recursive", &text("loop")], 1, "unreadable: File system loop"),
        (&["embed", "--format", "npy", &text("a.wav")], 2, "need --output"),
        (
            &["embed", "--output", "/no/such/folder/x.jsonl", &text("a.wav")],
            2,
            "cannot write /no/such/folder",
        ),
        (&["embed", "--segments", &text("notes.txt"), &text("a.wav")], 2, "no segments in"),
        (&["embed", "--model-path", "/no/such/model.onnx", &text("a.wav")], 2, "cannot read the model"),
    ];
    for (arguments, status, expected) in cases {
        let (code, _, err) = told(&run(arguments));
        assert_eq!(code, Some(status), "{arguments:?}: {err}");
        assert_eq!(err.matches(expected).count(), 1, "{arguments:?}: {err}");
        assert!(err.lines().count() <= 2, "{arguments:?}: {err}");
    }
    // A list that cannot be read ends the command.
    let (code, _, err) = told(&run(&["embed", "--files-from", folder.path().to_str().unwrap()]));
    assert!(code == Some(1) && err.contains("unreadable"), "{err}");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for format in ["csv", "json", "table"] {
        let matrix = program()
            .args(["similarities", "--format", format, &text("a.wav")])
            .stdout(full())
            .output()
            .unwrap();
        assert_eq!(told(&matrix).0, Some(2), "{format}");
    }
    // The header is correct even if the first file is bad. Standard error cannot be written.
    let columns = program()
        .args(["embed", "--format", "csv", &text("z.mp3"), &text("a.wav")])
        .stderr(full())
        .output()
        .unwrap();
    let (code, out, _) = told(&columns);
    let widths: Vec<usize> = csv_widths(&out);
    assert_eq!((code, widths), (Some(1), vec![266; 3]), "{out}");
    // Standard output cannot be written, as on a full disk.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, _, err) =
        told(&program().args(["embed", "-q", &text("a.wav")]).stdout(full).output().unwrap());
    assert!(code == Some(2) && err.contains("cannot write standard output: No space left"), "{err}");
    if !is_root() {
        std::fs::set_permissions(path("empty"), std::fs::Permissions::from_mode(0o000)).unwrap();
        let (code, _, err) = told(&run(&["embed", &text("empty")]));
        assert!(code != Some(0) && err.contains("ermission denied"), "{err}");
        std::fs::set_permissions(path("empty"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Returns the number of fields in each row. Quoted commas do not separate fields.
fn csv_widths(text: &str) -> Vec<usize> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().len()).collect()
}

#[test]
fn paths_come_from_a_list_and_need_not_be_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(OsStr::from_bytes(b"odd-\xff.wav"));
    std::fs::write(&odd, voice()).unwrap();
    let missing = "missing.wav\n".repeat(100_000);
    let mut process = program()
        .args(["embed", "--quiet", "--files-from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let list = [odd.as_os_str().as_bytes(), b"\n\n", missing.as_bytes()].concat();
    let writer = std::thread::spawn(move || stdin.write_all(&list).unwrap());
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    let (code, out, _) = told(&output);
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for line in out.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        *codes.entry(row["code"].as_str().unwrap_or("embedded").to_owned()).or_default() += 1;
    }
    assert_eq!(code, Some(1));
    assert_eq!(codes, BTreeMap::from([("embedded".into(), 1), ("unreadable".into(), 100_000)]));
}

#[test]
fn an_interrupt_and_a_reader_that_has_enough_leave_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let long = wav(voice_samples().into_iter().cycle().take(60 * 16_000));
    for i in 0..60 {
        std::fs::write(folder.path().join(format!("{i:02}.wav")), &long).unwrap();
    }
    let output = folder.path().join("out.jsonl");
    let path = folder.path().to_str().unwrap();
    let mut process =
        program().args(["embed", "-q", path, "--output"]).arg(&output).stderr(Stdio::null()).spawn().unwrap();
    eventually(|| {
        assert!(process.try_wait().unwrap().is_none(), "it ends too soon");
        std::fs::metadata(&output).is_ok_and(|metadata| metadata.len() > 0)
    });
    let interrupted = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(exit_code(&mut process), Some(130));
    let text = std::fs::read_to_string(&output).unwrap();
    assert!(text.ends_with('\n'));
    let n_lines = json_lines(&text).len();
    assert!((1..60).contains(&n_lines), "{n_lines}");

    let script = format!("{} embed -q {path} | head -n 1", env!("CARGO_BIN_EXE_voice-embedding-service"));
    let output = Command::new("bash")
        .current_dir(repository())
        .args(["-o", "pipefail", "-c", &script])
        .output()
        .unwrap();
    let (code, out, err) = told(&output);
    assert_eq!((code, out.lines().count(), &*err), (Some(0), 1, ""));
}

#[test]
fn every_command_has_help_with_an_example_completions_and_a_page() {
    let (_, help, _) = told(&run(&["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help" && name.chars().all(char::is_alphanumeric))
        .collect();
    assert!(commands.len() >= 8, "{help}");
    for command in &commands {
        let (code, help, _) = told(&run(&[command, "--help"]));
        assert!(
            code == Some(0) && help.contains("Example: ") && help.contains("voice-embedding-service "),
            "{command}: {help}"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = told(&run(&["completions", shell]));
        assert!(code == Some(0) && commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    let (code, page, _) = told(&run(&["man"]));
    assert!(code == Some(0) && page.contains(".TH voice-embedding-service"), "{page}");
    for command in commands {
        assert!(
            page.contains(&format!(".SH \"VOICE-EMBEDDING-SERVICE {}\"", command.to_uppercase())),
            "{command}"
        );
    }
}

/// Compares the command line's embeddings with the golden ones.
#[test]
fn the_command_line_gives_the_originals_numbers() {
    let Some(data) = parity_data("the_command_line_gives_the_originals_numbers") else { return };
    let audio = data.join("audio/librispeech");
    let (code, out, err) = told(&run(&["embed", "-q", "--recursive", audio.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{err}");
    let rows: BTreeMap<String, Value> =
        json_lines(&out).into_iter().map(|row| (row["path"].as_str().unwrap().to_owned(), row)).collect();
    let mut n_compared = 0;
    for golden in super::support::golden(&data.join("golden/embeddings.jsonl")) {
        let path = data.join("audio").join(&golden.path);
        let Some(row) = rows.get(path.to_str().unwrap()) else { continue };
        let ours = embedding(row);
        let cosine: f64 = ours.iter().zip(&golden.embedding).map(|(a, b)| f64::from(*a) * b).sum();
        assert!(cosine >= 0.99999, "{}: {cosine}", golden.path);
        n_compared += 1;
    }
    assert!(n_compared >= 50 && Path::new(&audio).is_dir());
}
