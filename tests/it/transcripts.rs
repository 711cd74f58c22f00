//! Transcripts in each format. The speaker changes after two seconds.

use serde_json::{Value, json};
use voice_embedding_service::diarization::Turn;
use voice_embedding_service::transcript::{CueFormat, Said, Transcript};

/// The length of the recording in seconds.
const DURATION: f64 = 4.0;

fn turns() -> [Turn; 2] {
    let turn = |speaker: usize| Turn {
        seconds: 2.0 * speaker as f64..2.0 * (speaker + 1) as f64,
        speaker,
        margin: None,
    };
    [turn(0), turn(1)]
}

fn name(speaker: usize) -> String {
    ["Anna", "S2"][speaker].to_owned()
}

fn read(json: &Value) -> Transcript {
    Transcript::from_text(&json.to_string()).unwrap().of_recording(DURATION).unwrap()
}

/// Returns the transcript with speakers.
fn attributed(json: &Value) -> Value {
    serde_json::from_str(read(json).with_speakers(&turns(), &name).get()).unwrap()
}

/// Returns the start, end, speaker and text of each part.
fn said(json: &Value) -> Value {
    let said = |Said { seconds, speaker, text }: Said| json!([seconds.start, seconds.end, speaker, text]);
    read(json).assign_speakers(&turns()).into_iter().map(said).collect()
}

/// Returns the common content of all formats below.
fn two_parts() -> Value {
    json!([[0.5, 1.5, 0, "Shall we?"], [2.5, 3.5, 1, "Yes."]])
}

#[test]
fn whisper_cpp_is_split_between_words_not_within_them() {
    let token = |text: &str, from: u64, to: u64| json!({"text": text, "offsets": {"from": from, "to": to}});
    let mark = json!({"text": "[_BEG_]", "offsets": {"from": 500, "to": 500}});
    // The second word begins in the first turn and ends in the second one.
    let tokens = json!([
        mark,
        token(" Shall", 500, 1_000),
        token(" we", 1_000, 1_500),
        token("?", 2_400, 2_500),
        token(" Yes", 2_500, 3_400),
        token(".", 3_400, 3_500),
    ]);
    let transcript = json!({"model": {"type": "base"}, "transcription": [{
        "timestamps": {"from": "00:00:00,500", "to": "00:00:03,500"},
        "offsets": {"from": 500, "to": 3_500},
        "text": " Shall we? Yes.",
        "tokens": tokens,
    }]});
    let parts = attributed(&transcript)["transcription"].clone();
    let summary = |part: &Value| json!([part["text"], part["speaker"], part["offsets"], part["timestamps"]]);
    assert_eq!(
        parts.as_array().unwrap().iter().map(summary).collect::<Value>(),
        json!([
            [" Shall we?", "Anna", {"from": 500, "to": 2_500}, {"from": "00:00:00,500", "to": "00:00:02,500"}],
            [" Yes.", "S2", {"from": 2_500, "to": 3_500}, {"from": "00:00:02,500", "to": "00:00:03,500"}],
        ])
    );
    assert_eq!(parts[0]["tokens"].as_array().unwrap().len(), 4);
    assert_eq!(attributed(&transcript)["model"], transcript["model"]);

    // Without spaces, each token counts as a word.
    let tokens = json!([token("走", 500, 1_500), token("好", 2_500, 3_500)]);
    let transcript =
        json!({"transcription": [{"offsets": {"from": 500, "to": 3_500}, "text": "走好", "tokens": tokens}]});
    assert_eq!(said(&transcript), json!([[0.5, 1.5, 0, "走"], [2.5, 3.5, 1, "好"]]));
}

