//! Diarization of recordings, and transcripts with speakers.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output};

use reqwest::blocking::Response;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};
use voice_embedding_service::diarization::{
    Heard, Segmentation, SpeakerCount, TurnOptions, diarize, pieces, spoken_seconds, windows,
};
use voice_embedding_service::models::campplus;
use voice_embedding_service::models::segmentation::{CLASSES, n_frames};
use voice_embedding_service::pace::Pace;

use super::support::{
    Server, answered, assert_error, conversation, fixture, key_lines, parity_data, repository, samples_of,
    say, wav,
};

fn part(samples: Vec<f32>) -> Part {
    Part::bytes(wav(samples)).file_name("call.wav")
}

fn send(server: &Server, form: Form) -> Response {
    server.request("POST", "/v1/diarize").multipart(form).send().unwrap()
}

fn labels(answer: &Value) -> Vec<&str> {
    let segments = answer["segments"].as_array().unwrap().iter();
    segments.map(|segment| segment["label"].as_str().unwrap()).collect()
}

#[test]
fn speakers_are_told_apart_enrolled_and_known_again() {
    let server = Server::start();
    let (samples, turns) = conversation(&["alan-1", "beth-1", "alan-2"]);
    let first = answered(200, send(&server, Form::new().part("file", part(samples.clone()))));
    assert_eq!(labels(&first), ["S1", "S2", "S1"], "{first}");
    for (segment, turn) in first["segments"].as_array().unwrap().iter().zip(&turns) {
        let (start, end) = (segment["start"].as_f64().unwrap(), segment["end"].as_f64().unwrap());
        assert!((start - turn.start).abs() < 0.4 && (end - turn.end).abs() < 0.4, "{segment} {turn:?}");
        assert!(segment["margin"].as_f64().unwrap() > 0.05, "{segment}");
    }
    assert!(
        (first["audio"]["duration_seconds"].as_f64().unwrap() - samples.len() as f64 / 16_000.0).abs() < 1e-6
    );

    // The description of a speaker in a response can be sent as a voice.
    let ann = json!({"id": "ann", "name": "Ann", "voices": [first["speakers"][0]]});
    answered(201, server.post_json("/v1/speakers", ann.to_string()));
    let (samples, _) = conversation(&["beth-2", "alan-2"]);
    let form = || Form::new().part("file", part(samples.clone())).text("collection", "default");
    let second = answered(200, send(&server, form()));
    let speakers: Vec<_> = second["speakers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["speaker"].clone(), s["name"].clone()))
        .collect();
    assert_eq!(speakers, [(Value::Null, Value::Null), (json!("ann"), json!("Ann"))], "{second}");
    // A speaker with a name can also be sent back.
    let again = json!({"a": second["speakers"][1], "b": first["speakers"][0]});
    let verified = answered(200, server.post_json("/v1/verify", again.to_string()));
    assert_eq!(verified["is_same_speaker"], true, "{verified}");

    let text = |format: &str| {
        let answer = send(&server, form().text("response_format", format.to_owned()));
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), content_type, answer.text().unwrap())
    };
    let (status, content_type, rttm) = text("rttm");
    assert_eq!((status, &*content_type), (200, "text/plain; charset=utf-8"));
    let fields: Vec<Vec<&str>> = rttm.lines().map(|line| line.split(' ').collect()).collect();
    assert!(fields.iter().all(|fields| fields.len() == 10 && fields[0] == "SPEAKER"), "{rttm}");
    assert_eq!(fields.iter().map(|fields| fields[7]).collect::<Vec<_>>(), ["S1", "Ann"]);
    let (_, content_type, vtt) = text("vtt");
    assert_eq!(content_type, "text/vtt; charset=utf-8");
    assert!(vtt.starts_with("WEBVTT\n\n") && vtt.contains("<v Ann>Ann\n"), "{vtt}");
    let (_, _, srt) = text("srt");
    assert!(srt.starts_with("1\n00:00:0") && srt.contains(" --> ") && srt.contains("\nAnn\n"), "{srt}");
}

#[test]
fn one_voice_is_one_speaker_and_a_given_number_is_kept() {
    let server = Server::start();
    let (samples, _) = conversation(&["alan-1", "alan-2", "alan-1"]);
    let alone = answered(200, send(&server, Form::new().part("file", part(samples.clone()))));
    assert_eq!(alone["speakers"].as_array().unwrap().len(), 1, "{alone}");
    assert_eq!(alone["segments"][0]["margin"], Value::Null);
    let two = Form::new().part("file", part(samples)).text("num_speakers", "2");
    assert_eq!(answered(200, send(&server, two))["speakers"].as_array().unwrap().len(), 2);
    // This recording fits in one window, so it has one speaker whatever number the request sets.
    let short = samples_of("alan-1")[8_000..18_000].to_vec();
    let form = Form::new().part("file", part(short)).text("num_speakers", "5");
    assert_eq!(answered(200, send(&server, form))["speakers"].as_array().unwrap().len(), 1);
}

