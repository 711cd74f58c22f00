//! The engine of the service: it computes speaker embeddings from recordings and compares them. It is synchronous and
//! uses no network.
//!
//! ```text
//! a recording:  bytes > audio::decode > speech (level, detector, trim) > front_end (windows or pieces)
//!               > encoder > mean, L2 > Embedding
//! a decision:   embeddings, or an analysed recording > decisions
//! callers:      the service | Python > embedder (the pipeline on the queue's workers) > decisions
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use voice_embedding_engine::encoder::{Runtime, Session};
//! use voice_embedding_engine::models::{Model, resemblyzer};
//! use voice_embedding_engine::pipeline::{Pipeline, PipelineLimits};
//!
//! let model = Model::new(Arc::new(resemblyzer::spec()), std::fs::read("models/resemblyzer.onnx")?);
//! let runtime = Runtime::load("libonnxruntime.so".as_ref())?;
//! let mut session = Session::new(&runtime, &model.onnx, model.spec.graph)?;
//! let pipeline = Pipeline::new(&model, PipelineLimits::default());
//! let (embedding, report) = pipeline.embed(&mut session, &std::fs::read("voice.wav")?)?;
//! println!("{:.1} s of speech: {:?}", report.speech_seconds, embedding.components());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each module imports only from the modules above it in this list.

pub mod notation;

#[cfg(any(test, feature = "fit"))]
mod pseudo_random;

mod vectors;

pub mod pace;

pub mod report;

pub mod embedding;

pub mod compare;

pub mod calibration;

pub mod audio;

pub mod speech;

pub mod front_end;

pub mod encoder;

pub mod models;

pub mod memory;

pub mod queue;

pub mod pipeline;

pub mod diarization;

pub mod listening;

pub mod transcript;

pub mod speakers;

pub mod decisions;

pub mod live;

pub mod engine;

pub mod embedder;
