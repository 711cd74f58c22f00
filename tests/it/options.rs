//! Options of a recording: a single channel, and samples without a header, sent in every way.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};

use super::support::{Server, assert_close, assert_error, voice, voice_samples};

fn embedding(answer: &Value) -> Vec<f32> {
    let list = answer["embedding"].as_array().unwrap_or_else(|| panic!("{answer}"));
    list.iter().map(|c| c.as_f64().unwrap() as f32).collect()
}

/// Returns the voice's 16-bit samples without a header.
fn raw() -> Vec<u8> {
    voice_samples().iter().flat_map(|sample| ((sample * 32_768.0) as i16).to_le_bytes()).collect()
}

/// Returns the voice on the left channel and silence on the right.
fn stereo() -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for sample in voice_samples() {
        writer.write_sample((sample * 32_768.0) as i16).unwrap();
        writer.write_sample(0_i16).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[test]
fn samples_without_a_header_are_embedded_as_the_file_is() {
    let server = Server::start();
    let expected = embedding(&server.upload(voice()).json().unwrap());
    let body = |content_type: &str, bytes: Vec<u8>| {
        let request = server.request("POST", "/extract-embedding").header("Content-Type", content_type);
        request.body(bytes).send().unwrap()
    };
    let big: Vec<u8> = raw().as_chunks::<2>().0.iter().flat_map(|[a, b]| [*b, *a]).collect();
    let floats: Vec<u8> = voice_samples().iter().flat_map(|s| s.to_le_bytes()).collect();
    let json = |format: &str, bytes: &[u8]| {
        let audio = BASE64_STANDARD.encode(bytes);
        json!({"audio_base64": audio, "format": format, "sample_rate": 16_000, "channels": 1}).to_string()
    };
    let part = Part::bytes(raw()).mime_str("audio/pcm; rate=16000").unwrap();
    let cases = [
        ("audio/pcm", body("audio/pcm;rate=16000;channels=1;encoding=s16le", raw())),
        ("defaults", body("audio/pcm;rate=16000", raw())),
        ("quoted and spaced", body("Audio/PCM; Rate=\"16000\" ; encoding=s16be", big.clone())),
        ("floats", body("audio/pcm;rate=16000;encoding=f32le", floats)),
        ("audio/L16", body("audio/L16;rate=16000", big)),
        ("audio/L16, the other way round", body("audio/L16;rate=16000;endianness=little-endian", raw())),
        ("JSON", server.post_json("/extract-embedding", json("pcm_s16le", &raw()))),
        (
            "a part",
            server
                .request("POST", "/extract-embedding/upload")
                .multipart(Form::new().part("file", part))
                .send()
                .unwrap(),
        ),
    ];
    for (name, response) in cases {
        assert_eq!(response.status(), 200, "{name}");
        assert_close(name, &embedding(&response.json().unwrap()), &expected, |_| 1e-6);
    }

    let bad = [
        ("no rate", body("audio/pcm", raw()), 422, "validation_error", "rate is required"),
        ("rate out of range", body("audio/pcm;rate=100", raw()), 422, "corrupt_audio", "100 Hz"),
        (
            "unknown encoding",
            body("audio/pcm;rate=8000;encoding=s20", raw()),
            422,
            "validation_error",
            "s16le",
        ),
        ("a cut frame", body("audio/pcm;rate=16000", vec![0; 33]), 422, "corrupt_audio", "cut"),
        ("a WAV file", body("audio/pcm;rate=16000", voice()), 422, "corrupt_audio", "it is a WAV file"),
        (
            "JSON without a rate",
            server.post_json(
                "/extract-embedding",
                json!({"audio_base64": BASE64_STANDARD.encode(raw()), "format": "pcm_s16le"}).to_string(),
            ),
            422,
            "validation_error",
            "sample_rate",
        ),
        (
            "an unknown format",
            server.post_json("/extract-embedding", json("pcm_s20", &raw())),
            422,
            "validation_error",
            "pcm_",
        ),
    ];
    for (name, response, status, code, detail) in bad {
        assert_error(name, response, status, code, detail);
    }
    let basic = server.request("POST", "/extract-embedding").header("Content-Type", "audio/basic");
    let answer: Value = basic.body(vec![0x7e; 16_000]).send().unwrap().json().unwrap();
    assert_eq!(answer["code"], "no_speech", "two seconds at 8 kHz that hold nothing: {answer}");
}

#[test]
fn one_channel_is_chosen_in_every_way_to_send_a_recording() {
    let server = Server::start();
    let expected = embedding(&server.upload(voice()).json().unwrap());
    let raw_body = |query: &str| {
        let request = server.request("POST", &format!("/extract-embedding{query}"));
        request.header("Content-Type", "audio/wav").body(stereo()).send().unwrap()
    };
    let json = |channel: Value| {
        let body = json!({"audio_base64": BASE64_STANDARD.encode(stereo()), "channel": channel});
        server.post_json("/extract-embedding", body.to_string())
    };
    let form = |channel: &'static str| {
        let form = Form::new().part("file", Part::bytes(stereo())).text("channel", channel);
        server.request("POST", "/extract-embedding/upload").multipart(form).send().unwrap()
    };
    let left = [
        ("query", raw_body("?channel=0")),
        ("JSON number", json(json!(0))),
        ("JSON string", json(json!("0"))),
        ("form", form("0")),
    ];
    for (name, response) in left {
        assert_close(name, &embedding(&response.json().unwrap()), &expected, |_| 1e-6);
    }
    for (name, response) in [("query", raw_body("?channel=mix")), ("null", json(Value::Null))] {
        assert_eq!(response.status(), 200, "{name}");
    }
    assert_error("right", raw_body("?channel=1"), 422, "no_speech", "No speech");
    for (name, response) in [("query", raw_body("?channel=2")), ("JSON", json(json!(7))), ("form", form("2"))]
    {
        assert_error(name, response, 422, "validation_error", "the recording has 2");
    }
    for (name, response) in
        [("query", raw_body("?channel=left")), ("JSON", json(json!(8))), ("form", form("-1"))]
    {
        assert_error(name, response, 422, "validation_error", "0 to 7");
    }
}

