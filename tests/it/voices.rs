//! Voices under `/v1`: many recordings in one request, and pairs and matrices of recordings and embeddings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::Response;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};
use voice_embedding_service::pace::Pace;
use voice_embedding_service::pipeline::{PipelineError, RecordingOptions, Wanted, WantedPartials};

use super::support::{
    FINGERPRINT, KEY, Server, assert_close, assert_error, cosine, fixture, long_voice, pipeline, voice,
    voice_samples, wav,
};

/// Part of the error for clients that send text.
const NOT_TEXT: &str = "embeds recordings, not text";

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("audio/{name}.wav"))).unwrap()
}

/// Returns two sentences with a pause of a second before, between and after them.
fn with_pauses() -> Vec<f32> {
    let pause = vec![0.0; 16_000];
    let voice = voice_samples();
    [&pause[..], &voice[..48_000], &pause, &voice[48_000..], &pause].concat()
}

fn silence() -> Vec<u8> {
    wav(vec![0.0; 32_000])
}

fn post(server: &Server, route: &str, body: &Value) -> Response {
    server.post_json(&format!("/v1/{route}"), body.to_string())
}

fn ok(response: Response) -> Value {
    let status = response.status();
    let answer: Value = response.json().unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

fn numbers(value: &Value) -> Vec<f32> {
    let list = value.as_array().unwrap_or_else(|| panic!("no list: {value}"));
    list.iter().map(|c| c.as_f64().unwrap() as f32).collect()
}

fn floats(base64: &Value) -> Vec<f32> {
    let bytes = BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap();
    bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

fn widened(embedding: &[f32]) -> Vec<f64> {
    embedding.iter().map(|c| f64::from(*c)).collect()
}

fn file(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("voice.wav")
}

fn embedding_of(server: &Server, bytes: Vec<u8>) -> Vec<f32> {
    numbers(&server.upload(bytes).json::<Value>().unwrap()["embedding"])
}

/// Checks an error in both shapes that the routes under `/v1` return.
fn assert_v1_error(
    name: &str,
    response: Response,
    status: u16,
    code: &str,
    param: Option<&str>,
    detail: &str,
) {
    assert_eq!(response.headers()["cache-control"], "no-store", "{name}");
    let sent_status = response.status().as_u16();
    let body: Value = response.json().unwrap();
    assert_eq!((sent_status, body["code"].as_str()), (status, Some(code)), "{name}: {body}");
    let error = &body["error"];
    assert_eq!(error["code"], code, "{name}: {body}");
    assert_eq!(error["param"].as_str(), param, "{name}: {body}");
    let kind = match status {
        401 => "authentication_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    assert_eq!(error["type"], kind, "{name}: {body}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(detail), "{name}: {message:?} does not contain {detail:?}");
    assert!(body["detail"].to_string().contains(&detail.replace('"', "\\\"")), "{name}: {body}");
}

#[test]
fn recordings_are_embedded_in_every_way_to_send_them() {
    let server = Server::start();
    let other = recorded("beth-1");
    let expected = [embedding_of(&server, voice()), embedding_of(&server, other.clone())];
    let uri = format!("data:audio/wav;base64,{}", base64(&other));

    let answer = ok(post(&server, "embeddings", &json!({"input": [base64(&voice()), uri]})));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(FINGERPRINT)));
    assert_eq!(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);
    let mut seconds = 0.0;
    for (i, expected) in expected.iter().enumerate() {
        let one = &answer["data"][i];
        assert_close("JSON", &numbers(&one["embedding"]), expected, |_| 1e-6);
        assert_eq!((&one["object"], &one["index"]), (&json!("embedding"), &json!(i)));
        assert_eq!(one["speech_seconds"], one["audio"]["speech_seconds"]);
        seconds += one["audio"]["duration_seconds"].as_f64().unwrap();
    }
    assert!((answer["usage"]["audio_seconds"].as_f64().unwrap() - seconds).abs() < 1e-9);

    let form = Form::new().part("file", file(voice())).part("file", file(other.clone()));
    let form = form.text("encoding_format", "base64");
    let response = server.request("POST", "/v1/embeddings").multipart(form).send().unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers()["server-timing"].to_str().unwrap().contains("encode;dur="));
    let answer = ok(response);
    for (i, expected) in expected.iter().enumerate() {
        assert_close("a form, base64", &floats(&answer["data"][i]["embedding"]), expected, |_| 1e-6);
    }

    let raw = server.request("POST", "/v1/embeddings?encoding_format=base64&model=resemblyzer");
    let answer = ok(raw.header("Content-Type", "audio/wav").body(voice()).send().unwrap());
    // `"$(base64 FILE)"` produces such lines.
    let lines = base64(&voice()).as_bytes().chunks(76).collect::<Vec<_>>().join(&b'\n');
    let body = format!("{{\"input\": \"{}\"}}", String::from_utf8(lines).unwrap());
    assert_close(
        "lines",
        &numbers(&ok(server.post_json("/v1/embeddings", body))["data"][0]["embedding"]),
        &expected[0],
        |_| 1e-6,
    );
    assert_close("the body itself", &floats(&answer["data"][0]["embedding"]), &expected[0], |_| 1e-6);

    let samples: Vec<u8> = voice_samples().iter().flat_map(|s| s.to_le_bytes()).collect();
    let body = json!({"input": base64(&samples), "format": "pcm_f32le", "sample_rate": 16_000,
        "encoding_format": null, "user": "someone", "dimensions": 256});
    let answer = ok(post(&server, "embeddings", &body));
    assert_close("samples", &numbers(&answer["data"][0]["embedding"]), &expected[0], |_| 1e-5);
    let raw = server
        .request("POST", "/v1/embeddings")
        .header("Content-Type", "audio/pcm;rate=16000;encoding=f32le");
    let answer = ok(raw.body(samples.clone()).send().unwrap());
    assert_close("samples", &numbers(&answer["data"][0]["embedding"]), &expected[0], |_| 1e-5);

    let form = Form::new().part("file", file(samples)).text("format", "pcm_f32le");
    let request = server.request("POST", "/v1/embeddings").multipart(form.text("sample_rate", "16000"));
    let answer = ok(request.send().unwrap());
    assert_close("samples in a form", &numbers(&answer["data"][0]["embedding"]), &expected[0], |_| 1e-5);

    let metrics = server.metrics();
    assert!(
        metrics
            .lines()
            .any(|line| { line.starts_with("voice_embedding_recordings_total") && line.ends_with(" 11") }),
        "{metrics}"
    );
}