#[test]
fn hugging_face_has_pairs_of_times() {
    let transcript = json!({"text": " Shall we? Yes.", "chunks": [
        {"timestamp": [0.5, 1.5], "text": "Shall we?"},
        {"timestamp": [2.5, null], "text": "Yes."},
    ]});
    let answer = attributed(&transcript);
    assert_eq!(answer["chunks"][0], json!({"timestamp": [0.5, 1.5], "text": "Shall we?", "speaker": "Anna"}));
    assert_eq!(answer["chunks"][1], json!({"timestamp": [2.5, null], "text": "Yes.", "speaker": "S2"}));
    assert_eq!(said(&transcript), json!([[0.5, 1.5, 0, "Shall we?"], [2.5, DURATION, 1, "Yes."]]));
    // Chunks may be single words.
    let words = json!({"chunks": [
        {"timestamp": [0.5, 1.0], "text": " Shall"},
        {"timestamp": [1.0, 1.5], "text": " we?"},
        {"timestamp": [2.5, 3.5], "text": " Yes."},
    ]});
    assert_eq!(said(&words), json!([[0.5, 1.5, 0, " Shall we?"], [2.5, 3.5, 1, " Yes."]]));
    assert_eq!(attributed(&words)["chunks"][2]["speaker"], "S2");
    // The transcript may also be only the pipeline's list.
    assert_eq!(attributed(&transcript["chunks"])[1]["speaker"], "S2");
}

#[test]
fn whisperx_has_its_words_twice() {
    let words = json!([
        {"word": "Shall", "start": 0.5, "end": 1.0, "score": 0.9},
        {"word": "we?", "start": 1.0, "end": 1.5, "score": 0.9},
        {"word": "Yes."},
    ]);
    let transcript = json!({
        "segments": [{"start": 0.5, "end": 1.5, "text": " Shall we? Yes.", "words": words}],
        "word_segments": words,
        "language": "en",
    });
    let answer = attributed(&transcript);
    assert_eq!(answer["segments"][0]["speaker"], "Anna");
    for list in [&answer["segments"][0]["words"], &answer["word_segments"]] {
        let speakers: Vec<&Value> = list.as_array().unwrap().iter().map(|word| &word["speaker"]).collect();
        assert_eq!(speakers, ["Anna", "Anna", "Anna"]);
    }
    assert_eq!(answer["word_segments"][0]["score"], 0.9);
}

#[test]
fn vosk_has_a_result_for_each_pause() {
    let word =
        |word: &str, start: f64, end: f64| json!({"conf": 1.0, "start": start, "end": end, "word": word});
    let words = [word("shall", 0.5, 1.0), word("we", 1.0, 1.5), word("yes", 2.5, 3.5)];
    let one = json!({"result": words, "text": "shall we yes"});
    let expected = json!([[0.5, 1.5, 0, "shall we"], [2.5, 3.5, 1, "yes"]]);
    assert_eq!(said(&one), expected);
    assert_eq!(attributed(&one)["result"][2]["speaker"], "S2");
    assert_eq!(said(&json!([{"text": ""}, one])), expected);
    let many = attributed(&json!([{"text": ""}, one]));
    assert_eq!((&many[1]["text"], &many[1]["speaker"]), (&json!("shall we"), &json!("Anna")));
    assert_eq!((&many[2]["text"], &many[2]["result"][0]["speaker"]), (&json!("yes"), &json!("S2")));
    // Alternative guesses, the best first.
    let guess = json!({"result": [word("ja", 2.5, 3.5)], "text": "ja"});
    let guesses = json!({"alternatives": [one, guess]});
    assert_eq!(said(&guesses), expected);
    assert_eq!(attributed(&guesses)["alternatives"][1]["result"][0]["speaker"], "S2");
}

