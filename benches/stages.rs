//! Measures the cost of each stage on one thread: `make bench`, or `make bench STAGE=mel` for some of the stages.
//!
//! Inputs are made outside the timed part, from the synthetic voices of the tests. In `encode`, the row `ort` is what
//! the service runs by default. The row `onnxruntime` is ONNX Runtime with its default settings and none of this
//! project's code around it. The other rows are the native encoder's instruction sets, to be compared with `peak`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot go on has failed")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voice_embedding_service::audio::resample::To16Khz;
use voice_embedding_service::audio::{self, Channel, DecodeOptions, SAMPLE_RATE_HZ, Waveform};
use voice_embedding_service::calibration::Evidence;
use voice_embedding_service::compare;
use voice_embedding_service::diarization::{self, Heard, Segmentation, TurnOptions, diarize, pieces};
use voice_embedding_service::embedding::{Embedding, UnitEmbedding};
use voice_embedding_service::encoder::native::{HIDDEN_UNITS, LSTM_LAYERS, N_MELS};
use voice_embedding_service::encoder::{
    InstructionSet, NativeEncoder, OnnxFile, Runtime, Session, embed_units, mean_embedding,
};
use voice_embedding_service::front_end::{FbankExtractor, FrontEnd, MelExtractor, Units as _, window_starts};
use voice_embedding_service::http::internals;
use voice_embedding_service::models::resemblyzer::{self, HOP_SAMPLES, MEL, N_FRAMES, WINDOWS};
use voice_embedding_service::models::{Model, ModelFiles, campplus, segmentation};
use voice_embedding_service::pace::Pace;
use voice_embedding_service::pipeline::{Pipeline, PipelineLimits, RecordingOptions};
use voice_embedding_service::speakers::{Identifier, Index, SearchOptions};
use voice_embedding_service::speech::{Utterance, detector, level, trim};

use support::clip;

mod support;

/// Multiplications of integers for one window.
const WINDOW_MULTIPLICATIONS: usize = N_FRAMES * (2 * LSTM_LAYERS - 1) * 4 * HIDDEN_UNITS * HIDDEN_UNITS;

const LIMITS: DecodeOptions = DecodeOptions { max_seconds: 600.0, channel: Channel::Mix };

/// The numbers of windows that are encoded at once.
const BATCHES: [usize; 7] = [1, 2, 4, 6, 8, 14, 32];

criterion_group! {
    name = stages;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    targets = decode, resample, preprocess, warnings, encode, peak, json, similarities, search, diarization, whole, side_by_side, campplus_beside_onnx_runtime, segmentation_beside_onnx_runtime
}
criterion_main!(stages);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(repository("tests/fixtures").join(path)).unwrap()
}

/// Returns a synthetic voice at 16 kHz, repeated to fill `seconds`.
fn voice(seconds: usize) -> Vec<f32> {
    let samples = audio::decode(&fixture("audio/alan-1.wav"), LIMITS).unwrap().waveform.into_samples();
    samples.into_iter().cycle().take(seconds * SAMPLE_RATE_HZ as usize).collect()
}

/// Returns the first windows of a voice.
fn windows(count: usize) -> Vec<Vec<f32>> {
    let step = WINDOWS.step_frames;
    let mels =
        MelExtractor::new(MEL).spectrogram(&voice(60), N_FRAMES + step * count, Pace::UNBROKEN).unwrap();
    let values = mels.as_slice().unwrap();
    (0..count).map(|i| values[step * i * N_MELS..(step * i + N_FRAMES) * N_MELS].to_vec()).collect()
}

fn slices(windows: &[Vec<f32>]) -> Vec<&[f32]> {
    windows.iter().map(Vec::as_slice).collect()
}

