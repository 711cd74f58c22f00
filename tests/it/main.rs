//! Everything that is tested from outside: the stages against the original's arrays, the HTTP contract against a real
//! server process, and the promises the repository makes about itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod bad_audio;
mod clients;
mod contract;
mod golden_pipeline;
mod golden_stages;
mod model;
mod process;
mod support;