#[test]
fn deepgram_has_numbers() {
    let word = |word: &str, text: &str, start: f64, end: f64| json!({"word": word, "start": start, "end": end, "confidence": 0.9, "punctuated_word": text});
    let words =
        json!([word("shall", "Shall", 0.5, 1.0), word("we", "we?", 1.0, 1.5), word("yes", "Yes.", 2.5, 3.5)]);
    let sentence = json!({"text": "Shall we?", "start": 0.5, "end": 1.5});
    let alternative = json!({"transcript": "Shall we? Yes.", "words": words, "paragraphs": {"paragraphs": [
        {"sentences": [sentence], "start": 0.5, "end": 1.5, "num_words": 2},
    ]}});
    let alone = json!({"metadata": {"duration": DURATION}, "results": {"channels": [{"alternatives": [alternative]}]}});
    assert_eq!(said(&alone), two_parts());
    let alternative = &attributed(&alone)["results"]["channels"][0]["alternatives"][0];
    assert_eq!(alternative["words"][2]["speaker"], 1);
    assert_eq!(alternative["paragraphs"]["paragraphs"][0]["speaker"], 0);
    assert_eq!(alternative["paragraphs"]["paragraphs"][0]["sentences"], json!([sentence]));

    let utterance =
        json!({"id": "u", "start": 0.5, "end": 3.5, "transcript": "Shall we? Yes.", "words": words});
    let results = json!({"channels": [{"alternatives": [alternative]}], "utterances": [utterance]});
    let with_utterances = json!({"results": results});
    assert_eq!(said(&with_utterances), two_parts());
    let utterances = attributed(&with_utterances)["results"]["utterances"].clone();
    let summary =
        |part: &Value| json!([part["start"], part["end"], part["transcript"], part["speaker"], part["id"]]);
    assert_eq!(
        utterances.as_array().unwrap().iter().map(summary).collect::<Value>(),
        json!([[0.5, 1.5, "Shall we?", 0, null], [2.5, 3.5, "Yes.", 1, null]])
    );
    // Parts from two channels are sorted by time.
    let channel = |words: Value| json!({"alternatives": [{"words": words}, {"words": words}]});
    let channels = [channel(json!([words[2]])), channel(json!([words[0], words[1]]))];
    assert_eq!(said(&json!({"results": {"channels": channels}})), two_parts());
}

#[test]
fn aws_has_labels_and_a_list_of_them() {
    let word = |content: &str, start: &str, end: &str| json!({"type": "pronunciation", "start_time": start, "end_time": end, "alternatives": [{"confidence": "0.99", "content": content}]});
    let mark = |content: &str| json!({"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": content}]});
    let items = json!([
        word("Shall", "0.5", "1.0"),
        word("we", "1.0", "1.5"),
        mark("?"),
        word("Yes", "2.5", "3.5"),
        mark(".")
    ]);
    let segment =
        json!({"id": 0, "transcript": "Yes.", "start_time": "2.5", "end_time": "3.5", "items": [3, 4]});
    let transcript = json!({"jobName": "a", "status": "COMPLETED", "results": {
        "transcripts": [{"transcript": "Shall we? Yes."}],
        "items": items,
        "audio_segments": [segment],
    }});
    assert_eq!(said(&transcript), two_parts());
    let results = attributed(&transcript)["results"].clone();
    let labels: Vec<&Value> =
        results["items"].as_array().unwrap().iter().map(|item| &item["speaker_label"]).collect();
    assert_eq!(labels, ["Anna", "Anna", "Anna", "S2", "S2"]);
    assert_eq!(results["audio_segments"][0]["speaker_label"], "S2");
    let timed = |start: &str, end: &str, label: &str| json!({"start_time": start, "end_time": end, "speaker_label": label});
    let with_items = |mut run: Value, items: Value| {
        run["items"] = items;
        run
    };
    let expected = json!({"channel_label": "ch_0", "speakers": 2, "segments": [
        with_items(timed("0.500", "1.500", "Anna"), json!([timed("0.500", "1.000", "Anna"), timed("1.000", "1.500", "Anna")])),
        with_items(timed("2.500", "3.500", "S2"), json!([timed("2.500", "3.500", "S2")])),
    ]});
    assert_eq!(results["speaker_labels"], expected);
    // Existing labels are replaced.
    let mut labelled = transcript;
    labelled["results"]["speaker_labels"] = json!({"speakers": 9, "segments": []});
    assert_eq!(attributed(&labelled)["results"]["speaker_labels"], expected);
}

