//! Writes NumPy files. Their headers contain the number of rows, so rows are stored in a temporary file until all are known.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use npyz::{NpyFile, TypeStr, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::lines::MEAN;
use super::{Existing, Mean, OutputError, OutputRow, RowFormat, Target};
use crate::notation::milliseconds;

pub(in crate::cli) struct Numpy {
    output: PathBuf,
    format: RowFormat,
    partials: bool,
    rows: File,
    rows_path: PathBuf,
    /// The name of each row: its path, followed by the times of the segment or window.
    names: Vec<String>,
    dimension: usize,
}

impl Numpy {
    pub(super) fn open(target: Target) -> Result<(Self, HashSet<String>), OutputError> {
        let Target { file, format, existing, partials, dimension, .. } = target;
        let output = file.filter(|file| file.extension().is_none_or(|ending| ending != "txt"));
        let output = output.ok_or(OutputError::NoFile)?;
        let beside = (format == RowFormat::Npy).then(|| output.with_extension("txt"));
        let found = [Some(output.clone()), beside].into_iter().flatten().find(|file| file.exists());
        if let Some(found) = found.filter(|_| existing == Existing::Refuse) {
            return Err(OutputError::Exists(found));
        }
        let rows_path = with_suffix(&output, ".rows");
        let failed = |reason| OutputError::Write { name: output.display().to_string(), reason };
        let rows = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&rows_path);
        let rows = rows.map_err(failed)?;
        let mut numpy = Self { output, format, partials, rows, rows_path, names: Vec::new(), dimension };
        if existing == Existing::Resume && numpy.output.exists() {
            let path = numpy.output.clone();
            let not_resumable =
                |error: io::Error| OutputError::NotResumable { path, reason: error.to_string() };
            numpy.take_over().map_err(not_resumable)?;
        }
        let paths = numpy.names.iter().map(|name| path_of(name).to_owned()).collect();
        Ok((numpy, paths))
    }

    pub(super) fn write(&mut self, row: &OutputRow<'_>) -> Result<(), OutputError> {
        let Ok(voice) = row.outcome else { return Ok(()) };
        let times = |range: &std::ops::Range<f64>| {
            format!("{}\t{}\t{}", row.path, milliseconds(range.start), milliseconds(range.end))
        };
        if self.partials {
            for partial in &voice.partials {
                self.push(times(&partial.seconds), partial.embedding.iter().copied())?;
            }
            return Ok(());
        }
        let name = row.segment.map_or_else(|| row.path.to_owned(), |segment| times(&segment.seconds));
        self.push(name, voice.embedding.components().iter().map(|component| *component as f32))
    }

    pub(super) fn write_mean(&mut self, mean: &Mean<'_>) -> Result<(), OutputError> {
        self.push(MEAN.into(), mean.embedding.components().iter().map(|component| *component as f32))
    }

    fn push(&mut self, name: String, components: impl Iterator<Item = f32>) -> Result<(), OutputError> {
        let bytes: Vec<u8> = components.flat_map(f32::to_le_bytes).collect();
        self.rows.write_all(&bytes).map_err(|reason| self.failed(reason))?;
        self.names.push(name);
        Ok(())
    }

    /// Writes a new file beside the old one, then replaces the old one.
    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        let new = with_suffix(&self.output, ".new");
        let written = self.write_all(&new);
        written.and_then(|()| std::fs::rename(&new, &self.output)).map_err(|reason| {
            let _ = std::fs::remove_file(&new);
            self.failed(reason)
        })
    }

    fn write_all(&mut self, new: &Path) -> io::Result<()> {
        self.rows.seek(SeekFrom::Start(0))?;
        let shape = [self.names.len() as u64, self.dimension as u64];
        let mut file = BufWriter::new(File::create(new)?);
        if self.format == RowFormat::Npy {
            write_array(&mut file, &self.rows, &shape)?;
            file.flush()?;
            let lines: Vec<&str> = self.names.iter().flat_map(|name| [name, "\n"]).collect();
            let (text, new) = (self.output.with_extension("txt"), with_suffix(&self.output, ".txt.new"));
            return std::fs::write(&new, lines.concat()).and_then(|()| std::fs::rename(new, text));
        }
        let mut zip = ZipWriter::new(file);
        let stored =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        zip.start_file("embeddings.npy", stored)?;
        write_array(&mut zip, &self.rows, &shape)?;
        zip.start_file("paths.npy", stored)?;
        write_names(&mut zip, &self.names)?;
        zip.finish()?.flush()
    }

    /// Reads the rows of the existing output.
    fn take_over(&mut self) -> io::Result<()> {
        let file = BufReader::new(File::open(&self.output)?);
        if self.format == RowFormat::Npy {
            let names = std::fs::read_to_string(self.output.with_extension("txt"))?;
            self.names = names.lines().map(str::to_owned).collect();
            return self.copy_rows(file);
        }
        let mut zip = ZipArchive::new(file)?;
        self.names = NpyFile::new(zip.by_name("paths.npy")?)?.into_vec::<String>()?;
        self.copy_rows(zip.by_name("embeddings.npy")?)
    }

    fn copy_rows(&mut self, array: impl Read) -> io::Result<()> {
        let array = NpyFile::new(array)?;
        let (n_rows, dimension) = match *array.shape() {
            [n_rows, dimension] => (n_rows, dimension),
            _ => (0, 0),
        };
        if n_rows != self.names.len() as u64 || dimension != self.dimension as u64 {
            return Err(io::Error::other("its rows are not those of the paths, or of this model"));
        }
        let mut rows = BufWriter::new(&self.rows);
        for value in array.data::<f32>().map_err(io::Error::other)? {
            rows.write_all(&value?.to_le_bytes())?;
        }
        rows.flush()
    }

    fn failed(&self, reason: io::Error) -> OutputError {
        OutputError::Write { name: self.output.display().to_string(), reason }
    }
}

impl Drop for Numpy {
    fn drop(&mut self) {
        // By now, the rows are in the output or are not needed.
        let _ = std::fs::remove_file(&self.rows_path);
    }
}

/// Returns the path in a row's name, without the times.
fn path_of(name: &str) -> &str {
    let mut parts = name.rsplitn(3, '\t');
    let mut time = || parts.next().and_then(|part| part.parse::<f64>().ok());
    match (time(), time(), parts.next()) {
        (Some(_), Some(_), Some(path)) => path,
        _ => name,
    }
}

/// Writes a two-dimensional array from raw values in a file.
fn write_array(output: &mut impl Write, rows: &File, shape: &[u64; 2]) -> io::Result<()> {
    let mut array =
        npyz::WriteOptions::<f32>::new().default_dtype().shape(shape).writer(output).begin_nd()?;
    let mut rows = BufReader::new(rows);
    let mut value = [0; size_of::<f32>()];
    for _ in 0..shape[0] * shape[1] {
        rows.read_exact(&mut value)?;
        array.push(&f32::from_le_bytes(value))?;
    }
    array.finish()
}

/// Writes a list of texts of equal width, as NumPy stores `str`.
fn write_names(output: &mut impl Write, names: &[String]) -> io::Result<()> {
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(1);
    let kind: TypeStr = format!("<U{width}").parse().map_err(io::Error::other)?;
    let shape = [names.len() as u64];
    let options = npyz::WriteOptions::<str>::new().dtype(npyz::DType::Plain(kind)).shape(&shape);
    let mut array = options.writer(output).begin_nd()?;
    for name in names {
        array.push(name.as_str())?;
    }
    array.finish()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
