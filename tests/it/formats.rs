//! Audio in every container and codec, recognised by content, and damaged files of each.

use serde_json::Value;
use voice_embedding_service::audio::{AudioError, DecodeOptions, decode};
use voice_embedding_service::report::Warning;

use super::support::{Server, assert_error, cosine, fixture, pipeline, session};

/// Files with the same two seconds of a synthetic voice in each encoding, and the lowest allowed cosine to the plain WAV.
const ENCODINGS: [(&str, f64); 17] = [
    ("clip.flac", 0.999_999),
    ("clip.aiff", 0.999_999),
    ("clip.caf", 0.999_999),
    ("clip-f64.wav", 0.999_999),
    ("clip-rf64.wav", 0.999_999),
    ("clip-ima-adpcm.wav", 0.95),
    ("clip.mp3", 0.99),
    ("clip.ogg", 0.99),
    ("clip.m4a", 0.99),
    ("clip-index-last.m4a", 0.99),
    ("clip.opus", 0.95),
    ("clip-surround.opus", 0.95),
    ("clip.webm", 0.95),
    ("clip-live.webm", 0.95),
    ("clip-mulaw.wav", 0.7),
    ("clip-alaw.wav", 0.7),
    ("clip.amr", 0.7),
];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixture("encodings").join(name)).unwrap()
}

#[test]
fn every_encoding_decodes_to_the_same_voice() {
    let pipeline = pipeline();
    let mut session = session();
    let (plain, _) = pipeline.embed(&mut session, &file("clip.wav")).unwrap();
    for (name, least_cosine) in ENCODINGS {
        let (embedding, report) =
            pipeline.embed(&mut session, &file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let cosine = cosine(embedding.components(), plain.components());
        assert!(cosine >= least_cosine, "{name}: {cosine:.6}");
        // ADPCM fills its last block, which has 64 ms.
        assert!((report.duration_seconds - 2.0).abs() < 0.064, "{name}: {} s", report.duration_seconds);
        assert!(!report.warnings.contains(&Warning::Truncated), "{name}");
    }
}

#[test]
fn every_encoding_can_be_sent_whatever_it_is_called() {
    let server = Server::start();
    for (name, _) in ENCODINGS {
        assert_eq!(server.upload(file(name)).status(), 200, "{name}, as voice.wav");
        let raw = server.request("POST", "/extract-embedding").header("Content-Type", "audio/whatever");
        let answer: Value = raw.body(file(name)).send().unwrap().json().unwrap();
        assert_eq!(answer["dimension"], 256, "{name}: {answer}");
    }
    let octets =
        server.request("POST", "/extract-embedding").header("Content-Type", "application/octet-stream");
    assert_eq!(octets.body(file("clip.flac")).send().unwrap().status(), 200);
    let text = server.request("POST", "/extract-embedding").header("Content-Type", "audio/wav");
    assert_error("no audio", text.body("no audio").send().unwrap(), 415, "unsupported_audio", "FLAC");
}

#[test]
fn a_file_cut_short_is_answered_from_what_decodes() {
    for name in [
        "clip.flac",
        "clip.mp3",
        "clip.ogg",
        "clip.opus",
        "clip.webm",
        "clip.m4a",
        "clip.aiff",
        "clip.caf",
        "clip-f64.wav",
        "clip-mulaw.wav",
        "clip-rf64.wav",
        "clip.amr",
    ] {
        let whole = file(name);
        let recording = decode(&whole[..whole.len() * 7 / 10], DecodeOptions::with_max_seconds(10.0))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(recording.truncated, "{name}");
        let seconds = recording.duration_seconds;
        assert!((0.8..1.8).contains(&seconds), "{name}: {seconds} s");
    }
}

/// Programs that write to a pipe, such as a browser's recorder, do not know the length.
#[test]
fn a_file_of_unknown_length_is_whole() {
    let mut caf = file("clip.caf");
    let length_at = caf.windows(4).position(|name| name == b"data").unwrap() + 4;
    caf[length_at..length_at + 8].fill(0xff);
    for (name, file) in [("clip-live.webm", file("clip-live.webm")), ("clip.caf", caf)] {
        let recording =
            decode(&file, DecodeOptions::with_max_seconds(10.0)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!recording.truncated, "{name}");
        assert!((recording.duration_seconds - 2.0).abs() < 0.02, "{name}: {} s", recording.duration_seconds);
    }
}

#[test]
fn the_limit_on_seconds_holds_for_every_encoding() {
    for (name, _) in ENCODINGS {
        let error = decode(&file(name), DecodeOptions::with_max_seconds(1.0)).unwrap_err();
        assert_eq!(error, AudioError::TooLong { max_seconds: 1.0 }, "{name}");
    }
}