#[test]
fn assemblyai_has_utterances() {
    let word = |text: &str, start: u64, end: u64, confidence: f64| json!({"text": text, "start": start, "end": end, "confidence": confidence, "speaker": null});
    let words = json!([
        word("Shall", 500, 1_000, 0.5),
        word("we?", 1_000, 1_500, 1.0),
        word("Yes.", 2_500, 3_500, 1.0)
    ]);
    let transcript = json!({"id": "a", "status": "completed", "audio_url": "u", "text": "Shall we? Yes.", "words": words, "utterances": null});
    assert_eq!(said(&transcript), two_parts());
    let answer = attributed(&transcript);
    assert_eq!(
        answer["words"][2],
        json!({"text": "Yes.", "start": 2_500, "end": 3_500, "confidence": 1.0, "speaker": "S2"})
    );
    let utterances = json!([
        {"speaker": "Anna", "text": "Shall we?", "confidence": 0.75, "start": 500, "end": 1_500, "words": [answer["words"][0], answer["words"][1]]},
        {"speaker": "S2", "text": "Yes.", "confidence": 1.0, "start": 2_500, "end": 3_500, "words": [answer["words"][2]]},
    ]);
    assert_eq!(answer["utterances"], utterances);
    let mut without = transcript;
    without.as_object_mut().unwrap().remove("utterances");
    assert_eq!(attributed(&without)["utterances"], utterances);
}

#[test]
fn silence_is_an_empty_transcript() {
    let silent = [
        json!({"text": "", "segments": [], "language": "en"}),
        json!({"transcription": []}),
        json!({"text": "", "chunks": []}),
        json!({"result": [], "text": ""}),
        json!({"results": {"channels": [{"alternatives": [{"transcript": "", "words": []}]}]}}),
        json!({"results": {"transcripts": [{"transcript": ""}], "items": []}}),
        json!({"audio_url": "u", "text": "", "words": [], "utterances": []}),
        json!([]),
    ];
    for transcript in silent {
        assert!(read(&transcript).is_empty(), "{transcript}");
        let answer = attributed(&transcript);
        assert!(answer.is_array() || answer["text"] == transcript["text"], "{answer}");
        assert_eq!(said(&transcript), json!([]), "{transcript}");
    }
    for text in ["", "WEBVTT\n", "WEBVTT\n\nNOTE nothing\n", "\u{feff}\n"] {
        assert!(Transcript::from_text(text).unwrap().is_empty(), "{text:?}");
    }
}

#[test]
fn times_that_recognisers_leave_open_or_round_are_taken() {
    let transcript = json!([
        {"start": -0.02, "end": 1.5, "text": "Shall we?"},
        {"start": 2.5, "end": null, "text": "Yes."},
        {"start": 3.0, "end": null, "text": "Now."},
    ]);
    assert_eq!(
        said(&transcript),
        json!([[0.0, 1.5, 0, "Shall we?"], [2.5, 3.0, 1, "Yes."], [3.0, DURATION, 1, "Now."]])
    );
    let answer = attributed(&transcript);
    assert_eq!((&answer[0]["start"], &answer[2]["end"]), (&json!(-0.02), &json!(null)));
}

#[test]
fn other_encodings_are_read() {
    let text = "WEBVTT\n\n00:00.500 --> 00:01.500\nDéjà vu – “oui”\n";
    let utf16 = |to: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(to).collect()
    };
    let windows_1252: Vec<u8> = text
        .chars()
        .map(|character| match character {
            '–' => 0x96,
            '“' => 0x93,
            '”' => 0x94,
            character => u8::try_from(u32::from(character)).unwrap(),
        })
        .collect();
    let with_mark = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for bytes in
        [text.as_bytes().to_vec(), with_mark, utf16(u16::to_le_bytes), utf16(u16::to_be_bytes), windows_1252]
    {
        let said = Transcript::from_bytes(&bytes).unwrap().assign_speakers(&turns());
        assert_eq!(said[0].text, "Déjà vu – “oui”", "{bytes:?}");
    }
    // If a UTF-8 character is cut off, the other bytes are still not decoded as Windows-1252.
    let cut =
        [&b"WEBVTT\n\n00:00.500 --> 00:01.500\nD\xc3\xa9j\xc3\xa0 vu "[..], &b"\xe8\xb5\n"[..]].concat();
    assert_eq!(Transcript::from_bytes(&cut).unwrap().assign_speakers(&turns())[0].text, "Déjà vu \u{fffd}");
}

