//! The native encoder: the same bits with every instruction set, and embeddings within the stated distance of ONNX Runtime's.

use std::borrow::Cow;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use voice_embedding_service::encoder::native::N_MELS;
use voice_embedding_service::encoder::{EncoderError, InstructionSet, mean_embedding};
use voice_embedding_service::front_end::{Features, Units};
use voice_embedding_service::models::resemblyzer::N_FRAMES;
use voice_embedding_service::pipeline::{Pipeline, RecordingOptions};

use super::support::{
    KEY, Server, bits, committed, cosine, exit_code, fixture, golden, model, native_sessions, parity_data,
    pipeline, read_weights, repository, say, session, voice,
};

/// The lowest allowed cosine of a window's embedding to ONNX Runtime's.
const LEAST_WINDOW_COSINE: f64 = 0.999_9;

/// The lowest allowed cosine of a recording's embedding to ONNX Runtime's.
const LEAST_COSINE: f64 = 0.999_998;

fn features_of(pipeline: &Pipeline, file: &PathBuf) -> Features {
    let recording = pipeline.decode(&std::fs::read(file).unwrap(), RecordingOptions::default()).unwrap();
    pipeline.analyse(recording).unwrap().features
}

fn windows(features: &Features) -> Vec<&[f32]> {
    let values = |i| match features.values(i) {
        Cow::Borrowed(values) => values,
        Cow::Owned(_) => panic!("windows are in 32 bits"),
    };
    (0..features.units().len()).map(values).collect()
}

/// Returns two embeddings of each file: ONNX Runtime's and the native one, which must be the same with every instruction set.
fn embeddings_of(files: &[PathBuf]) -> Vec<[Vec<f64>; 2]> {
    let (next, embeddings) = (AtomicUsize::new(0), Mutex::new(vec![None; files.len()]));
    let embed_some = || {
        let (mut ort, mut natives) = (session(), native_sessions(model()));
        let pipeline = pipeline();
        while let Some((i, file)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, files.get(i)?)))
        {
            let features = features_of(&pipeline, file);
            let windows = windows(&features);
            let of_ort = ort.embed(&windows).unwrap();
            let of_native = natives[0].1.embed(&windows).unwrap();
            for (set, session) in &mut natives[1..] {
                let same = bits(&session.embed(&windows).unwrap()) == bits(&of_native);
                assert!(
                    same,
                    "{} is not what {} computes: {}",
                    file.display(),
                    InstructionSet::name(*set),
                    set.name()
                );
            }
            for (window, (a, b)) in of_ort.iter().zip(&of_native).enumerate() {
                let doubles = |window: &[f32]| window.iter().map(|c| f64::from(*c)).collect::<Vec<_>>();
                let cosine = cosine(&doubles(a), &doubles(b));
                assert!(cosine >= LEAST_WINDOW_COSINE, "{}, window {window}: {cosine:.7}", file.display());
            }
            let mean = |windows: Vec<Vec<f32>>| mean_embedding(&model().id, &windows).unwrap();
            let whole = [of_ort, of_native].map(|windows| mean(windows).components().to_vec());
            let cosine = cosine(&whole[0], &whole[1]);
            assert!(cosine >= LEAST_COSINE, "{}: {cosine:.8}", file.display());
            embeddings.lock().unwrap()[i] = Some(whole);
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(embed_some))));
    let embeddings = embeddings.into_inner().unwrap();
    let worst = embeddings.iter().flatten().map(|[ort, native]| cosine(ort, native)).fold(1.0, f64::min);
    say(&format!(
        "native encoder, {} files: worst cosine to ONNX Runtime 1 - {:.1e}",
        files.len(),
        1.0 - worst
    ));
    embeddings.into_iter().map(|pair| pair.expect("a thread has failed")).collect()
}

#[test]
fn synthetic_voices_get_the_same_bits_everywhere_and_ort_s_embedding() {
    let files = ["alan-1", "alan-2", "beth-1", "beth-2", "cole-1", "cole-2"];
    embeddings_of(&files.map(|name| fixture(&format!("audio/{name}.wav"))));
}

#[test]
fn real_speech_gets_the_same_bits_everywhere_and_ort_s_embedding() {
    let Some(data) = parity_data("real_speech_gets_the_same_bits_everywhere_and_ort_s_embedding") else {
        return;
    };
    let golden = golden(&data.join("golden/embeddings.jsonl"));
    let files: Vec<PathBuf> = golden.iter().map(|line| data.join("audio").join(&line.path)).collect();
    let embeddings = embeddings_of(&files);
    // The folder's name identifies the speaker.
    let speaker = |path: &str| path.strip_prefix("librispeech/")?.split('/').next().map(str::to_owned);
    let speech: Vec<(String, &[Vec<f64>; 2])> = golden
        .iter()
        .zip(&embeddings)
        .filter_map(|(line, pair)| Some((speaker(&line.path)?, pair)))
        .collect();
    assert_eq!(speech.len(), 50);
    let [ort, native] = [0, 1].map(|which| {
        let mut scores = [Vec::new(), Vec::new()];
        for (i, (a_speaker, a)) in speech.iter().enumerate() {
            for (b_speaker, b) in &speech[..i] {
                scores[usize::from(a_speaker == b_speaker)].push(cosine(&a[which], &b[which]));
            }
        }
        equal_error_rate(&scores[1], &scores[0])
    });
    assert_eq!(format!("{ort:.4}"), format!("{native:.4}"));
}

