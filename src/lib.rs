//! Speaker embeddings: a recording in, 256 numbers out, two of them compared.
//!
//! ```text
//! http --bytes--> pipeline --> audio::decode --> preprocess (loudness > vad > silence > mel)
//!                                                        | MelSpectrogram
//!                              Embedding <-- encoder (partials > queue > session > mean, L2) <--+
//! http/compare_embeddings --> embedding (parse) --> similarity
//! main --> config, logging, model --> encoder --> pipeline --> http
//! ```
//!
//! Everything up to [`pipeline`] is synchronous and pure, and makes a library of its own:
//!
//! ```no_run
//! use voice_embedding_service::encoder::{Runtime, Session};
//! use voice_embedding_service::model::Model;
//! use voice_embedding_service::pipeline::{Pipeline, PipelineLimits};
//!
//! let model = Model::read("models/resemblyzer.onnx".as_ref())?;
//! let runtime = Runtime::load("libonnxruntime.so".as_ref())?;
//! let mut session = Session::new(&runtime, &model.onnx)?;
//! let pipeline = Pipeline::new(PipelineLimits::default());
//! let (embedding, report) = pipeline.embed(&mut session, &std::fs::read("voice.wav")?)?;
//! println!("{:.1} s of speech: {:?}", report.speech_seconds, embedding.components());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A module imports only from those above it in this list.

mod tls;

pub mod hparams;

pub mod embedding;

pub mod similarity;

pub mod audio;

pub mod preprocess;

pub mod encoder;

pub mod pipeline;

pub mod model;

pub mod config;

pub mod logging;

pub mod healthcheck;

pub mod http;