#[test]
fn what_is_wrong_is_named() {
    let part = |start: &str, end: &str| format!(r#"[{{"start": {start}, "end": {end}, "text": "a"}}]"#);
    let keys: Vec<String> = (0..50).map(|i| format!(r#""key{i}": 0"#)).collect();
    let cases = [
        ("what was said".to_owned(), "neither JSON in a known format"),
        (
            r#"{"monologues": [], "language": "en"}"#.to_owned(),
            "its keys are monologues, language. Known are",
        ),
        (format!("{{{}}}", keys.join(",")), "key11, .... Known are"),
        (r#"[{"speech": "a"}]"#.to_owned(), "its keys are speech."),
        (r#"{"segments": [7]}"#.to_owned(), "Part 1 of the transcript is no object"),
        (part("2", "1"), "ends at 1 s, before it begins at 2 s"),
        (part("-2", "1"), "begins at -2 s"),
        (part("null", "1"), "has no start and end"),
        (part("\"0\"", "1"), "has no start and end"),
        (r#"[{"start": 0, "end": 1}]"#.to_owned(), "has no text"),
        (r#"{"transcription": [{"text": "a"}]}"#.to_owned(), "has no start and end"),
        (
            r#"{"transcription": [{"text": "a", "offsets": {"from": 9, "to": 1}}]}"#.to_owned(),
            "before it begins",
        ),
        (r#"{"chunks": [{"timestamp": [1], "text": "a b"}]}"#.to_owned(), "has no start and end"),
        (r#"{"chunks": [{"timestamp": [2, 1], "text": "a b"}]}"#.to_owned(), "before it begins"),
        (r#"{"result": [{"word": "a", "start": 2, "end": 1}]}"#.to_owned(), "has a word that ends at 1 s"),
        (r#"{"result": [7]}"#.to_owned(), "has a word that is no object"),
        (r#"{"segments": []} and more"#.to_owned(), "neither JSON in a known format"),
        (r#"{"results": {"utterances": []}}"#.to_owned(), "its keys are results."),
        (r#"{"results": {"items": [{"start_time": "2", "end_time": "1"}]}}"#.to_owned(), "before it begins"),
        (r#"{"words": [{"start": 2000, "end": 1000}], "audio_url": ""}"#.to_owned(), "has a word that ends"),
    ];
    for (text, reason) in cases {
        let error = Transcript::from_text(&text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let late = json!({"results": {"items": [{"start_time": "70", "end_time": "71"}]}}).to_string();
    let error = Transcript::from_text(&late).unwrap().of_recording(DURATION).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is 4.000 s long"), "{error}");
}

/// Any name leaves the JSON valid.
#[test]
fn no_name_breaks_a_form() {
    let name = |_: usize| "\"], \\ \u{0} </v>\n\n00:01.000 --> 00:02.000".to_owned();
    let word = json!({"text": "a", "word": "a", "start": 500, "end": 1_000});
    let aws = json!({"type": "pronunciation", "start_time": "0.5", "end_time": "1.0", "alternatives": [{"content": "a"}]});
    for transcript in [
        json!({"segments": [{"start": 0.5, "end": 1.0, "text": "a"}]}),
        json!({"audio_url": "", "words": [word]}),
        json!({"results": {"items": [aws]}}),
    ] {
        let transcript = read(&transcript);
        let json = transcript.with_speakers(&turns(), &name);
        serde_json::from_str::<Value>(json.get()).unwrap();
        for format in [CueFormat::Vtt, CueFormat::Srt] {
            let cues = Transcript::from_text(&transcript.cues(format, &turns(), &name)).unwrap();
            assert_eq!(cues.assign_speakers(&turns()).len(), 1, "{format:?}");
        }
    }
}
