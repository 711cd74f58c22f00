//! Live sessions from the point of view of a client.

use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Error, HandshakeError, Message, WebSocket, client};

use super::support::{self, KEY, Server, answered, eventually, key_lines, wav};

/// The client of a session.
struct Client {
    socket: WebSocket<TcpStream>,
    events: Vec<Value>,
}

/// The code of the close message at the end of a session, if there was one.
type Ended = Option<u16>;

impl Client {
    fn open(server: &Server, query: &str) -> Self {
        Self::try_open(server, query, &[("X-API-Key", KEY)]).expect("the handshake is accepted")
    }

    /// Opens a session, or returns the status and the code of the rejection.
    fn try_open(
        server: &Server,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let url = server.url(&format!("/v1/live{query}")).replacen("http", "ws", 1);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let address = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        match client(request, stream) {
            Ok((socket, _)) => Ok(Self { socket, events: Vec::new() }),
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                let body = answer.body().clone().unwrap_or_default();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                Err((answer.status().as_u16(), body["code"].clone()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn audio(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).unwrap();
    }

    fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    /// Reads events up to the next event of a type, and returns it.
    fn until(&mut self, kind: &str) -> Value {
        loop {
            let event =
                self.next().unwrap_or_else(|ended| panic!("no {kind} but {ended:?}: {:?}", self.events));
            if event["type"] == kind {
                return event;
            }
        }
    }

    fn next(&mut self) -> Result<Value, Ended> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    self.events.push(event.clone());
                    return Ok(event);
                }
                Ok(Message::Close(frame)) => return Err(frame.map(|frame| frame.code.into())),
                Ok(_) => {}
                Err(error) => return Err(closed(&error)),
            }
        }
    }

    /// Reads events until the session ends.
    fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.next() {
                return ended;
            }
        }
    }

    fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["type"] == kind)
    }
}

fn closed(error: &Error) -> Ended {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        error => panic!("{error}"),
    }
}

/// Returns 16-bit samples of voices that speak in turns with pauses between them, and the times of the turns.
fn conversation(names: &[&str]) -> (Vec<u8>, Vec<Range<f64>>) {
    let (samples, turns) = support::conversation(names);
    let bytes = samples.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
    (bytes, turns)
}

/// Returns the same audio as a file.
fn file_of(bytes: &[u8]) -> Vec<u8> {
    wav(bytes.as_chunks::<2>().0.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32_768.0))
}

/// Returns the parts of a response that do not depend on rounding: turns and labels, rounded to a hundredth of a second.
fn outline(answer: &Value) -> Vec<(String, i64, i64)> {
    let hundredths = |time: &Value| (time.as_f64().unwrap() * 100.0).round() as i64;
    let segments = answer["segments"].as_array().unwrap().iter();
    let turn = |turn: &Value| {
        (turn["label"].as_str().unwrap().to_owned(), hundredths(&turn["start"]), hundredths(&turn["end"]))
    };
    segments.map(turn).collect()
}

