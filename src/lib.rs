//! Speaker embeddings: a recording in, a vector out, two of them compared.
//!
//! ```text
//! a recording:  bytes > audio::decode > speech (level, detector, trim) > front_end (windows or pieces) > encoder > mean, L2 > Embedding
//! a decision:   Embedding x Embedding > compare
//! callers:      cli | http > embedder (the pipeline on the queue's workers)
//! ```
//!
//! Without the feature `service` the crate is the engine alone: synchronous, without network, and a library of its own.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use voice_embedding_service::encoder::{Runtime, Session};
//! use voice_embedding_service::models::{Model, resemblyzer};
//! use voice_embedding_service::pipeline::{Pipeline, PipelineLimits};
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
//! A module imports only from those above it in this list.

mod random;

pub mod pace;

pub mod embedding;

pub mod compare;

pub mod calibration;

pub mod audio;

pub mod speech;

pub mod front_end;

pub mod encoder;

pub mod models;

mod memory;
pub mod queue;

pub mod pipeline;

pub mod claims;

pub mod diarization;

pub mod transcript;

pub mod engine;

pub mod embedder;

pub mod speakers;

#[cfg(feature = "service")]
mod tls;

#[cfg(feature = "service")]
pub mod store;

#[cfg(feature = "service")]
pub mod model_files;

#[cfg(feature = "service")]
pub mod config;

#[cfg(feature = "service")]
pub mod logging;

#[cfg(feature = "service")]
pub mod http;

#[cfg(feature = "service")]
pub mod cli;