#[test]
fn channels_are_taken_one_by_one_if_that_is_wanted() {
    let server = Server::start();
    let (alan, beth) = (samples_of("alan-1"), samples_of("beth-1"));
    let n = alan.len().max(beth.len());
    let at = |samples: &[f32], i: usize| samples.get(i).copied().unwrap_or(0.0);
    let mut stereo = Vec::new();
    let spec = hound::WavSpec {
        channels: 3,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::new(std::io::Cursor::new(&mut stereo), spec).unwrap();
    for i in 0..n {
        // Both speak at once, each on a channel. The third channel is silent.
        for sample in [at(&alan, i), at(&beth, i), 0.0] {
            writer.write_sample((sample * 32_767.0) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
    let form = Form::new().part("file", Part::bytes(stereo.clone()).file_name("call.wav"));
    let by_form = answered(200, send(&server, form.text("channel", "split")));
    let json = json!({"voice": {"audio_base64": base64(&stereo), "channel": "split"}});
    let by_json = answered(200, server.post_json("/v1/diarize", json.to_string()));
    assert_eq!(by_form, by_json);
    let mut channels: BTreeMap<String, Value> = BTreeMap::new();
    for segment in by_form["segments"].as_array().unwrap() {
        channels.insert(segment["label"].as_str().unwrap().to_owned(), segment["channel"].clone());
    }
    assert_eq!(Vec::from_iter(channels), [("S1".to_owned(), json!(0)), ("S2".to_owned(), json!(1))]);
    // Turns of two channels overlap. Speech in one channel does not count for the other.
    let rttm = Form::new().part("file", Part::bytes(stereo.clone()).file_name("call.wav"));
    let rttm = send(&server, rttm.text("channel", "split").text("response_format", "rttm")).text().unwrap();
    assert!(
        rttm.lines().all(|line| line.contains(" 1 ") && line.contains(" S1 ")
            || line.contains(" 2 ") && line.contains(" S2 ")),
        "{rttm}"
    );
    let elsewhere = json!({"voice": {"audio_base64": base64(&stereo), "channel": "split"}});
    let refused = server.post_json("/v1/identify", elsewhere.to_string());
    assert_error("split elsewhere", refused, 422, "validation_error", "Only /v1/diarize");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[test]
fn a_transcript_comes_back_with_speakers_in_its_own_format() {
    let server = Server::start();
    let (samples, turns) = conversation(&["alan-1", "beth-1"]);
    let change = f64::midpoint(turns[0].end, turns[1].start);
    let transcribed = |transcript: &Value| {
        let json =
            json!({"voice": {"audio_base64": base64(&wav(samples.clone()))}, "transcript": transcript});
        answered(200, server.post_json("/v1/diarize", json.to_string()))["transcript"].clone()
    };
    // A segment with words that spans the change of speaker is split there. Unknown fields are kept.
    let word = |word: &str, start: f64| json!({"word": word, "start": start, "end": start + 0.3, "probability": 0.9});
    let words = [
        word(" One", change - 1.5),
        word(" two.", change - 1.0),
        word(" Three", change + 0.9),
        word(" four.", change + 1.4),
    ];
    let part = json!({"id": 7, "seek": 0, "start": change - 2.0, "end": change + 2.0, "text": " One two. Three four.", "words": words});
    let whisper =
        json!({"task": "transcribe", "language": "en", "text": " One two. Three four.", "segments": [part]});
    let said = transcribed(&whisper);
    let parts: Vec<_> = said["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            (
                p["speaker"].as_str().unwrap(),
                p["text"].as_str().unwrap(),
                p["id"].as_u64().unwrap(),
                p["words"].as_array().unwrap().len(),
            )
        })
        .collect();
    assert_eq!(parts, [("S1", " One two.", 0, 2), ("S2", " Three four.", 1, 2)], "{said}");
    assert_eq!(
        (&said["task"], &said["text"], &said["segments"][1]["seek"]),
        (&json!("transcribe"), &whisper["text"], &json!(0))
    );
    assert_eq!(said["segments"][0]["words"][1]["speaker"], "S1");
    assert_eq!(said["segments"][0]["words"][1]["probability"], 0.9);
    // Words beside the segments, as in OpenAI's API, split segments in the same way.
    let mut beside = whisper.clone();
    beside["words"] = beside["segments"][0]["words"].take();
    beside["segments"][0].as_object_mut().unwrap().remove("words");
    let said = transcribed(&beside);
    assert_eq!(said["segments"].as_array().unwrap().len(), 2, "{said}");
    assert_eq!(said["words"][3]["speaker"], "S2");
    // OpenAI's API may also return words only. Empty and unaligned entries are kept.
    let mut alone = beside.clone();
    alone.as_object_mut().unwrap().remove("segments");
    let said = transcribed(&alone);
    assert_eq!((&said["words"][0]["speaker"], &said["words"][3]["speaker"]), (&json!("S1"), &json!("S2")));
    assert!(said.get("segments").is_none(), "{said}");
    let odd = json!({"segments": [{"id": 1, "start": 0.6, "end": 2.0, "text": "2019", "words": [{"word": "2019"}]}, {"id": 2, "start": 2.0, "end": 3.0, "text": "x", "words": []}]});
    let said = transcribed(&odd);
    let first = &said["segments"][0];
    assert_eq!(
        (&first["speaker"], &first["words"][0]["speaker"], &first["id"]),
        (&json!("S1"), &json!("S1"), &json!(1))
    );
    assert_eq!(said["segments"][1]["words"], json!([]));
    // Each part of a split segment keeps its share of the segment's text, including punctuation that the words lack.
    let punctuated = json!([{"start": change - 2.0, "end": change + 2.0, "text": "Well-known, one! (Three) four?", "words": [
        {"word": "Well", "start": change - 1.9, "end": change - 1.6}, {"word": "known", "start": change - 1.6, "end": change - 1.3},
        {"word": "one", "start": change - 1.3, "end": change - 1.0}, {"word": "Three", "start": change + 0.9, "end": change + 1.2},
        {"word": "four", "start": change + 1.3, "end": change + 1.6}]}]);
    let said = transcribed(&punctuated);
    let texts: Vec<&str> =
        said.as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect();
    assert_eq!(texts.concat(), "Well-known, one! (Three) four?", "{said}");
    assert!(texts[0].starts_with("Well-known, one!") && texts[1].contains("Three"), "{said}");
    // Some editors leave blanks on empty lines.
    let said = transcribed(&json!(
        "1\r\n00:00:00,500 --> 00:00:02,000\r\none\r\n \r\n2\r\n00:00:02,000 --> 00:00:03,000\r\ntwo\r\n3\r\n00:00:03,000 --> 00:00:04,000\r\nthree\r\n"
    ));
    assert_eq!(
        said,
        "1\n00:00:00,500 --> 00:00:02,000\nS1: one\n\n2\n00:00:02,000 --> 00:00:03,000\nS1: two\n\n3\n00:00:03,000 --> 00:00:04,000\nS1: three\n\n"
    );
    // Without words, the segment goes to the speaker who covers most of it.
    let plain = json!([{"start": 0.5, "end": change + 0.5, "text": "one"}, {"start": change + 1.0, "end": change + 3.0, "text": "two"}]);
    let said = transcribed(&plain);
    assert_eq!(
        (&said[0]["speaker"], &said[1]["speaker"], &said[0]["text"]),
        (&json!("S1"), &json!("S2"), &json!("one"))
    );
    let srt = format!("1\n00:00:00,500 --> 00:00:04,000\nSome words\non two lines\n\n2\n00:00:0{0:.3} --> 00:00:0{1:.3}\nmore\n", change + 0.8, change + 1.6).replace('.', ",");
    let said = transcribed(&json!(srt));
    let said = said.as_str().unwrap();
    assert!(
        said.starts_with("1\n00:00:00,500 --> 00:00:04,000\nS1: Some words\non two lines\n\n2\n"),
        "{said}"
    );
    assert!(said.contains("\nS2: more\n"), "{said}");
    let vtt = "WEBVTT\n\nNOTE a comment\n\nfirst\n00:01.000 --> 00:03.500 align:start\n<v Somebody>Hello &amp; <i>welcome</i></v>\n";
    let said = transcribed(&json!(vtt));
    assert_eq!(said, "WEBVTT\n\n00:00:01.000 --> 00:00:03.500\n<v S1>Hello &amp; <i>welcome</i>\n\n");
    // Sends the transcript as a file of a form and asks for another format.
    let form = Form::new()
        .part("file", self::part(samples.clone()))
        .part(
            "transcript",
            Part::text(json!([{"start": 1.0, "end": 2.0, "text": "a < b"}]).to_string()).file_name("t.json"),
        )
        .text("response_format", "vtt");
    let vtt = send(&server, form).text().unwrap();
    assert!(vtt.contains("<v S1>a &lt; b\n"), "{vtt}");
}

#[test]
fn names_break_neither_vtt_nor_rttm() {
    let server = Server::start();
    let (samples, _) = conversation(&["alan-1", "beth-1"]);
    let file = || Form::new().part("file", part(samples.clone()));
    let first = answered(200, send(&server, file()));
    let name = "A <b>&\u{2028}Lee --> 1  2";
    let speaker = json!({"id": "a.1", "name": name, "voices": [first["speakers"][0]]});
    answered(201, server.post_json("/v1/speakers", speaker.to_string()));
    let text = |format: &str| {
        let form = file().text("collection", "default").text("response_format", format.to_owned());
        send(&server, form).text().unwrap()
    };
    let vtt = text("vtt");
    assert!(vtt.contains("<v A &lt;b&gt;&amp; Lee -&gt; 1 2>"), "{vtt}");
    assert!(text("rttm").contains(" <NA> <NA> A_<b>&_Lee_-->_1_2 <NA> <NA>\n"), "a name is one word");
    assert!(text("srt").contains("\nA <b>& Lee -> 1 2\n"));
}

#[test]
fn a_request_brings_names_and_recordings_of_speakers() {
    let server = Server::start();
    let (samples, turns) = conversation(&["alan-1", "beth-1"]);
    let recording = |name: &str| std::fs::read(fixture(&format!("audio/{name}.wav"))).unwrap();
    let file = || Form::new().part("file", part(samples.clone()).file_name("Team call.final.wav"));
    let reference = |name: &str| Part::bytes(recording(name)).file_name("reference.wav");
    let with_beth = || {
        file().text("known_speaker_names[]", "Beth Lee").text(
            "known_speaker_references[]",
            format!("data:audio/wav;base64,{}", base64(&recording("beth-2"))),
        )
    };
    let names = |answer: &Value| -> Vec<Value> {
        let speakers = answer["speakers"].as_array().unwrap();
        speakers.iter().map(|speaker| json!([speaker["speaker"], speaker["name"]])).collect()
    };
    let expected = [json!([null, null]), json!([null, "Beth Lee"])];
    let answer = answered(200, send(&server, with_beth()));
    assert_eq!(names(&answer), expected, "{answer}");
    assert!(answer["speakers"][1]["similarity"].as_f64().unwrap() > 0.7, "{answer}");
    let json = json!({
        "voice": {"audio_base64": base64(&wav(samples.clone()))},
        "known_speaker_names": ["Beth Lee", "Alan"],
        "known_speaker_references": [base64(&recording("beth-2")), base64(&recording("alan-2"))],
    });
    let answer = answered(200, server.post_json("/v1/diarize", json.to_string()));
    assert_eq!(names(&answer), [json!([null, "Alan"]), json!([null, "Beth Lee"])], "{answer}");
    // The names apply to this request only.
    assert_eq!(names(&answered(200, send(&server, file()))), [json!([null, null]), json!([null, null])]);
    // Two references with the same voice leave the name open.
    let twins = file()
        .text("known_speaker_names", "Beth")
        .part("known_speaker_references", reference("beth-2"))
        .text("known_speaker_names", "Liz")
        .part("known_speaker_references", reference("beth-2"));
    assert_eq!(names(&answered(200, send(&server, twins)))[1], json!([null, null]));

    let rttm = send(&server, with_beth().text("response_format", "rttm")).text().unwrap();
    let fields: Vec<Vec<&str>> = rttm.lines().map(|line| line.split(' ').collect()).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|fields| (fields[1], fields[7])).collect();
    assert_eq!(fields, [("Team_call.final", "S1"), ("Team_call.final", "Beth_Lee")]);

    // The expected response is that of OpenAI's API.
    let transcript = json!({"segments": [
        {"start": turns[0].start, "end": turns[0].end, "text": " Shall we?"},
        {"start": turns[1].start, "end": turns[1].end, "text": " Yes."},
    ]});
    let form = with_beth().text("response_format", "diarized_json");
    let said = answered(200, send(&server, form.text("transcript", transcript.to_string())));
    let segment = |i: usize, text: &str, speaker: &str| {
        let (start, end) = (&transcript["segments"][i]["start"], &transcript["segments"][i]["end"]);
        let millisecond = |time: &Value| (time.as_f64().unwrap() * 1e3).round() / 1e3;
        json!({"type": "transcript.text.segment", "id": format!("seg_00{}", i + 1), "start": millisecond(start), "end": millisecond(end), "text": text, "speaker": speaker})
    };
    let duration = samples.len() as f64 / 16_000.0;
    let expected = json!({
        "task": "transcribe",
        "duration": (duration * 1e3).round() / 1e3,
        "text": "A: Shall we?\nBeth Lee: Yes.",
        "segments": [segment(0, "Shall we?", "A"), segment(1, "Yes.", "Beth Lee")],
        "usage": {"type": "duration", "seconds": duration.ceil() as u64},
    });
    assert_eq!(said, expected);
}

#[test]
fn of_an_empty_transcript_the_turns_are_answered() {
    let server = Server::start();
    let (samples, _) = conversation(&["alan-1", "beth-1"]);
    let ask = |transcript: &str, format: &str| {
        let form = Form::new().part("file", part(samples.clone())).text("response_format", format.to_owned());
        send(&server, form.part("transcript", Part::text(transcript.to_owned()).file_name("a")))
    };
    let silent = json!({"text": "", "segments": [], "language": "en"});
    let answer = answered(200, ask(&silent.to_string(), "json"));
    assert_eq!((&answer["transcript"], labels(&answer)), (&silent, vec!["S1", "S2"]), "{answer}");
    assert_eq!(answered(200, ask("", "json"))["transcript"], "");
    let vtt = ask("WEBVTT\n", "vtt").text().unwrap();
    assert!(vtt.contains("<v S1>S1\n") && vtt.contains("<v S2>S2\n"), "{vtt}");
    let said = answered(200, ask("", "diarized_json"));
    assert_eq!((&said["text"], &said["segments"][1]["speaker"]), (&json!(""), &json!("B")), "{said}");
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let server = Server::start();
    let file = || {
        Form::new()
            .part("file", Part::bytes(std::fs::read(fixture("audio/alan-1.wav")).unwrap()).file_name("a.wav"))
    };
    let known = |names: &[&str]| {
        names.iter().fold(file(), |form, name| {
            let reference = part(samples_of("alan-1"));
            form.text("known_speaker_names[]", (*name).to_owned())
                .part("known_speaker_references[]", reference)
        })
    };
    let cases: Vec<(Form, u16, &str, &str)> = vec![
        (file().text("num_speakers", "0"), 422, "validation_error", "from 1 to 30"),
        (file().text("num_speakers", "500"), 422, "validation_error", "from 1 to 30"),
        (file().text("num_speakers", "2").text("max_speakers", "3"), 422, "validation_error", "num_speakers, or"),
        (file().text("min_speakers", "4").text("max_speakers", "3"), 422, "validation_error", "max_speakers"),
        (file().text("overlap", "maybe"), 422, "validation_error", "overlap"),
        (file().text("response_format", "docx"), 422, "validation_error", "docx"),
        (file().text("transcript", "what was said"), 422, "validation_error", "neither JSON in a known format"),
        (file().text("transcript", "{\"text\": \"x\"}"), 422, "validation_error", "its keys are text."),
        (file().text("response_format", "diarized_json"), 422, "validation_error", "send transcript"),
        (file().text("known_speaker_names[]", "Ann"), 422, "validation_error", "1 names and 0 references"),
        (known(&["Ann"]).text("collection", "default"), 422, "validation_error", "not both"),
        (known(&["Ann", "Ann"]), 422, "validation_error", "twice"),
        (known(&[" "]), 422, "validation_error", "1 to 200 characters"),
        (known(&["a"; 31]), 422, "validation_error", "up to 30"),
        (file().text("known_speaker_names[]", "Ann").text("known_speaker_references[]", "data:audio/wav;base64,UklGRg=="), 422, "corrupt_audio", "known_speaker_references[0]"),
        (file().text("known_speaker_names[]", "Ann").text("known_speaker_references[]", "!"), 400, "invalid_base64", ""),
        (file().text("transcript", "[{\"start\": 2, \"end\": 1, \"text\": \"x\"}]"), 422, "validation_error", "before it begins"),
        (file().text("transcript", "[{\"start\": -2, \"end\": 1, \"text\": \"x\"}]"), 422, "validation_error", "begins at -2"),
        (file().text("transcript", "[{\"start\": 0, \"end\": 1}]"), 422, "validation_error", "no text"),
        (file().text("transcript", "[{\"start\": 0, \"end\": 1, \"text\": \"x\"}, {\"start\": 70, \"end\": 71, \"text\": \"x\"}]"), 422, "validation_error", "of another one"),
        (file().text("transcript", "1\n00:00:xx --> 00:00:02,000\nx\n"), 422, "validation_error", "no times"),
        (file().text("transcript", "[{\"start\": 0, \"end\": 1, \"text\": \"x\"}]").text("response_format", "rttm"), 422, "validation_error", "no transcript"),
        (file().text("segments", "[[0, 1]]"), 422, "validation_error", "as a whole"),
        (file().text("speakers", "2"), 422, "validation_error", ""),
        (file().text("channel", "3"), 422, "validation_error", "channel"),
        (file().text("model", "whisper"), 404, "model_not_found", "resemblyzer"),
        (Form::new().part("file", part(vec![0.0; 32_000])), 422, "no_speech", "No speech"),
        (Form::new().part("file", Part::bytes(b"no audio".to_vec()).file_name("a.wav")), 415, "unsupported_audio", ""),
        (
            Form::new().text("num_speakers", "2"),
            422,
            "validation_error",
            "Field required: a part named file or voice; the form has num_speakers",
        ),
    ];
    for (i, (form, status, code, detail)) in cases.into_iter().enumerate() {
        assert_error(i, send(&server, form), status, code, detail);
    }
    let speaker = json!({"voice": {"speaker": "ann"}});
    assert_error(
        "a speaker",
        server.post_json("/v1/diarize", speaker.to_string()),
        422,
        "validation_error",
        "Only a recording",
    );
}

#[test]
fn a_recording_over_the_limits_is_refused_and_keys_need_their_right() {
    let keys = [
        key_lines("embeds", "embeds-secret", "[\"embed\"]"),
        key_lines("identifies", "identifies-secret", "[\"identify\"]"),
        key_lines("reads", "reads-secret", "[\"read\"]"),
    ];
    let server = Server::start_with(&[
        ("KEYS", &keys.concat()),
        ("MAX_DIARIZE_SECONDS", "5"),
        ("MAX_AUDIO_SECONDS", "3"),
        ("MAX_DIARIZE_BODY_BYTES", "300000"),
        ("MAX_BODY_BYTES", "1000"),
    ]);
    let send = |key: &str, samples: Vec<f32>, collection: bool| {
        let mut form = Form::new().part("file", part(samples));
        if collection {
            form = form.text("collection", "default");
        }
        server
            .request_without_key("POST", "/v1/diarize")
            .header("X-API-Key", key)
            .multipart(form)
            .send()
            .unwrap()
    };
    let of = |seconds: usize| samples_of("alan-1")[..16_000 * seconds].to_vec();
    answered(200, send("embeds-secret", of(4), false));
    assert_error("too long", send("embeds-secret", of(6), false), 413, "audio_too_long", "5");
    let large = samples_of("alan-1").repeat(2);
    assert_error("too large", send("embeds-secret", large, false), 413, "payload_too_large", "300000");
    let named = answered(200, send("identifies-secret", of(4), true));
    assert!(named["speakers"][0].get("embedding").is_none(), "a key that may only identify gets none");
    assert_error("a collection", send("embeds-secret", of(4), true), 403, "forbidden", "identify");
    assert_error("none", send("identifies-secret", of(4), false), 403, "forbidden", "embed");
    assert_error("read alone", send("reads-secret", of(4), true), 403, "forbidden", "identify");
}

fn command(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"));
    program.env("MODELS", "resemblyzer");
    program.current_dir(repository()).arg("diarize").args(arguments).args(paths).output().unwrap()
}

#[test]
fn the_command_line_tells_turns_of_many_files() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, _) = conversation(&["alan-1", "beth-1"]);
    std::fs::write(folder.path().join("team call.wav"), wav(samples)).unwrap();
    std::fs::copy(fixture("audio/alan-1.wav"), folder.path().join("alone.wav")).unwrap();
    std::fs::write(folder.path().join("broken.wav"), "no audio").unwrap();
    let output = command(&[], &[folder.path()]);
    assert_eq!(output.status.code(), Some(1), "one of three is no recording");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<(&str, &str)> = text
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[1], fields[7])
        })
        .collect();
    assert_eq!(lines, [("alone", "S1"), ("team_call", "S1"), ("team_call", "S2")]);
    let transcript = folder.path().join("call.srt");
    std::fs::write(&transcript, "1\n00:00:01,000 --> 00:00:03,000\nhello\n").unwrap();
    let call = folder.path().join("team call.wav");
    let transcribed = |arguments: &[&str], files: &[&Path]| {
        let arguments = [&["--transcript", transcript.to_str().unwrap()][..], arguments].concat();
        let output = command(&arguments, files);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(transcribed(&["-q"], &[&call]).1, "1\n00:00:01,000 --> 00:00:03,000\nS1: hello\n\n");
    let json: Value = serde_json::from_str(&transcribed(&["--format", "json"], &[&call]).1).unwrap();
    assert_eq!(
        (&json["segments"][1]["label"], &json["transcript"]),
        (&json!("S2"), &json!("1\n00:00:01,000 --> 00:00:03,000\nS1: hello\n\n"))
    );
    assert_eq!(transcribed(&[], &[folder.path()]).0, Some(2));
    let (status, _, said) = transcribed(&["--format", "rttm"], &[&call]);
    assert!(status == Some(2) && said.contains("RTTM holds no transcript"), "{said}");
    let output = command(&["--min-speakers", "5", "--max-speakers", "2"], &[&call]);
    assert_eq!(output.status.code(), Some(2));
}

