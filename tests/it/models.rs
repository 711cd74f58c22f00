//! Two models side by side: the choice between them, and that their embeddings are never mixed.

use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};
use voice_embedding_service::encoder::embed_units;
use voice_embedding_service::front_end::{Features, FrontEnd, Unit};
use voice_embedding_service::pace::Pace;
use voice_embedding_service::speech::{Pauses, Utterance};
use voice_embedding_service::{audio::Waveform, pipeline::PipelineError};

use super::support::{
    KEY, Server, answered, assert_close, assert_error, campplus, campplus_pipeline, campplus_session, cosine,
    fixture, long_voice, program_outside, repository, voice, voice_samples, wav,
};

const CAMPPLUS: &str = "campplus-zh-en-common/92f29b94";
const RESEMBLYZER: &str = "resemblyzer-0.1.4/39373b86";

fn both() -> Server {
    Server::start_with(&[("MODELS", "resemblyzer,campplus"), ("WORKERS", "2")])
}

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("audio/{name}.wav"))).unwrap()
}

fn sent(recording: &[u8]) -> Value {
    json!({"audio_base64": BASE64_STANDARD.encode(recording)})
}

fn embedded(server: &Server, model: &str, options: &[(&'static str, &'static str)]) -> Value {
    let mut form = Form::new().part("file", Part::bytes(voice()).file_name("voice.wav"));
    form = form.text("model", model.to_owned());
    for (name, value) in options {
        form = form.text(*name, *value);
    }
    let response = server.request("POST", "/v1/embeddings").multipart(form).send().unwrap();
    answered(200, response)["data"][0].clone()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|c| c.as_f64().unwrap() as f32).collect()
}

