//! The voices of comparing commands: recordings, or embeddings in JSON.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

use super::embedder::{CommandEmbedder, EmbeddingArgs, RecordingTask};
use super::files::RecordingSource;
use crate::calibration::Evidence;
use crate::decisions::{Side, SideAnswer};
use crate::embedder::{EmbedError, EmbedderModel};
use crate::embedding::{Embedding as Vector, UnitEmbedding};
use crate::notation::numbers_of_base64;
use crate::pipeline::Wanted;
use crate::report::Warning;
use crate::speakers::{MAX_SPEECH_SECONDS, embedding_digest};

/// A voice and its properties.
pub(super) struct LoadedVoice {
    pub(super) name: String,
    pub(super) embedding: UnitEmbedding,
    pub(super) warnings: Vec<Warning>,
    /// Seconds of speech, if known.
    pub(super) speech_seconds: Option<f64>,
    /// Level in dBFS, if the voice was loaded from a recording.
    pub(super) level_dbfs: Option<f64>,
    /// Length in seconds, if the voice was loaded from a recording; otherwise 0.
    pub(super) audio_seconds: f64,
    /// The digest that identifies the embedding, if the voice was loaded from an embedding.
    pub(super) digest: Option<[u8; 32]>,
}

impl LoadedVoice {
    /// Returns the properties that error rates depend on.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence::new(self.speech_seconds, self.warnings.iter().map(|warning| warning.code()), 1)
    }
}

impl From<LoadedVoice> for Side {
    fn from(voice: LoadedVoice) -> Self {
        Self {
            evidence: voice.evidence(),
            warnings: voice.warnings.iter().map(|warning| warning.code().to_owned()).collect(),
            level_dbfs: voice.level_dbfs,
            about: SideAnswer { path: Some(voice.name), ..SideAnswer::default() },
            embedding: voice.embedding,
        }
    }
}

/// A voice, or its name and the reason why it could not be loaded.
pub(super) type Loaded = Result<LoadedVoice, (String, String)>;

/// A loaded voice with the index of its file.
pub(super) type Placed = (usize, Loaded);

/// Loads voices in the order of their files, and returns the model that embeds them. A JSON file may contain several voices.
pub(super) fn load(
    args: EmbeddingArgs,
    sources: Vec<RecordingSource>,
) -> anyhow::Result<(Arc<EmbedderModel>, Vec<Placed>)> {
    check_that_some_exist(&sources)?;
    let embedding = args.start()?;
    let mut loaded: Vec<Placed> = Vec::new();
    load_on(&embedding, sources, |place, voice| loaded.push((place, voice)))?;
    loaded.sort_by_key(|(place, _)| *place);
    Ok((Arc::clone(embedding.model()), loaded))
}

/// Fails if all files are missing, so that no model is loaded or downloaded in vain.
fn check_that_some_exist(sources: &[RecordingSource]) -> anyhow::Result<()> {
    let missing = |source: &RecordingSource| match source {
        RecordingSource::File(path) => std::fs::metadata(path).err(),
        RecordingSource::Stdin => None,
    };
    let all: Option<Vec<io::Error>> = sources.iter().map(missing).collect();
    match all.as_deref() {
        Some([reason, ..]) => bail!("cannot read {}: {reason}", sources[0].name()),
        _ => Ok(()),
    }
}

/// Loads voices, and passes each to `each` with the index of its file. JSON files come first, then recordings in their order.
pub(super) fn load_on(
    embedding: &CommandEmbedder,
    sources: Vec<RecordingSource>,
    mut each: impl FnMut(usize, Loaded),
) -> anyhow::Result<()> {
    let mut recordings = Vec::new();
    for (place, source) in sources.into_iter().enumerate() {
        let Some(voices) = from_json(&source, embedding) else {
            recordings.push((place, source));
            continue;
        };
        let voices = voices.unwrap_or_else(|error| vec![Err((source.name(), format!("{error:#}")))]);
        voices.into_iter().for_each(|voice| each(place, voice));
    }
    let tasks = recordings.into_iter().map(|(place, source)| {
        let tag = (place, source.name());
        RecordingTask { source, wanted: Wanted::default(), tag }
    });
    embedding.all(tasks, &AtomicBool::new(false), |(place, name), outcome| {
        let voice = outcome.and_then(|embedded| Ok(embedded.into_whole().map_err(EmbedError::from)?.0));
        let voice = match voice {
            Ok(voice) => Ok(LoadedVoice {
                name,
                speech_seconds: Some(voice.audio.speech_seconds),
                audio_seconds: voice.audio.duration_seconds,
                level_dbfs: Some(voice.audio.level_dbfs),
                digest: None,
                warnings: voice.audio.warnings,
                embedding: UnitEmbedding::try_from(voice.embedding)?,
            }),
            Err(error) => Err((name, format!("{}: {error}", error.code()))),
        };
        each(place, voice);
        Ok(())
    })
}

