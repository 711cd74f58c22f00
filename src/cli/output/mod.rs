//! What `embed` writes: JSON Lines, CSV, or NumPy's arrays.

mod lines;
mod numpy;

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::embedder::EmbeddedVoice;
use crate::embedding::UnitEmbedding;

/// How embeddings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// A JSON object a line.
    Jsonl,
    /// A header, and a row each.
    Csv,
    /// NumPy's array of `f32`, `[rows, dimension]`, and a text file of paths beside it.
    Npy,
    /// The same in one file: `embeddings` and `paths`.
    Npz,
}

/// A stretch of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Segment {
    /// In seconds.
    pub(in crate::cli) seconds: Range<f64>,
    /// What the list of segments calls it.
    pub(in crate::cli) label: Option<String>,
}

/// An embedding, or the reason why there is none.
pub(in crate::cli) struct Row<'a> {
    pub(in crate::cli) path: &'a str,
    pub(in crate::cli) segment: Option<&'a Segment>,
    pub(in crate::cli) outcome: Result<&'a EmbeddedVoice, Failure<'a>>,
}

/// Why there is no embedding.
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

/// Why nothing more is written.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum OutputError {
    /// Whoever reads standard output has enough.
    #[error("nobody reads the output any more")]
    Closed,
    /// There is an output already.
    #[error("{} exists; --resume adds to it, --overwrite replaces it", .0.display())]
    Exists(PathBuf),
    /// What is there cannot be added to.
    #[error("{} cannot be resumed: {reason}", path.display())]
    NotResumable { path: PathBuf, reason: String },
    /// The system does not let it be written.
    #[error("cannot write {name}: {reason}")]
    Write { name: String, reason: io::Error },
    /// It needs a file, which is not that of the paths beside it.
    #[error("--format npy and npz need --output FILE, whose name does not end in .txt")]
    NoFile,
}

/// What becomes of an output that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Existing {
    Refuse,
    Resume,
    Replace,
}

/// Where embeddings go, and what is there already.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Target {
    pub(in crate::cli) file: Option<PathBuf>,
    pub(in crate::cli) format: Format,
    pub(in crate::cli) existing: Existing,
    /// Rows of windows instead of those of recordings, where a row is one embedding.
    pub(in crate::cli) partials: bool,
    /// Rows of segments.
    pub(in crate::cli) segments: bool,
    /// Components of an embedding.
    pub(in crate::cli) dimension: usize,
}

/// The output of a command, open.
pub(in crate::cli) enum Output {
    Lines(lines::Lines),
    Numpy(numpy::Numpy),
}

impl Target {
    /// Opens the output; with the paths that it holds, which are none unless it is resumed.
    pub(in crate::cli) fn open(self) -> Result<(Output, HashSet<String>), OutputError> {
        match self.format {
            Format::Jsonl | Format::Csv => {
                let (lines, paths) = lines::Lines::open(self)?;
                Ok((Output::Lines(lines), paths))
            }
            Format::Npy | Format::Npz => {
                let (numpy, paths) = numpy::Numpy::open(self)?;
                Ok((Output::Numpy(numpy), paths))
            }
        }
    }
}

impl Output {
    /// Writes the rows of a recording; what cannot be written whole is taken back.
    pub(in crate::cli) fn write(&mut self, rows: &[Row<'_>]) -> Result<(), OutputError> {
        match self {
            Self::Lines(lines) => lines.write(rows),
            Self::Numpy(numpy) => rows.iter().try_for_each(|row| numpy.write(row)),
        }
    }

    /// Writes the one embedding of many recordings.
    pub(in crate::cli) fn write_mean(&mut self, mean: &Mean<'_>) -> Result<(), OutputError> {
        match self {
            Self::Lines(lines) => lines.write_mean(mean),
            Self::Numpy(numpy) => numpy.write_mean(mean),
        }
    }

    /// Makes what was written whole.
    pub(in crate::cli) fn finish(self) -> Result<(), OutputError> {
        match self {
            Self::Lines(_) => Ok(()),
            Self::Numpy(numpy) => numpy.finish(),
        }
    }
}
