//! The service and the command line, built on the engine, [`voice_embedding_engine`], whose modules keep their names here.
//!
//! A module imports only from the modules above it in this list.

pub use voice_embedding_engine::{
    audio, calibration, compare, decisions, diarization, embedder, embedding, encoder, engine, front_end,
    listening, live, memory, models, notation, pace, pipeline, queue, report, speakers, speech, transcript,
};

mod random;
mod tls;

pub mod store;

pub mod model_files;

pub mod config;

pub mod logging;

pub mod loading;

pub mod http;

pub mod cli;
