//! The HTTP API: `router.rs` has every route, layer and limit on one screen.

mod answer;
mod batch;
mod connections;
mod embed;
mod error;
#[cfg(feature = "internals")]
pub mod internals;
mod key_file;
mod keys;
mod layers;
mod load;
mod metrics;
mod open_connections;
mod pages;
mod request;
mod router;
mod routes;
mod serve;
mod state;
mod store;

pub use load::LoadError;
pub use serve::{ServeError, serve};