/// Returns a made-up recording with turns of 4 seconds, in which the speakers alternate. Each turn overlaps the next by
/// half a second.
fn made_up(n_turns: usize, n_speakers: usize, spread: f32) -> Heard {
    let mut state = 1_u64;
    let mut component = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    let voices: Vec<Vec<f32>> = (0..n_speakers).map(|_| (0..64).map(|_| component()).collect()).collect();
    let n_samples = n_turns * 64_000;
    let mut segmentation = Segmentation::new(n_samples);
    for window in windows(n_samples) {
        let turn_at = |seconds: f64| ((seconds / 4.0) as usize).min(n_turns - 1);
        let first = turn_at(window.start as f64 / 16_000.0);
        let n_frames = n_frames(window.len());
        let frame = |i: usize| {
            let seconds = (window.start + 270 * i + 495) as f64 / 16_000.0;
            let turn = turn_at(seconds);
            // A window has at most three turns. The third may be the first speaker's again.
            let local = |turn: usize| 1 + (turn - first) % n_speakers.min(3);
            let is_spoken_into = seconds % 4.0 < 0.5 && turn > first && n_speakers > 1;
            let other = if is_spoken_into { turn - 1 } else { turn };
            let class = match (local(turn), local(other)) {
                (a, b) if a == b => a,
                (1, 2) | (2, 1) => 4,
                (1, 3) | (3, 1) => 5,
                _ => 6,
            };
            (0..CLASSES).map(move |other| if other == class { 0.0 } else { -9.0 })
        };
        segmentation.push(window.start, &(0..n_frames).flat_map(frame).collect::<Vec<f32>>());
    }
    let parameters = campplus::spec().turns;
    let pieces = pieces(&segmentation, parameters.max_piece_frames);
    let unit = |piece: &Range<usize>| {
        let speaker = usize::midpoint(piece.start, piece.end) / 400 % n_speakers;
        let unit: Vec<f32> = voices[speaker].iter().map(|c| c + spread * component()).collect();
        let norm = unit.iter().map(|c| c * c).sum::<f32>().sqrt();
        unit.into_iter().map(|c| c / norm).collect()
    };
    let units = pieces.iter().map(unit).collect();
    Heard { segmentation, pieces, units, levels_db: Vec::new(), parameters }
}