/// Returns the error rate at the threshold where the false-reject rate equals the false-accept rate.
fn equal_error_rate(same: &[f64], different: &[f64]) -> f64 {
    let rates = |threshold: f64| {
        let refused = same.iter().filter(|score| **score < threshold).count() as f64 / same.len() as f64;
        let accepted =
            different.iter().filter(|score| **score >= threshold).count() as f64 / different.len() as f64;
        (refused, accepted)
    };
    let at_each_score = same.iter().chain(different).map(|threshold| rates(*threshold));
    let closest = at_each_score.min_by(|(a, b), (c, d)| (a - b).abs().total_cmp(&(c - d).abs()));
    let (refused, accepted) = closest.unwrap();
    f64::midpoint(refused, accepted)
}

#[test]
fn a_window_gets_the_same_bits_in_every_batch() {
    let features = features_of(&pipeline(), &fixture("audio/alan-1.wav"));
    let windows = windows(&features);
    for (set, mut session) in native_sessions(model()) {
        let alone: Vec<Vec<f32>> =
            windows.iter().map(|window| session.embed(&[window]).unwrap().remove(0)).collect();
        // Two, three and seven rows use tiles of other shapes, and 29 rows use several groups.
        for count in [2, 3, 5, 6, 7, 29] {
            let batch: Vec<&[f32]> = windows.iter().copied().cycle().take(count).collect();
            let together = session.embed(&batch).unwrap();
            let expected: Vec<Vec<f32>> = alone.iter().cloned().cycle().take(count).collect();
            assert!(bits(&together) == bits(&expected), "{}, {count} windows", set.name());
        }
    }
}

#[test]
fn strange_spectra_are_embedded_or_refused() {
    let window = |value: f32| vec![value; N_FRAMES * N_MELS];
    for (set, mut session) in native_sessions(model()) {
        for value in [0.0, 1e-30, 1.0, 1e10, 1e30] {
            let embedding = session.embed(&[&window(value)]).unwrap().remove(0);
            assert!(embedding.iter().all(|component| component.is_finite()), "{} {value}", set.name());
        }
        for value in [f32::NAN, f32::INFINITY] {
            assert!(
                matches!(session.embed(&[&window(value)]), Err(EncoderError::Run(_))),
                "{} {value}",
                set.name()
            );
        }
        assert_eq!(session.embed(&[]).unwrap().len(), 0);
    }
}

/// Returns the committed model with the first occurrence of some bytes replaced.
fn changed(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut onnx = committed();
    let at = onnx.windows(from.len()).position(|bytes| bytes == from).unwrap();
    onnx[at..at + to.len()].copy_from_slice(to);
    onnx
}

#[test]
fn another_graph_is_refused_with_the_reason() {
    for (name, file, reason) in [
        ("another node", changed(b"Relu", b"Sqrt"), "its graph is not"),
        ("another attribute", changed(b"transB", b"transA"), "its graph is not"),
        (
            "another name of a weight",
            changed(b"linear_bias\x4a", b"linear_bics\x4a"),
            "not where they should be",
        ),
        ("something behind it", [committed(), vec![0]].concat(), "its graph is not"),
        ("truncated", committed()[..1_000_000].to_vec(), "not where they should be"),
        ("empty", Vec::new(), "not where they should be"),
    ] {
        match read_weights(model(), &file) {
            Err(EncoderError::OtherModel(found)) => assert!(found.contains(reason), "{name}: {found}"),
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => panic!("{name}: accepted"),
        }
    }
}

#[test]
fn the_service_runs_without_onnx_runtime() {
    let variables = [("ENCODER", "native"), ("ORT_DYLIB_PATH", "/no/such/library.so")];
    if InstructionSet::fast().is_none() {
        say("SKIPPED the_service_runs_without_onnx_runtime: this CPU has no AVX2");
        return;
    }
    let server = Server::start_with(&variables);
    assert_eq!(server.upload(voice()).status(), 200);
    let name = InstructionSet::fast().unwrap().name();
    assert!(server.metrics().contains(&format!("voice_embedding_build_info{{encoder=\"native-{name}\",")));
    assert!(server.logged("model loaded")[0].contains(&format!("\"encoder\":\"native-{name}\"")));
}

/// Returns another graph with the same weights. ONNX Runtime runs it, but the native encoder does not.
fn other_graph() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
    std::fs::write(&file, changed(b"voice-embedding-service", b"voice-embedding-SERVICE")).unwrap();
    file
}

#[test]
fn auto_falls_back_to_onnx_runtime() {
    let model = other_graph();
    let server = Server::start_with(&[("ENCODER", "auto"), ("MODEL_PATH", model.path().to_str().unwrap())]);
    assert_eq!(server.upload(voice()).status(), 200);
    assert!(server.metrics().contains("voice_embedding_build_info{encoder=\"ort\","));
}

#[test]
fn native_stops_where_it_cannot_run() {
    let model = other_graph();
    let mut process = Command::new(env!("CARGO_BIN_EXE_voice-embedding-service"))
        .env("MODELS", "resemblyzer")
        .current_dir(repository())
        .envs([("ENCODER", "native"), ("HOST", "127.0.0.1"), ("PORT", "0"), ("API_KEY", KEY)])
        .env("MODEL_PATH", model.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(exit_code(&mut process), Some(1));
    let said = std::io::read_to_string(process.stderr.take().unwrap()).unwrap();
    let expected =
        if InstructionSet::fast().is_some() { "its graph is not" } else { "does not have the instructions" };
    assert!(said.contains(expected), "{said}");
}
