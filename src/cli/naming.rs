//! Assigns the names of enrolled speakers to the speakers of a recording.

use clap::Args;

use super::decision::{Decider, DecisionArgs};
use super::embedder::{CommandEmbedder, EmbeddingArgs, StartOptions};
use super::store;
use crate::config::{CalibrationArgs, StorePlaceArgs};
use crate::decisions::{Names, name_speakers, naming_search, voices_of};
use crate::diarization::Diarization;
use crate::embedder::EmbedderModel;
use crate::speakers::Identifier;
use crate::store::Store;

/// Options for naming speakers.
#[derive(Args, Clone, Debug)]
pub(super) struct NamingArgs {
    /// Collection whose enrolled speakers are named.
    #[arg(long)]
    pub(super) collection: Option<Identifier>,
    #[command(flatten, next_help_heading = "Enrolled speakers")]
    store: StorePlaceArgs,
    #[command(flatten, next_help_heading = "Decisions")]
    decision: DecisionArgs,
    #[command(flatten, next_help_heading = "Decisions")]
    calibration: CalibrationArgs,
    #[command(flatten, next_help_heading = "Model and recordings")]
    pub(super) embedding: EmbeddingArgs,
}

/// The enrolled speakers that may be in a recording; `None` without a collection.
pub(super) struct Naming(Option<EnrolledNames>);

struct EnrolledNames {
    store: Store,
    collection: Identifier,
    decider: Decider,
}

impl NamingArgs {
    /// Loads the models for diarization and opens the collection. Without `--model`, uses the model of the collection.
    pub(super) fn start(&self, is_quiet: bool) -> anyhow::Result<(CommandEmbedder, Naming)> {
        let start = StartOptions { finds_turns: true, is_quiet };
        let Some(collection) = self.collection.clone() else {
            return Ok((self.embedding.clone().start_with(start)?, Naming(None)));
        };
        let embedding = self.embedding.clone().for_collection(self.store.clone(), &collection)?;
        let embedding = embedding.start_with(start)?;
        let model = embedding.model();
        let decider = self.decision.decider(model, &self.calibration, None)?;
        let store = store::open(self.store.clone().into(), vec![model.id().clone()])?;
        Ok((embedding, Naming(Some(EnrolledNames { store, collection, decider }))))
    }
}

impl Naming {
    /// Returns whether there is a collection to search.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Finds the enrolled speaker for each speaker of a recording.
    pub(super) fn name(&self, found: &Diarization, model: &EmbedderModel) -> anyhow::Result<Names> {
        let Some(EnrolledNames { store, collection, decider }) = &self.0 else {
            return Ok(Names::none(found.speakers.len()));
        };
        let embeddings = voices_of(found, model.id())?;
        let wanted = naming_search(collection.clone());
        let searched = store.search(&embeddings, &wanted).map_err(store::explain)?;
        Ok(name_speakers(found, searched, decider.criterion, decider.judge()))
    }
}
