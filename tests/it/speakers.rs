//! Enrolled speakers: creation, enrolment, verification, identification, moves and deletion.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::blocking::Response;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};

use super::support::{
    FINGERPRINT, Postgres, Server, answered, assert_error, components, embedding, fixture, key_lines, mixed,
    wav,
};

/// Starts a server. This file is compiled as two modules: one stores speakers in memory, the other in PostgreSQL. Returns
/// `None` if PostgreSQL is missing.
fn start(variables: &[(&str, &str)]) -> Option<Server> {
    if !module_path!().ends_with("on_postgres") {
        return Some(Server::start_with(variables));
    }
    let url = Postgres::shared()?.database();
    Some(Server::start_with(&[&[("DATABASE_URL", &*url)], variables].concat()))
}

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("audio/{name}.wav"))).unwrap()
}

fn file(name: &str) -> Form {
    Form::new().part("file", Part::bytes(recorded(name)).file_name("voice.wav"))
}

fn post(server: &Server, path: &str, body: &Value) -> Response {
    server.post_json(path, body.to_string())
}

fn form(server: &Server, path: &str, form: Form) -> Response {
    server.request("POST", path).multipart(form).send().unwrap()
}

fn get(server: &Server, path: &str) -> Value {
    answered(200, server.request("GET", path).send().unwrap())
}

fn delete(server: &Server, path: &str) -> Response {
    server.request("DELETE", path).send().unwrap()
}

/// Creates a speaker with embeddings.
fn create(server: &Server, id: &str, voices: &[Vec<f32>]) -> Value {
    let voices: Vec<Value> = voices.iter().map(|voice| embedding(voice, Some(5.0))).collect();
    answered(201, post(server, "/v1/speakers", &json!({"id": id, "voices": voices, "force": true})))
}

fn enrol(server: &Server, id: &str, voice: &[f32]) -> Response {
    post(server, &format!("/v1/speakers/{id}/enrolments"), &json!({"voice": embedding(voice, Some(5.0))}))
}

fn identify(server: &Server, voice: &[f32], options: &[(&str, Value)]) -> Value {
    let mut body = json!({"voice": embedding(voice, None)});
    options.iter().for_each(|(name, value)| body[name] = value.clone());
    answered(200, post(server, "/v1/identify", &body))
}

fn similarity(server: &Server, a: &Value, b: &Value) -> f64 {
    answered(200, post(server, "/v1/verify", &json!({"a": a, "b": b})))["similarity"].as_f64().unwrap()
}

