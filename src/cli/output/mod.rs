//! The output of `embed`: JSON Lines, CSV or NumPy arrays.

mod lines;
mod numpy;

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::embedder::EmbeddedVoice;
use crate::embedding::UnitEmbedding;

/// Output formats for embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum RowFormat {
    /// One JSON object per line.
    Jsonl,
    /// Header, then one row per embedding.
    Csv,
    /// NumPy array of `f32` with the shape `[rows, dimension]`, and a text file of paths beside it.
    Npy,
    /// The arrays `embeddings` and `paths` in one NumPy file.
    Npz,
}

/// A segment of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct SegmentPlace {
    /// The start and end of the segment, in seconds.
    pub(in crate::cli) seconds: Range<f64>,
    /// The label of the segment in the list of segments.
    pub(in crate::cli) label: Option<String>,
}

/// An embedding, or the reason why there is none.
pub(in crate::cli) struct OutputRow<'a> {
    pub(in crate::cli) path: &'a str,
    pub(in crate::cli) segment: Option<&'a SegmentPlace>,
    pub(in crate::cli) outcome: Result<&'a EmbeddedVoice, Failure<'a>>,
}

/// The reason why there is no embedding.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Failure<'a> {
    pub(in crate::cli) code: &'a str,
    pub(in crate::cli) detail: &'a str,
}

/// One embedding of many recordings.
pub(in crate::cli) struct Mean<'a> {
    pub(in crate::cli) n_files: usize,
    pub(in crate::cli) speech_seconds: f64,
    pub(in crate::cli) embedding: &'a UnitEmbedding,
}

/// The reason why output has stopped.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum OutputError {
    /// The reader of standard output has closed it.
    #[error("the output was closed")]
    Closed,
    /// The output already exists.
    #[error("{} exists; --resume adds to it, --overwrite replaces it", .0.display())]
    Exists(PathBuf),
    /// The existing output cannot be appended to.
    #[error("{} cannot be resumed: {reason}", path.display())]
    NotResumable { path: PathBuf, reason: String },
    /// The system reported an error.
    #[error("cannot write {name}: {reason}")]
    Write { name: String, reason: io::Error },
    /// The format needs an output file whose name differs from that of the file of paths.
    #[error("--format npy and npz need --output FILE, whose name does not end in .txt")]
    NoFile,
}

/// How to handle an existing output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Existing {
    Refuse,
    Resume,
    Replace,
}

/// The destination of embeddings, and how to handle existing content.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Target {
    pub(in crate::cli) file: Option<PathBuf>,
    pub(in crate::cli) format: RowFormat,
    pub(in crate::cli) existing: Existing,
    /// Whether each row is a window instead of a recording.
    pub(in crate::cli) partials: bool,
    /// Whether each row is a segment.
    pub(in crate::cli) segments: bool,
    /// The number of components of an embedding.
    pub(in crate::cli) dimension: usize,
}

/// A command's open output.
pub(in crate::cli) enum Output {
    Lines(lines::Lines),
    Numpy(numpy::Numpy),
}

impl Target {
    /// Opens the output, and returns the paths that it already contains. The set is empty unless the output is resumed.
    pub(in crate::cli) fn open(self) -> Result<(Output, HashSet<String>), OutputError> {
        match self.format {
            RowFormat::Jsonl | RowFormat::Csv => {
                let (lines, paths) = lines::Lines::open(self)?;
                Ok((Output::Lines(lines), paths))
            }
            RowFormat::Npy | RowFormat::Npz => {
                let (numpy, paths) = numpy::Numpy::open(self)?;
                Ok((Output::Numpy(numpy), paths))
            }
        }
    }
}

impl Output {
    /// Writes the rows of a recording. Rows that cannot be written completely are removed.
    pub(in crate::cli) fn write(&mut self, rows: &[OutputRow<'_>]) -> Result<(), OutputError> {
        match self {
            Self::Lines(lines) => lines.write(rows),
            Self::Numpy(numpy) => rows.iter().try_for_each(|row| numpy.write(row)),
        }
    }

    /// Writes the mean of many recordings.
    pub(in crate::cli) fn write_mean(&mut self, mean: &Mean<'_>) -> Result<(), OutputError> {
        match self {
            Self::Lines(lines) => lines.write_mean(mean),
            Self::Numpy(numpy) => numpy.write_mean(mean),
        }
    }

    /// Completes the output.
    pub(in crate::cli) fn finish(self) -> Result<(), OutputError> {
        match self {
            Self::Lines(_) => Ok(()),
            Self::Numpy(numpy) => numpy.finish(),
        }
    }
}
