//! `speakers`: lists, shows, enrols, deletes, exports and imports speakers.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::decision::DecisionArgs;
use super::embedder::EmbeddingArgs;
use super::files::RecordingSource;
use super::outcome::{ended_by_reader, say};
use super::store;
use super::voices;
use crate::config::{self, StoreArgs};
use crate::models;
use crate::report::Warning;
use crate::speakers::{
    Address, Details, EnrolmentRules, Identifier, NewVoice, Speaker, SpeakerName, recording_digest,
};
use crate::store::{
    CheckedImport, Conflict, ExportError, ImportRules, NewSpeaker, PageRequest, Store, StoreError,
    Transaction, folder_of,
};

/// The number of speakers to read at once.
const PAGE: usize = 200;

/// Output formats for listed speakers and for identifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// One line per result, for people.
    Text,
    /// One JSON object per line.
    Jsonl,
}

/// A collection, and the database that holds it.
#[derive(Args, Clone, Debug)]
pub(super) struct CollectionArgs {
    /// Collection of the speakers.
    #[arg(long, default_value = "default")]
    pub(super) collection: Identifier,
    #[command(flatten, next_help_heading = "Enrolled speakers")]
    pub(super) store: StoreArgs,
}

/// Operations on speakers.
#[derive(Debug, Subcommand)]
pub(super) enum SpeakersCommand {
    /// List the speakers of a collection.
    #[command(after_help = "Example: voice-embedding-service speakers list --name ann")]
    List {
        /// List only speakers whose name contains this text, in any case.
        #[arg(long, default_value = "")]
        name: String,
        /// Output format.
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
        #[command(flatten)]
        of: CollectionArgs,
    },
    /// Show a speaker and all enrolments as JSON.
    #[command(after_help = "Example: voice-embedding-service speakers show anna")]
    Show {
        /// Id of the speaker.
        id: Identifier,
        #[command(flatten)]
        of: CollectionArgs,
    },
    Enrol(Box<EnrolArgs>),
    /// Delete speakers and all their enrolments.
    #[command(after_help = "Example: voice-embedding-service speakers delete anna")]
    Delete {
        /// Ids of the speakers.
        #[arg(required = true)]
        ids: Vec<Identifier>,
        #[command(flatten)]
        of: CollectionArgs,
    },
    /// Export all speakers with their enrolments and embeddings, as one line of JSON per speaker.
    #[command(after_help = "Example: voice-embedding-service speakers export --output speakers.ndjson")]
    Export {
        /// Export only this collection.
        #[arg(long)]
        collection: Option<Identifier>,
        /// Output file, which only its owner can read [default: standard output].
        #[arg(long, short)]
        output: Option<PathBuf>,
        #[command(flatten, next_help_heading = "Enrolled speakers")]
        store: StoreArgs,
    },
    Import(ImportArgs),
}

/// Import an export, either completely or not at all.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: voice-embedding-service speakers import speakers.ndjson --conflict skip")]
pub(super) struct ImportArgs {
    /// Exported file, or `-` for standard input.
    file: PathBuf,
    /// How to handle speakers that already exist.
    #[arg(long, value_enum, default_value_t = ConflictArg::Fail)]
    conflict: ConflictArg,
    /// How to handle enrolments of models that this program does not know.
    #[arg(long, value_enum, default_value_t = UnknownModelsArg::Refuse)]
    unknown_models: UnknownModelsArg,
    #[command(flatten, next_help_heading = "Enrolled speakers")]
    store: StoreArgs,
}

/// How to handle speakers that already exist.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConflictArg {
    /// Import nothing.
    Fail,
    /// Keep the existing speakers.
    Skip,
    /// Replace the existing speakers with the imported ones.
    Replace,
}

/// How to handle enrolments of unknown models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UnknownModelsArg {
    /// Reject them.
    Refuse,
    /// Keep them.
    Keep,
}

