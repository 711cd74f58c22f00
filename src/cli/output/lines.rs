//! Writes JSON Lines and CSV to a file or standard output. A recording's rows are one write, so that a command that is
//! stopped leaves complete lines.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Existing, Failure, Mean, OutputError, OutputRow, RowFormat, Target};
use crate::embedder::Partial;
use crate::notation::milliseconds;
use crate::report::AudioReport;

/// Columns of a CSV file before the components.
const COLUMNS: [&str; 10] = [
    "path",
    "start",
    "end",
    "label",
    "code",
    "detail",
    "model",
    "duration_seconds",
    "speech_seconds",
    "warnings",
];

/// The path of a mean in formats that need one.
pub(super) const MEAN: &str = "mean";

pub(in crate::cli) struct Lines {
    sink: Sink,
    format: RowFormat,
    partials: bool,
    dimension: usize,
    has_header: bool,
}

enum Sink {
    Stdout(io::Stdout),
    File { file: File, path: PathBuf, n_bytes: u64 },
}

/// A line of JSON.
#[derive(Serialize)]
struct JsonRow<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(flatten)]
    outcome: JsonOutcome<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum JsonOutcome<'a> {
    Embedded {
        embedding: Vec<f32>,
        model: &'a str,
        audio: &'a AudioReport,
        #[serde(skip_serializing_if = "Option::is_none")]
        partials: Option<Vec<JsonPartial<'a>>>,
    },
    Failed {
        code: &'a str,
        detail: &'a str,
    },
}

#[derive(Serialize)]
struct JsonPartial<'a> {
    start: f64,
    end: f64,
    embedding: &'a [f32],
}

#[derive(Serialize)]
struct JsonMean<'a> {
    files: usize,
    embedding: Vec<f32>,
    model: &'a str,
    speech_seconds: f64,
}

impl Lines {
    pub(super) fn open(target: Target) -> Result<(Self, HashSet<String>), OutputError> {
        let Target { file, format, existing, partials, segments, dimension } = target;
        let Some(path) = file else {
            let sink = Sink::Stdout(io::stdout());
            return Ok((Self { sink, format, partials, dimension, has_header: false }, HashSet::new()));
        };
        let failed = |reason| OutputError::Write { name: path.display().to_string(), reason };
        let is_new = existing == Existing::Refuse;
        let opened = OpenOptions::new()
            .create_new(is_new)
            .create(!is_new)
            .write(true)
            .read(true)
            .truncate(existing == Existing::Replace)
            .open(&path);
        let mut file = opened.map_err(|reason| match reason.kind() {
            ErrorKind::AlreadyExists => OutputError::Exists(path.clone()),
            _ => failed(reason),
        })?;
        let held = if existing == Existing::Resume {
            let mut held = match format {
                RowFormat::Csv => held_csv(&file, dimension),
                _ => held_json(&file),
            }
            .map_err(|reason| OutputError::NotResumable { path: path.clone(), reason })?;
            if segments || partials {
                // A recording has several rows, and the last recording may lack some of them.
                held.drop_last();
            }
            held
        } else {
            Held::default()
        };
        // A line that a killed process left unfinished is ignored.
        let n_bytes = held.n_bytes;
        file.set_len(n_bytes).and_then(|()| file.seek(SeekFrom::Start(n_bytes))).map_err(failed)?;
        let sink = Sink::File { file, path, n_bytes };
        Ok((Self { sink, format, partials, dimension, has_header: n_bytes > 0 }, held.paths))
    }

