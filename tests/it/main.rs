//! Tests from outside: each stage against the arrays of the original, the HTTP contract of a real server process, and the
//! repository's rules about itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::duplicate_mod, reason = "the tests of speakers run on each store")]
#![allow(clippy::explicit_write, reason = "the harness captures what the print macros write")]
#![allow(clippy::float_cmp, reason = "equal bits are what is meant")]
#![allow(clippy::too_many_lines, reason = "a table of cases is as long as it has cases")]
#![allow(clippy::type_complexity, reason = "a table of cases is a list of tuples")]

mod architecture;
mod bad_audio;
mod calibration;
mod campplus;
mod clients;
mod command_line;
mod contract;
mod deploy;
mod diarize;
mod formats;
mod golden_pipeline;
mod golden_stages;
mod hostile;
mod keys;
mod kinds;
mod live;
mod lying;
mod model;
mod model_store;
mod models;
mod native;
mod native_campplus;
mod native_segmentation;
mod odd;
mod operation;
mod options;
mod page;
mod postgres;
mod process;
mod score;
mod speakers;
#[path = "speakers.rs"]
mod speakers_on_postgres;
mod store;
mod support;
mod times;
mod transcripts;
mod transfer;
mod voices;
mod warnings;