#[test]
fn channels_that_cancel_each_other_are_named() {
    let server = Server::start();
    let mut file = stereo();
    let begin = file.len() - voice_samples().len() * 4;
    for frame in file[begin..].as_chunks_mut::<4>().0 {
        let left = i16::from_le_bytes([frame[0], frame[1]]);
        frame[2..].copy_from_slice(&left.saturating_neg().to_le_bytes());
    }
    assert_error("opposite", server.upload(file), 422, "no_speech", "its channels cancel each other");
}

/// Bad files are the client's error, so the server does not log them.
#[test]
fn damaged_and_odd_files_leave_nothing_in_the_log() {
    let server = Server::start_with(&[("RUST_LOG", "info")]);
    let mut damaged = voice();
    damaged.truncate(20_000);
    for file in std::fs::read_dir(super::support::fixture("odd")).unwrap() {
        let mut bytes = std::fs::read(file.unwrap().path()).unwrap();
        server.upload(bytes.clone());
        for at in (300..bytes.len()).step_by(97) {
            bytes[at] ^= 0x55;
        }
        server.upload(bytes);
    }
    server.upload(damaged);
    assert_eq!(server.get("/health").header("X-Request-Id", "the-last").send().unwrap().status(), 200);
    let lines = server.logged("answered");
    assert!(lines.iter().all(|line| line.contains("\"level\":\"INFO\"")), "{lines:#?}");
    assert!(
        server.logged_anything_but("answered").is_empty(),
        "{:#?}",
        server.logged_anything_but("answered")
    );
}
