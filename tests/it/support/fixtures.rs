//! Files, synthetic recordings and the committed model.

use std::io::{Cursor, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use serde::Deserialize;
use voice_embedding_service::encoder::native::NetworkWeights;
use voice_embedding_service::encoder::{EncoderError, InstructionSet, NativeEncoder, Runtime, Session};
use voice_embedding_service::models::{Model, campplus, resemblyzer};
use voice_embedding_service::pipeline::{Pipeline, PipelineLimits};

/// Returns the path of a file under `tests/fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    repository().join("tests/fixtures").join(path)
}

/// Returns the files of a folder in order, or none if it is missing.
pub(crate) fn files_under(directory: PathBuf) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Returns the repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a copy of the program that finds no checkout. It reads only its working directory, its environment and its cache.
pub(crate) fn program_outside() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
        std::fs::create_dir_all(&folder).unwrap();
        let (new, program) = (folder.join(std::process::id().to_string()), folder.join("program"));
        std::fs::hard_link(env!("CARGO_BIN_EXE_voice-embedding-service"), &new).unwrap();
        std::fs::rename(&new, &program).unwrap();
        // `rename` does nothing if both names are links to the same file.
        let _ = std::fs::remove_file(new);
        program
    });
    &PROGRAM
}

/// Returns a synthetic voice of 6.2 seconds at 16 kHz, mono, 16 bits.
pub(crate) fn voice() -> Vec<u8> {
    std::fs::read(fixture("audio/alan-1.wav")).unwrap()
}

/// A line of `embeddings.jsonl`.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) path: String,
    pub(crate) sample_rate: u32,
    pub(crate) samples_voiced: usize,
    pub(crate) windows: usize,
    pub(crate) embedding: Vec<f64>,
}

/// Reads the lines of an `embeddings.jsonl`.
pub(crate) fn golden(file: &Path) -> Vec<Golden> {
    let lines = std::fs::read_to_string(file).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the samples of the synthetic voice.
pub(crate) fn voice_samples() -> Vec<f32> {
    let samples = hound::WavReader::new(Cursor::new(voice())).unwrap().into_samples::<i16>();
    samples.map(|s| f32::from(s.unwrap()) / 32_768.0).collect()
}

/// Returns a 16-bit mono WAV file with a header of 44 bytes.
pub(crate) fn wav_at(sample_rate: u32, samples: impl IntoIterator<Item = f32>) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples.into_iter().for_each(|s| writer.write_sample((s.clamp(-1.0, 1.0) * 32_767.0) as i16).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// As [`wav_at`], at 16 kHz.
pub(crate) fn wav(samples: impl IntoIterator<Item = f32>) -> Vec<u8> {
    wav_at(16_000, samples)
}

/// Returns the synthetic voice, repeated for the given time.
pub(crate) fn long_voice(seconds: usize) -> Vec<u8> {
    wav(voice_samples().into_iter().cycle().take(seconds * 16_000))
}

/// Returns the folder with real speech, or reports that it is missing.
pub(crate) fn parity_data(test: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("PARITY_DATA").map(PathBuf::from);
    if directory.is_none() {
        say(&format!("SKIPPED {test}: set PARITY_DATA to a folder with audio/ and golden/ of real speech"));
    }
    directory
}

/// Prints past the test harness, which hides the output of passing tests.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "\n{line}").unwrap();
}

/// Loads ONNX Runtime from the place where `make setup` installs it.
pub(crate) fn runtime() -> Runtime {
    let library = std::env::var_os("ORT_DYLIB_PATH").expect("`.cargo/config.toml` sets it");
    Runtime::load(Path::new(&library)).unwrap()
}

/// Returns the bytes of the committed model.
pub(crate) fn committed() -> Vec<u8> {
    std::fs::read(repository().join("models/resemblyzer.onnx")).unwrap()
}

/// Returns the committed model.
pub(crate) fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::new(Arc::new(resemblyzer::spec()), committed()))
}

/// Creates an ONNX Runtime session with the committed model.
pub(crate) fn session() -> Session {
    Session::new(&runtime(), &model().onnx, model().spec.graph).unwrap()
}

/// Creates the committed model's pipeline, without limits on speech.
pub(crate) fn pipeline() -> Pipeline {
    Pipeline::new(model(), PipelineLimits::default())
}

/// Returns the committed CAM++ model.
pub(crate) fn campplus() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let onnx = || std::fs::read(repository().join("models/campplus.onnx")).unwrap();
    MODEL.get_or_init(|| Model::new(Arc::new(campplus::spec()), onnx()))
}

/// Creates an ONNX Runtime session with CAM++.
pub(crate) fn campplus_session() -> Session {
    Session::new(&runtime(), &campplus().onnx, campplus().spec.graph).unwrap()
}

/// Creates CAM++'s pipeline, without limits on speech.
pub(crate) fn campplus_pipeline() -> Pipeline {
    Pipeline::new(campplus(), PipelineLimits::default())
}

/// Reads the weights in a model's file as the native encoder does.
pub(crate) fn read_weights(model: &Model, file: &[u8]) -> Result<NetworkWeights, EncoderError> {
    (model.spec.files.native.as_ref().unwrap().read)(file)
}

/// Creates a session of a model for each instruction set of this CPU, the fastest first.
pub(crate) fn native_sessions(model: &Model) -> Vec<(InstructionSet, Session)> {
    let weights = read_weights(model, &model.onnx.bytes().unwrap()).unwrap();
    let session = |set| (set, NativeEncoder::new(&weights, set).unwrap().session().into());
    InstructionSet::available().map(session).collect()
}

/// Returns the bits of all components.
pub(crate) fn bits(embeddings: &[Vec<f32>]) -> Vec<u32> {
    embeddings.iter().flatten().map(|component| component.to_bits()).collect()
}

/// Returns the samples of a fixture.
pub(crate) fn samples_of(name: &str) -> Vec<f32> {
    let reader = hound::WavReader::open(fixture(&format!("audio/{name}.wav"))).unwrap();
    reader.into_samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect()
}

/// Returns voices that speak in turns with pauses between them, and the times of the turns.
pub(crate) fn conversation(names: &[&str]) -> (Vec<f32>, Vec<Range<f64>>) {
    let mut samples = vec![0.0; 8_000];
    let mut turns = Vec::new();
    for name in names {
        let start = samples.len() as f64 / 16_000.0;
        samples.extend(samples_of(name));
        turns.push(start..samples.len() as f64 / 16_000.0);
        samples.extend(vec![0.0; 12_800]);
    }
    (samples, turns)
}