#[test]
fn both_models_answer_and_the_first_is_the_default() {
    let variables = [("MODELS", "resemblyzer,campplus"), ("WORKERS", "2"), ("ENCODER", "ort")];
    let server = Server::start_with(&variables);
    let listed = answered(200, server.request("GET", "/v1/models").send().unwrap());
    let models: Vec<_> = listed["data"].as_array().unwrap().iter().collect();
    let of = |field: &str| models.iter().map(|model| model[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("id"), ["resemblyzer", "campplus"]);
    assert_eq!(of("fingerprint"), [RESEMBLYZER, CAMPPLUS]);
    assert_eq!(of("dimension"), [256, 192]);
    assert_eq!(of("threshold"), [0.75, 0.4]);

    let one = embedded(&server, "campplus", &[]);
    let (expected, _) = campplus_pipeline().embed(&mut campplus_session(), &voice()).unwrap();
    let expected: Vec<f32> = expected.components().iter().map(|c| *c as f32).collect();
    assert_close("campplus", &numbers(&one["embedding"]), &expected, |_| 1e-5);
    assert_eq!((&one["model"], &one["audio"]["windows"]), (&json!(CAMPPLUS), &json!(1)));
    let root = answered(200, server.upload(voice()));
    assert_eq!((&root["model"], &root["dimension"]), (&json!(RESEMBLYZER), &json!(256)));
    // The report on the recording does not depend on the model.
    for field in ["duration_seconds", "speech_seconds", "level_dbfs", "warnings"] {
        assert_eq!(root["audio"][field], one["audio"][field], "{field}");
    }
}

#[test]
fn voices_are_compared_by_one_model_with_its_threshold() {
    let server = both();
    let verify = |body: Value| server.post_json("/v1/verify", body.to_string());
    let (alan, beth) = (sent(&recorded("alan-2")), sent(&recorded("beth-1")));
    let same = answered(200, verify(json!({"a": sent(&voice()), "b": alan, "model": "campplus"})));
    assert_eq!(same["model"], CAMPPLUS);
    assert_eq!(same["is_same_speaker"], true, "{same}");
    let other = answered(200, verify(json!({"a": sent(&voice()), "b": beth, "model": CAMPPLUS})));
    assert_eq!(other["is_same_speaker"], false, "{other}");

    // An embedding names its model, which then also applies to the other side.
    let known = embedded(&server, "campplus", &[]);
    let by_embedding = answered(200, verify(json!({"a": known, "b": sent(&voice())})));
    assert_eq!(by_embedding["model"], CAMPPLUS);
    assert!(by_embedding["similarity"].as_f64().unwrap() > 0.999_99, "{by_embedding}");

    let unlike = embedded(&server, "resemblyzer", &[]);
    assert_error("unlike", verify(json!({"a": known, "b": unlike})), 409, "model_mismatch", "campplus");
    assert_error(
        "another model",
        verify(json!({"a": known, "b": sent(&voice()), "model": "resemblyzer"})),
        409,
        "model_mismatch",
        "resemblyzer",
    );
    let mistaken = json!({"embedding": known["embedding"], "model": "resemblyzer"});
    let response = verify(json!({"a": mistaken, "b": sent(&voice())}));
    assert_error("192 for 256", response, 400, "wrong_dimension", "256-dimensional, got 192");
    let compared = json!({"embedding1": known["embedding"], "embedding2": known["embedding"]});
    let response = server.post_json("/compare-embeddings", compared.to_string());
    assert_error("192 at the root", response, 400, "wrong_dimension", "256-dimensional, got 192");
}

#[test]
fn the_first_model_answers_at_the_root() {
    let server =
        Server::start_with(&[("MODELS", "campplus"), ("SAME_SPEAKER_THRESHOLD", "0.8,campplus=0.5")]);
    let root = answered(200, server.upload(voice()));
    assert_eq!((&root["model"], &root["dimension"]), (&json!(CAMPPLUS), &json!(192)));
    let pair = json!({"embedding1": root["embedding"], "embedding2": root["embedding"]});
    let compared = answered(200, server.post_json("/compare-embeddings", pair.to_string()));
    assert_eq!((&compared["threshold"], &compared["is_same_speaker"]), (&json!(0.5), &json!(true)));
    let missing =
        server.post_json("/v1/embeddings", json!({"input": "UklGRg==", "model": "resemblyzer"}).to_string());
    assert_error("not loaded", missing, 404, "model_not_found", "campplus");
    let click = server.upload(wav(voice_samples()[..320].to_vec()));
    assert_error("20 ms", click, 422, "no_speech", "No speech");
}

#[test]
fn partials_of_campplus_are_windows_of_a_second_and_a_half() {
    let server = both();
    let one = embedded(&server, "campplus", &[("partials", "true")]);
    let partials = one["partials"].as_array().unwrap();
    // 618 frames: a window every 75 frames, and one that ends with the recording.
    assert_eq!(partials.len(), 8);
    for (i, partial) in partials.iter().enumerate() {
        let (start, end) = (partial["start"].as_f64().unwrap(), partial["end"].as_f64().unwrap());
        assert!((end - start - 1.495).abs() < 2e-3, "{start} {end}");
        assert!(i == 7 || (start - 0.75 * i as f64).abs() < 1e-3, "{i}: {start}");
        let norm: f32 = numbers(&partial["embedding"]).iter().map(|c| c * c).sum();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
    let fewer = embedded(&server, "campplus", &[("partials", "true"), ("rate", "0.7")]);
    assert_eq!(fewer["partials"].as_array().unwrap().len(), 5);
    assert_close("the whole", &numbers(&one["embedding"]), &numbers(&fewer["embedding"]), |_| 1e-6);
}

/// Without `MODELS`, the routes at the root use Resemblyzer and `/v1` uses CAM++. A collection keeps the model of its profiles.
#[test]
fn the_better_model_is_the_default_but_for_what_resemblyzer_has_begun() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    program
        .current_dir(repository())
        .envs([("API_KEY", KEY), ("DATABASE_URL", "memory:")])
        .env_remove("MODELS");
    let server = Server::spawn(&mut program);
    server.wait_until_ready();
    let models = answered(200, server.request("GET", "/v1/models").send().unwrap());
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["resemblyzer", "campplus"]);
    let root = answered(200, server.upload(voice()));
    assert_eq!(numbers(&root["embedding"]).len(), 256);
    let compared = json!({"embedding1": root["embedding"], "embedding2": root["embedding"]});
    assert_eq!(
        answered(200, server.post_json("/compare-embeddings", compared.to_string()))["threshold"],
        0.75
    );
    let voices = json!({"a": sent(&voice()), "b": sent(&recorded("alan-2"))}).to_string();
    assert_eq!(answered(200, server.post_json("/v1/verify", voices))["model"], CAMPPLUS);

    let enrol = |collection: &str, model: Option<&str>| {
        let mut speaker = json!({"id": "alan", "collection": collection, "voices": [sent(&voice())]});
        if let Some(model) = model {
            speaker["model"] = json!(model);
        }
        let speaker = answered(201, server.post_json("/v1/speakers", speaker.to_string()));
        speaker["profiles"][0]["model"].as_str().unwrap().to_owned()
    };
    let identified = |collection: &str| {
        let probe = json!({"voice": sent(&recorded("alan-2")), "collection": collection}).to_string();
        let found = answered(200, server.post_json("/v1/identify", probe));
        (found["speaker"].clone(), found["model"].as_str().unwrap().to_owned())
    };
    assert_eq!(enrol("new", None), CAMPPLUS);
    assert_eq!(identified("new"), (json!("alan"), CAMPPLUS.to_owned()));
    assert_eq!(enrol("old", Some("resemblyzer")), RESEMBLYZER);
    assert_eq!(identified("old"), (json!("alan"), RESEMBLYZER.to_owned()));
    let more = json!({"id": "beth", "collection": "old", "voices": [sent(&recorded("beth-1"))]}).to_string();
    let more = answered(201, server.post_json("/v1/speakers", more));
    assert_eq!(more["profiles"][0]["model"], RESEMBLYZER);
    let enrolled =
        json!({"a": {"speaker": "alan", "collection": "old"}, "b": sent(&recorded("alan-2"))}).to_string();
    assert_eq!(answered(200, server.post_json("/v1/verify", enrolled))["model"], RESEMBLYZER);
    // If a collection has profiles of both models, the default applies again.
    let both = json!({"voice": sent(&voice()), "model": "campplus", "collection": "old"}).to_string();
    answered(201, server.post_json("/v1/speakers/alan/enrolments", both));
    assert_eq!(identified("old").1, CAMPPLUS);
}

