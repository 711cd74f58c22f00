//! The HTTP API. `router.rs` lists every route, layer and limit.

mod admission;
mod answer;
mod connections;
mod error;
mod error_table;
#[cfg(feature = "internals")]
pub mod internals;
mod key_file;
mod keys;
mod layers;
mod live;
mod metrics;
mod open_connections;
mod pages;
mod request;
mod router;
mod routes;
mod serve;
mod state;
mod store;
mod voices;

pub use serve::{ServeError, serve};
