//! Decisions that state their error rate, cases in which responses state none, and calibrations fitted to comparisons.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};
use voice_embedding_service::calibration::{Calibration, Seconds};
use voice_embedding_service::models;

use super::support::{
    FINGERPRINT, Server, answered, assert_error, components, embedding, exit_code, fixture, mixed,
    parity_data, repository, say, wav_at,
};

fn verify(server: &Server, body: &Value) -> Value {
    answered(200, server.post_json("/v1/verify", body.to_string()))
}

fn identify(server: &Server, body: &Value) -> Value {
    answered(200, server.post_json("/v1/identify", body.to_string()))
}

fn part(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("voice.wav")
}

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("audio/{name}.wav"))).unwrap()
}

/// Returns two embeddings with about the given cosine, each with its seconds of speech.
fn pair(share: f32, seconds: [Option<f64>; 2]) -> (Value, Value) {
    (embedding(&components(1), seconds[0]), embedding(&mixed(1, 2, share), seconds[1]))
}

fn committed(id: &str) -> Calibration {
    let all = models::all();
    all.iter().find(|spec| spec.id == id).unwrap().calibration.clone()
}

fn calibrate(arguments: &[&str], input: &Path, folder: &Path) -> (Option<i32>, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
        .env("MODELS", "resemblyzer")
        .current_dir(repository())
        .arg("calibrate")
        .arg(input)
        .arg("--output")
        .arg(folder.join("calibration.json"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Writes a file of comparisons.
fn csv(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("pairs.csv");
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns cosines of made-up speakers. Pairs of the same speaker have higher cosines.
fn scores(n_speakers: usize, with_same: bool) -> String {
    let mut rows = vec!["speaker_a,speaker_b,seconds_a,seconds_b,campplus".to_owned()];
    let spread = |i: usize| ((i * 7_919) % 1_000) as f64 / 1_000.0 - 0.5;
    for a in 0..n_speakers {
        for b in a..n_speakers {
            if a == b && !with_same {
                continue;
            }
            for take in 0..if a == b { 6 } else { 2 } {
                let cosine = if a == b { 0.62 } else { 0.12 } + 0.5 * spread(a * 101 + b * 13 + take * 5);
                let seconds = 1.5 + ((a + b + take) % 7) as f64;
                rows.push(format!("s{a},s{b},{seconds},3.0,{cosine:.4}"));
            }
        }
    }
    rows.join("\n")
}

#[test]
fn a_verification_states_its_error() {
    let server = Server::start();
    let form = Form::new().part("a", part(recorded("alan-1"))).part("b", part(recorded("alan-2")));
    let answer = answered(200, server.request("POST", "/v1/verify").multipart(form).send().unwrap());
    assert_eq!(answer["calibration"], "librispeech-2026");
    assert!(answer["log_likelihood_ratio"].as_f64().unwrap() > 2.0, "{answer}");
    assert!(answer["false_accept_rate"].as_f64().unwrap() < 0.01, "{answer}");
    let note = answer["calibration_note"].as_str().unwrap();
    for unmeasured in ["rooms", "music", "second voice", "telephone", "different days", "130 speakers"] {
        assert!(note.contains(unmeasured), "{unmeasured}: {note}");
    }

    // The decision follows the likelihood ratio at every length of speech.
    let mut decisions = BTreeSet::new();
    for (share, seconds) in [(0.2, 1.0), (0.45, 1.0), (0.45, 30.0), (0.5, 9.0), (0.55, 2.0), (0.8, 9.0)] {
        let (a, b) = pair(share, [Some(seconds), Some(seconds)]);
        let answer = verify(&server, &json!({"a": a, "b": b}));
        let ratio = answer["log_likelihood_ratio"].as_f64().unwrap();
        assert_eq!(answer["is_same_speaker"], ratio > 0.0, "{answer}");
        decisions.insert(ratio > 0.0);
        let seconds = Seconds { a: seconds, b: seconds };
        let neutral =
            committed("resemblyzer").log_likelihood_ratio(answer["threshold"].as_f64().unwrap(), seconds);
        assert!(neutral.unwrap().abs() < 1e-9, "{answer}");
        let answer = verify(&server, &json!({"a": a, "b": b, "threshold": 0.75}));
        let is_same = answer["similarity"].as_f64().unwrap() > 0.75;
        assert_eq!((&answer["threshold"], &answer["is_same_speaker"]), (&json!(0.75), &json!(is_same)));
    }
    assert_eq!(decisions.len(), 2, "there are both decisions");
    // The length of one side is unknown, so the model's own threshold applies.
    let (a, b) = pair(0.4, [None, Some(2.0)]);
    assert_eq!(verify(&server, &json!({"a": a, "b": b}))["threshold"], 0.75);

    // The figures come from the calibration and depend on the seconds of both sides.
    let calibration = committed("resemblyzer");
    let (a, b) = pair(0.4, [Some(2.0), Some(6.0)]);
    let answer = verify(&server, &json!({"a": a, "b": b}));
    let (similarity, seconds) = (answer["similarity"].as_f64().unwrap(), Seconds { a: 2.0, b: 6.0 });
    let rate = calibration.false_accept_rate(similarity, seconds);
    assert_eq!(answer["false_accept_rate"], rate.value);
    assert_eq!(answer["false_accept_rate_is_bound"], rate.is_bound);
    assert_eq!(
        answer["log_likelihood_ratio"],
        calibration.log_likelihood_ratio(similarity, seconds).unwrap()
    );
    let (a, b) = pair(0.0, [Some(2.0), Some(6.0)]);
    let same = verify(&server, &json!({"a": a, "b": b}));
    assert_eq!(
        (&same["false_accept_rate"], &same["false_accept_rate_is_bound"], &same["log_likelihood_ratio"]),
        (&json!(0.001), &json!(true), &json!(6.9))
    );
}

#[test]
fn nothing_is_claimed_where_it_was_not_measured() {
    let server = Server::start();
    let narrowband = {
        let samples = super::support::voice_samples();
        wav_at(8_000, samples.into_iter().step_by(2))
    };
    let form = Form::new().part("a", part(recorded("alan-1"))).part("b", part(narrowband.clone()));
    let answer = answered(200, server.request("POST", "/v1/verify").multipart(form).send().unwrap());
    let claims = |answer: &Value| {
        let [rate, llr] = ["false_accept_rate", "log_likelihood_ratio"].map(|name| answer[name].clone());
        (rate, llr, answer["calibration_note"].as_str().unwrap().to_owned())
    };
    let (rate, llr, note) = claims(&answer);
    assert_eq!((rate, llr), (Value::Null, Value::Null), "{answer}");
    assert!(note.contains("narrowband"), "{note}");

    let cases =
        [([Some(5.0), None], "not known"), ([Some(0.4), Some(5.0)], "0.40 s of speech are too little")];
    for (seconds, reason) in cases {
        let (a, b) = pair(0.3, seconds);
        let (rate, llr, note) = claims(&verify(&server, &json!({"a": a, "b": b})));
        assert_eq!((rate, llr), (Value::Null, Value::Null), "{reason}");
        assert!(note.contains(reason), "{note}");
    }
    let (mut a, b) = pair(0.3, [Some(5.0), Some(5.0)]);
    a["warnings"] = json!(["clipped"]);
    let (rate, _, note) = claims(&verify(&server, &json!({"a": a, "b": b})));
    assert!(rate.is_null() && note.contains("clipped"), "{note}");

    // The recordings behind a profile also count.
    let form = Form::new().part("file", part(narrowband)).text("id", "phone");
    answered(201, server.request("POST", "/v1/speakers").multipart(form).send().unwrap());
    let form = Form::new().part("file", part(recorded("alan-1")));
    let found = answered(200, server.request("POST", "/v1/identify").multipart(form).send().unwrap());
    assert_eq!(found["candidates"][0]["speaker"], "phone");
    assert_eq!(found["candidates"][0]["log_likelihood_ratio"], Value::Null);
    assert_eq!(found["false_identification_rate"], Value::Null);
    assert!(found["calibration_note"].as_str().unwrap().contains("narrowband"), "{found}");
    let form =
        Form::new().part("a", part(recorded("alan-1"))).part("b", Part::text(r#"{"speaker": "phone"}"#));
    let answer = answered(200, server.request("POST", "/v1/verify").multipart(form).send().unwrap());
    assert_eq!(answer["warnings"], json!(["narrowband"]));
    assert!(claims(&answer).0.is_null(), "{answer}");
}

#[test]
fn a_rate_takes_the_place_of_a_threshold() {
    let server = Server::start();
    let calibration = committed("resemblyzer");
    for (rate, seconds) in [(0.01, [1.2, 1.2]), (0.01, [9.0, 9.0]), (0.001, [3.0, 9.0]), (0.2, [3.0, 3.0])] {
        let (a, b) = pair(0.3, seconds.map(Some));
        let answer = verify(&server, &json!({"a": a, "b": b, "max_false_accept_rate": rate}));
        let expected = calibration.threshold(rate, Seconds { a: seconds[0], b: seconds[1] });
        assert_eq!(answer["threshold"], expected, "{rate} {seconds:?}");
        let is_same = answer["similarity"].as_f64().unwrap() > expected;
        assert_eq!(answer["is_same_speaker"], is_same);
        assert_eq!(answer["false_accept_rate"].as_f64().unwrap() <= rate, is_same, "{answer}");
    }
    let (a, b) = pair(0.3, [Some(5.0), Some(5.0)]);
    let wrong = [
        (json!({"max_false_accept_rate": 0.0005}), "at least 0.001"),
        (json!({"max_false_accept_rate": 0}), "at least 0.001"),
        (json!({"max_false_accept_rate": 1.5}), "from 0 to 1"),
        (json!({"max_false_accept_rate": -0.1}), "from 0 to 1"),
        (json!({"max_false_accept_rate": 0.01, "threshold": 0.7}), "not both"),
    ];
    for (options, reason) in wrong {
        let mut body = json!({"a": a, "b": b});
        options.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        let answer = answered(422, server.post_json("/v1/verify", body.to_string()));
        assert_eq!(answer["detail"][0]["loc"], json!(["body", "max_false_accept_rate"]), "{answer}");
        assert!(answer["detail"][0]["msg"].as_str().unwrap().contains(reason), "{answer}");
    }
}

#[test]
fn a_search_among_more_asks_for_more() {
    let server = Server::start();
    let calibration = committed("resemblyzer");
    let probe = embedding(&components(1), Some(5.0));
    let empty = identify(&server, &json!({"voice": probe}));
    assert_eq!((&empty["threshold"], &empty["false_identification_rate"]), (&json!(0.75), &Value::Null));
    assert_eq!(empty["calibration_note"], "There is no collection \"default\": nobody is enrolled in it.");
    let mut thresholds = Vec::new();
    for n in 1..=60 {
        let voices = [embedding(&mixed(1, n + 1, 0.7), Some(5.0))];
        let body = json!({"id": format!("s{n}"), "voices": voices, "force": true});
        answered(201, server.post_json("/v1/speakers", body.to_string()));
        if ![1, 10, 60].contains(&n) {
            continue;
        }
        let found = identify(&server, &json!({"voice": probe}));
        let seconds = Seconds { a: 5.0, b: 5.0 };
        let similarity = found["candidates"][0]["similarity"].as_f64().unwrap();
        let one = calibration.false_accept_rate(similarity, seconds).value;
        let rate = found["false_identification_rate"].as_f64().unwrap();
        assert!((rate - (1.0 - (1.0 - one).powi(n as i32))).abs() < 1e-9, "{n}: {found}");
        let expected = calibration.threshold(1.0 - 0.95f64.powf(1.0 / n as f64), seconds).max(0.75);
        let threshold = found["threshold"].as_f64().unwrap();
        assert!((threshold - expected).abs() < 1e-9, "{n}: {found}");
        assert!(found["candidates"][0]["log_likelihood_ratio"].is_f64(), "{found}");
        thresholds.push(threshold);
    }
    assert!(thresholds.is_sorted() && thresholds[2] > thresholds[0] + 0.02, "{thresholds:?}");

    // The calibration must be able to support a requested rate, but not the default rate.
    let asked = |options: Value| {
        let mut body = json!({"voice": probe});
        options.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        server.post_json("/v1/identify", body.to_string())
    };
    let refused = answered(422, asked(json!({"max_false_identification_rate": 0.05})));
    assert!(refused["detail"][0]["msg"].as_str().unwrap().contains("at least 0.0583 among 60"), "{refused}");
    let answer = answered(200, asked(json!({"max_false_identification_rate": 0.0583})));
    assert!(answer["threshold"].as_f64().unwrap() <= thresholds[2], "{answer}");
    let both = json!({"max_false_identification_rate": 0.2, "threshold": 0.8});
    assert_error("both", asked(both), 422, "validation_error", "not both");
    let without = identify(&server, &json!({"voice": embedding(&components(1), None)}));
    assert_eq!(without["false_identification_rate"], Value::Null);
    assert!(
        without["threshold"].as_f64().unwrap() > thresholds[2],
        "the longest speech asks for the most: {without}"
    );
}

#[test]
fn a_calibration_of_ones_own_takes_the_place_of_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calibration.json");
    let mut own = committed("resemblyzer");
    own.name = "our-calls".into();
    std::fs::write(&file, own.to_json()).unwrap();
    let server = Server::start_with(&[("CALIBRATION_PATH", file.to_str().unwrap())]);
    let shown = answered(200, server.request("GET", "/v1/calibration?model=resemblyzer").send().unwrap());
    assert_eq!(shown, serde_json::to_value(&own).unwrap());
    let (a, b) = pair(0.3, [Some(5.0), Some(5.0)]);
    assert_eq!(verify(&server, &json!({"a": a, "b": b}))["calibration"], "our-calls");
    let answer = server.request("GET", "/v1/calibration?model=campplus").send().unwrap();
    assert_error("not loaded", answer, 404, "model_not_found", "campplus");

    let change = |change: fn(&mut Value)| {
        let mut json = serde_json::to_value(&own).unwrap();
        change(&mut json);
        json.to_string()
    };
    let cases = [
        (
            committed("campplus").to_json(),
            "is for the model campplus-zh-en-common/92f29b94; loaded: resemblyzer",
        ),
        (change(|json| json["version"] = json!(2)), "version is 2; this program reads version 1"),
        (change(|json| json["false_accept_rate"]["knots"] = json!({"z": [1.0], "far": [0.1]})), "at least 2"),
        (change(|json| drop(json["false_accept_rate"].as_object_mut().unwrap().remove("knots"))), "knots"),
        (change(|json| json["false_accept_rate"]["knots"]["far"][3] = json!(0.8)), "descending"),
        (change(|json| json["log_likelihood_ratio"]["s"] = json!(-60)), "must rise with the similarity"),
        (change(|json| json["false_accept_rate"]["mean"]["1"] = json!(7)), "no cosines"),
        (change(|json| json["limits"]["far_floor"] = json!(0)), "far_floor"),
        (change(|_| {}).replace("\"far_floor\":0.001", "\"far_floor\":NaN"), "CALIBRATION_PATH"),
        (change(|_| {}).replace("0.001", "1e999"), "CALIBRATION_PATH"),
        (change(|json| json["kind"] = json!("x")), "unknown field `kind`"),
        ("[]".to_owned(), "CALIBRATION_PATH"),
    ];
    for (json, reason) in cases {
        std::fs::write(&file, &json).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
            .env("MODELS", "resemblyzer")
            .current_dir(repository())
            .env("CALIBRATION_PATH", &file)
            .envs([("PORT", "0"), ("DATABASE_URL", "none")])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(exit_code(&mut process), Some(1), "{reason}");
        let said = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        assert!(said.contains(reason) && said.contains("CALIBRATION_PATH"), "{reason}: {said}");
    }
}

#[test]
fn scores_of_enough_speakers_make_a_calibration() {
    let folder = tempfile::tempdir().unwrap();
    let file = csv(folder.path(), &scores(30, true));
    let (status, report, said) = calibrate(&["--description", "made-up voices"], &file, folder.path());
    assert_eq!(status, Some(0), "{said}");
    for line in ["30 speakers, 435 pairs", "equal error rate", "Cllr", "0.1 % false accepts", "5 % among 100"]
    {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(report.contains("less than these speakers can show"), "435 pairs show no 0.1 %: {report}");
    let written = std::fs::read(folder.path().join("calibration.json")).unwrap();
    let written = Calibration::from_json(&written).unwrap();
    assert_eq!((&*written.name, &*written.set.description), ("pairs", "made-up voices"));
    assert_eq!(written.model, committed("campplus").model);
    // None of the 435 pairs is accepted falsely, which gives 1 - 0.05^(1/435).
    assert!((written.limits.far_floor - 0.006_863).abs() < 1e-5, "{:?}", written.limits);
    // Cosines of different speakers are spread evenly from -0.13 to 0.37, unlike in the model's committed calibration.
    let seconds = Seconds { a: 4.0, b: 3.0 };
    let median = written.threshold(0.5, seconds);
    assert!((median - 0.12).abs() < 0.04, "{median}");
    assert!(written.false_accept_rate(0.45, seconds).is_bound);
    let svg = std::fs::read_to_string(folder.path().join("calibration.svg")).unwrap();
    for text in ["Misses and false accepts", "Similarities", "False accepts of speakers left out", "</svg>"] {
        assert!(svg.contains(text), "{text}");
    }

    let without_seconds: Vec<String> = scores(25, true)
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            [cells[0], cells[1], cells[4]].join(",")
        })
        .collect();
    let file = csv(folder.path(), &without_seconds.join("\n"));
    let (status, report, said) = calibrate(&[], &file, folder.path());
    assert_eq!(status, Some(0), "{said}");
    assert!(report.contains("claims do not depend on them"), "{report}");
    let (status, _, said) = calibrate(&["--terms", "refit"], &file, folder.path());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("needs the seconds of speech"), "{said}");
}

#[test]
fn what_is_no_calibration_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let few = scores(3, true);
    let same_only = "speaker_a,speaker_b,campplus\na,a,0.5\nb,b,0.6\n";
    let header = "a,b,same\n";
    let [one, other, third] =
        ["alan", "beth", "cole"].map(|name| format!("tests/fixtures/audio/{name}-1.wav"));
    let of_other = format!(
        "a,b,same\n\"{}\",{one},0\n",
        json!({"embedding": [1, 2], "model": committed("campplus").model}).to_string().replace('"', "\"\"")
    );
    let cases = [
        (few, "3 speakers are too few"),
        (same_only.to_owned(), "no comparisons of different speakers"),
        (format!("{header}{one},{one},1\n"), "line 2: both sides are the same recording"),
        (format!("{header}{one},./{one},1\n"), "line 2: both sides are the same recording"),
        (format!("{header}{one},{other},1\n{other},{one},0\n"), "line 3: these are different speakers here"),
        (format!("{header}{one},{other},0\n{other},{third},0\n"), "0 speakers are too few"),
        (format!("{header}{one},{other},perhaps\n"), "line 2: same should be 1 or 0"),
        (format!("{header}{one},{other},\n"), "line 2: same is empty"),
        (format!("{header}{one},,1\n"), "line 2: a side is empty"),
        (of_other, "line 2: its model is campplus"),
        ("speaker_a,speaker_b,campplus\na,b,NaN\n".into(), "line 2: campplus is no number"),
        ("speaker_a,speaker_b,campplus\na,b,1.5\n".into(), "line 2: campplus is no cosine"),
        ("speaker_a,speaker_b,same,campplus\na,b,1,0.5\n".into(), "line 2: same does not agree"),
        ("campplus\n0.5\n".into(), "needs the columns speaker_a and speaker_b"),
        ("x,y\n1,2\n".into(), "no columns a and b"),
        ("a,b\nx,y,z\n".into(), "no CSV"),
        (header.to_owned(), "no comparisons in it"),
    ];
    for (text, reason) in cases {
        let (status, _, said) = calibrate(&[], &csv(folder.path(), &text), folder.path());
        assert!(said.contains(reason), "{reason}: {said}");
        assert_eq!(status, Some(2), "{reason}");
        assert!(!folder.path().join("calibration.json").exists(), "{reason}");
    }
    // `--force` fits what three speakers support.
    let (status, _, said) = calibrate(&["--force"], &csv(folder.path(), &scores(3, true)), folder.path());
    assert_eq!(status, Some(0), "{said}");
    let written =
        Calibration::from_json(&std::fs::read(folder.path().join("calibration.json")).unwrap()).unwrap();
    assert!((written.limits.far_floor - 0.631_6).abs() < 1e-3, "{:?}", written.limits);
    // A likelihood ratio needs at least two recordings of one speaker.
    let (status, report, said) = calibrate(&[], &csv(folder.path(), &scores(25, false)), folder.path());
    assert_eq!(status, Some(0), "{said}");
    assert!(report.contains("no speaker has two recordings"), "{report}");
    let written =
        Calibration::from_json(&std::fs::read(folder.path().join("calibration.json")).unwrap()).unwrap();
    assert_eq!(written.log_likelihood_ratio, None);
}

#[test]
fn a_folder_of_speakers_is_compared_and_a_bad_file_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let speakers = folder.path().join("speakers");
    for name in ["alan", "beth", "cole"] {
        std::fs::create_dir_all(speakers.join(name)).unwrap();
        for take in ["1", "2"] {
            let to = speakers.join(name).join(format!("{take}.wav"));
            std::fs::copy(fixture(&format!("audio/{name}-{take}.wav")), to).unwrap();
        }
    }
    // One recording is in another speaker's folder, and one file is not a recording.
    std::fs::rename(speakers.join("beth/2.wav"), speakers.join("alan/3.wav")).unwrap();
    std::fs::write(speakers.join("cole/broken.wav"), "no audio").unwrap();
    std::fs::write(speakers.join("notes.txt"), "").unwrap();
    let (status, report, said) = calibrate(&[], &speakers, folder.path());
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("broken.wav: unsupported_audio") && said.contains("3 speakers are too few"),
        "{said}"
    );
    assert!(said.contains("files beside the folders of speakers are not used: 1"), "{said}");
    assert!(report.contains("3 speakers, 3 pairs"), "{report}");
    let worst = report.split("least alike").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(worst.contains("alan/3.wav"), "the mislabelled one is named first: {report}");
    let (status, _, said) = calibrate(&["--force", "--name", "three"], &speakers, folder.path());
    assert_eq!(status, Some(1), "written, but one could not be read: {said}");
    let file = folder.path().join("calibration.json");
    let written = Calibration::from_json(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&*written.name, &*written.model), ("three", FINGERPRINT));

    // The command line decides with this calibration.
    let (a, b) = (fixture("audio/alan-1.wav"), fixture("audio/alan-2.wav"));
    let verify = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
        .env("MODELS", "resemblyzer")
        .current_dir(repository())
        .args(["verify", "--format", "json", "--calibration-path"])
        .args([&file, &a, &b])
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!(answer["calibration"], "three");
    assert!(answer["false_accept_rate"].as_f64().unwrap() >= written.limits.far_floor, "{answer}");

    // Most of these recordings are calls and have a warning. The calibration holds for such recordings, and the others
    // are left out.
    let calls = folder.path().join("calls");
    for name in ["alan", "beth", "cole"] {
        std::fs::create_dir_all(calls.join(name)).unwrap();
        let samples =
            hound::WavReader::open(fixture(&format!("audio/{name}-1.wav"))).unwrap().into_samples::<i16>();
        let samples = samples.step_by(2).map(|sample| f32::from(sample.unwrap()) / 32_768.0);
        std::fs::write(calls.join(name).join("call.wav"), wav_at(8_000, samples)).unwrap();
    }
    std::fs::copy(fixture("audio/alan-2.wav"), calls.join("alan/wide.wav")).unwrap();
    let (_, report, said) = calibrate(&["--force"], &calls, folder.path());
    assert!(report.contains("most recordings have the warning narrowband"), "{report}{said}");
    let written = Calibration::from_json(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written.set.warnings, ["narrowband"]);
    assert_eq!(written.set.same_trials, 1, "a wide band is no warning, so it is compared");

    let lonely = folder.path().join("lonely");
    std::fs::create_dir_all(lonely.join("alan")).unwrap();
    std::fs::copy(fixture("audio/alan-1.wav"), lonely.join("alan/1.wav")).unwrap();
    let (status, _, said) = calibrate(&[], &lonely, folder.path());
    assert!(status == Some(2) && said.contains("of one speaker only"), "{said}");
}

