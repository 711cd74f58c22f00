//! The service and the command line over the engine, [`voice_embedding_engine`], whose modules have the same names here.
//!
//! A module imports only from those above it in this list.

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
