//! Comparisons from a CSV file with one comparison per row.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use csv::StringRecord;
use serde_json::Value;

use super::comparisons::{Builder, ComparedVoices, ComparisonNames, Comparisons, KnownVoices, embedded};
use crate::calibration::Seconds;
use crate::calibration::fit::Trial;
use crate::cli::embedder::{CommandEmbedder, EmbeddingArgs};
use crate::cli::voices::{LoadedVoice, voice_of};
use crate::models::{self, ModelSpec};

/// The maximum number of comparisons in a file.
const MAX_ROWS: usize = 5_000_000;

pub(super) fn compare(path: &Path, args: EmbeddingArgs, is_quiet: bool) -> anyhow::Result<Comparisons> {
    let table = Table::read(path)?;
    match table.scores(args.model())? {
        Some((spec, column)) => table.scored(&spec, column),
        None => table.compared(args, is_quiet),
    }
}

/// The rows of the file, and the indices of its columns.
struct Table {
    rows: Vec<(u64, StringRecord)>,
    columns: HashMap<String, usize>,
}

/// The fields of a row, by column name.
#[derive(Clone, Copy)]
struct RowFields<'a> {
    line: u64,
    row: &'a StringRecord,
    columns: &'a HashMap<String, usize>,
}

impl Table {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let input: Box<dyn Read> = if path == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            Box::new(file)
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let headers = reader.headers().context("it is no CSV")?.clone();
        let columns = headers.iter().enumerate().map(|(i, name)| (name.to_ascii_lowercase(), i)).collect();
        let mut rows = Vec::new();
        for row in reader.into_records() {
            let row = row.context("it is no CSV")?;
            ensure!(rows.len() < MAX_ROWS, "there are more than {MAX_ROWS} comparisons");
            rows.push((row.position().map_or(0, csv::Position::line), row));
        }
        ensure!(!rows.is_empty(), "there are no comparisons in it");
        Ok(Self { rows, columns })
    }

    fn fields(&self) -> impl Iterator<Item = RowFields<'_>> {
        self.rows.iter().map(|(line, row)| RowFields { line: *line, row, columns: &self.columns })
    }

    fn has(&self, name: &str) -> bool {
        self.columns.contains_key(name)
    }

    /// Returns the model whose cosines the file contains, and their column. Returns `None` if the file lists recordings.
    fn scores(&self, wanted: Option<&str>) -> anyhow::Result<Option<(ModelSpec, &'static str)>> {
        if self.has("a") && self.has("b") {
            return Ok(None);
        }
        let all = models::all();
        let is_wanted = |spec: &&ModelSpec| match wanted {
            Some(name) => spec.is_named(name),
            None => self.has(spec.id),
        };
        let found: Vec<&ModelSpec> = all.iter().filter(is_wanted).collect();
        match found[..] {
            [spec] if self.has(spec.id) => Ok(Some((spec.clone(), spec.id))),
            [_, _, ..] => bail!("there are cosines of several models; --model chooses"),
            _ => bail!(
                "there are no columns a and b in it, nor one of cosines named like a model (resemblyzer, campplus)"
            ),
        }
    }

    /// Returns the comparisons of a file of cosines.
    fn scored(&self, spec: &ModelSpec, column: &str) -> anyhow::Result<Comparisons> {
        ensure!(
            self.has("speaker_a") && self.has("speaker_b"),
            "a file of cosines needs the columns speaker_a and speaker_b"
        );
        let mut speakers = Numbers::default();
        let (mut trials, mut lines) = (Vec::with_capacity(self.rows.len()), Vec::new());
        for fields in self.fields() {
            let pair =
                fields.speakers(&mut speakers)?.ok_or_else(|| fields.error("a speaker has no name"))?;
            let known = fields.known()?;
            let similarity =
                fields.number(column)?.ok_or_else(|| fields.error(&format!("{column} is empty")))?;
            if !(-1.0..=1.0).contains(&similarity) {
                return Err(fields.error(&format!("{column} is no cosine")));
            }
            trials.push(Trial {
                speakers: pair,
                seconds: known.seconds[0].zip(known.seconds[1]).map(|(a, b)| Seconds { a, b }),
                similarity,
                is_same_sex: known.is_same_sex,
                weight: known.weight.unwrap_or(1.0),
            });
            lines.push(fields.line);
        }
        let names = ComparisonNames::Lines { speakers: speakers.names, lines };
        Ok(Comparisons::new(spec, &spec.calibration.model, trials, names, self.has("weight")))
    }

    /// Computes the comparisons of a file of recordings or embeddings.
    fn compared(&self, args: EmbeddingArgs, is_quiet: bool) -> anyhow::Result<Comparisons> {
        let mut recordings = Numbers::default();
        let mut pairs = Vec::with_capacity(self.rows.len());
        // The line on which each recording first appears.
        let mut lines = Vec::new();
        for fields in self.fields() {
            let [a, b] = [fields.text("a"), fields.text("b")];
            if a.is_empty() || b.is_empty() {
                return Err(fields.error("a side is empty"));
            }
            if a == b || (!is_json(a) && !is_json(b) && is_same_file(a, b)) {
                return Err(fields.error("both sides are the same recording, which says nothing"));
            }
            let pair = [a, b].map(|side| recordings.number(side) as usize);
            lines.resize(recordings.names.len(), fields.line);
            pairs.push(pair);
        }
        let SpeakerSets { of: speakers, n_known } = self.speakers(&pairs, recordings.names.len())?;
        let known: Vec<KnownVoices> = self.fields().map(RowFields::known).collect::<Result<_, _>>()?;
        let embedding = args.start()?;
        let voices = voices_of(&embedding, &recordings.names, &lines, is_quiet)?;
        let mut builder = Builder::new(voices);
        for ((pair, speakers), known) in pairs.into_iter().zip(speakers).zip(known) {
            builder.compare(pair, speakers, known)?;
        }
        let names = recordings
            .names
            .iter()
            .enumerate()
            .map(|(i, name)| if is_json(name) { format!("embedding {}", i + 1) } else { name.clone() });
        let made = builder.finish(names.collect(), embedding.model(), self.has("weight"));
        Ok(Comparisons { known_speakers: n_known, ..made })
    }

    /// Returns the speakers of each comparison: by name or, without names, by joining the recordings that `same` marks.
    fn speakers(&self, pairs: &[[usize; 2]], n_recordings: usize) -> anyhow::Result<SpeakerSets> {
        if self.has("speaker_a") && self.has("speaker_b") {
            let mut numbers = Numbers::default();
            let named = |fields: RowFields<'_>| {
                fields.speakers(&mut numbers)?.ok_or_else(|| fields.error("a speaker has no name"))
            };
            let of = self.fields().map(named).collect::<Result<_, _>>()?;
            return Ok(SpeakerSets { of, n_known: None });
        }
        ensure!(self.has("same"), "there is no column same, and no columns speaker_a and speaker_b");
        let mut groups = Groups::new(n_recordings);
        let mut of_several: HashSet<usize> = HashSet::new();
        for (fields, pair) in self.fields().zip(pairs) {
            if fields.flag("same")?.ok_or_else(|| fields.error("same is empty"))? {
                groups.join(*pair);
                of_several.extend(pair);
            }
        }
        let mut of = Vec::with_capacity(pairs.len());
        for (fields, pair) in self.fields().zip(pairs) {
            let speakers = pair.map(|recording| groups.of(recording) as u32);
            if speakers[0] == speakers[1] && fields.flag("same")? == Some(false) {
                return Err(fields.error("these are different speakers here, but one speaker by other lines"));
            }
            of.push(speakers);
        }
        let known: HashSet<usize> = of_several.into_iter().map(|recording| groups.of(recording)).collect();
        Ok(SpeakerSets { of, n_known: Some(known.len()) })
    }
}

