//! The speaker store, as commands use it.

use anyhow::{Context, anyhow, bail};

use crate::config::StoreArgs;
use crate::embedding::ModelId;
use crate::store::{Store, StoreConfig, StoreError};

/// Opens the store and loads the models' profiles.
pub(super) fn open(args: StoreArgs, models: Vec<ModelId>) -> anyhow::Result<Store> {
    let StoreConfig { place, note, max_speakers } = args.try_into()?;
    let Some(place) = place else {
        bail!("no speakers are kept: {}", note.as_deref().unwrap_or("DATABASE_URL is none"));
    };
    Store::open(&place, max_speakers, models).context("DATABASE_URL")
}

/// Adds the database's own reason to an error.
pub(super) fn explain(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Unavailable { reason } => anyhow!("the database cannot be used: {reason}"),
        error => error.into(),
    }
}