#[test]
fn enrolled_speakers_are_verified_identified_and_forgotten() {
    let Some(server) = start(&[]) else { return };
    assert_eq!(get(&server, "/v1/collections"), json!({"collections": []}));
    let created = form(&server, "/v1/speakers", file("alan-1").text("id", "alan").text("name", "Alan"));
    assert_eq!(created.headers()["location"], "speakers/alan");
    let alan = answered(201, created);
    assert_eq!(
        (&alan["name"], &alan["collection"], &alan["enrolments"]),
        (&json!("Alan"), &json!("default"), &json!(1))
    );
    assert_eq!(alan["profiles"][0]["model"], FINGERPRINT);
    answered(201, form(&server, "/v1/speakers", file("beth-1").text("id", "beth")));

    // A form, the recording as the body, and base64 give the same result.
    let by_form = answered(200, form(&server, "/v1/identify", file("alan-2")));
    assert_eq!(
        (&by_form["speaker"], &by_form["reason"], &by_form["searched"]),
        (&json!("alan"), &json!("match"), &json!(2))
    );
    assert_eq!(by_form["candidates"][0]["name"], "Alan");
    assert!(by_form["audio"]["speech_seconds"].as_f64().unwrap() > 3.0);
    let raw = server.request("POST", "/v1/identify?top=1").header("Content-Type", "audio/wav");
    let raw = answered(200, raw.body(recorded("alan-2")).send().unwrap());
    assert_eq!(raw["candidates"], json!([by_form["candidates"][0]]));
    let nobody = answered(200, form(&server, "/v1/identify", file("cole-1").text("threshold", "0.85")));
    assert_eq!((&nobody["speaker"], &nobody["reason"]), (&Value::Null, &json!("below_threshold")));

    // The similarity is the same in a verification and in an identification.
    let sides = Form::new()
        .text("a", json!({"speaker": "alan"}).to_string())
        .part("b", Part::bytes(recorded("alan-2")).file_name("voice.wav"));
    let verified = answered(200, form(&server, "/v1/verify", sides));
    assert_eq!((&verified["a"], &verified["is_same_speaker"]), (&json!({"speaker": "alan"}), &json!(true)));
    let (one, other) = (&verified["similarity"], &by_form["candidates"][0]["similarity"]);
    assert!((one.as_f64().unwrap() - other.as_f64().unwrap()).abs() < 1e-12, "{one} {other}");
    let voices =
        json!({"voices": [{"speaker": "alan"}, {"speaker": "beth"}, {"speaker": "alan"}], "clusters": true});
    let matrix = answered(200, post(&server, "/v1/similarities", &voices));
    assert_eq!(matrix["clusters"], json!([[0, 2], [1]]));

    let enrolled = form(&server, "/v1/speakers/alan/enrolments", file("alan-2"));
    let location = enrolled.headers()["location"].to_str().unwrap().to_owned();
    let enrolled = answered(201, enrolled);
    assert_eq!(location, format!("enrolments/{}", enrolled["id"].as_str().unwrap()));
    assert!((enrolled["similarity_to_profile"].as_f64().unwrap() - one.as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(get(&server, &format!("/v1/speakers/alan/{location}")), enrolled);
    assert_eq!(get(&server, "/v1/speakers/alan/enrolments")["enrolments"].as_array().unwrap().len(), 2);

    // A speaker is excluded from its own candidates.
    let other = answered(200, post(&server, "/v1/identify", &json!({"voice": {"speaker": "alan"}})));
    assert_eq!((&other["searched"], &other["candidates"][0]["speaker"]), (&json!(1), &json!("beth")));

    assert_eq!(delete(&server, "/v1/speakers/alan").status(), 204);
    let answer = answered(200, form(&server, "/v1/identify", file("alan-2")));
    assert_eq!((&answer["speaker"], &answer["searched"]), (&Value::Null, &json!(1)));
    for path in ["/v1/speakers/alan", "/v1/speakers/alan/enrolments"] {
        assert_error(path, server.request("GET", path).send().unwrap(), 404, "speaker_not_found", "alan");
        assert_error(path, delete(&server, path), 404, "speaker_not_found", "alan");
    }
    assert_eq!(delete(&server, "/v1/collections/default").status(), 204);
    assert_error("gone", delete(&server, "/v1/collections/default"), 404, "collection_not_found", "default");
    let answer = answered(200, form(&server, "/v1/identify", file("beth-1")));
    assert_eq!((&answer["reason"], &answer["searched"]), (&json!("empty_collection"), &json!(0)));
}

#[test]
fn a_profile_is_the_mean_by_seconds_of_speech() {
    let Some(server) = start(&[]) else { return };
    let (one, two) = (components(1), components(2));
    let voices = json!([embedding(&one, Some(9.0)), embedding(&two, None)]);
    answered(201, post(&server, "/v1/speakers", &json!({"id": "anna", "voices": voices, "force": true})));
    let profiles = get(&server, "/v1/speakers/anna")["profiles"].clone();
    assert_eq!(profiles, json!([{"model": FINGERPRINT, "seconds": 9.0, "enrolments": 2}]));

    // An embedding of unknown length counts as 3 s, so the mean has weights of 9 to 3.
    let expected = embedding(&mixed(1, 2, 1.0 / 3.0), None);
    let is = similarity(&server, &json!({"speaker": "anna"}), &expected);
    assert!((is - 1.0).abs() < 1e-6, "{is}");

    let enrolments = get(&server, "/v1/speakers/anna/enrolments");
    let first = enrolments["enrolments"][0]["id"].as_str().unwrap();
    assert_eq!(delete(&server, &format!("/v1/speakers/anna/enrolments/{first}")).status(), 204);
    let is = similarity(&server, &json!({"speaker": "anna"}), &embedding(&two, None));
    assert!((is - 1.0).abs() < 1e-6, "made anew: {is}");
    let speaker = get(&server, "/v1/speakers/anna");
    assert_eq!(speaker["profiles"], json!([{"model": FINGERPRINT, "seconds": 0.0, "enrolments": 1}]));

    assert_eq!(delete(&server, "/v1/speakers/anna/enrolments").status(), 204);
    assert_eq!(delete(&server, "/v1/speakers/anna/enrolments").status(), 204, "there need be none");
    let speaker = get(&server, "/v1/speakers/anna");
    assert_eq!((&speaker["profiles"], &speaker["enrolments"]), (&json!([]), &json!(0)));
    let answer = post(&server, "/v1/verify", &json!({"a": {"speaker": "anna"}, "b": embedding(&two, None)}));
    assert_error("no profile", answer, 409, "model_mismatch", "no profile");
    assert_eq!(identify(&server, &two, &[])["reason"], "no_profile_of_model");
}

#[test]
fn what_is_enrolled_must_fit_or_be_forced() {
    let Some(server) = start(&[]) else { return };
    create(&server, "anna", &[components(1)]);
    create(&server, "beth", &[components(2)]);
    let path = "/v1/speakers/anna/enrolments";
    let noise: Vec<f32> =
        (0..20).flat_map(|seed| components(seed + 100)).cycle().take(80_000).map(|s| s * 0.2).collect();
    let warned = |warning: &str| {
        let mut voice = embedding(&components(1), Some(5.0));
        voice["embedding"] = embedding(&mixed(1, 20 + warning.len() as u64, 0.1), None)["embedding"].clone();
        voice["warnings"] = json!([warning]);
        json!({"voice": voice})
    };
    let cases = [
        (json!({"voice": embedding(&mixed(1, 4, 0.1), Some(2.9))}), 422, "too_little_speech", "2.9 s"),
        (warned("noise"), 422, "unfit_recording", "noise"),
        (warned("several_speakers"), 422, "unfit_recording", "several_speakers"),
        (
            json!({"voice": embedding(&components(5), Some(5.0))}),
            409,
            "not_this_speaker",
            "threshold is 0.75",
        ),
    ];
    for (body, status, code, detail) in &cases {
        assert_error(code, post(&server, path, body), *status, code, detail);
    }
    assert_eq!(get(&server, "/v1/speakers/anna")["enrolments"], 1, "nothing was enrolled");
    let not_voice = server.request("POST", path).header("Content-Type", "audio/wav").body(wav(noise));
    let refused = not_voice.send().unwrap();
    assert_eq!(refused.status(), 422);
    for (body, ..) in &cases {
        let mut forced = body.clone();
        forced["force"] = true.into();
        let first = answered(201, post(&server, path, &forced));
        assert_eq!(answered(200, post(&server, path, &forced)), first, "the same again");
    }
    let of_beth = json!({"voice": embedding(&components(2), None), "force": true});
    assert_error("beth's", post(&server, path, &of_beth), 409, "duplicate_enrolment", "\"beth\"");
    // Collections are independent of each other.
    answered(201, post(&server, "/v1/speakers", &json!({"id": "anna", "collection": "c2"})));
    let mut elsewhere = of_beth;
    elsewhere["collection"] = "c2".into();
    answered(201, post(&server, path, &elsewhere));

    // Other speakers who resemble the voice are also reported.
    create(&server, "anne", &[mixed(1, 7, 0.2)]);
    create(&server, "ann", &[mixed(1, 8, 0.2)]);
    let similar = answered(201, enrol(&server, "ann", &mixed(1, 9, 0.2)));
    let names: Vec<&str> = similar["similar_speakers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|s| s["speaker"].as_str())
        .collect();
    assert_eq!(names, ["anne", "anna"], "{similar}");
}

#[test]
fn short_or_noisy_recordings_are_not_enrolled() {
    let Some(server) = start(&[]) else { return };
    answered(201, post(&server, "/v1/speakers", &json!({"id": "alan"})));
    let short = |form: Form| form.text("segments", "[[0, 2]]");
    let answer = form(&server, "/v1/speakers/alan/enrolments", short(file("alan-1")));
    assert_error("segments", answer, 422, "validation_error", "cannot have segments");
    let samples: Vec<f32> = hound::WavReader::new(&recorded("alan-1")[..])
        .unwrap()
        .samples::<i16>()
        .map(|sample| f32::from(sample.unwrap()) / 32_768.0)
        .take(32_000)
        .collect();
    let two_seconds = Part::bytes(wav(samples)).file_name("a.wav");
    let answer = form(&server, "/v1/speakers/alan/enrolments", Form::new().part("voice", two_seconds));
    assert_error("2 s", answer, 422, "too_little_speech", "less than the 3 s");
}

#[test]
fn the_same_again_changes_nothing_whoever_sends_it() {
    let Some(server) = start(&[]) else { return };
    let statuses = |body: &Value, path: &str| {
        let (created, same) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let client = || {
                let response = post(&server, path, body);
                let counter = if response.status() == 201 { &created } else { &same };
                counter.fetch_add(1, Ordering::Relaxed);
                let status = response.status().as_u16();
                answered(status, response)
            };
            let clients: Vec<_> = (0..20).map(|_| scope.spawn(client)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        assert!(
            answers.iter().all(|answer| answer == &answers[0] && answer.get("id").is_some()),
            "{answers:?}"
        );
        assert_eq!((created.into_inner(), same.into_inner()), (1, 19));
    };
    let new = json!({"id": "anna", "name": "Anna", "metadata": {"a": 1}, "voices": [embedding(&components(1), None)]});
    statuses(&new, "/v1/speakers");
    statuses(&json!({"voice": embedding(&mixed(1, 2, 0.1), None)}), "/v1/speakers/anna/enrolments");
    statuses(&json!({"name": "No id", "voices": [embedding(&components(3), None)]}), "/v1/speakers");
    assert_eq!(
        get(&server, "/v1/collections"),
        json!({"collections": [{"collection": "default", "speakers": 2, "enrolments": 3}]})
    );

    for (field, value) in [
        ("name", json!("Other")),
        ("metadata", json!({"a": 2})),
        ("voices", json!([embedding(&components(9), None)])),
    ] {
        let mut other = new.clone();
        other[field] = value;
        assert_error(field, post(&server, "/v1/speakers", &other), 409, "speaker_exists", "anna");
    }
    let mut without_id = new;
    without_id["id"] = Value::Null;
    answered(200, post(&server, "/v1/speakers", &without_id));
    without_id["name"] = "Another".into();
    let refused = post(&server, "/v1/speakers", &without_id);
    assert_eq!(refused.headers()["x-should-retry"], "false");
    let refused: Value = refused.json().unwrap();
    assert_eq!(
        (&refused["code"], &refused["error"]["param"]),
        (&json!("duplicate_enrolment"), &json!("voices[0]"))
    );
}

#[test]
fn a_speaker_is_created_whole_or_not_at_all() {
    let Some(server) = start(&[]) else { return };
    let voices = json!([embedding(&components(1), None), embedding(&components(2), None)]);
    let refused = post(&server, "/v1/speakers", &json!({"id": "anna", "voices": voices}));
    let refused = answered(409, refused);
    assert_eq!(
        (&refused["code"], &refused["error"]["param"]),
        (&json!("not_this_speaker"), &json!("voices[1]"))
    );
    assert_eq!(get(&server, "/v1/speakers")["speakers"], json!([]));
    assert_eq!(identify(&server, &components(1), &[])["searched"], 0);
    // The first embedding is not stored either, so it is no duplicate.
    create(&server, "beth", &[components(1)]);
}

#[test]
fn enrolments_move_and_speakers_merge() {
    let Some(server) = start(&[]) else { return };
    create(&server, "anna", &[components(1), components(2)]);
    create(&server, "beth", &[components(3)]);
    let wrong =
        get(&server, "/v1/speakers/anna/enrolments")["enrolments"][1]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/speakers/anna/enrolments/{wrong}/move");
    let beth = answered(200, post(&server, &path, &json!({"to": "beth"})));
    assert_eq!((&beth["id"], &beth["enrolments"]), (&json!("beth"), &json!(2)));
    assert_error("moved", post(&server, &path, &json!({"to": "beth"})), 404, "enrolment_not_found", &wrong);
    let is = similarity(&server, &json!({"speaker": "anna"}), &embedding(&components(1), None));
    assert!((is - 1.0).abs() < 1e-6, "{is}");
    let best = |seed| identify(&server, &components(seed), &[("threshold", json!(0.5))])["speaker"].clone();
    assert_eq!([best(1), best(2), best(3)], [json!("anna"), json!("beth"), json!("beth")]);

    let anna = answered(200, post(&server, "/v1/speakers/anna/merge", &json!({"from": "beth"})));
    assert_eq!(anna["enrolments"], 3);
    assert_eq!(get(&server, "/v1/speakers")["speakers"], json!([anna]));
    assert_eq!([best(1), best(2), best(3)], [json!("anna"), json!("anna"), json!("anna")]);
    // A merge can be undone.
    answered(201, post(&server, "/v1/speakers", &json!({"id": "beth"})));
    let back = format!("/v1/speakers/anna/enrolments/{wrong}/move");
    answered(200, post(&server, &back, &json!({"to": "beth"})));
    assert_eq!(best(2), json!("beth"));

    for (path, body, code) in [
        ("/v1/speakers/nobody/merge", json!({"from": "beth"}), "speaker_not_found"),
        ("/v1/speakers/anna/merge", json!({"from": "nobody"}), "speaker_not_found"),
        (
            &*format!("/v1/speakers/beth/enrolments/{wrong}/move"),
            json!({"to": "nobody"}),
            "speaker_not_found",
        ),
        ("/v1/speakers/beth/enrolments/nothing/move", json!({"to": "anna"}), "enrolment_not_found"),
    ] {
        assert_error(path, post(&server, path, &body), 404, code, "");
    }
    let same = answered(200, post(&server, "/v1/speakers/anna/merge", &json!({"from": "anna"})));
    assert_eq!(same["enrolments"], 2, "with itself");
}

#[test]
fn identify_names_somebody_only_when_it_is_clear() {
    let Some(server) = start(&[]) else { return };
    create(&server, "anna", &[components(1)]);
    create(&server, "twin", &[mixed(1, 2, 0.3)]);
    create(&server, "beth", &[components(3)]);
    let twins = identify(&server, &components(1), &[]);
    assert_eq!((&twins["speaker"], &twins["reason"]), (&Value::Null, &json!("ambiguous")), "{twins}");
    assert_eq!((&twins["margin"], &twins["searched"]), (&json!(0.05), &json!(3)));
    assert!(twins["threshold"].as_f64().unwrap() >= 0.75, "never below the model's own: {twins}");
    let cases = [
        (vec![("margin", json!(0.01))], json!("anna"), "match"),
        (vec![("margin", json!(0.01)), ("threshold", json!(1.0))], Value::Null, "below_threshold"),
        (vec![("top", json!(1))], Value::Null, "ambiguous"),
        (vec![("collection", json!("other"))], Value::Null, "empty_collection"),
    ];
    for (options, speaker, reason) in cases {
        let answer = identify(&server, &components(1), &options);
        assert_eq!((&answer["speaker"], &answer["reason"]), (&speaker, &json!(reason)), "{options:?}");
    }
    let misspelt = identify(&server, &components(1), &[("collection", json!("defualt"))]);
    assert!(
        misspelt["calibration_note"].as_str().unwrap().contains("no collection \"defualt\""),
        "{misspelt}"
    );
    assert_eq!(
        identify(&server, &components(1), &[("top", json!(1))])["candidates"].as_array().unwrap().len(),
        1
    );

    // If two speakers were enrolled by force with the same voice, the result is ambiguous even without a margin.
    create(&server, "copy", &[components(3).iter().map(|c| c * 2.0).collect()]);
    assert_eq!(identify(&server, &components(3), &[("margin", json!(0))])["reason"], "ambiguous");
}

#[test]
fn each_segment_is_identified_by_itself() {
    let Some(server) = start(&[]) else { return };
    answered(201, form(&server, "/v1/speakers", file("alan-1").text("id", "alan")));
    let recording = super::support::wav(
        std::iter::repeat_n(0.0, 32_000).chain(
            hound::WavReader::new(&recorded("alan-2")[..])
                .unwrap()
                .samples::<i16>()
                .map(|sample| f32::from(sample.unwrap()) / 32_768.0)
                .collect::<Vec<_>>(),
        ),
    );
    let form_of = |segments: &str| {
        let part = Part::bytes(recording.clone()).file_name("voice.wav");
        Form::new().part("file", part).text("segments", segments.to_owned())
    };
    let answer = answered(200, form(&server, "/v1/identify", form_of("[[2, 6], [0, 1.5]]")));
    let results = answer["results"].as_array().unwrap();
    assert_eq!((&results[0]["index"], &results[0]["speaker"]), (&json!(0), &json!("alan")));
    assert_eq!((&results[1]["index"], &results[1]["code"]), (&json!(1), &json!("no_speech")));
    assert_eq!(answer.as_object().unwrap().len(), 1);
    let answer = form(&server, "/v1/identify", form_of("[[0, 1], [5, 99]]"));
    assert_error("past the end", answer, 422, "validation_error", "");
}

#[test]
fn lists_come_in_pages_by_id() {
    let Some(server) = start(&[]) else { return };
    let mut ids: Vec<String> = (0..205).map(|i| format!("{}{i}", ["s", "S", "a-"][i % 3])).collect();
    std::thread::scope(|scope| {
        for some in ids.chunks(52) {
            let server = &server;
            scope.spawn(move || {
                for id in some {
                    let name = format!("Name {id} É");
                    answered(201, post(server, "/v1/speakers", &json!({"id": id, "name": name})));
                }
            });
        }
    });
    ids.sort_unstable();
    let list = |query: &str| {
        let page = get(&server, &format!("/v1/speakers?{query}"));
        let ids: Vec<String> = page["speakers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap().to_owned())
            .collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    let (first, next) = list("");
    assert_eq!((&first[..], next.as_deref()), (&ids[..200], Some(&*ids[199])));
    let (second, next) = list(&format!("after={}", next.unwrap()));
    assert_eq!((&second[..], next), (&ids[200..], None));
    assert_eq!(list("after=zzz"), (vec![], None));
    assert_eq!(list("collection=2024"), (vec![], None), "a number is a name, too");
    assert_eq!(list("collection=null"), (vec![], None), "so is this");
    assert_eq!(list("limit=null").0.len(), 200);
    let (found, _) = list("name=nAmE%20S1%20é");
    assert_eq!(found, ["S1"]);
    let (found, next) = list("name=é&limit=3");
    assert_eq!((&found[..], next.as_deref()), (&ids[..3], Some(&*ids[2])));
    for query in ["limit=0", "limit=201", "limit=x", "collection=a/b", "page=2", "name=a&name=b"] {
        let answer = server.request("GET", &format!("/v1/speakers?{query}")).send().unwrap();
        assert_error(query, answer, 422, "validation_error", "");
    }
}

#[test]
fn what_is_known_of_a_speaker_changes_by_patch() {
    let Some(server) = start(&[]) else { return };
    let form_of = Form::new().text("id", "007").text("name", "42").text("metadata", "{\"b\": 1.50 }");
    let created = form(&server, "/v1/speakers", form_of).text().unwrap();
    assert!(
        created.contains(r#""id":"007","name":"42""#) && created.contains(r#""metadata":{"b": 1.50 }"#),
        "{created}"
    );
    let sent = r#"{"id": "anna", "name": "Anna", "metadata": {"b": 1.50, "a": [ ]}}"#;
    let created = server.post_json("/v1/speakers", sent).text().unwrap();
    assert!(created.contains(r#""metadata":{"b": 1.50, "a": [ ]}"#), "kept as it was sent: {created}");
    let patch = |body: &Value| {
        let request = server.request("PATCH", "/v1/speakers/anna").header("Content-Type", "application/json");
        request.body(body.to_string()).send().unwrap()
    };
    let before = get(&server, "/v1/speakers/anna");
    assert_eq!(answered(200, patch(&json!({}))), before, "nothing");
    assert_eq!(answered(200, patch(&json!({"name": null, "metadata": null}))), before, "null is absent");
    let after = answered(200, patch(&json!({"name": "Änna 𝄞"})));
    assert_eq!((&after["name"], &after["metadata"]), (&json!("Änna 𝄞"), &before["metadata"]));
    assert!(after["updated_at"].as_str() >= before["updated_at"].as_str());
    assert_eq!(answered(200, patch(&json!({"metadata": {}})))["metadata"], json!({}));
    for (body, place) in [
        (json!({"id": "other"}), "id"),
        (json!({"collection": "other"}), "collection"),
        (json!({"nmae": "x"}), "nmae"),
        (json!([null, null]), "a JSON object"),
        (json!({"name": 5}), "name"),
        (json!({"metadata": [1]}), "metadata"),
    ] {
        assert_error(place, patch(&body), 422, "validation_error", place);
    }
    create(&server, "beth", &[components(1)]);
    let request = server.request("PATCH", "/v1/speakers/beth").header("Content-Type", "application/json");
    answered(200, request.body(r#"{"name": "Renamed"}"#).send().unwrap());
    assert_eq!(identify(&server, &components(1), &[])["candidates"][0]["name"], "Renamed");
}

#[test]
fn bad_input_is_told_and_changes_nothing() {
    let Some(server) = start(&[]) else { return };
    create(&server, "anna", &[components(1)]);
    let long_id = "a".repeat(65);
    let sql = "'; DROP TABLE speakers; --";
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    let cases = [
        (json!({"id": "."}), "id"),
        (json!({"id": ".."}), "id"),
        (json!({"id": "a/b"}), "id"),
        (json!({"id": long_id}), "id"),
        (json!({"id": "änna"}), "id"),
        (json!({"id": ""}), "id"),
        (json!({"id": 5}), "id"),
        (json!({"id": sql}), "id"),
        (json!({"collection": sql}), "collection"),
        (json!({"collection": "a b"}), "collection"),
        (json!({"name": "x".repeat(10_000)}), "name"),
        (json!({"name": "a\0b"}), "name"),
        (json!({"metadata": {"a": "x".repeat(5 << 10)}}), "metadata"),
        (json!({"metadata": {"a\0": 1}}), "metadata"),
        (json!({"metadata": "text"}), "metadata"),
        (json!({"speaker": "anna"}), "speaker"),
        (json!({"voices": [{"speaker": "anna"}]}), "voices"),
        (json!({"voices": [{"embedding": [1.0]}]}), "model"),
        (json!({"voices": {}}), "voices"),
        (
            json!({"voices": [{"embedding": [1.0], "model": "resemblyzer", "speech_seconds": 1e200}]}),
            "speech_seconds",
        ),
        (json!({"metadata": "{\"a\": 1}"}), "metadata"),
    ];
    for (body, place) in &cases {
        let answer = post(&server, "/v1/speakers", body);
        assert_error(
            body.to_string().chars().take(60).collect::<String>(),
            answer,
            422,
            "validation_error",
            place,
        );
    }
    let answer = server.post_json("/v1/speakers", format!("{{\"metadata\": {deep}}}"));
    assert_error("deep", answer, 422, "validation_error", "metadata");
    let nested = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    let kept = server.post_json("/v1/speakers", format!("{{\"id\": \"deep\", \"metadata\": {nested}}}"));
    assert_eq!(kept.status(), 201);

    for id in ["%2e%2e", "a%2Fb", &long_id, "%C3%A4", "%FF", "'%3B%20DROP", "a%00"] {
        for method in ["GET", "DELETE"] {
            let answer = server.request(method, &format!("/v1/speakers/{id}")).send().unwrap();
            assert_eq!(answer.status(), 404, "{method} {id}");
        }
    }
    let voice = embedding(&components(1), None);
    for (body, place) in [
        (json!({}), "voice"),
        (json!({"voice": {}}), "voice"),
        (json!({"voice": voice, "top": 0}), "top"),
        (json!({"voice": voice, "top": 101}), "top"),
        (json!({"voice": voice, "margin": -0.1}), "margin"),
        (json!({"voice": voice, "threshold": 1.1}), "threshold"),
        (json!({"voice": voice, "threshold": "high"}), "threshold"),
        (json!({"voice": {"speaker": "a/b"}}), "speaker"),
        (json!({"voice": {"speaker": "anna", "collection": ".."}}), "collection"),
        (json!({"voice": voice, "limit": 5}), "limit"),
    ] {
        let answer = post(&server, "/v1/identify", &body);
        assert_error(body.to_string(), answer, 422, "validation_error", place);
    }
    let unknown = post(&server, "/v1/identify", &json!({"voice": {"speaker": "nobody"}}));
    assert_error("nobody", unknown, 404, "speaker_not_found", "nobody");
    let not_base64 = json!({"voices": [voice, {"audio_base64": "?"}]});
    let refused = answered(400, post(&server, "/v1/speakers", &not_base64));
    assert_eq!(
        (&refused["code"], &refused["error"]["param"]),
        (&json!("invalid_base64"), &json!("voices[1]"))
    );
    let two = file("alan-1").part("voice", Part::bytes(recorded("alan-2")).file_name("b.wav"));
    assert_error("two parts", form(&server, "/v1/identify", two), 422, "validation_error", "one part");
    let speakers = get(&server, "/v1/speakers");
    let ids: Vec<&Value> = speakers["speakers"].as_array().unwrap().iter().map(|s| &s["id"]).collect();
    assert_eq!(ids, ["anna", "deep"]);
}

#[test]
fn there_is_a_limit_of_speakers() {
    let Some(server) = start(&[("MAX_SPEAKERS", "2")]) else { return };
    create(&server, "anna", &[components(1)]);
    create(&server, "beth", &[]);
    let answer = post(&server, "/v1/speakers", &json!({"id": "cole"}));
    assert_error("third", answer, 413, "too_many_speakers", "2 speakers");
    answered(200, post(&server, "/v1/speakers", &json!({"id": "beth"})));
    assert_eq!(delete(&server, "/v1/speakers/beth").status(), 204);
    create(&server, "cole", &[]);
}

/// The keys of two customers give no access to the other's collection through any route.
#[test]
fn collections_keep_customers_apart() {
    let keys = key_lines("one", "of-one", "[\"embed\", \"verify\", \"identify\", \"enrol\", \"read\"]")
        + "collections = [\"one-*\"]\n"
        + &key_lines("two", "of-two", "[\"admin\"]")
        + "collections = [\"two\"]\n";
    let Some(server) = start(&[("KEYS", &keys)]) else { return };
    let ask = |secret: &str, method: &str, path: &str, body: &Value| {
        let request =
            server.request_without_key(method, path).header("Authorization", format!("Bearer {secret}"));
        let request = match body {
            Value::Null => request,
            body => request.header("Content-Type", "application/json").body(body.to_string()),
        };
        request.send().unwrap()
    };
    let voice = embedding(&components(1), None);
    let new = |collection: &str| json!({"id": "anna", "collection": collection, "voices": [voice]});
    answered(201, ask("of-one", "POST", "/v1/speakers", &new("one-a")));
    answered(201, ask("of-two", "POST", "/v1/speakers", &new("two")));
    let theirs =
        answered(200, ask("of-one", "GET", "/v1/speakers/anna/enrolments?collection=one-a", &Value::Null));
    let enrolment = theirs["enrolments"][0]["id"].as_str().unwrap().to_owned();
    let moved = format!("/v1/speakers/anna/enrolments/{enrolment}");
    let speaker = json!({"speaker": "anna", "collection": "one-a"});
    let routes = [
        ("POST", "/v1/speakers".to_owned(), new("one-a")),
        ("GET", "/v1/speakers?collection=one-a".into(), Value::Null),
        ("GET", "/v1/speakers/anna?collection=one-a".into(), Value::Null),
        ("PATCH", "/v1/speakers/anna?collection=one-a".into(), json!({"name": "x"})),
        ("DELETE", "/v1/speakers/anna?collection=one-a".into(), Value::Null),
        ("POST", "/v1/speakers/anna/enrolments".into(), json!({"voice": voice, "collection": "one-a"})),
        ("GET", "/v1/speakers/anna/enrolments?collection=one-a".into(), Value::Null),
        ("DELETE", "/v1/speakers/anna/enrolments?collection=one-a".into(), Value::Null),
        ("GET", format!("{moved}?collection=one-a"), Value::Null),
        ("DELETE", format!("{moved}?collection=one-a"), Value::Null),
        ("POST", format!("{moved}/move?collection=one-a"), json!({"to": "anna"})),
        ("POST", "/v1/speakers/anna/merge?collection=one-a".into(), json!({"from": "anna"})),
        ("POST", "/v1/identify".into(), json!({"voice": voice, "collection": "one-a"})),
        ("POST", "/v1/identify".into(), json!({"voice": speaker, "collection": "two"})),
        ("POST", "/v1/verify".into(), json!({"a": voice, "b": speaker})),
        ("POST", "/v1/similarities".into(), json!({"voices": [voice, speaker]})),
        ("DELETE", "/v1/collections/one-a".into(), Value::Null),
    ];
    for (method, path, body) in &routes {
        let name = format!("{method} {path}");
        assert_error(name, ask("of-two", method, path, body), 403, "forbidden", "may not use the collection");
    }
    // A key's own collection with another customer's enrolment, and a speaker in the default collection.
    let other = ask("of-two", "GET", &format!("{moved}?collection=two"), &Value::Null);
    assert_error("another's enrolment", other, 404, "enrolment_not_found", &enrolment);
    let default = ask("of-two", "GET", "/v1/speakers/anna", &Value::Null);
    assert_error("the default collection", default, 403, "forbidden", "default");
    let visible = answered(200, ask("of-two", "GET", "/v1/collections", &Value::Null));
    assert_eq!(visible, json!({"collections": [{"collection": "two", "speakers": 1, "enrolments": 1}]}));
    let visible = answered(200, ask("of-one", "GET", "/v1/collections", &Value::Null));
    assert_eq!(visible["collections"][0]["collection"], "one-a");
    let found =
        answered(200, ask("of-two", "POST", "/v1/identify", &json!({"voice": voice, "collection": "two"})));
    assert_eq!(found["searched"], 1);
    // The other customer's speaker is unchanged.
    let theirs = answered(200, ask("of-one", "GET", "/v1/speakers/anna?collection=one-a", &Value::Null));
    assert_eq!((&theirs["name"], &theirs["enrolments"]), (&json!(""), &json!(1)));
}

#[test]
fn some_requests_need_more_than_the_routes_right() {
    let keys = key_lines("v", "verify", "[\"verify\"]")
        + &key_lines("vi", "verify-identify", "[\"verify\", \"identify\"]")
        + &key_lines("vir", "verify-identify-read", "[\"verify\", \"identify\", \"read\"]")
        + &key_lines("e", "enrol", "[\"enrol\"]")
        + &key_lines("ei", "enrol-identify", "[\"enrol\", \"identify\"]");
    let Some(server) = start(&[("KEYS", &keys)]) else { return };
    create(&server, "anna", &[components(1)]);
    create(&server, "anne", &[mixed(1, 2, 0.1)]);
    let ask = |secret: &str, path: &str, body: &Value| {
        let request =
            server.request_without_key("POST", path).header("Authorization", format!("Bearer {secret}"));
        request.header("Content-Type", "application/json").body(body.to_string()).send().unwrap()
    };
    let (speaker, voice) = (json!({"speaker": "anna"}), embedding(&components(1), None));
    for (path, two, mixed) in [
        ("/v1/verify", json!({"a": speaker, "b": {"speaker": "anne"}}), json!({"a": speaker, "b": voice})),
        ("/v1/similarities", json!({"voices": [speaker]}), json!({"voices": [voice, speaker]})),
    ] {
        assert_error(path, ask("verify", path, &two), 403, "forbidden", "the right identify");
        answered(200, ask("verify-identify", path, &two));
        assert_error(path, ask("verify-identify", path, &mixed), 403, "forbidden", "the right read");
        answered(200, ask("verify-identify-read", path, &mixed));
    }
    let patched =
        server.request_without_key("PATCH", "/v1/speakers/anna").header("Authorization", "Bearer enrol");
    let patched =
        answered(200, patched.header("Content-Type", "application/json").body("{}").send().unwrap());
    let merged = answered(200, ask("enrol", "/v1/speakers/anna/merge", &json!({"from": "anna"})));
    for answer in [patched, merged] {
        let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
        let expected = ["collection", "created_at", "enrolments", "id", "profiles", "updated_at"];
        assert_eq!(fields, expected, "no name, no metadata");
    }
    // A key that may only enrol reveals neither other speakers nor the similarity of a chosen embedding.
    let path = "/v1/speakers/anna/enrolments";
    let enrolled = answered(201, ask("enrol", path, &json!({"voice": embedding(&mixed(1, 3, 0.1), None)})));
    assert_eq!((enrolled.get("similar_speakers"), &enrolled["similarity_to_profile"]), (None, &Value::Null));
    let similar =
        answered(201, ask("enrol-identify", path, &json!({"voice": embedding(&mixed(1, 4, 0.1), None)})));
    assert_eq!(similar["similar_speakers"][0]["speaker"], "anne");
    let unlike: Value =
        ask("enrol", path, &json!({"voice": embedding(&components(9), None)})).json().unwrap();
    assert!(!unlike["detail"].as_str().unwrap().contains("similarity"), "{unlike}");
    let taken = json!({"voice": embedding(&mixed(1, 2, 0.1), None)});
    let refused: Value = ask("enrol", path, &taken).json().unwrap();
    assert_eq!(refused["code"], "duplicate_enrolment");
    assert!(!refused.to_string().contains("anne"), "{refused}");
    let refused: Value = ask("enrol-identify", path, &taken).json().unwrap();
    assert!(refused.to_string().contains("anne"), "{refused}");
}

#[test]
fn without_a_store_all_else_works() {
    let server = Server::start_with(&[("DATABASE_URL", "none")]);
    assert_eq!(get(&server, "/ready"), json!({"status": "ready", "store": "none"}));
    let voice = embedding(&components(1), None);
    for (method, path, body) in [
        ("GET", "/v1/speakers", Value::Null),
        ("POST", "/v1/speakers", json!({"id": "anna"})),
        ("DELETE", "/v1/speakers/anna", Value::Null),
        ("POST", "/v1/identify", json!({"voice": voice})),
        ("POST", "/v1/verify", json!({"a": voice, "b": {"speaker": "anna"}})),
        ("GET", "/v1/collections", Value::Null),
    ] {
        let request = server.request(method, path).header("Content-Type", "application/json");
        assert_error(path, request.body(body.to_string()).send().unwrap(), 501, "no_store", "DATABASE_URL");
    }
    assert_eq!(server.upload(recorded("alan-1")).status(), 200);
    assert_eq!(server.logged("speakers are not kept").len(), 1);
}

#[test]
fn changes_are_counted_and_logged_by_ids_alone() {
    let Some(server) = start(&[]) else { return };
    let secret_name = "Anna Secret";
    answered(201, form(&server, "/v1/speakers", file("alan-1").text("id", "alan").text("name", secret_name)));
    answered(200, form(&server, "/v1/speakers", file("alan-1").text("id", "alan").text("name", secret_name)));
    create(&server, "beth", &[components(1)]);
    answered(201, enrol(&server, "beth", &mixed(1, 2, 0.1)));
    identify(&server, &components(1), &[]);
    identify(&server, &components(7), &[]);
    answered(200, post(&server, "/v1/speakers/beth/merge", &json!({"from": "alan"})));
    assert_eq!(delete(&server, "/v1/speakers/beth").status(), 204);
    server.logged("\"action\":\"remove\"");
    let lines: Vec<Value> =
        server.logged("\"audit\"").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["speaker"].as_str().unwrap()))
        .collect();
    let expected =
        [("create", "alan"), ("create", "beth"), ("enrol", "beth"), ("merge", "beth"), ("remove", "beth")];
    assert_eq!(actions, expected, "the same again is no change");
    for line in &lines {
        assert_eq!((&line["key"], &line["collection"]), (&json!("default"), &json!("default")));
        assert!(line["span"]["request_id"].is_string() && !line.to_string().contains("Secret"), "{line}");
    }
    assert_eq!(lines[3]["other"], "alan");
    let metrics = server.metrics();
    for line in [
        "voice_embedding_speakers 0",
        "voice_embedding_enrolments_total 3",
        "voice_embedding_identifications_total{result=\"match\"} 1",
        "voice_embedding_identifications_total{result=\"below_threshold\"} 1",
        "voice_embedding_identify_search_duration_seconds_count 2",
        "voice_embedding_store_available 1",
        "voice_embedding_store_write_duration_seconds_count 6",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} is missing: {metrics}");
    }
}

#[test]
fn speakers_vanish_while_others_are_identified() {
    let Some(server) = start(&[]) else { return };
    for seed in 0..40 {
        create(&server, &format!("s{seed}"), &[components(seed)]);
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let answer = identify(&server, &components(39), &[]);
                    assert_eq!(answer["speaker"], "s39", "{answer}");
                }
            });
        }
        for seed in 0..39 {
            assert_eq!(delete(&server, &format!("/v1/speakers/s{seed}")).status(), 204);
            let answer = identify(&server, &components(seed), &[("top", json!(100))]);
            assert_eq!(answer["searched"].as_u64(), Some(39 - seed), "gone from the next request on");
        }
        is_done.store(true, Ordering::Relaxed);
    });
}