/// The speakers of each comparison.
struct SpeakerSets {
    of: Vec<[u32; 2]>,
    /// The number of speakers known to be distinct people, if not all are. Recordings that no line joins may belong to
    /// one speaker.
    n_known: Option<usize>,
}

/// Loads the voices that the cells name by path or contain as JSON embeddings. `lines` holds the line of each cell.
/// Unreadable recordings are reported and skipped; a bad embedding is an error.
fn voices_of(
    embedding: &CommandEmbedder,
    cells: &[String],
    lines: &[u64],
    is_quiet: bool,
) -> anyhow::Result<ComparedVoices> {
    let (inline, files): (Vec<usize>, Vec<usize>) = (0..cells.len()).partition(|i| is_json(&cells[*i]));
    let mut voices: Vec<Option<LoadedVoice>> = cells.iter().map(|_| None).collect();
    for i in inline {
        let of_line = |reason: String| anyhow!("line {}: {reason}", lines[i]);
        let value: Value = serde_json::from_str(&cells[i])
            .map_err(|error| of_line(format!("an embedding is no JSON: {error}")))?;
        voices[i] = Some(voice_of(&value, "", embedding).map_err(|(_, reason)| of_line(reason))?);
    }
    let paths: Vec<PathBuf> = files.iter().map(|i| PathBuf::from(&cells[*i])).collect();
    let (embedded, n_failed) = embedded(embedding, &paths, is_quiet || paths.is_empty())?;
    files.into_iter().zip(embedded).for_each(|(i, voice)| voices[i] = voice);
    Ok(ComparedVoices::new(voices, n_failed, embedding.model()))
}