/// Enrol a speaker from recordings, or from embeddings in JSON: all of them, or none. Creates the speaker if necessary.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example: voice-embedding-service speakers enrol anna --name Anna anna-1.wav anna-2.wav"
)]
pub(super) struct EnrolArgs {
    /// Id of the speaker.
    id: Identifier,
    /// Recordings, or JSON files with embeddings.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Display name of a new speaker.
    #[arg(long, default_value = "")]
    name: String,
    /// Enrol voices even if they are too short, unsuitable or unlike the existing enrolments.
    #[arg(long)]
    force: bool,
    /// Minimum speech in a recording, in seconds.
    #[arg(long, env, default_value = "3", value_parser = config::not_negative)]
    min_enrolment_seconds: f64,
    #[command(flatten, next_help_heading = "Decisions")]
    decision: DecisionArgs,
    #[command(flatten)]
    of: CollectionArgs,
    #[command(flatten, next_help_heading = "Model and recordings")]
    embedding: EmbeddingArgs,
}

pub(super) fn run(command: SpeakersCommand) -> anyhow::Result<()> {
    match command {
        SpeakersCommand::List { name, format, of } => list(&name, format, of),
        SpeakersCommand::Show { id, of } => show(id, of),
        SpeakersCommand::Enrol(args) => enrol(*args),
        SpeakersCommand::Delete { ids, of } => delete(ids, of),
        SpeakersCommand::Export { collection, output, store } => {
            export(collection.as_ref(), output.as_deref(), store)
        }
        SpeakersCommand::Import(args) => import(args),
    }
}

fn export(collection: Option<&Identifier>, output: Option<&Path>, args: StoreArgs) -> anyhow::Result<()> {
    let store = store::open(args, Vec::new())?;
    let write = |out: &mut dyn Write| match store.export(collection, &|_| true, out) {
        Ok(n) => Ok(n),
        Err(ExportError::Store(error)) => Err(store::explain(error)),
        Err(ExportError::Write(error)) => Err(error.into()),
    };
    let n = match output {
        // The file appears complete or not at all.
        Some(path) => {
            let file = tempfile::NamedTempFile::new_in(folder_of(path))
                .with_context(|| path.display().to_string())?;
            let mut out = BufWriter::new(file);
            let n = write(&mut out)?;
            let file = out.into_inner().map_err(|error| anyhow!("{}: {error}", path.display()))?;
            file.as_file().sync_all()?;
            file.persist(path).with_context(|| path.display().to_string())?;
            n
        }
        None => write(&mut BufWriter::new(std::io::stdout().lock()))?,
    };
    let s = if n == 1 { "" } else { "s" };
    say(&format!("{n} speaker{s} exported"));
    Ok(())
}

fn import(args: ImportArgs) -> anyhow::Result<()> {
    let file = if args.file == Path::new("-") {
        let mut file = tempfile::tempfile()?;
        std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
        file
    } else {
        File::open(&args.file).with_context(|| args.file.display().to_string())?
    };
    let store = store::open(args.store, Vec::new())?;
    let known = models::all().map(|spec| spec.fingerprint());
    let rules = ImportRules {
        takes_model: &|model| {
            args.unknown_models == UnknownModelsArg::Keep || known.iter().any(|known| known == model)
        },
        may_use: &|_| true,
        max_speakers: store.max_speakers(),
    };
    let mut checked = CheckedImport::from_file(file, &rules)?;
    let conflict = match args.conflict {
        ConflictArg::Fail => Conflict::Fail,
        ConflictArg::Skip => Conflict::Skip,
        ConflictArg::Replace => Conflict::Replace,
    };
    let imported = store.write_and_wait(move |transaction| transaction.import(&mut checked, conflict));
    let imported = imported.map_err(store::explain)?;
    ended_by_reader(writeln!(anstream::stdout(), "{}", serde_json::to_string(&imported)?))?;
    closed(&store)
}

fn list(name: &str, format: ListFormat, of: CollectionArgs) -> anyhow::Result<()> {
    let store = store::open(of.store, Vec::new())?;
    let mut request =
        PageRequest { collection: of.collection, after: String::new(), name: name.to_owned(), limit: PAGE };
    let mut out = anstream::stdout();
    loop {
        let page = store.speakers(&request).map_err(store::explain)?;
        for speaker in &page.speakers {
            let written = match format {
                ListFormat::Text => writeln!(out, "{}", line(speaker)),
                ListFormat::Jsonl => writeln!(out, "{}", serde_json::to_string(speaker)?),
            };
            ended_by_reader(written)?;
        }
        match page.next {
            Some(next) => request.after = next.to_string(),
            None => return Ok(()),
        }
    }
}