#[test]
fn any_number_of_speakers_is_found_whatever_the_length() {
    for (n_turns, n_speakers) in [(1, 1), (2, 1), (3, 2), (20, 2), (30, 3), (60, 5), (200, 8)] {
        let heard = made_up(n_turns, n_speakers, 0.4);
        let options = TurnOptions::default();
        let found = diarize(&heard, &options, Pace::UNBROKEN).unwrap();
        let name = format!("{n_turns} turns of {n_speakers}");
        assert_eq!(found.speakers.len(), n_speakers, "{name}");
        let order: Vec<usize> = found.turns.iter().take(n_speakers).map(|turn| turn.speaker).collect();
        assert!(order.iter().copied().eq(0..order.len()), "{name}: labels in the order of appearance");
        assert_eq!(diarize(&heard, &options, Pace::UNBROKEN).unwrap(), found, "{name}: the same again");
        let (_, overlap) = spoken_seconds(&found.turns);
        assert_eq!(overlap > 0.0, n_speakers > 1, "{name}: {overlap}");
        if n_speakers > 1 {
            assert_eq!(found.turns.len(), n_turns, "{name}");
            assert!((overlap / (n_turns - 1) as f64 - 0.5).abs() < 0.1, "{name}: {overlap}");
        }
        // Without overlap, the amount of speech is the same.
        let alone =
            diarize(&heard, &TurnOptions { overlap: false, ..options.clone() }, Pace::UNBROKEN).unwrap();
        assert!(alone.turns.windows(2).all(|pair| pair[0].seconds.end <= pair[1].seconds.start), "{name}");
        let speech = |turns| spoken_seconds(turns).0;
        assert!((speech(&alone.turns) - speech(&found.turns)).abs() < 1e-6, "{name}");
        for k in [1, 2, 6, 30] {
            let count = SpeakerCount::Exactly(k);
            let found = diarize(&heard, &TurnOptions { count, ..options.clone() }, Pace::UNBROKEN).unwrap();
            assert!(found.speakers.len() <= k, "{name}: {k} asked for");
        }
    }
}