#[test]
fn a_session_tells_turns_and_names_and_ends_with_the_files_answer() {
    let server = Server::start();
    let (bytes, turns) = conversation(&["alan-1", "beth-1", "alan-2", "beth-2"]);
    let form = Form::new().part("file", Part::bytes(file_of(&bytes)).file_name("call.wav"));
    let from_file = answered(200, server.request("POST", "/v1/diarize").multipart(form).send().unwrap());
    let ann = json!({"id": "ann", "name": "Ann", "voices": [from_file["speakers"][0]]});
    answered(201, server.post_json("/v1/speakers", ann.to_string()));

    let mut client = Client::open(&server, "?collection=default");
    let ready = client.until("ready");
    assert_eq!(ready["model"], from_file["model"], "{ready}");
    assert_eq!((&ready["sample_rate"], &ready["latency_seconds"]), (&json!(16_000), &json!(1.5)));
    let said = json!({"type": "transcript", "segments": [
        {"start": turns[0].start, "end": turns[0].end, "text": "Shall we begin?"},
        {"start": turns[1].start, "end": turns[1].end, "text": "Yes."},
    ]});
    client.say(&said);
    // A message may end in the middle of a sample.
    for (i, piece) in bytes.chunks(8_001).enumerate() {
        client.audio(piece);
        if i == 3 {
            client.say(&json!({"type": "keep_alive"}));
        }
    }
    client.say(&json!({"type": "end"}));
    let result = client.until("final");
    assert_eq!(client.ended(), Some(1000));
    assert_eq!(outline(&result), outline(&from_file));
    assert_eq!(result["audio"]["duration_seconds"], from_file["audio"]["duration_seconds"]);
    assert_eq!(result["audio"]["warnings"], from_file["audio"]["warnings"]);
    assert_eq!(result["speakers"][0]["speaker"], "ann", "{result}");
    assert_eq!(result["transcript"][1]["speaker"], "S2", "{result}");

    let mut settled: Vec<&Value> = client
        .of_type("turn")
        .filter(|turn| turn["settled"] == true && turn["start"] != turn["end"])
        .collect();
    settled.sort_by(|a, b| a["start"].as_f64().unwrap().total_cmp(&b["start"].as_f64().unwrap()));
    let labels: Vec<&str> = settled.iter().map(|turn| turn["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["S1", "S2", "S1", "S2"], "{settled:?}");
    let named: Vec<&Value> = client.of_type("speaker").collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!((&named[0]["label"], &named[0]["name"]), (&json!("S1"), &json!("Ann")));
    let transcript: Vec<(&Value, &Value, &Value)> = client
        .of_type("transcript")
        .flat_map(|event| event["segments"].as_array().unwrap())
        .map(|said| (&said["text"], &said["label"], &said["speaker"]))
        .collect();
    let (begin, yes) = (json!("Shall we begin?"), json!("Yes."));
    assert_eq!(transcript, [(&begin, &json!("S1"), &json!("ann")), (&yes, &json!("S2"), &Value::Null)]);
    let speech: Vec<bool> =
        client.of_type("speech").map(|event| event["active"].as_bool().unwrap()).collect();
    assert_eq!(speech.first(), Some(&true));
    assert!(speech.windows(2).all(|pair| pair[0] != pair[1]), "{speech:?}");
    eventually(|| server.metrics().contains("voice_embedding_live_sessions 0"));
    eventually(|| server.metrics().contains("voice_embedding_live_sessions_ended_total{code=\"1000\"} 1"));
    assert_eq!(server.logged("a live session has ended").len(), 1);
}

#[test]
fn a_flush_settles_what_was_received() {
    let server = Server::start();
    let (bytes, turns) = conversation(&["alan-1", "beth-1"]);
    let mut client = Client::open(&server, "?partial_seconds=5&num_speakers=2");
    client.audio(&bytes);
    client.say(&json!({"type": "flush"}));
    let flushed = client.until("flushed");
    assert!((flushed["at"].as_f64().unwrap() - bytes.len() as f64 / 32_000.0).abs() < 0.02, "{flushed}");
    let settled: Vec<&Value> = client.of_type("turn").filter(|turn| turn["settled"] == true).collect();
    let end = settled.iter().map(|turn| turn["end"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!((end - turns[1].end).abs() < 0.5, "{settled:?}");
    // A client may send `flush` and `end` at any time in an open session.
    client.say(&json!({"type": "flush"}));
    assert_eq!(client.until("flushed"), flushed);
    client.say(&json!({"type": "end"}));
    client.say(&json!({"type": "end"}));
    client.audio(&bytes);
    assert_eq!(client.until("final")["speakers"].as_array().unwrap().len(), 2);
    assert_eq!(client.ended(), Some(1000));
}

#[test]
fn handshakes_that_cannot_lead_to_a_session_are_refused() {
    let lines = format!(
        "{}\n{}",
        key_lines("all", KEY, r#"["embed", "verify", "identify"]"#),
        key_lines("few", "few", r#"["embed"]"#)
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines + &key_lines("other", "other", r#"["verify"]"#)).unwrap();
    let variables = [
        ("API_KEY", ""),
        ("KEYS_FILE", file.path().to_str().unwrap()),
        ("MAX_LIVE_SESSIONS", "1"),
        ("CORS_ORIGINS", "https://example.org"),
    ];
    let server = Server::start_with(&variables);
    let key = ("X-API-Key", KEY);
    let offered = format!("voice-live.v1, key.{}", BASE64_URL_SAFE_NO_PAD.encode(KEY));
    let wrong = format!("voice-live.v1, key.{}", BASE64_URL_SAFE_NO_PAD.encode("wrong"));
    let cases: [(&str, &[(&str, &str)], u16, &str); 17] = [
        ("", &[], 401, "invalid_api_key"),
        ("", &[("X-API-Key", "wrong")], 401, "invalid_api_key"),
        ("", &[("Sec-WebSocket-Protocol", &wrong)], 401, "invalid_api_key"),
        ("?key=secret", &[], 401, "invalid_api_key"),
        ("", &[("X-API-Key", "other")], 403, "forbidden"),
        ("?collection=default", &[("X-API-Key", "few")], 403, "forbidden"),
        ("", &[key, ("Origin", "https://evil.example")], 403, "forbidden"),
        ("?encoding=opus", &[key], 422, "validation_error"),
        ("?sample_rate=4000", &[key], 422, "validation_error"),
        ("?channels=3", &[key], 422, "validation_error"),
        ("?channel=1", &[key], 422, "validation_error"),
        ("?partial_seconds=0.1", &[key], 422, "validation_error"),
        ("?num_speakers=2&max_speakers=3", &[key], 422, "validation_error"),
        ("?min_speakers=4&max_speakers=3", &[key], 422, "validation_error"),
        ("?diarize=true", &[key], 422, "validation_error"),
        ("?model=whisper", &[key], 404, "model_not_found"),
        ("?model=resemblyzer&model=campplus", &[key], 422, "validation_error"),
    ];
    for (query, headers, status, code) in cases {
        let refused = Client::try_open(&server, query, headers).err();
        assert_eq!(refused, Some((status, json!(code))), "{query} {headers:?}");
    }
    let plain = server.request("GET", "/v1/live").send().unwrap();
    assert_eq!((plain.status().as_u16(), &plain.headers()["upgrade"]), (426, &"websocket".parse().unwrap()));

    // Opens a session as a browser does, then tries a second one, for which there is no room.
    let headers: [(&str, &str); 2] =
        [("Sec-WebSocket-Protocol", &offered), ("Origin", "https://example.org")];
    let mut first = Client::try_open(&server, "", &headers).unwrap();
    assert_eq!(Client::try_open(&server, "", &[key]).err(), Some((503, json!("overloaded"))));
    first.say(&json!({"type": "end"}));
    let result = first.until("final");
    assert_eq!((&result["segments"], &result["speakers"]), (&json!([]), &json!([])), "nothing came");
    assert_eq!(first.ended(), Some(1000));
    eventually(|| Client::try_open(&server, "", &[key]).is_ok());
}

#[test]
fn what_cannot_be_understood_ends_the_session_with_a_reason() {
    let server = Server::start();
    let text = |text: &str| Message::text(text.to_owned());
    let frame = |data: Data, is_final: bool, bytes: &'static [u8]| {
        Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(data), is_final))
    };
    let reserved = || {
        let mut frame = Frame::message(Bytes::from_static(b"{}"), OpCode::Data(Data::Text), true);
        frame.header_mut().rsv1 = true;
        Message::Frame(frame)
    };
    let wav = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data";
    let nan = f32::NAN.to_le_bytes().repeat(16_000);
    let transcript = |segments: &str| text(&format!(r#"{{"type": "transcript", "segments": {segments}}}"#));
    let cases: [(&str, &str, Vec<Message>, u16, &str); 13] = [
        ("no JSON", "", vec![text("hello")], 1003, "validation_error"),
        ("no type", "", vec![text("{}")], 1003, "validation_error"),
        ("an unknown type", "", vec![text(r#"{"type": "start"}"#)], 1003, "validation_error"),
        ("no list", "", vec![transcript("{}")], 1003, "validation_error"),
        (
            "a part that ends before it starts",
            "",
            vec![transcript(r#"[{"start": 2, "end": 1, "text": "a"}]"#)],
            1003,
            "validation_error",
        ),
        (
            "a message of more than 1 MiB",
            "",
            vec![Message::binary(vec![0; (1 << 20) + 1])],
            1009,
            "payload_too_large",
        ),
        ("a file", "", vec![Message::binary([&wav[..], &[0; 64_000]].concat())], 1003, "corrupt_audio"),
        ("no numbers", "?encoding=f32le", vec![Message::binary(nan)], 1003, "corrupt_audio"),
        ("text that is no UTF-8", "", vec![frame(Data::Text, true, b"\xff\xfe")], 1007, ""),
        ("a reserved bit", "", vec![reserved()], 1002, ""),
        ("a reserved opcode", "", vec![frame(Data::Reserved(5), true, b"")], 1002, ""),
        ("a continuation of nothing", "", vec![frame(Data::Continue, true, b"")], 1002, ""),
        (
            "a message within another",
            "",
            vec![frame(Data::Text, false, b"{"), frame(Data::Text, true, b"{}")],
            1002,
            "",
        ),
    ];
    for (name, query, messages, code, error) in cases {
        let mut client = Client::open(&server, query);
        for message in messages {
            // The service may have closed the connection before the whole message was sent.
            let _ = client.socket.send(message);
        }
        let _ = client.socket.send(Message::binary(vec![0; 32_000]));
        assert_eq!(client.ended(), Some(code), "{name}: {:?}", client.events);
        let errors: Vec<&str> =
            client.of_type("error").map(|event| event["code"].as_str().unwrap()).collect();
        let expected: Vec<&str> = if error.is_empty() { Vec::new() } else { vec![error] };
        assert_eq!(errors, expected, "{name}");
    }
    assert!(
        server.logged_anything_but("panicked").iter().all(|line| !line.contains("a live session failed"))
    );
}

#[test]
fn odd_but_allowed_ways_of_sending_are_the_same_session() {
    let server = Server::start();
    let (bytes, _) = conversation(&["alan-1"]);
    let mut plain = Client::open(&server, "");
    plain.audio(&bytes);
    plain.say(&json!({"type": "end"}));
    let expected = plain.until("final");

    let mut client = Client::open(&server, "");
    let frame = |data, is_final, bytes: &[u8]| {
        Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(data), is_final))
    };
    client.audio(&[]);
    // A message in fragments, with a ping between them.
    client.socket.send(frame(Data::Binary, false, &bytes[..10_001])).unwrap();
    client.socket.send(Message::Ping(Bytes::from_static(b"are you there?"))).unwrap();
    client.socket.send(frame(Data::Continue, false, &bytes[10_001..20_000])).unwrap();
    client.socket.send(frame(Data::Continue, true, &bytes[20_000..])).unwrap();
    // Half a sample is ignored.
    client.audio(&[7]);
    client.socket.send(Message::text(r#"{"type":"e\u006ed"}"#)).unwrap();
    let result = client.until("final");
    assert_eq!(outline(&result), outline(&expected));
    let warnings: Vec<&Value> = client.of_type("warning").map(|event| &event["code"]).collect();
    assert_eq!(warnings, ["truncated"]);
    assert_eq!(client.ended(), Some(1000));

    // One of two channels, at an explicit rate. A second session closes without a code.
    let stereo: Vec<u8> = bytes.as_chunks::<2>().0.iter().flat_map(|left| [*left, [0, 0]].concat()).collect();
    let mut client = Client::open(&server, "?channels=2&channel=0&sample_rate=16000");
    client.audio(&stereo);
    client.say(&json!({"type": "end"}));
    assert_eq!(outline(&client.until("final")), outline(&expected));
    let mut client = Client::open(&server, "");
    client.socket.close(None).unwrap();
    assert_eq!(client.ended(), None);
}

#[test]
fn a_stop_ends_sessions_with_their_results() {
    let mut server = Server::start();
    let (bytes, _) = conversation(&["alan-1"]);
    let mut client = Client::open(&server, "");
    client.audio(&bytes);
    client.until("turn");
    server.signal("TERM");
    let result = client.until("final");
    assert_eq!(result["audio"]["duration_seconds"].as_f64(), Some(bytes.len() as f64 / 32_000.0));
    assert_eq!(client.ended(), Some(1001));
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_key_that_is_revoked_ends_its_session_and_time_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        key_lines("a", "first", r#"["embed"]"#) + "\n" + &key_lines("b", KEY, r#"["embed"]"#),
    )
    .unwrap();
    let variables =
        [("API_KEY", ""), ("KEYS_FILE", file.path().to_str().unwrap()), ("MAX_LIVE_SECONDS", "3")];
    let server = Server::start_with(&variables);
    let mut revoked = Client::try_open(&server, "", &[("Authorization", "Bearer first")]).unwrap();
    revoked.until("ready");
    std::fs::write(file.path(), key_lines("b", KEY, r#"["embed"]"#)).unwrap();
    server.signal("HUP");
    assert_eq!(revoked.until("error")["code"], "invalid_api_key");
    assert_eq!(revoked.ended(), Some(1008));

    let mut long = Client::open(&server, "");
    long.audio(&vec![0; 32_000 * 4]);
    assert_eq!(long.until("final")["audio"]["duration_seconds"], 3.0);
    assert_eq!(long.ended(), Some(4001));
}

#[test]
fn audio_that_comes_at_once_is_not_lost_and_the_client_is_told() {
    let server = Server::start();
    let (one, _) = conversation(&["alan-1", "beth-1", "alan-2", "beth-2"]);
    let bytes = one.repeat(12);
    let mut client = Client::open(&server, "");
    for piece in bytes.chunks(1 << 20) {
        client.audio(piece);
    }
    client.say(&json!({"type": "end"}));
    let result = client.until("final");
    assert_eq!(result["audio"]["duration_seconds"].as_f64(), Some(bytes.len() as f64 / 32_000.0));
    assert_eq!(result["speakers"].as_array().unwrap().len(), 2);
    assert!(client.of_type("warning").any(|warning| warning["code"] == "behind"), "{:?}", client.events);
    eventually(|| server.metrics().contains("voice_embedding_live_sessions_behind 0"));
}

/// Every reference within the document resolves, and the document describes every kind of event.
#[test]
fn messages_are_described_for_programs() {
    let server = Server::start();
    let document: Value = server.get("/asyncapi.json").send().unwrap().json().unwrap();
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        assert!(!document.pointer(&reference).unwrap_or(&Value::Null).is_null(), "{reference}");
    }
    let described = document["components"].to_string();
    for kind in ["speech", "turn", "speaker", "merged", "transcript", "warning", "flushed", "final", "ready"]
    {
        assert!(described.contains(&format!("\"{kind}\"")), "{kind}");
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                into.push(reference.trim_start_matches('#').to_owned());
            }
            fields.values().for_each(|value| collect_references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, into)),
        _ => {}
    }
}
