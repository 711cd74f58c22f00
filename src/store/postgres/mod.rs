//! Stores speakers in PostgreSQL, for several replicas. No code outside this folder uses tokio_postgres.

mod connection;
mod database;
mod error;
mod server;
mod tables;

pub(super) use database::PostgresDatabase;
pub use server::{PostgresServer, ServerError};