/// Returns 20 seconds in which two voices overlap for some seconds in the middle.
fn overlapping() -> Vec<f32> {
    let (alan, beth) = (samples_of("alan-1"), samples_of("beth-1"));
    let mut samples = vec![0.0; 20 * 16_000];
    let mut add = |voice: &[f32], at: usize| {
        samples[at..].iter_mut().zip(voice).for_each(|(to, sample)| *to += sample);
    };
    add(&alan, 16_000);
    // The first three seconds of beth overlap alan's last three.
    add(&beth, 16_000 + alan.len() - 48_000);
    add(&alan, 16_000 + alan.len() + beth.len() - 48_000 + 16_000);
    samples
}

#[test]
fn turns_overlap_where_two_speak_at_once_unless_one_at_a_time_is_wanted() {
    let server = Server::start_with(&[("MODELS", "resemblyzer,campplus")]);
    let ask = |options: &[(&str, &str)]| {
        let mut form = Form::new().part("file", part(overlapping()));
        for (name, value) in options {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        send(&server, form)
    };
    let times = |answer: &Value| -> Vec<(f64, f64)> {
        let segments = answer["segments"].as_array().unwrap().iter();
        segments.map(|s| (s["start"].as_f64().unwrap(), s["end"].as_f64().unwrap())).collect()
    };
    let both = answered(200, ask(&[]));
    assert_eq!(both["model"], "campplus-zh-en-common/92f29b94", "the better model is the default");
    assert_eq!(both["speakers"].as_array().unwrap().len(), 2, "{both}");
    assert!((both["overlap_seconds"].as_f64().unwrap() - 3.0).abs() < 1.0, "{both}");
    assert!(times(&both).windows(2).any(|pair| pair[1].0 < pair[0].1), "{both}");
    for (label, heard) in [("S1", 0), ("S2", 1)] {
        let speaker = &both["speakers"][heard];
        assert_eq!(speaker["label"], label);
        // Overlapping speech does not count towards the embedding.
        let (seconds, clean) =
            (speaker["seconds"].as_f64().unwrap(), speaker["speech_seconds"].as_f64().unwrap());
        assert!(clean < seconds && clean > seconds - 4.0, "{speaker}");
    }
    let alone = answered(200, ask(&[("overlap", "false")]));
    assert_eq!(alone["overlap_seconds"], 0.0);
    assert!(times(&alone).windows(2).all(|pair| pair[1].0 >= pair[0].1), "{alone}");
    // The same turns as RTTM lines, and as parallel cues.
    let rttm = ask(&[("response_format", "rttm")]).text().unwrap();
    assert_eq!(rttm.lines().count(), times(&both).len());
    let vtt = ask(&[("response_format", "vtt")]).text().unwrap();
    assert_eq!(vtt.matches(" --> ").count(), times(&both).len(), "{vtt}");
    // A word in the overlap is assigned to the speaker who began first.
    let (start, end) = (times(&both)[1].0, times(&both)[0].1);
    let middle = f64::midpoint(start, end);
    let words = json!([{"start": middle - 0.1, "end": middle + 0.1, "text": "word"}]).to_string();
    let said = answered(200, ask(&[("transcript", &words)]));
    assert_eq!(said["transcript"][0]["speaker"], said["segments"][0]["label"], "{said}");
}

#[test]
fn recordings_of_every_length_have_turns_and_what_is_no_speech_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let speech: Vec<f32> = samples_of("alan-1").into_iter().cycle().take(16 * 16_000).collect();
    let tone = |hz: f32| {
        (0..320_000).map(|i| 0.3 * (i as f32 * hz * std::f32::consts::TAU / 16_000.0).sin()).collect()
    };
    let mut state = 7_u32;
    let noise = (0..320_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    });
    let pauses = speech[..80_000].chunks(8_000).flat_map(|word| [word.to_vec(), vec![0.0; 8_000]].concat());
    let cases: Vec<(&str, Vec<f32>, bool)> = vec![
        ("a tenth of a second", speech[8_000..9_600].to_vec(), false),
        ("half a second", speech[8_000..16_000].to_vec(), true),
        ("ten seconds", speech[..160_000].to_vec(), true),
        ("a sample more", speech[..160_001].to_vec(), true),
        ("fifteen seconds", speech[..240_000].to_vec(), true),
        ("speech at the very end", [vec![0.0; 640_000], speech[..80_000].to_vec()].concat(), true),
        ("digital silence between words", pauses.collect(), true),
        ("a tone", tone(1_000.0), false),
        ("a hum", tone(50.0), false),
        ("noise", noise.collect(), false),
        ("silence", vec![0.0; 32_000], false),
    ];
    for (name, samples, _) in &cases {
        std::fs::write(folder.path().join(format!("{name}.wav")), wav(samples.clone())).unwrap();
    }
    let output = command(&["--format", "json"], &[folder.path()]);
    let said = String::from_utf8(output.stderr).unwrap();
    let mut answers: HashMap<String, Value> = HashMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        let path = Path::new(answer["path"].as_str().unwrap());
        answers.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), answer);
    }
    for (name, samples, has_speech) in &cases {
        let Some(answer) = answers.get(*name) else {
            assert!(!has_speech && said.contains(&format!("{name}.wav: no_speech")), "{name}: {said}");
            continue;
        };
        assert!(has_speech, "{name}: {answer}");
        let seconds = samples.len() as f64 / 16_000.0;
        let ends =
            answer["segments"].as_array().unwrap().iter().map(|segment| segment["end"].as_f64().unwrap());
        assert!(ends.clone().all(|end| end <= seconds + 1e-3), "{name}: {answer}");
        assert!(ends.fold(0.0, f64::max) > seconds - 1.2, "{name}: {answer}");
        assert_eq!(answer["speakers"].as_array().unwrap().len(), 1, "{name}: {answer}");
        assert_eq!(answer["overlap_seconds"], 0.0, "{name}");
    }
    let late = &answers["speech at the very end"]["segments"];
    assert!((late[0]["start"].as_f64().unwrap() - 40.0).abs() < 0.3, "{late}");
    assert!(answers["digital silence between words"]["segments"].as_array().unwrap().len() > 5);
    assert_eq!(answers["half a second"]["audio"]["warnings"], json!(["short_speech"]));
}