/// Returns whether two cells name the same file.
fn is_same_file(a: &str, b: &str) -> bool {
    let found = [a, b].map(|path| std::fs::canonicalize(path).ok());
    found[0].is_some() && found[0] == found[1]
}

impl RowFields<'_> {
    fn error(&self, reason: &str) -> anyhow::Error {
        anyhow!("line {}: {reason}", self.line)
    }

    /// Returns a field's text, or an empty text if the column is missing.
    fn text(&self, name: &str) -> &str {
        self.columns.get(name).and_then(|column| self.row.get(*column)).unwrap_or_default()
    }

    fn number(&self, name: &str) -> anyhow::Result<Option<f64>> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| self.error(&format!("{name} is no number: {text:?}")))
    }

    fn not_negative(&self, name: &str) -> anyhow::Result<Option<f64>> {
        match self.number(name)? {
            Some(number) if number < 0.0 => Err(self.error(&format!("{name} is negative"))),
            number => Ok(number),
        }
    }

    /// Returns seconds. A value of 0 means unknown.
    fn seconds(&self, name: &str) -> anyhow::Result<Option<f64>> {
        Ok(self.not_negative(name)?.filter(|seconds| *seconds > 0.0))
    }

    fn flag(&self, name: &str) -> anyhow::Result<Option<bool>> {
        match &*self.text(name).to_ascii_lowercase() {
            "" => Ok(None),
            "1" | "true" | "yes" | "same" => Ok(Some(true)),
            "0" | "false" | "no" | "different" => Ok(Some(false)),
            other => Err(self.error(&format!("{name} should be 1 or 0, not {other:?}"))),
        }
    }

    fn known(self) -> anyhow::Result<KnownVoices> {
        Ok(KnownVoices {
            seconds: [self.seconds("seconds_a")?, self.seconds("seconds_b")?],
            is_same_sex: self.flag("same_sex")?,
            weight: self.not_negative("weight")?,
        })
    }

    /// Returns the numbers of both speakers if both are named. A value of `same` must agree with the names.
    fn speakers(&self, numbers: &mut Numbers) -> anyhow::Result<Option<[u32; 2]>> {
        let names = [self.text("speaker_a"), self.text("speaker_b")];
        if names.contains(&"") {
            return Ok(None);
        }
        match self.flag("same")? {
            Some(is_same) if is_same != (names[0] == names[1]) => {
                Err(self.error("same does not agree with the names of the speakers"))
            }
            _ => Ok(Some(names.map(|name| numbers.number(name)))),
        }
    }
}

fn is_json(cell: &str) -> bool {
    cell.starts_with(['[', '{'])
}

/// Numbers for names, in order of first appearance.
#[derive(Default)]
struct Numbers {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Numbers {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// Disjoint groups, joined by pairs of members.
struct Groups(Vec<usize>);

impl Groups {
    fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    /// Returns the first member of the group that contains `one`.
    fn of(&mut self, mut one: usize) -> usize {
        while self.0[one] != one {
            self.0[one] = self.0[self.0[one]];
            one = self.0[one];
        }
        one
    }

    fn join(&mut self, [a, b]: [usize; 2]) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }
}
