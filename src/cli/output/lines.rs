//! JSON Lines and CSV, to a file or standard output. A line is one write, so that a command that ends leaves whole lines.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Failure, Format, Mean, OutputError, Row, Target, seconds};
use crate::embedder::Partial;
use crate::pipeline::AudioReport;

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

/// The path that a mean stands under where a column is needed.
pub(super) const MEAN: &str = "mean";

pub(in crate::cli) struct Lines {
    sink: Sink,
    format: Format,
    partials: bool,
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
        let Target { file, format, resume, partials, .. } = target;
        let Some(path) = file else {
            let sink = Sink::Stdout(io::stdout());
            return Ok((Self { sink, format, partials, has_header: false }, HashSet::new()));
        };
        let failed = |reason| OutputError::Write { name: path.display().to_string(), reason };
        let opened = OpenOptions::new().create(true).write(true).read(true).truncate(!resume).open(&path);
        let mut file = opened.map_err(failed)?;
        let (paths, n_bytes) = if resume { held(&mut file, format, &path)? } else { (HashSet::new(), 0) };
        // What a killed process has begun to write is no line.
        file.set_len(n_bytes).and_then(|()| file.seek(SeekFrom::Start(n_bytes))).map_err(failed)?;
        let sink = Sink::File { file, path, n_bytes };
        Ok((Self { sink, format, partials, has_header: n_bytes > 0 }, paths))
    }

    pub(super) fn write(&mut self, row: &Row<'_>) -> Result<(), OutputError> {
        let bytes = match self.format {
            Format::Csv => self.csv(row),
            _ => json(&JsonRow::new(row, self.partials)),
        };
        self.sink.write(&bytes)
    }

    pub(super) fn write_mean(&mut self, mean: &Mean<'_>) -> Result<(), OutputError> {
        let embedding = in_single_precision(mean.embedding);
        let bytes = if self.format == Format::Csv {
            let cells =
                [MEAN, "", "", "", "", "", mean.model, "", &seconds(mean.speech_seconds).to_string(), ""]
                    .map(str::to_owned);
            let mut csv = self.header(embedding.len());
            write_row(&mut csv, &cells, &embedding);
            finished(csv)
        } else {
            json(&JsonMean {
                files: mean.n_files,
                embedding,
                model: mean.model,
                speech_seconds: seconds(mean.speech_seconds),
            })
        };
        self.sink.write(&bytes)
    }

    /// A writer of rows, with the header if none has been written.
    fn header(&mut self, dimension: usize) -> csv::Writer<Vec<u8>> {
        let mut csv = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        if !std::mem::replace(&mut self.has_header, true) {
            let components = (0..dimension).map(|i| format!("e{i}"));
            in_memory(csv.write_record(COLUMNS.map(str::to_owned).into_iter().chain(components)));
        }
        csv
    }

    fn csv(&mut self, row: &Row<'_>) -> Vec<u8> {
        let (start, end) = row
            .segment
            .map_or((None, None), |segment| (Some(segment.seconds.start), Some(segment.seconds.end)));
        let label = row.segment.and_then(|segment| segment.label.clone()).unwrap_or_default();
        let second = |value: Option<f64>| value.map(|value| seconds(value).to_string()).unwrap_or_default();
        let begin = [row.path.to_owned(), second(start), second(end), label];
        match row.outcome {
            Err(Failure { code, detail }) => {
                // A file of nothing but failures has no components to name.
                let mut csv = self.header(0);
                let rest = [code, detail, "", "", "", ""].map(str::to_owned);
                write_row(&mut csv, &[&begin[..], &rest].concat(), &[]);
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
                    seconds(audio.duration_seconds).to_string(),
                    seconds(audio.speech_seconds).to_string(),
                    warnings.join(" "),
                ];
                let mut csv = self.header(voice.embedding.components().len());
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
                    // The part of a line that a full disk has taken is taken back.
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
    fn new(row: &Row<'a>, partials: bool) -> Self {
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
        Self { start: seconds(range.start), end: seconds(range.end), embedding }
    }
}

/// The paths in the whole lines of an output, and where those end.
fn held(file: &mut File, format: Format, path: &Path) -> Result<(HashSet<String>, u64), OutputError> {
    #[derive(Deserialize)]
    struct Held {
        path: String,
    }

    let not_resumable = |reason: String| OutputError::NotResumable { path: path.to_owned(), reason };
    let mut reader = BufReader::new(file);
    let (mut line, mut n_bytes) = (Vec::new(), 0);
    let mut paths = HashSet::new();
    let mut is_first = true;
    loop {
        line.clear();
        let n_read = reader.read_until(b'\n', &mut line).map_err(|error| not_resumable(error.to_string()))?;
        if !line.ends_with(b"\n") {
            return Ok((paths, n_bytes));
        }
        n_bytes += n_read as u64;
        if format == Format::Csv {
            let mut record = csv::ReaderBuilder::new().has_headers(false).from_reader(&line[..]);
            let first = record.records().next().and_then(Result::ok);
            let name = first.as_ref().and_then(|record| record.get(0)).unwrap_or_default();
            if is_first && name != COLUMNS[0] {
                return Err(not_resumable("it does not begin with the header of such a file".into()));
            }
            paths.extend((!is_first).then(|| name.to_owned()));
        } else {
            let held: Held = serde_json::from_slice(&line)
                .map_err(|error| not_resumable(format!("a line of it is no such JSON: {error}")))?;
            paths.insert(held.path);
        }
        is_first = false;
    }
}

/// Encoder outputs are `f32`, whose shortest digits are fewer.
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