/// A machine without CAM++ and without a network still serves Resemblyzer. A request that names CAM++ is rejected.
#[test]
fn what_cannot_be_had_is_left_out_unless_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(repository().join("models/resemblyzer.onnx"), folder.path().join("resemblyzer.onnx"))
        .unwrap();
    let mut program = Command::new(program_outside());
    program
        .current_dir(folder.path())
        .envs([("API_KEY", KEY), ("DATABASE_URL", "none"), ("HTTPS_PROXY", "http://127.0.0.1:1")])
        .env("MODELS_DIR", folder.path())
        .env("MODEL_CACHE_DIR", folder.path().join("cache"))
        .env_remove("MODELS");
    let server = Server::spawn(&mut program);
    server.wait_until_ready();
    let voices = json!({"a": sent(&voice()), "b": sent(&recorded("alan-2"))}).to_string();
    assert_eq!(answered(200, server.post_json("/v1/verify", voices.clone()))["model"], RESEMBLYZER);
    let asked = voices.replacen('{', "{\"model\": \"campplus\", ", 1);
    assert_error("CAM++", server.post_json("/v1/verify", asked), 404, "model_not_found", "resemblyzer");
    let turns = json!({"voice": sent(&voice())}).to_string();
    assert_error("turns", server.post_json("/v1/diarize", turns), 404, "model_not_found", "segmentation");
}

#[test]
fn speakers_have_a_profile_of_each_model() {
    let server = both();
    for model in ["campplus", "resemblyzer"] {
        let voices = json!({"voice": sent(&voice()), "model": model});
        if model == "campplus" {
            let speaker = json!({"id": "alan", "model": model, "voices": [sent(&voice())]});
            answered(201, server.post_json("/v1/speakers", speaker.to_string()));
            let probe = json!({"voice": sent(&recorded("alan-2")), "model": "resemblyzer"}).to_string();
            let found = answered(200, server.post_json("/v1/identify", probe));
            assert_eq!(
                (&found["reason"], &found["model"]),
                (&json!("no_profile_of_model"), &json!(RESEMBLYZER))
            );
        } else {
            answered(201, server.post_json("/v1/speakers/alan/enrolments", voices.to_string()));
        }
        let probe = json!({"voice": sent(&recorded("alan-2")), "model": model}).to_string();
        let found = answered(200, server.post_json("/v1/identify", probe));
        assert_eq!(found["speaker"], "alan", "{found}");
    }
    let speaker = answered(200, server.request("GET", "/v1/speakers/alan").send().unwrap());
    assert_eq!(speaker["profiles"].as_array().unwrap().len(), 2, "{speaker}");
}

/// Long recordings are cut into equal pieces. The mean of their embeddings is close to the embedding of the whole.
#[test]
fn a_long_recording_is_cut_into_pieces() {
    let recording = long_voice(60);
    let (pieces, report) = campplus_pipeline().embed(&mut campplus_session(), &recording).unwrap();
    assert_eq!(report.windows, 5);
    let samples: Vec<f32> = voice_samples().into_iter().cycle().take(60 * 16_000).collect();
    let utterance = Utterance::detect(Waveform::new(samples).unwrap(), Pauses::Kept, Pace::UNBROKEN);
    let utterance = utterance.unwrap().unwrap();
    let features = FrontEnd::new(campplus().spec.front_end).features(&utterance, Pace::UNBROKEN).unwrap();
    let n_frames = features.n_frames();
    let whole = Unit { frames: 0..n_frames, samples: 0..utterance.samples().len(), is_centred: false };
    let whole = Features::new(features.frames().into_owned(), vec![whole]);
    let whole = embed_units(&mut campplus_session(), &whole).unwrap().swap_remove(0);
    let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
    let cosine = cosine(pieces.components(), &whole);
    assert!(cosine >= 0.998_6, "{cosine}");
}

#[test]
fn almost_nothing_has_no_speech() {
    for n_samples in [1, 320, 2_000] {
        let recording = wav(voice_samples()[20_000..20_000 + n_samples].to_vec());
        let error = campplus_pipeline().embed(&mut campplus_session(), &recording).unwrap_err();
        assert!(matches!(error, PipelineError::NoSpeech { .. }), "{n_samples}: {error}");
    }
}