/// Error rates on real conversations and meetings, without collar and with overlap. The bounds come from the reference
/// implementation (docs/diarization.md).
#[test]
fn error_rates_of_real_recordings_are_as_documented() {
    let Some(data) = parity_data("error_rates_of_real_recordings_are_as_documented") else { return };
    for (model, folder, most) in [
        ("campplus", "conversations", 8.9),
        ("campplus", "conversations/phone", 6.0),
        ("campplus", "meetings", 23.3),
        ("resemblyzer", "conversations", 8.9),
        ("resemblyzer", "meetings", 28.5),
    ] {
        let found = command(&["--model", model, "--quiet"], &[&data.join(folder)]).stdout;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), found).unwrap();
        let scored = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
            .args(["score", "--format", "json", "--reference"])
            .args([&data.join(folder), file.path()])
            .output()
            .unwrap();
        let scored: Value = serde_json::from_slice(&scored.stdout).unwrap();
        let rate = scored["all"]["error_rate"].as_f64().unwrap();
        say(&format!("{model} on {folder}: {rate} % DER"));
        assert!(rate <= most, "{model} on {folder}: {scored}");
    }
}

/// Reads the turns of an RTTM file.
fn reference(path: &Path) -> Vec<(Range<f64>, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let turn = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, length): (f64, f64) = (fields[3].parse().unwrap(), fields[4].parse().unwrap());
        (start..start + length, fields[7].to_owned())
    };
    text.lines().map(turn).collect()
}