/// Returns the embeddings in a JSON file, or `None` for other files, such as recordings.
fn from_json(source: &RecordingSource, embedding: &CommandEmbedder) -> Option<anyhow::Result<Vec<Loaded>>> {
    let RecordingSource::File(path) = source else { return None };
    let is_json =
        path.extension().is_some_and(|extension| ["json", "jsonl", "ndjson"].iter().any(|e| extension == *e));
    if !is_json {
        return None;
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Some(Err(error.into())),
    };
    Some(voices_in(&text, path, embedding))
}

fn voices_in(text: &str, path: &Path, embedding: &CommandEmbedder) -> anyhow::Result<Vec<Loaded>> {
    let mut voices = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let document = document.context("it is no JSON")?;
        let many = document["data"].as_array().map_or(std::slice::from_ref(&document), Vec::as_slice);
        for one in many {
            let name = match voices.len() {
                0 => path.display().to_string(),
                place => format!("{}:{}", path.display(), place + 1),
            };
            voices.push(voice_of(one, &name, embedding));
        }
    }
    ensure!(!voices.is_empty(), "there is no embedding in it");
    Ok(voices)
}

/// Parses `{"embedding": [...]}`, with an optional model and path, or the list without an object.
pub(super) fn voice_of(value: &Value, name: &str, embedding: &CommandEmbedder) -> Loaded {
    let name = value["path"].as_str().unwrap_or(name).to_owned();
    match vector_of(value, embedding) {
        Ok((embedding, digest)) => {
            let seconds = value["speech_seconds"].as_f64().or(value["audio"]["speech_seconds"].as_f64());
            let codes = value["audio"]["warnings"].as_array().or(value["warnings"].as_array());
            let codes: Vec<&str> = codes.into_iter().flatten().filter_map(Value::as_str).collect();
            let warnings =
                Warning::ALL.into_iter().filter(|warning| codes.contains(&warning.code())).collect();
            Ok(LoadedVoice {
                name,
                embedding,
                audio_seconds: 0.0,
                level_dbfs: None,
                warnings,
                speech_seconds: seconds.filter(|seconds| *seconds > 0.0 && *seconds <= MAX_SPEECH_SECONDS),
                digest: Some(digest),
            })
        }
        Err(error) => Err((name, format!("{error:#}"))),
    }
}

fn vector_of(value: &Value, embedding: &CommandEmbedder) -> anyhow::Result<(UnitEmbedding, [u8; 32])> {
    if let (Some(code), Some(detail)) = (value["code"].as_str(), value["detail"].as_str()) {
        bail!("{code}: {detail}");
    }
    let model = embedding.model();
    if let Some(name) = value["model"].as_str()
        && name != model.id().fingerprint()
    {
        let is_own = !name.contains('/') && model.spec().is_named(name);
        ensure!(is_own, "its model is {name}, not {}; --model chooses", model.id().fingerprint());
    }
    let components = components_of(value.as_array().map_or(&value["embedding"], |_| value))?;
    let digest = embedding_digest(&components);
    Ok((Vector::new(model.id(), components).and_then(UnitEmbedding::try_from)?, digest))
}

/// Parses an embedding: numbers, or base64 of little-endian `f32`.
fn components_of(embedding: &Value) -> anyhow::Result<Vec<f64>> {
    match embedding {
        Value::Array(list) => {
            let numbers: Option<Vec<f64>> = list.iter().map(Value::as_f64).collect();
            numbers.ok_or_else(|| anyhow!("an embedding holds numbers"))
        }
        Value::String(text) => {
            let numbers = numbers_of_base64(text).map_err(|reason| anyhow!("the embedding is {reason}"))?;
            Ok(numbers.into_iter().map(f64::from).collect())
        }
        _ => bail!("there is no list of numbers in \"embedding\""),
    }
}