/// Formats a speaker as one line, with tabs between the fields.
fn line(speaker: &Speaker) -> String {
    let seconds: f64 = speaker.profiles.iter().map(|profile| profile.seconds).sum();
    let name: String = speaker.name.as_str().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let s = if speaker.enrolments == 1 { "" } else { "s" };
    format!("{}\t{name}\t{} enrolment{s}\t{seconds:.1} s of speech", speaker.id, speaker.enrolments)
}

fn show(id: Identifier, of: CollectionArgs) -> anyhow::Result<()> {
    let store = store::open(of.store, Vec::new())?;
    let address = Address { collection: of.collection, id };
    let speaker = store.speaker(&address).map_err(store::explain)?;
    let enrolments = store.enrolments(&address).map_err(store::explain)?;
    let shown = json!({"speaker": serde_json::to_value(&speaker)?, "enrolments": enrolments});
    ended_by_reader(writeln!(anstream::stdout(), "{shown:#}"))
}

fn delete(ids: Vec<Identifier>, of: CollectionArgs) -> anyhow::Result<()> {
    let store = store::open(of.store, Vec::new())?;
    let collection = of.collection;
    let deleted = store.write_and_wait(move |transaction| {
        ids.into_iter().try_for_each(|id| transaction.remove(&Address { collection: collection.clone(), id }))
    });
    deleted.map_err(store::explain)?;
    closed(&store)
}

/// Closes the store after removed data has been erased.
fn closed(store: &Store) -> anyhow::Result<()> {
    ensure!(
        store.close(),
        "it is done, but another program reads the database: what was removed stays in its write-ahead log until that has ended \
         and the service, or a further deletion, empties it"
    );
    Ok(())
}

fn enrol(args: EnrolArgs) -> anyhow::Result<()> {
    let details = Details { name: SpeakerName::new(args.name)?, ..Details::default() };
    let sources: Vec<RecordingSource> =
        args.files.iter().map(|path| RecordingSource::from_path(path)).collect();
    if sources.contains(&RecordingSource::Stdin) {
        bail!("what is enrolled should be in files");
    }
    let options = args.embedding.options();
    let mut names = Vec::new();
    let mut voices = Vec::new();
    let embedding = args.embedding.for_collection(args.of.store.clone(), &args.of.collection)?;
    let (model, loaded) = voices::load(embedding, sources)?;
    let threshold = args.decision.threshold(model.spec());
    for (place, loaded) in loaded {
        let voice = loaded.map_err(|(name, reason)| anyhow!("{name}: {reason}"))?;
        let digest = match voice.digest {
            Some(digest) => digest,
            None => recording_digest(&std::fs::read(&args.files[place])?, &options),
        };
        let warnings = voice.warnings.iter().map(|warning| Warning::code(*warning).to_owned()).collect();
        voices.push(NewVoice {
            digest,
            embedding: voice.embedding,
            speech_seconds: voice.speech_seconds,
            warnings,
        });
        names.push(voice.name);
    }
    let models = voices.iter().take(1).map(|voice| voice.embedding.model().clone()).collect();
    let rules = EnrolmentRules { min_seconds: args.min_enrolment_seconds, threshold, force: args.force };
    let store = store::open(args.of.store, models)?;
    let address = Address { collection: args.of.collection, id: args.id };
    match enrol_in(&store, address, details, voices, rules) {
        Ok(speaker) => ended_by_reader(writeln!(anstream::stdout(), "{}", line(&speaker))),
        Err(StoreError::OfVoice { index, error }) => bail!("{}: {error}", names[index]),
        Err(error) => Err(store::explain(error)),
    }
}

/// Enrols all voices or none.
fn enrol_in(
    store: &Store,
    address: Address,
    details: Details,
    voices: Vec<NewVoice>,
    rules: EnrolmentRules,
) -> Result<Speaker, StoreError> {
    let at = address.clone();
    store.write_and_wait(move |transaction: &Transaction<'_>| {
        for (index, voice) in voices.iter().enumerate() {
            match transaction.enrol(&address, voice, &rules) {
                Ok(enrolled) if !enrolled.is_new => say("already enrolled"),
                Ok(_) => {}
                Err(StoreError::SpeakerNotFound { .. }) => {
                    let Address { collection, id } = address.clone();
                    let new = NewSpeaker { collection, id: Some(id), details, voices };
                    return transaction.create(&new, &rules).map(drop);
                }
                Err(error) => return Err(error.of_voice(index)),
            }
        }
        Ok(())
    })?;
    store.speaker(&at)
}