/// Returns words of 0.4 s in each turn, with their speakers. The transcript contains only the words.
fn words_of(turns: &[(Range<f64>, String)]) -> Vec<(f64, String)> {
    let mut words = Vec::new();
    for (turn, speaker) in turns {
        let n = ((turn.end - turn.start) / 0.4) as usize;
        words.extend((0..n).map(|i| (turn.start + 0.4 * i as f64, speaker.clone())));
    }
    words.sort_by(|a, b| a.0.total_cmp(&b.0));
    words
}

#[test]
fn words_of_real_conversations_get_their_speakers() {
    let Some(data) = parity_data("words_of_real_conversations_get_their_speakers") else { return };
    for (model, most_wrong) in [("campplus", 0.03), ("resemblyzer", 0.04)] {
        let (mut n_words, mut n_wrong) = (0, 0);
        for i in 1..=6 {
            let conversation = data.join(format!("conversations/conv0{i}"));
            let turns = reference(&conversation.with_extension("rttm"));
            let words = words_of(&turns);
            let parts: Vec<Value> = words
                .iter()
                .map(|(start, _)| json!({"start": start, "end": start + 0.4, "text": "word"}))
                .collect();
            let folder = tempfile::tempdir().unwrap();
            let transcript = folder.path().join("words.json");
            std::fs::write(&transcript, json!(parts).to_string()).unwrap();
            let arguments = ["--model", model, "--transcript", transcript.to_str().unwrap(), "--quiet"];
            let output = command(&arguments, &[&conversation.with_extension("flac")]);
            let said: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(said.len(), words.len());
            // Each label is matched with the speaker of most of its words.
            let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
            for (said, (_, speaker)) in said.iter().zip(&words) {
                *counts.entry((said["speaker"].as_str().unwrap(), speaker)).or_default() += 1;
            }
            let labels: std::collections::BTreeSet<&str> = counts.keys().map(|(label, _)| *label).collect();
            let speakers: std::collections::BTreeSet<&str> =
                turns.iter().map(|(_, speaker)| &**speaker).collect();
            assert_eq!(labels.len(), speakers.len(), "{model}: the number of speakers of conv0{i}");
            let right: usize = labels
                .iter()
                .map(|label| {
                    speakers
                        .iter()
                        .map(|speaker| counts.get(&(label, speaker)).copied().unwrap_or(0))
                        .max()
                        .unwrap()
                })
                .sum();
            n_words += words.len();
            n_wrong += words.len() - right;
        }
        let share = n_wrong as f64 / n_words as f64;
        say(&format!("{model}: {n_wrong} of {n_words} words have the wrong speaker"));
        assert!(share <= most_wrong, "{model}: {share:.4}");
    }
}
