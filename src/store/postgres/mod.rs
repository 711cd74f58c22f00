//! Speakers in PostgreSQL, for several replicas. The only folder that names tokio_postgres.

mod connection;
mod database;
mod error;
mod server;
mod tables;

pub(super) use database::Database;
pub use server::{Server, ServerError};