#[test]
fn the_committed_calibrations_are_those_of_the_scores() {
    let Some(data) = parity_data("the_committed_calibrations_are_those_of_the_scores") else { return };
    let folder = tempfile::tempdir().unwrap();
    let unpacked =
        Command::new("gzip").arg("-dc").arg(data.join("calibration/dev_trials.csv.gz")).output().unwrap();
    let file = csv(folder.path(), &String::from_utf8(unpacked.stdout).unwrap());
    for id in ["resemblyzer", "campplus"] {
        let committed = committed(id);
        let about = ["--name", &committed.name, "--description", &committed.set.description];
        let not_measured = ["--not-measured", &committed.set.not_measured];
        let arguments =
            [&["--model", id, "--terms", "refit", "--floor", "0.001"][..], &about, &not_measured].concat();
        let (status, _, said) = calibrate(&arguments, &file, folder.path());
        assert_eq!(status, Some(0), "{said}");
        let fitted = std::fs::read(folder.path().join("calibration.json")).unwrap();
        let fitted = Calibration::from_json(&fitted).unwrap();
        assert_eq!(fitted.set, committed.set);
        for seconds in [Seconds { a: 0.7, b: 0.9 }, Seconds { a: 1.5, b: 6.0 }, Seconds { a: 9.0, b: 12.0 }] {
            for rate in [0.1, 0.01, 0.001] {
                let (fitted, committed) =
                    (fitted.threshold(rate, seconds), committed.threshold(rate, seconds));
                assert!((fitted - committed).abs() < 1e-4, "{id} {rate} {seconds:?}: {fitted} {committed}");
            }
            let llrs = [&fitted, &committed].map(|c| c.log_likelihood_ratio(0.6, seconds).unwrap());
            assert!((llrs[0] - llrs[1]).abs() < 1e-3, "{id} {seconds:?}: {llrs:?}");
        }
        // The rates of each length are those of speakers that were left out of the fit.
        assert_eq!(fitted.rates.len(), 6);
        assert_eq!(fitted.rates, committed.rates);
        assert_eq!(fitted.limits, committed.limits);
        for rates in &fitted.rates {
            let observed = rates.false_accept_rate_at_1_percent.unwrap();
            assert!((0.005..=0.0135).contains(&observed), "{id} from {} s: {observed}", rates.seconds_from);
        }
        say(&format!("{id}: fitted anew, as committed"));
    }
}