fn wav(seconds: u32) -> Vec<u8> {
    clip(f64::from(seconds)).unwrap()
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let file = wav(15);
    group.bench_function("15 s of WAV", |b| b.iter(|| audio::decode(black_box(&file), LIMITS).unwrap()));
    // Each file lasts two seconds.
    for name in
        ["clip.flac", "clip.mp3", "clip.ogg", "clip.opus", "clip.webm", "clip.m4a", "clip.aiff", "clip.caf"]
    {
        let file = fixture(&format!("encodings/{name}"));
        group.bench_function(name, |b| b.iter(|| audio::decode(black_box(&file), LIMITS).unwrap()));
    }
}

fn resample(c: &mut Criterion) {
    let mut group = c.benchmark_group("resample");
    for rate_hz in [8_000, 44_100, 48_000] {
        // Only the number of samples matters here, not their values.
        let samples: Vec<f32> = voice(15).into_iter().cycle().take(15 * rate_hz as usize).collect();
        group.bench_function(format!("15 s from {rate_hz} Hz"), |b| {
            b.iter(|| {
                let mut resampled = To16Khz::<Vec<f32>>::from_rate(rate_hz);
                resampled.push(black_box(&samples));
                resampled.finish()
            });
        });
    }
}

fn preprocess(c: &mut Criterion) {
    let mut group = c.benchmark_group("preprocess");
    let samples = voice(15);
    group.bench_function("level of 15 s", |b| {
        b.iter_batched_ref(
            || samples.clone(),
            |samples| {
                let gain = level::gain_to_target(samples);
                level::raise(samples, gain);
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("VAD of 15 s", |b| {
        b.iter(|| detector::voice_flags(black_box(&samples), 1.0, Pace::UNBROKEN).unwrap());
    });
    let flags = detector::voice_flags(&samples, 1.0, Pace::UNBROKEN).unwrap();
    group.bench_function("trim of 15 s", |b| {
        b.iter_batched_ref(
            || samples.clone(),
            |samples| trim::trim(samples, &trim::stretches(&trim::keep_mask(&flags))),
            BatchSize::LargeInput,
        );
    });
    let fbank = FbankExtractor::new(campplus::FBANK);
    group.bench_function("filter bank of 15 s", |b| {
        b.iter(|| fbank.log_energies(black_box(&samples), Pace::UNBROKEN).unwrap());
    });
    let extractor = MelExtractor::new(MEL);
    group.bench_function("mel of 15 s", |b| {
        b.iter(|| extractor.spectrogram(black_box(&samples), 1_500, Pace::UNBROKEN).unwrap());
    });
    group.bench_function("windows of 15 s", |b| {
        b.iter(|| window_starts(black_box(samples.len()), HOP_SAMPLES, WINDOWS));
    });
    let recording = audio::decode(&wav(15), LIMITS).unwrap();
    for model in [model_and_library().0, campplus_model()] {
        let pipeline = pipeline(&model);
        group.bench_function(format!("all of 15 s, {}", model.spec.id), |b| {
            b.iter_batched(
                || recording.clone(),
                |recording| pipeline.analyse(recording).unwrap(),
                BatchSize::LargeInput,
            );
        });
    }
}

fn warnings(c: &mut Criterion) {
    let mut group = c.benchmark_group("warnings");
    let front_end = FrontEnd::new(resemblyzer::spec().front_end);
    let (model, library) = model_and_library();
    let mut session = Session::new(&Runtime::load(&library).unwrap(), &model.onnx, model.spec.graph).unwrap();
    for seconds in [2, 15, 600] {
        let utterance =
            Utterance::detect(Waveform::new(voice(seconds)).unwrap(), front_end.pauses(), Pace::UNBROKEN);
        let utterance = utterance.unwrap().unwrap();
        let features = front_end.features(&utterance, Pace::UNBROKEN).unwrap();
        group.bench_function(format!("noise in {seconds} s"), |b| {
            b.iter(|| front_end.hardly_moves(black_box(&utterance), &features));
        });
        let windows = embed_units(&mut session, &features).unwrap();
        group.bench_function(format!("several speakers in {seconds} s, {} windows", windows.len()), |b| {
            b.iter(|| compare::fall_into_two_voices(black_box(&windows)));
        });
    }
}

fn encode(c: &mut Criterion) {
    let (model, library) = model_and_library();
    let runtime = Runtime::load(&library).unwrap();
    let mut natives = native_sessions(&model.spec.files, &model.onnx);
    let mut session = Session::new(&runtime, &model.onnx, model.spec.graph).unwrap();
    let mut bare = bare_onnx_runtime(&runtime, &model);
    let mut group = c.benchmark_group("encode");
    for n_windows in BATCHES {
        let windows = windows(n_windows);
        let units = slices(&windows);
        group.throughput(Throughput::Elements(n_windows as u64));
        group.bench_function(BenchmarkId::new("ort", n_windows), |b| {
            b.iter(|| session.embed(black_box(&units)).unwrap());
        });
        for (set, session) in &mut natives {
            group.bench_function(BenchmarkId::new(set.name(), n_windows), |b| {
                b.iter(|| session.embed(black_box(&units)).unwrap());
            });
        }
        group.bench_function(BenchmarkId::new("onnxruntime", n_windows), |b| {
            b.iter(|| {
                let shape = [n_windows, N_FRAMES, N_MELS];
                let values = black_box(&units).concat();
                let input = ort::value::TensorRef::from_array_view((shape, &*values)).unwrap();
                drop(bare.run(ort::inputs![model.spec.graph.input => input]).unwrap());
            });
        });
    }
    drop(group);
    let embeddings = session.embed(&slices(&windows(18))).unwrap();
    c.bench_function("mean of 18 windows", |b| {
        b.iter(|| mean_embedding(&model.id, black_box(&embeddings)).unwrap());
    });
}

/// Loads a model into plain ONNX Runtime: its defaults, but one thread, as in all rows.
fn bare_onnx_runtime(runtime: &Runtime, model: &Model) -> ort::session::Session {
    let builder = ort::session::Session::builder(runtime.environment()).unwrap();
    builder.with_intra_threads(1).unwrap().commit_from_memory(&model.onnx.bytes().unwrap()).unwrap()
}

/// Returns a session for each instruction set that is worth running.
fn native_sessions(files: &ModelFiles, onnx: &OnnxFile) -> Vec<(InstructionSet, Session)> {
    let weights = (files.native.as_ref().unwrap().read)(&onnx.bytes().unwrap()).unwrap();
    let sets = InstructionSet::available().filter(|set| *set != InstructionSet::Portable);
    sets.map(|set| (set, NativeEncoder::new(&weights, set).unwrap().session().into())).collect()
}

/// Runs the encoders in turn, so that noise on the machine affects all of them alike; criterion runs one after the
/// other. Prints medians and, in brackets, the speed as a multiple of the service's ONNX Runtime.
fn side_by_side(_: &mut Criterion) {
    const ROUNDS: usize = 21;

    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && argument != "side_by_side") {
        return;
    }
    let (model, library) = model_and_library();
    let mut sessions = vec![(
        "ort",
        Session::new(&Runtime::load(&library).unwrap(), &model.onnx, model.spec.graph).unwrap(),
    )];
    sessions.extend(
        native_sessions(&model.spec.files, &model.onnx)
            .into_iter()
            .map(|(set, session)| (set.name(), session)),
    );
    for n_windows in BATCHES {
        let windows = windows(n_windows);
        let units = slices(&windows);
        let mut times = vec![Vec::new(); sessions.len()];
        for _ in 0..ROUNDS {
            for ((_, session), times) in sessions.iter_mut().zip(&mut times) {
                let begun = Instant::now();
                black_box(session.embed(black_box(&units)).unwrap());
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        let cells = sessions.iter().zip(&times).map(|((name, _), of)| {
            let ratio = median(of.iter().zip(&times[0]).map(|(time, of_ort)| of_ort / time));
            format!("{name} {:.2} ms ({ratio:.2})", median(of.iter().copied()))
        });
        println!("side by side, {n_windows} windows: {}", cells.collect::<Vec<_>>().join(", "));
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures how many multiplications the native encoder's instructions can do at most. A window takes
/// [`WINDOW_MULTIPLICATIONS`].
fn peak(c: &mut Criterion) {
    let mut group = c.benchmark_group("peak");
    for set in InstructionSet::available().filter(|set| set.multiply_in_registers(1) > 0) {
        let multiply = || set.multiply_in_registers(black_box(10_000));
        let windows = multiply() as f64 / WINDOW_MULTIPLICATIONS as f64;
        let mut measured = Vec::new();
        group.bench_function(set.name(), |b| {
            b.iter_custom(|iterations| {
                let begun = Instant::now();
                for _ in 0..iterations {
                    black_box(multiply());
                }
                measured.push(begun.elapsed().as_secs_f64() / iterations as f64);
                begun.elapsed()
            });
        });
        if !measured.is_empty() {
            let fastest = median(measured.into_iter()) / windows * 1e3;
            println!("{}: a window in {fastest:.3} ms at the least", set.name());
        }
    }
}

/// Runs CAM++ in turn with plain ONNX Runtime, on one thread. Prints medians and, in brackets, the speed as a multiple
/// of ONNX Runtime and the multiply-accumulates per second. `peak` shows what the CPU can do at most.
fn campplus_beside_onnx_runtime(_: &mut Criterion) {
    const ROUNDS: usize = 21;
    /// Multiply-accumulates of the convolutions per frame: 7.2 G in 15 seconds.
    const FRAME_MACS: f64 = 4.8e6;

    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && argument != "campplus") {
        return;
    }
    let (_, library) = model_and_library();
    let model = campplus_model();
    let mut bare = bare_onnx_runtime(&Runtime::load(&library).unwrap(), &model);
    let mut natives = native_sessions(&model.spec.files, &model.onnx);
    let pipeline = pipeline(&model);
    for seconds in [2, 6, 15] {
        let recording = pipeline.decode(&wav(seconds), RecordingOptions::default()).unwrap();
        let features = pipeline.analyse(recording).unwrap().features;
        let (n_frames, values) = (features.n_frames(), features.values(0));
        let mut times = vec![Vec::new(); 1 + natives.len()];
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let shape = [1, n_frames, campplus::FBANK.n_bands];
            let input = ort::value::TensorRef::from_array_view((shape, &*values)).unwrap();
            drop(bare.run(ort::inputs![model.spec.graph.input => input]).unwrap());
            times[0].push(begun.elapsed().as_secs_f64() * 1e3);
            for ((_, session), times) in natives.iter_mut().zip(&mut times[1..]) {
                let begun = Instant::now();
                black_box(session.embed(black_box(&[&*values])).unwrap());
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        let medians: Vec<f64> = times.into_iter().map(|times| median(times.into_iter())).collect();
        let cell = |((set, _), time): (&(InstructionSet, Session), &f64)| {
            let rate = FRAME_MACS * n_frames as f64 / time / 1e6;
            format!("{} {time:.1} ms ({:.2}, {rate:.0} G/s)", set.name(), medians[0] / time)
        };
        let cells: Vec<String> = natives.iter().zip(&medians[1..]).map(cell).collect();
        println!("campplus, {seconds} s: bare ONNX Runtime {:.1} ms, {}", medians[0], cells.join(", "));
    }
}

/// Runs the segmentation network in turn with ONNX Runtime as the service runs it, on one thread. Prints medians and,
/// in brackets, the speed as a multiple of ONNX Runtime.
fn segmentation_beside_onnx_runtime(_: &mut Criterion) {
    const ROUNDS: usize = 21;

    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && argument != "segmentation") {
        return;
    }
    let runtime = Runtime::load(&model_and_library().1).unwrap();
    let onnx = OnnxFile::from(std::fs::read(repository("models/segmentation.onnx")).unwrap());
    let mut ort = Session::new(&runtime, &onnx, segmentation::GRAPH).unwrap();
    let mut natives = native_sessions(&segmentation::files(), &onnx);
    for seconds in [5, 10] {
        let samples = audio::decode(&wav(seconds), LIMITS).unwrap().waveform;
        let samples = samples.samples();
        let mut times = vec![Vec::new(); 1 + natives.len()];
        for _ in 0..ROUNDS {
            let sessions = std::iter::once(&mut ort).chain(natives.iter_mut().map(|(_, session)| session));
            for (session, times) in sessions.zip(&mut times) {
                let begun = Instant::now();
                black_box(session.embed(black_box(&[samples])).unwrap());
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        let medians: Vec<f64> = times.into_iter().map(|times| median(times.into_iter())).collect();
        let cell = |((set, _), time): (&(InstructionSet, Session), &f64)| {
            format!("{} {time:.1} ms ({:.2})", set.name(), medians[0] / time)
        };
        let cells: Vec<String> = natives.iter().zip(&medians[1..]).map(cell).collect();
        println!("segmentation, {seconds} s: ONNX Runtime {:.1} ms, {}", medians[0], cells.join(", "));
    }
}

fn campplus_model() -> Model {
    let onnx = std::fs::read(repository("models/campplus.onnx")).unwrap();
    Model::new(Arc::new(campplus::spec()), onnx)
}

fn model_and_library() -> (Model, PathBuf) {
    let library = std::env::var_os("ORT_DYLIB_PATH").expect("`make bench` sets it");
    let onnx = std::fs::read(repository("models/resemblyzer.onnx")).unwrap();
    (Model::new(Arc::new(resemblyzer::spec()), onnx), library.into())
}

fn pipeline(model: &Model) -> Pipeline {
    Pipeline::new(model, PipelineLimits::default())
}

fn json(c: &mut Criterion) {
    let mut group = c.benchmark_group("json");
    let body = format!(r#"{{"audio_base64": "{}", "format": "wav"}}"#, BASE64_STANDARD.encode(wav(15)));
    group.bench_function("15 s in", |b| {
        b.iter_batched(
            || body.clone().into(),
            |body| internals::read_recording(body).unwrap(),
            BatchSize::LargeInput,
        );
    });
    let (model, library) = model_and_library();
    let mut session = Session::new(&Runtime::load(&library).unwrap(), &model.onnx, model.spec.graph).unwrap();
    let pipeline = pipeline(&model);
    let (embedding, report) = pipeline.embed(&mut session, &wav(15)).unwrap();
    group.bench_function("embedding out", |b| {
        b.iter_batched(
            || (embedding.clone(), report.clone()),
            |(embedding, report)| internals::write_answer(embedding, report),
            BatchSize::SmallInput,
        );
    });
    let numbers = serde_json::to_string(embedding.components()).unwrap();
    let body = format!(r#"{{"embedding1": {numbers}, "embedding2": {numbers}}}"#);
    group.bench_function("comparison in", |b| b.iter(|| internals::read_json(black_box(body.as_bytes()))));
    let unit = UnitEmbedding::try_from(embedding).unwrap();
    group.bench_function("cosine", |b| b.iter(|| compare::cosine(black_box(&unit), &unit).unwrap()));
}

fn similarities(c: &mut Criterion) {
    let model = Model::new(Arc::new(resemblyzer::spec()), Vec::new());
    let embedding = |seed: usize| {
        let components = (0..256).map(|i| ((i * seed * 7 + i) % 13) as f64 - 5.0).collect();
        UnitEmbedding::try_from(Embedding::new(&model.id, components).unwrap()).unwrap()
    };
    let embeddings: Vec<UnitEmbedding> = (1..=2_000).map(embedding).collect();
    let matrix = compare::similarity_matrix(&embeddings).unwrap();
    let mut group = c.benchmark_group("similarities");
    group.bench_function("matrix of 2,000", |b| {
        b.iter(|| compare::similarity_matrix(black_box(&embeddings)).unwrap());
    });
    group.bench_function("clusters of 2,000", |b| b.iter(|| compare::clusters(black_box(&matrix), 0.75)));
}

/// Measures two hours of five speakers in turns of six seconds: 1,440 windows of two local speakers each. One of the
/// two continues in the next window.
fn diarization(c: &mut Criterion) {
    const WINDOWS: usize = 1_440;

    let mut random = 1_u64;
    let mut component = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    let voices: Vec<Vec<f32>> = (0..5).map(|_| (0..192).map(|_| component()).collect()).collect();
    let n_samples = (WINDOWS + 1) * 80_000;
    let mut segmentation = Segmentation::new(n_samples);
    for window in diarization::windows(n_samples) {
        // Of 589 frames, the first half belongs to one speaker and the second half to another.
        let frame = |i: usize| {
            let class = 1 + i / 295;
            (0..7).map(move |other| if other == class { 0.0 } else { -9.0 })
        };
        segmentation.push(window.start, &(0..589).flat_map(frame).collect::<Vec<f32>>());
    }
    let parameters = campplus::spec().turns;
    let pieces = pieces(&segmentation, parameters.max_piece_frames);
    let unit = |i: usize| {
        let unit: Vec<f32> = voices[i / 3 % 5].iter().map(|c| c + 0.8 * component()).collect();
        let norm = unit.iter().map(|c| c * c).sum::<f32>().sqrt();
        unit.into_iter().map(|c| c / norm).collect()
    };
    let units = (0..pieces.len()).map(unit).collect();
    let heard = Heard { segmentation, pieces, units, levels_db: Vec::new(), parameters };
    let mut group = c.benchmark_group("diarization");
    group.sample_size(10);
    group.bench_function("turns of two hours", |b| {
        b.iter(|| diarize(black_box(&heard), &TurnOptions::default(), Pace::UNBROKEN).unwrap());
    });
}

fn search(c: &mut Criterion) {
    let model = Model::new(Arc::new(resemblyzer::spec()), Vec::new());
    let mut random = 1_u64;
    let mut embedding = || {
        let mut component = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 40) as f64 / f64::from(1_u32 << 24) - 0.2
        };
        let components = (0..model.id.dimension()).map(|_| component().max(0.0)).collect();
        UnitEmbedding::try_from(Embedding::new(&model.id, components).unwrap()).unwrap()
    };
    let collection = Identifier::default_collection();
    let wanted = SearchOptions { collection: collection.clone(), top: 5, except: None };
    let mut group = c.benchmark_group("search");
    for speakers in [1_000, 10_000, 100_000] {
        let mut index = Index::default();
        for key in 0..speakers {
            let row: Vec<f32> = embedding().components().iter().map(|c| *c as f32).collect();
            index.put_speaker(key, &collection, format!("s{key}").parse().unwrap(), "");
            index.put_profile(key, &model.id, &row, Evidence::new(Some(5.0), [], 1));
        }
        let probe = embedding();
        group.bench_function(format!("{speakers} speakers"), |b| {
            b.iter(|| index.search(black_box(&probe), &wanted));
        });
    }
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("whole");
    let (model, library) = model_and_library();
    let mut session = Session::new(&Runtime::load(&library).unwrap(), &model.onnx, model.spec.graph).unwrap();
    let pipeline = pipeline(&model);
    let mut native = native_sessions(&model.spec.files, &model.onnx);
    for seconds in [2, 5, 15, 60] {
        let file = wav(seconds);
        group.bench_function(format!("{seconds} s of WAV"), |b| {
            b.iter(|| pipeline.embed(&mut session, black_box(&file)).unwrap());
        });
        if let Some((set, session)) = native.first_mut() {
            group.bench_function(format!("{seconds} s of WAV, {}", set.name()), |b| {
                b.iter(|| pipeline.embed(session, black_box(&file)).unwrap());
            });
        }
    }
}