    /// Writes the rows of a recording at once.
    pub(super) fn write(&mut self, rows: &[OutputRow<'_>]) -> Result<(), OutputError> {
        let mut bytes = Vec::new();
        for row in rows {
            match self.format {
                RowFormat::Csv => bytes.extend(self.csv(row)),
                _ => bytes.extend(json(&JsonRow::new(row, self.partials))),
            }
        }
        self.sink.write(&bytes)
    }

    pub(super) fn write_mean(&mut self, mean: &Mean<'_>) -> Result<(), OutputError> {
        let embedding = in_single_precision(mean.embedding.components());
        let model = mean.embedding.model().fingerprint();
        let bytes = if self.format == RowFormat::Csv {
            let cells =
                [MEAN, "", "", "", "", "", model, "", &milliseconds(mean.speech_seconds).to_string(), ""]
                    .map(str::to_owned);
            let mut csv = self.header();
            write_row(&mut csv, &cells, &embedding);
            finished(csv)
        } else {
            json(&JsonMean {
                files: mean.n_files,
                embedding,
                model,
                speech_seconds: milliseconds(mean.speech_seconds),
            })
        };
        self.sink.write(&bytes)
    }

    /// Returns a writer for rows, with the header if it has not been written yet.
    fn header(&mut self) -> csv::Writer<Vec<u8>> {
        let mut csv = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        if !std::mem::replace(&mut self.has_header, true) {
            let components = (0..self.dimension).map(|i| format!("e{i}"));
            in_memory(csv.write_record(COLUMNS.map(str::to_owned).into_iter().chain(components)));
        }
        csv
    }

    fn csv(&mut self, row: &OutputRow<'_>) -> Vec<u8> {
        let (start, end) = row
            .segment
            .map_or((None, None), |segment| (Some(segment.seconds.start), Some(segment.seconds.end)));
        let label = row.segment.and_then(|segment| segment.label.clone()).unwrap_or_default();
        let second =
            |value: Option<f64>| value.map(|value| milliseconds(value).to_string()).unwrap_or_default();
        let begin = [row.path.to_owned(), second(start), second(end), label];
        match row.outcome {
            Err(Failure { code, detail }) => {
                let mut csv = self.header();
                let rest = [code, detail, "", "", "", ""].map(str::to_owned);
                let nothing = vec![String::new(); self.dimension];
                in_memory(csv.write_record([&begin[..], &rest, &nothing].concat()));
                finished(csv)
            }
            Ok(voice) => {
                let model = voice.embedding.model().fingerprint().to_owned();
                let audio = &voice.audio;
                let warnings: Vec<&str> = audio.warnings.iter().map(|warning| warning.code()).collect();
                let rest = [
                    String::new(),
                    String::new(),
                    model,
                    milliseconds(audio.duration_seconds).to_string(),
                    milliseconds(audio.speech_seconds).to_string(),
                    warnings.join(" "),
                ];
                let mut csv = self.header();
                if self.partials {
                    for Partial { seconds: range, embedding } in &voice.partials {
                        let mut cells = [&begin[..], &rest].concat();
                        cells[1] = second(Some(range.start));
                        cells[2] = second(Some(range.end));
                        write_row(&mut csv, &cells, embedding);
                    }
                } else {
                    let embedding = in_single_precision(voice.embedding.components());
                    write_row(&mut csv, &[&begin[..], &rest].concat(), &embedding);
                }
                finished(csv)
            }
        }
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let written = match self {
            Self::Stdout(stdout) => stdout.write_all(bytes).and_then(|()| stdout.flush()),
            Self::File { file, n_bytes, .. } => {
                let written = file.write_all(bytes);
                match written {
                    Ok(()) => *n_bytes += bytes.len() as u64,
                    // A full disk may have accepted part of a line; that part is removed.
                    Err(_) => drop(file.set_len(*n_bytes)),
                }
                written
            }
        };
        written.map_err(|reason| match (reason.kind(), self) {
            (ErrorKind::BrokenPipe, Self::Stdout(_)) => OutputError::Closed,
            (_, Self::Stdout(_)) => OutputError::Write { name: "standard output".into(), reason },
            (_, Self::File { path, .. }) => OutputError::Write { name: path.display().to_string(), reason },
        })
    }
}

impl<'a> JsonRow<'a> {
    fn new(row: &OutputRow<'a>, partials: bool) -> Self {
        let outcome = match row.outcome {
            Err(Failure { code, detail }) => JsonOutcome::Failed { code, detail },
            Ok(voice) => JsonOutcome::Embedded {
                embedding: in_single_precision(voice.embedding.components()),
                model: voice.embedding.model().fingerprint(),
                audio: &voice.audio,
                partials: partials.then(|| voice.partials.iter().map(JsonPartial::new).collect()),
            },
        };
        Self {
            path: row.path,
            start: row.segment.map(|segment| segment.seconds.start),
            end: row.segment.map(|segment| segment.seconds.end),
            label: row.segment.and_then(|segment| segment.label.as_deref()),
            outcome,
        }
    }
}

impl<'a> JsonPartial<'a> {
    fn new(partial: &'a Partial) -> Self {
        let Partial { seconds: range, embedding } = partial;
        Self { start: milliseconds(range.start), end: milliseconds(range.end), embedding }
    }
}

/// The contents of an existing output: its recordings, and the end of the last complete line.
#[derive(Default)]
struct Held {
    paths: HashSet<String>,
    n_bytes: u64,
    /// The last recording, and the offset of its first row.
    last: Option<(String, u64)>,
}

impl Held {
    fn add(&mut self, path: String, begins: u64, ends: u64) {
        if self.last.as_ref().is_none_or(|(last, _)| *last != path) {
            self.last = Some((path.clone(), begins));
        }
        self.paths.insert(path);
        self.n_bytes = ends;
    }