#[test]
fn partials_have_times_in_the_recording() {
    let server = Server::start();
    let clip = base64(&wav(with_pauses()));
    let whole = ok(post(&server, "embeddings", &json!({"input": clip})));
    let mut counts = Vec::new();
    for rate in [None, Some(4.0), Some(16.0)] {
        let mut body = json!({"input": clip, "partials": true});
        if let Some(rate) = rate {
            body["rate"] = rate.into();
        }
        let answer = ok(post(&server, "embeddings", &body));
        let one = &answer["data"][0];
        assert_eq!(one["embedding"], whole["data"][0]["embedding"], "the rate changes partials alone");
        let partials = one["partials"].as_array().unwrap();
        let time = |i: usize, name: &str| partials[i][name].as_f64().unwrap();
        // The first pause lasts a second. A window of 1.6 s of speech that spans the second pause is longer than 1.6 s.
        assert!((0.7..1.1).contains(&time(0, "start")), "{}", time(0, "start"));
        let longest = (0..partials.len()).map(|i| time(i, "end") - time(i, "start")).fold(0.0, f64::max);
        assert!(longest > 2.0, "a window spans the pause: {longest}");
        let length = one["audio"]["duration_seconds"].as_f64().unwrap();
        assert!((0..partials.len()).all(|i| time(i, "end") <= length));
        assert!((1..partials.len()).all(|i| time(i, "start") > time(i - 1, "start")));
        counts.push(partials.len());
        if rate.is_none() {
            // The embedding is the mean of the partials, as with Resemblyzer's `return_partials`.
            let partials: Vec<Vec<f32>> = partials.iter().map(|p| numbers(&p["embedding"])).collect();
            let mean: Vec<f64> =
                (0..256).map(|i| partials.iter().map(|p| f64::from(p[i])).sum::<f64>()).collect();
            let similarity = cosine(&mean, &widened(&numbers(&one["embedding"])));
            assert!(similarity > 1.0 - 1e-6, "{similarity}");
        }
    }
    assert!(counts[0] * 2 < counts[1] && counts[1] * 3 < counts[2], "{counts:?}");

    let body = json!({"input": clip, "partials": true, "encoding_format": "base64"});
    let answer = ok(post(&server, "embeddings", &body));
    assert_eq!(floats(&answer["data"][0]["partials"][0]["embedding"]).len(), 256);
}

#[test]
fn speech_is_told_where_it_is() {
    let server = Server::start();
    let clip = base64(&wav(with_pauses()));
    let whole = ok(post(&server, "embeddings", &json!({"input": clip})));
    assert!(whole["data"][0]["audio"].get("speech_segments").is_none());
    let told = ok(post(&server, "embeddings", &json!({"input": clip, "speech": true})));
    let told = &told["data"][0];
    assert_eq!(told["embedding"], whole["data"][0]["embedding"]);
    let stretches: Vec<[f64; 2]> = serde_json::from_value(told["audio"]["speech_segments"].clone()).unwrap();
    let seconds: f64 = stretches.iter().map(|[start, end]| end - start).sum();
    assert!((seconds - told["audio"]["speech_seconds"].as_f64().unwrap()).abs() < 0.01, "{stretches:?}");
    // The first pause lasts a second.
    assert!((0.7..1.1).contains(&stretches[0][0]), "{stretches:?}");
    assert!(stretches.len() > 1 && stretches.windows(2).all(|pair| pair[0][1] < pair[1][0]), "{stretches:?}");
    // Times within a segment are also seconds of the recording.
    let body = json!({"input": clip, "speech": true, "segments": [[0.5, 4.2]]});
    let segment = ok(post(&server, "embeddings", &body));
    let first = segment["data"][0]["audio"]["speech_segments"][0][0].as_f64().unwrap();
    assert!((first - stretches[0][0]).abs() < 0.2, "{segment}");
}