    fn drop_last(&mut self) {
        if let Some((path, begins)) = self.last.take() {
            self.paths.remove(&path);
            self.n_bytes = begins;
        }
    }
}

fn held_json(file: &File) -> Result<Held, String> {
    #[derive(Deserialize)]
    struct Line {
        path: String,
    }

    let mut reader = BufReader::new(file);
    let (mut line, mut held) = (Vec::new(), Held::default());
    loop {
        line.clear();
        let n_read = reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if !line.ends_with(b"\n") {
            let is_ours = line.is_empty() || held.n_bytes > 0 || line.starts_with(b"{\"path\":");
            return if is_ours { Ok(held) } else { Err("it holds something else".into()) };
        }
        let Line { path } = serde_json::from_slice(&line)
            .map_err(|error| format!("a line of it is no such JSON: {error}"))?;
        let begins = held.n_bytes;
        held.add(path, begins, begins + n_read as u64);
    }
}

fn held_csv(file: &File, dimension: usize) -> Result<Held, String> {
    let n_bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(BufReader::new(file));
    let mut held = Held::default();
    let mut record = csv::StringRecord::new();
    let mut is_header = true;
    loop {
        let begins = reader.position().byte();
        // A row that is cut off in the middle may not even be text.
        let is_there = reader.read_record(&mut record).unwrap_or(false);
        let ends = reader.position().byte();
        if is_header && n_bytes > 0 && record.get(0) != Some(COLUMNS[0]) {
            return Err("it does not begin with the header of such a file".into());
        }
        // A row is known to be complete only if another row or a line break follows.
        let is_whole = is_there
            && record.len() == COLUMNS.len() + dimension
            && (ends < n_bytes || ends_with_break(file));
        if !is_whole {
            return Ok(held);
        }
        if is_header {
            held.n_bytes = ends;
        } else {
            held.add(record.get(0).unwrap_or_default().to_owned(), begins, ends);
        }
        is_header = false;
    }
}

fn ends_with_break(mut file: &File) -> bool {
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).is_ok_and(|()| last == *b"\n")
}

/// Encoder outputs are `f32`. Printed as `f32`, they have fewer digits.
fn in_single_precision(components: &[f64]) -> Vec<f32> {
    components.iter().map(|component| *component as f32).collect()
}

fn json(line: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).expect("there is nothing in it that JSON does not have");
    bytes.push(b'\n');
    bytes
}

fn write_row(csv: &mut csv::Writer<Vec<u8>>, cells: &[String], components: &[f32]) {
    in_memory(csv.write_record(cells.iter().cloned().chain(components.iter().map(ToString::to_string))));
}

fn finished(csv: csv::Writer<Vec<u8>>) -> Vec<u8> {
    csv.into_inner().expect("memory can be written")
}

fn in_memory(written: csv::Result<()>) {
    written.expect("memory can be written");
}