#[test]
fn partials_of_a_request_are_counted_together() {
    let pipeline = pipeline();
    let left = Arc::new(AtomicUsize::new(12));
    let wanted = Wanted {
        partials: Some(WantedPartials { rate: Some(2.0), left: Arc::clone(&left) }),
        ..Wanted::default()
    };
    let analyse = || {
        pipeline.analyse_wanted(
            pipeline.decode(&voice(), RecordingOptions::default()).unwrap(),
            &wanted,
            Pace::UNBROKEN,
        )
    };
    assert!(analyse().is_ok());
    let rest = left.load(Ordering::Relaxed);
    assert!(rest < 12, "its windows are taken");
    assert!(matches!(analyse(), Err(PipelineError::TooManyPartials)), "{rest} are left");
}

#[test]
fn segments_are_cut_before_silence_is_trimmed() {
    let server = Server::start();
    let samples = with_pauses();
    let clip = wav(samples.clone());
    let cut = |start: f64, end: f64| {
        let place = |seconds: f64| (seconds * 16_000.0) as usize;
        embedding_of(&server, wav(samples[place(start)..place(end)].to_vec()))
    };
    let body =
        json!({"input": base64(&clip), "segments": [[0.5, 4.2], [4.1, 4.9], [4.0, 7.0]], "partials": true});
    let answer = ok(post(&server, "embeddings", &body));
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.iter().map(|one| one["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 2]);
    assert_close("first", &numbers(&data[0]["embedding"]), &cut(0.5, 4.2), |_| 1e-4);
    assert_close("third", &numbers(&data[1]["embedding"]), &cut(4.0, 7.0), |_| 1e-4);
    assert_eq!(data[1]["audio"]["duration_seconds"], 3.0);
    let start = data[1]["partials"][0]["start"].as_f64().unwrap();
    assert!((4.7..5.1).contains(&start), "in seconds of the recording: {start}");
    assert_eq!(answer["errors"][0]["index"], 1);
    assert_eq!(answer["errors"][0]["code"], "no_speech");

    let voice = json!({"audio_base64": base64(&clip), "segments": [[0.5, 4.2], [4.0, 7.0]]});
    let answer = ok(post(&server, "similarities", &json!({"voices": [voice]})));
    let expected = cosine(&widened(&cut(0.5, 4.2)), &widened(&cut(4.0, 7.0)));
    assert!((answer["matrix"][0][1].as_f64().unwrap() - expected).abs() < 1e-4);

    let seconds = samples.len() as f64 / 16_000.0;
    let cases = [
        ("backwards", json!([[0, 1], [2.0, 1.0]]), Some("segments[1]"), "0 <= start < end"),
        ("empty", json!([[1.0, 1.0]]), Some("segments[0]"), "0 <= start < end"),
        ("negative", json!([[-1.0, 1.0]]), Some("segments[0]"), "0 <= start < end"),
        ("past the end", json!([[0, 1], [1, seconds + 1.0]]), Some("input[0]"), "segments[1]"),
        ("none", json!([]), Some("segments"), "at least one"),
        ("too many", json!(vec![[0, 1]; 501]), Some("segments"), "longer than 500"),
        ("too long", json!(vec![[0, 7]; 100]), Some("input[0]"), "together are 700 s long; at most 600"),
        ("three numbers", json!([[0, 1, 2]]), Some("segments[0]"), ""),
        ("all silent", json!([[0.0, 0.9]]), Some("input"), "None of the 1"),
    ];
    for (name, segments, param, detail) in cases {
        let code = if name == "all silent" { "nothing_embedded" } else { "validation_error" };
        let body = json!({"input": base64(&clip), "segments": segments});
        assert_v1_error(name, post(&server, "embeddings", &body), 422, code, param, detail);
    }
    let body = json!({"input": [base64(&clip), base64(&clip)], "segments": [[0, 1]]});
    let response = post(&server, "embeddings", &body);
    assert_v1_error("of two", response, 422, "validation_error", Some("segments"), "Only one recording");
    let side = json!({"audio_base64": base64(&clip), "segments": [[0, 1]]});
    let response = post(&server, "verify", &json!({"a": side, "b": side}));
    assert_v1_error("of a side", response, 422, "validation_error", Some("a.segments"), "one voice");
}

#[test]
fn a_bad_recording_fails_the_request_or_is_reported() {
    let server = Server::start();
    let mut files = vec![voice(); 12];
    files[3] = silence();
    files[7] = b"some text".to_vec();
    let input: Vec<String> = files.iter().map(|bytes| base64(bytes)).collect();

    let response = post(&server, "embeddings", &json!({"input": input}));
    assert_v1_error("fail", response, 422, "no_speech", Some("input[3]"), "input[3]: No speech");
    let answer = ok(post(&server, "embeddings", &json!({"input": input, "on_error": "report"})));
    let indices = |list: &Value| -> Vec<u64> {
        list.as_array().unwrap().iter().map(|one| one["index"].as_u64().unwrap()).collect()
    };
    assert_eq!(indices(&answer["data"]), [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]);
    assert_eq!(indices(&answer["errors"]), [3, 7]);
    assert_eq!(answer["errors"][0]["code"], "no_speech");
    assert_eq!(answer["errors"][1]["code"], "unsupported_audio");

    let form = |on_error: &'static str| {
        let form = files.iter().fold(Form::new(), |form, bytes| form.part("file", file(bytes.clone())));
        let request = server.request("POST", "/v1/embeddings").multipart(form.text("on_error", on_error));
        request.send().unwrap()
    };
    assert_v1_error("a form", form("fail"), 422, "no_speech", Some("input[3]"), "No speech");
    assert_eq!(indices(&ok(form("report"))["errors"]), [3, 7]);

    let all_bad = json!({"input": [base64(&silence()), "not base64!"], "on_error": "report"});
    let response = post(&server, "embeddings", &all_bad);
    assert_v1_error("all bad", response, 422, "nothing_embedded", Some("input"), "None of the 2");
}

#[test]
fn bad_batches_get_clear_errors() {
    let server = Server::start();
    let clip = base64(&voice());
    let cases = [
        ("65 recordings", json!({"input": vec!["AAAA"; 65]}), 422, "too_many_recordings", None, "64"),
        ("none", json!({"input": []}), 422, "validation_error", Some("input"), "at least one"),
        ("no input", json!({}), 422, "validation_error", Some("input"), "Field required"),
        (
            "a URL",
            json!({"input": "https://example.org/a.wav"}),
            422,
            "validation_error",
            Some("input"),
            "not fetched",
        ),
        (
            "a URL in a list",
            json!({"input": [clip, "http://example.org/a.wav"]}),
            422,
            "validation_error",
            Some("input[1]"),
            "not fetched",
        ),
        (
            "tokens",
            json!({"input": [1, 2]}),
            422,
            "validation_error",
            Some("input[0]"),
            "check_embedding_ctx_length=False",
        ),
        (
            "lists of tokens",
            json!({"input": [[1, 2]]}),
            422,
            "validation_error",
            Some("input[0]"),
            "check_embedding_ctx_length=False",
        ),
        (
            "an unknown option",
            json!({"input": clip, "colour": 1}),
            422,
            "validation_error",
            Some("colour"),
            "unknown field",
        ),
        (
            "an unknown format",
            json!({"input": clip, "encoding_format": "hex"}),
            422,
            "validation_error",
            Some("encoding_format"),
            "base64",
        ),
        (
            "a rate alone",
            json!({"input": clip, "rate": 2}),
            422,
            "validation_error",
            Some("rate"),
            "Only partials",
        ),
        (
            "a rate of 17",
            json!({"input": clip, "partials": true, "rate": 17}),
            422,
            "validation_error",
            Some("rate"),
            "0.625 to 16",
        ),
        (
            "a rate of 0",
            json!({"input": clip, "partials": true, "rate": 0}),
            422,
            "validation_error",
            Some("rate"),
            "0.625 to 16",
        ),
        (
            "a channel beyond the last",
            json!({"input": clip, "channel": 3}),
            422,
            "validation_error",
            Some("input[0]"),
            "channel",
        ),
        (
            "a channel beyond all",
            json!({"input": clip, "channel": 8}),
            422,
            "validation_error",
            Some("channel"),
            "0 to 7",
        ),
        (
            "other dimensions",
            json!({"input": clip, "dimensions": 128}),
            400,
            "wrong_dimension",
            Some("dimensions"),
            "256",
        ),
        (
            "an unknown model",
            json!({"input": clip, "model": "whisper"}),
            404,
            "model_not_found",
            Some("model"),
            "resemblyzer",
        ),
        (
            "other weights",
            json!({"input": clip, "model": "resemblyzer-0.1.4/00000000"}),
            409,
            "model_mismatch",
            Some("model"),
            FINGERPRINT,
        ),
        (
            "no base64",
            json!({"input": format!("{}!", "A".repeat(99))}),
            400,
            "invalid_base64",
            Some("input[0]"),
            "is not valid base64",
        ),
        ("a word", json!({"input": "hello"}), 400, "invalid_base64", Some("input[0]"), NOT_TEXT),
        (
            "words",
            json!({"input": [clip, "The food was delicious"]}),
            400,
            "invalid_base64",
            Some("input[1]"),
            NOT_TEXT,
        ),
    ];
    for (name, body, status, code, param, detail) in cases {
        let response = post(&server, "embeddings", &body);
        let try_again =
            response.headers().get("x-should-retry").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(try_again.as_deref(), (status == 409).then_some("false"), "{name}");
        assert_v1_error(name, response, status, code, param, detail);
    }
    for (name, bytes) in [("a file of another name", voice()), ("a small one", wav(vec![0.0; 1_000]))] {
        let form = Form::new().part("audio", file(bytes));
        let response = server.request("POST", "/v1/identify").multipart(form).send().unwrap();
        let detail = "Files are in parts named file or voice";
        assert_v1_error(name, response, 422, "validation_error", Some("audio"), detail);
    }
    let form = Form::new().part("file", file(voice())).text("channel", "0");
    let request = server.request("POST", "/v1/embeddings?channel=0").multipart(form);
    assert_v1_error(
        "in query and form",
        request.send().unwrap(),
        422,
        "validation_error",
        Some("channel"),
        "twice",
    );
    let request =
        server.request("POST", "/v1/embeddings?model=resemblyzer").header("Content-Type", "application/json");
    let response = request.body(json!({"input": clip}).to_string()).send().unwrap();
    assert_v1_error(
        "in the query of JSON",
        response,
        422,
        "validation_error",
        Some("model"),
        "into the body",
    );
    let request =
        server.request("POST", "/v1/embeddings").header("Content-Type", "application/x-www-form-urlencoded");
    let response = request.body(voice()).send().unwrap();
    assert_v1_error("curl's default", response, 415, "unsupported_media_type", None, "multipart/form-data");
    let response = server.post_json("/v1/embeddings", format!(r#"{{"input": ["{}"#, &clip[..5_000]));
    assert_v1_error("cut JSON", response, 422, "validation_error", None, "JSON decode error");
    assert_v1_error(
        "no body",
        server.post_json("/v1/verify", ""),
        422,
        "validation_error",
        None,
        "Field required",
    );
    let response = server.post("/v1/embeddings").body("{}").send().unwrap();
    assert_v1_error("no key", response, 401, "invalid_api_key", None, "API key is required");
    let response =
        server.post("/v1/embeddings").header("Authorization", "Bearer wrong").body("{}").send().unwrap();
    assert_v1_error("a wrong key", response, 401, "invalid_api_key", None, "Invalid API key");
    assert_v1_error(
        "no such route",
        server.request("GET", "/v1/nothing").send().unwrap(),
        404,
        "not_found",
        None,
        "Not Found",
    );
    let response = server.request("GET", "/v1/embeddings").send().unwrap();
    assert_v1_error("no such method", response, 405, "method_not_allowed", None, "Method Not Allowed");
}

/// If the connection breaks within a file of a form, the request ends and the service still works.
#[test]
fn a_batch_cut_in_its_body_holds_nothing_up() {
    use std::io::Write;

    let server = Server::start();
    let mut connection = std::net::TcpStream::connect(&server.address).unwrap();
    write!(connection, "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n").unwrap();
    write!(connection, "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n")
        .unwrap();
    write!(
        connection,
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF"
    )
    .unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    connection.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut connection, &mut rest);
    let cut = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF";
    let request =
        server.request("POST", "/v1/embeddings").header("Content-Type", "multipart/form-data; boundary=b");
    let response = request.body(cut).send().unwrap();
    assert_v1_error("without its end", response, 422, "validation_error", None, "");
    assert_eq!(server.upload(voice()).status(), 200);
    assert!(server.metrics().contains("voice_embedding_queue_depth 0"), "{}", server.metrics());
}

#[test]
fn sides_of_every_kind_are_verified() {
    let server = Server::start();
    let other = recorded("beth-1");
    let (one, two) = (embedding_of(&server, voice()), embedding_of(&server, other.clone()));
    let expected = cosine(&widened(&one), &widened(&two));
    let bytes: Vec<u8> = two.iter().flat_map(|c| c.to_le_bytes()).collect();
    let recording = |bytes: &[u8]| json!({"audio_base64": base64(bytes)});
    let embedded = |embedding: Value| json!({"embedding": embedding, "model": "resemblyzer"});
    let combinations = [
        ("recordings", recording(&voice()), recording(&other)),
        ("a recording and an embedding", recording(&voice()), embedded(json!(two))),
        ("an embedding and a recording", embedded(json!(one)), recording(&other)),
        ("embeddings", embedded(json!(one)), embedded(json!(base64(&bytes)))),
    ];
    for (name, a, b) in combinations {
        let answer = ok(post(&server, "verify", &json!({"a": a, "b": b})));
        let similarity = answer["similarity"].as_f64().unwrap();
        assert!((similarity - expected).abs() < 1e-5, "{name}: {similarity} instead of {expected}");
        assert_eq!(answer["is_same_speaker"], false, "{name}");
        assert_eq!(answer["model"], FINGERPRINT);
        let is_of_seconds = name == "recordings";
        assert_eq!(answer["threshold"] != 0.75, is_of_seconds, "{name}: {answer}");
        for (side, sent) in [("a", &a), ("b", &b)] {
            assert_eq!(answer[side]["audio"].is_object(), sent.get("audio_base64").is_some(), "{name}");
        }
        let as_part = |side: &Value| match side.get("audio_base64") {
            Some(audio) => file(BASE64_STANDARD.decode(audio.as_str().unwrap()).unwrap()),
            None => Part::text(side.to_string()),
        };
        let form = Form::new().part("a", as_part(&a)).part("b", as_part(&b)).text("threshold", "-0.5");
        let answer = ok(server.request("POST", "/v1/verify").multipart(form).send().unwrap());
        assert!((answer["similarity"].as_f64().unwrap() - expected).abs() < 1e-5, "{name}, as a form");
        assert_eq!((&answer["threshold"], &answer["is_same_speaker"]), (&json!(-0.5), &json!(true)));
    }
    // A result of `/v1/embeddings` can be sent back unchanged.
    for format in ["float", "base64"] {
        let body = json!({"input": base64(&voice()), "encoding_format": format, "partials": true});
        let sent_back = &ok(post(&server, "embeddings", &body))["data"][0];
        let answer = ok(post(&server, "verify", &json!({"a": sent_back, "b": recording(&voice())})));
        assert!(answer["similarity"].as_f64().unwrap() > 0.999_99, "{format}");
    }
}

#[test]
fn levels_that_differ_are_a_warning() {
    let server = Server::start();
    let scaled = |factor: f32| wav(voice_samples().iter().map(|s| s * factor));
    let warnings = |a: Vec<u8>, b: Vec<u8>| {
        let form = Form::new().part("a", file(a)).part("b", file(b));
        ok(server.request("POST", "/v1/verify").multipart(form).send().unwrap())["warnings"].clone()
    };
    let loud = voice_samples().iter().fold(0.0_f32, |most, s| most.max(s.abs()));
    let full = 0.95 / loud;
    assert_eq!(warnings(scaled(full), scaled(full)), json!([]));
    // Quiet recordings are raised to the same level, so the encoder sees no difference.
    assert_eq!(warnings(scaled(full * 0.05), scaled(full * 0.15)), json!([]));
    let square =
        |amplitude: f32| wav(voice_samples().iter().map(|s| (s * 20.0).clamp(-amplitude, amplitude)));
    assert!(warnings(square(0.9), square(0.2)).as_array().unwrap().contains(&json!("level_mismatch")));
}

#[test]
fn bad_voices_get_clear_errors() {
    let server = Server::start();
    let good = json!({"audio_base64": base64(&voice())});
    let unit = |n: usize| vec![0.5; n];
    let with = |embedding: Value| json!({"embedding": embedding, "model": "resemblyzer"});
    let nan: Vec<u8> = (0..256).flat_map(|_| f32::NAN.to_le_bytes()).collect();
    let cases = [
        (
            "two kinds",
            json!({"audio_base64": "AAAA", "embedding": unit(256), "model": "resemblyzer"}),
            422,
            "validation_error",
            "a",
            "audio_base64 and embedding",
        ),
        (
            "two kinds",
            json!({"embedding": unit(256), "speaker": "anna"}),
            422,
            "validation_error",
            "a",
            "embedding and speaker",
        ),
        ("no kind", json!({}), 422, "validation_error", "a", "audio_base64, embedding or speaker"),
        ("no model", json!({"embedding": unit(256)}), 422, "validation_error", "a.model", "name its model"),
        (
            "another model",
            json!({"embedding": unit(256), "model": "ecapa"}),
            404,
            "model_not_found",
            "model",
            "resemblyzer",
        ),
        (
            "other weights",
            json!({"embedding": unit(256), "model": "resemblyzer-0.1.4/0"}),
            409,
            "model_mismatch",
            "model",
            "not comparable",
        ),
        ("too short", with(json!(unit(255))), 400, "wrong_dimension", "a.embedding", "256"),
        ("all zero", with(json!(vec![0.0; 256])), 422, "validation_error", "a.embedding", "zero"),
        ("NaN", with(json!(base64(&nan))), 422, "validation_error", "a.embedding", "finite"),
        (
            "1,023 bytes",
            with(json!(base64(&[7; 1023]))),
            422,
            "validation_error",
            "a.embedding",
            "1023 bytes",
        ),
        ("no base64", with(json!("!")), 422, "validation_error", "a.embedding", "base64"),
        ("an object", with(json!({})), 422, "validation_error", "a.embedding", "a list of numbers"),
        (
            "a channel of an embedding",
            json!({"embedding": unit(256), "model": "resemblyzer", "channel": 0}),
            422,
            "validation_error",
            "a.channel",
            "belongs to audio_base64",
        ),
        (
            "no seconds",
            json!({"embedding": unit(256), "model": "resemblyzer", "speech_seconds": 0}),
            422,
            "validation_error",
            "a.speech_seconds",
            "greater than 0",
        ),
        (
            "an unknown field",
            json!({"audio_base64": "AAAA", "rate": 3}),
            422,
            "validation_error",
            "a.rate",
            "unknown field",
        ),
        (
            "no rate",
            json!({"audio_base64": "AAAA", "format": "pcm_s16le"}),
            422,
            "validation_error",
            "a.sample_rate",
            "Field required",
        ),
        (
            "a model of a recording",
            json!({"audio_base64": "AAAA", "model": "resemblyzer"}),
            422,
            "validation_error",
            "a.model",
            "belongs to embedding, not to audio_base64",
        ),
        (
            "many warnings",
            json!({"embedding": unit(256), "model": "resemblyzer", "warnings": vec!["x"; 17]}),
            422,
            "validation_error",
            "a.warnings",
            "longer than 16",
        ),
        (
            "a very long one",
            with(json!(unit(5_000))),
            422,
            "validation_error",
            "a.embedding",
            "longer than 4096",
        ),
        ("no speech", json!({"audio_base64": base64(&silence())}), 422, "no_speech", "a", "a: No speech"),
        ("text", json!({"audio_base64": base64(b"text, not audio")}), 415, "unsupported_audio", "a", "a: "),
        (
            "a channel beyond the last",
            json!({"audio_base64": base64(&voice()), "channel": "1"}),
            422,
            "validation_error",
            "a",
            "channel",
        ),
        (
            "an unknown channel",
            json!({"audio_base64": "AAAA", "channel": "left"}),
            422,
            "validation_error",
            "a.channel",
            "'mix'",
        ),
        (
            "a speaker",
            json!({"speaker": "anna", "collection": "family"}),
            404,
            "speaker_not_found",
            "a",
            "anna",
        ),
    ];
    for (name, a, status, code, param, detail) in cases {
        let response = post(&server, "verify", &json!({"a": a, "b": good}));
        assert_v1_error(name, response, status, code, Some(param), detail);
    }
    let cases = [
        ("one side", json!({"a": good}), "b", "Field required"),
        ("null", json!({"a": null, "b": good}), "a", "Field required"),
        ("a threshold", json!({"a": good, "b": good, "threshold": 1.5}), "threshold", "-1 to 1"),
        ("a channel beside them", json!({"a": good, "b": good, "channel": 0}), "channel", "its own channel"),
        ("a number", json!({"a": 3, "b": good}), "a", "Input should be"),
    ];
    for (name, body, param, detail) in cases {
        assert_v1_error(name, post(&server, "verify", &body), 422, "validation_error", Some(param), detail);
    }
    let form = Form::new().part("a", file(voice()));
    let response = server.request("POST", "/v1/verify").multipart(form).send().unwrap();
    let detail = "Field required: two parts named a and b; the form has a";
    assert_v1_error("one part", response, 422, "validation_error", Some("b"), detail);
    let form = Form::new().text("threshold", "0.5");
    let response = server.request("POST", "/v1/verify").multipart(form).send().unwrap();
    let detail = "Field required: two parts named a and b; the form has nothing else";
    assert_v1_error("no part", response, 422, "validation_error", Some("a"), detail);
    let form = Form::new().part("a", file(voice())).part("a", file(voice())).part("b", file(voice()));
    let response = server.request("POST", "/v1/verify").multipart(form).send().unwrap();
    assert_v1_error("a part twice", response, 422, "validation_error", Some("a"), "twice");
    let form = Form::new().part("a", file(voice())).part("b", Part::text(r#"{"speakr": "anna"}"#));
    let response = server.request("POST", "/v1/verify").multipart(form).send().unwrap();
    assert_v1_error("a bad part", response, 422, "validation_error", Some("b.speakr"), "unknown field");
    let form = Form::new().part("a", file(voice())).part("c", file(voice()));
    let response = server.request("POST", "/v1/verify").multipart(form).send().unwrap();
    assert_v1_error("an unknown part", response, 422, "validation_error", Some("c"), "parts named a or b");
}

#[test]
fn every_voice_is_compared_with_every_other() {
    let server = Server::start();
    let clips = ["alan-1", "alan-2", "beth-1"].map(recorded);
    let embeddings = clips.clone().map(|clip| widened(&embedding_of(&server, clip)));
    let mut voices: Vec<Value> = clips.iter().map(|clip| json!({"audio_base64": base64(clip)})).collect();
    voices[1] = json!({"embedding": embeddings[1], "model": FINGERPRINT});
    let body = json!({"voices": voices, "labels": ["a", "b", "c"], "clusters": true, "threshold": 0.75});
    let answer = ok(post(&server, "similarities", &body));
    for i in 0..3 {
        for j in 0..3 {
            let found = answer["matrix"][i][j].as_f64().unwrap();
            assert!((found - cosine(&embeddings[i], &embeddings[j])).abs() < 2e-6, "{i}, {j}: {answer}");
        }
    }
    assert_eq!(answer["labels"], json!(["a", "b", "c"]));
    assert_eq!(answer["clusters"], json!([[0, 1], [2]]), "{answer}");
    assert!(answer["audio"][0].is_object() && answer["audio"][1].is_null());

    let form = clips.iter().fold(Form::new(), |form, clip| form.part("file", file(clip.clone())));
    let form = form.text("encoding_format", "base64").text("clusters", "true");
    let answer = ok(server.request("POST", "/v1/similarities").multipart(form).send().unwrap());
    let matrix = floats(&answer["matrix"]);
    assert_eq!(matrix.len(), 9);
    assert!((f64::from(matrix[2]) - cosine(&embeddings[0], &embeddings[2])).abs() < 2e-6);
    assert_eq!((&answer["labels"], &answer["clusters"]), (&json!(["0", "1", "2"]), &json!([[0, 1], [2]])));

    let one = json!({"embedding": embeddings[0], "model": FINGERPRINT});
    let answer = ok(post(&server, "similarities", &json!({"voices": vec![one.clone(); 400]})));
    assert_eq!(answer["matrix"][399].as_array().unwrap().len(), 400);
    let short = json!({"embedding": vec![0.5; 3], "model": FINGERPRINT});
    let recording = json!({"audio_base64": base64(&clips[0])});
    let cases = [
        ("none", json!({"voices": []}), 422, "validation_error", Some("voices"), "1 to 2000"),
        ("absent", json!({}), 422, "validation_error", Some("voices"), "Field required"),
        (
            "labels",
            json!({"voices": [one], "labels": ["a", "b"]}),
            422,
            "validation_error",
            Some("labels"),
            "2 labels for 1",
        ),
        (
            "one is bad",
            json!({"voices": [one, short]}),
            400,
            "wrong_dimension",
            Some("voices[1].embedding"),
            "256",
        ),
        ("65 recordings", json!({"voices": vec![recording; 65]}), 422, "too_many_recordings", None, "64"),
        (
            "an option of a voice",
            json!({"voices": [one], "channel": 1}),
            422,
            "validation_error",
            Some("channel"),
            "its own",
        ),
    ];
    for (name, body, status, code, param, detail) in cases {
        assert_v1_error(name, post(&server, "similarities", &body), status, code, param, detail);
    }
    let many =
        json!({"voices": vec![json!({"audio_base64": base64(&clips[0]), "segments": vec![[0, 1]; 500]}); 5]});
    let response = post(&server, "similarities", &many);
    assert_v1_error(
        "2,500 segments",
        response,
        422,
        "validation_error",
        Some("voices"),
        "each segment counted",
    );
}

#[test]
fn models_are_listed() {
    let server = Server::start();
    let list = ok(server.request("GET", "/v1/models").send().unwrap());
    let model = &list["data"][0];
    assert_eq!((&list["object"], &model["object"]), (&json!("list"), &json!("model")));
    assert_eq!((&model["id"], &model["fingerprint"]), (&json!("resemblyzer"), &json!(FINGERPRINT)));
    assert_eq!((&model["dimension"], &model["licence"]), (&json!(256), &json!("Apache-2.0")));
    for name in ["resemblyzer", FINGERPRINT, "resemblyzer-0.1.4%2F39373b86"] {
        assert_eq!(
            &ok(server.request("GET", &format!("/v1/models/{name}")).send().unwrap()),
            model,
            "{name}"
        );
    }
    let get = |name: &str| server.request("GET", &format!("/v1/models/{name}")).send().unwrap();
    assert_v1_error("unknown", get("whisper"), 404, "model_not_found", Some("model"), "loaded: resemblyzer");
    assert_v1_error(
        "other weights",
        get("resemblyzer-0.1.4/1"),
        409,
        "model_mismatch",
        Some("model"),
        "not comparable",
    );
    assert_eq!(server.get("/v1/models").send().unwrap().status(), 401);
}

#[test]
fn a_request_costs_its_recordings() {
    let server = Server::start_with(&[("RATE_LIMIT_PER_MINUTE", "10")]);
    let batch = |n: usize| post(&server, "embeddings", &json!({"input": vec![base64(&voice()); n]}));
    assert_v1_error("more than a minute's", batch(11), 422, "too_many_recordings", None, "10");
    let response = batch(6);
    assert_eq!(response.status(), 200);
    let remaining: u32 = response.headers()["ratelimit-remaining"].to_str().unwrap().parse().unwrap();
    assert!(remaining <= 4, "one of the first request and six of ten are gone: {remaining}");
    let response = batch(6);
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_v1_error("beyond the rate", response, 429, "rate_limited", None, "10 requests a minute");

    // Sixteen windows per second count as thirteen recordings, and 1,000 voices as ten requests.
    let server = Server::start_with(&[("RATE_LIMIT_PER_MINUTE", "10")]);
    let body = json!({"input": [base64(&voice())], "partials": true, "rate": 16.0});
    let refused = post(&server, "embeddings", &body);
    assert_v1_error("a high rate", refused, 422, "too_many_recordings", None, "10");
    let voices = vec![json!({"embedding": vec![1.0; 256], "model": "resemblyzer"}); 1_000];
    let refused = post(&server, "similarities", &json!({"voices": voices}));
    assert_v1_error("many voices", refused, 422, "too_many_recordings", None, "10");
}

/// A batch is accepted if the queue has one free place, even though the batch then fills it.
#[test]
fn a_batch_is_admitted_if_one_place_is_free() {
    let server = Server::start_with(&[("QUEUE_CAPACITY", "2"), ("WORKERS", "1")]);
    let answer = ok(post(&server, "embeddings", &json!({"input": vec![base64(&voice()); 20]})));
    assert_eq!(answer["data"].as_array().unwrap().len(), 20);
    assert_eq!(server.upload(voice()).status(), 200, "its places are free again");
}

/// A batch may take longer than a single recording.
#[test]
fn the_time_limit_grows_with_the_recordings() {
    let server = Server::start_with(&[("REQUEST_TIMEOUT_SECONDS", "1"), ("WORKERS", "1")]);
    let long = long_voice(120);
    let body = json!({"input": vec![base64(&long); 4], "partials": true, "rate": 16.0});
    assert_v1_error("too long", post(&server, "embeddings", &body), 503, "timeout", None, "1.375 seconds");
}

#[test]
fn errors_at_the_root_have_their_old_shape() {
    let server = Server::start();
    let response = server.post_json("/extract-embedding", "{}");
    assert!(response.headers().get("cache-control").is_none());
    let body: Value = response.json().unwrap();
    assert!(body.get("error").is_none(), "{body}");
    let response = server.post("/extract-embedding").body("{}").send().unwrap();
    assert_error("no key", response, 422, "validation_error", "Field required");
}
