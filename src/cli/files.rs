//! The recordings given to a command: files, folders, lists of paths, or standard input.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use walkdir::WalkDir;

/// Extensions of the files in a folder that count as recordings. A file named on the command line may have any extension.
const EXTENSIONS: [&str; 28] = [
    "3gp", "aac", "aif", "aifc", "aiff", "alac", "amr", "au", "caf", "flac", "m4a", "m4b", "m4v", "mka",
    "mkv", "mov", "mp2", "mp3", "mp4", "mpga", "oga", "ogg", "ogv", "opus", "snd", "wav", "wave", "webm",
];

/// The path that denotes standard input.
const STDIN: &str = "-";

/// Size limit of a file, in bytes.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Options that select recordings.
#[derive(Args, Clone, Debug)]
pub(super) struct FileArgs {
    /// Recordings, folders of recordings, or `-` for a recording on standard input.
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Search folders recursively.
    #[arg(long, short)]
    recursive: bool,
    /// Read paths of recordings from a file, one per line; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
}

/// A recording that has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordingSource {
    File(PathBuf),
    Stdin,
}

/// The reason why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The system reported an error.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file exceeds the size limit.
    #[error("the file is larger than {} bytes", MAX_FILE_BYTES)]
    TooLarge,
}

impl ReadError {
    /// Returns the error code, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "unreadable",
            Self::TooLarge => "payload_too_large",
        }
    }
}

impl RecordingSource {
    /// Returns the file's size in bytes, or 0 if it is not known before reading.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len() as usize),
            Self::Stdin => 0,
        }
    }

    pub(super) fn from_path(path: &Path) -> Self {
        if path == Path::new(STDIN) { Self::Stdin } else { Self::File(path.to_owned()) }
    }

    /// Returns the path as text. Bytes that are not UTF-8 are replaced.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.to_string_lossy().into_owned(),
            Self::Stdin => STDIN.to_owned(),
        }
    }

    /// Reads the current content.
    pub(super) fn read(&self) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        match self {
            Self::File(path) => {
                let file = std::fs::File::open(path)?;
                let n_bytes = file.metadata()?.len();
                if n_bytes > MAX_FILE_BYTES {
                    return Err(ReadError::TooLarge);
                }
                bytes.reserve_exact(n_bytes.min(MAX_FILE_BYTES) as usize);
                file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
            }
            Self::Stdin => {
                std::io::stdin().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
            }
        }
        if bytes.len() as u64 > MAX_FILE_BYTES { Err(ReadError::TooLarge) } else { Ok(bytes) }
    }
}

/// A recording, or a folder that cannot be searched, with the reason.
pub(super) type Found = Result<RecordingSource, (String, std::io::Error)>;

impl FileArgs {
    /// Checks before anything is loaded that paths are given and that at least one of them exists.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.paths.is_empty() && self.files_from.is_none() {
            bail!("no recordings: name files or folders, or - for standard input");
        }
        let stdin = Path::new(STDIN);
        let n_of_stdin = self.paths.iter().chain(&self.files_from).filter(|path| *path == stdin).count();
        if n_of_stdin > 1 {
            bail!("standard input can be read once");
        }
        if let Some(folder) = self.paths.iter().find(|path| path.is_dir() && self.is_empty(path)) {
            bail!("there are no recordings in {}{}", folder.display(), self.recursive_hint());
        }
        if self.files_from.is_some() {
            return Ok(());
        }
        // `None` if one of the paths can be read.
        let errors = self.paths.iter().map(|path| if path == stdin { None } else { path.metadata().err() });
        if let Some([error, ..]) = errors.collect::<Option<Vec<_>>>().as_deref() {
            bail!("{}: {error}", self.paths[0].display());
        }
        Ok(())
    }

    /// Returns the recordings of one path. If there are none, returns an error.
    pub(super) fn list(&self, path: &Path) -> anyhow::Result<Vec<Found>> {
        let found: Vec<Found> = self.of_path(path).collect();
        if found.is_empty() {
            bail!("there are no recordings in {}{}", path.display(), self.recursive_hint());
        }
        Ok(found)
    }

    fn is_empty(&self, folder: &Path) -> bool {
        walk(folder, self.recursive).next().is_none()
    }

    fn recursive_hint(&self) -> &'static str {
        if self.recursive { "" } else { " (--recursive looks into its folders, too)" }
    }

    /// Returns the recordings named on the command line, then those of the list. Folders are walked in name order.
    pub(super) fn recordings(&self) -> anyhow::Result<Box<dyn Iterator<Item = Found> + '_>> {
        let named = self.paths.iter().flat_map(|path| self.of_path(path));
        let Some(list) = &self.files_from else { return Ok(Box::new(named)) };
        let lines: Box<dyn BufRead> = if list == Path::new(STDIN) {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            let file =
                std::fs::File::open(list).with_context(|| format!("cannot read {}", list.display()))?;
            Box::new(BufReader::new(file))
        };
        // After a read error, the list ends, because reading on would fail again.
        let until_error = |has_failed: &mut bool, line: std::io::Result<Vec<u8>>| {
            (!*has_failed).then(|| {
                *has_failed = line.is_err();
                line
            })
        };
        let listed = lines.split(b'\n').scan(false, until_error).filter_map(|line| match line {
            Ok(line) => {
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                (!line.is_empty()).then(|| Ok(RecordingSource::File(PathBuf::from(OsStr::from_bytes(line)))))
            }
            Err(error) => Some(Err((list.display().to_string(), error))),
        });
        Ok(Box::new(named.chain(listed)))
    }

    /// Returns the number of recordings, unless it cannot be known in advance.
    pub(super) fn count(&self) -> Option<u64> {
        if self.files_from.is_some() {
            return None;
        }
        Some(self.paths.iter().map(|path| self.of_path(path).count() as u64).sum())
    }

    fn of_path<'a>(&'a self, path: &'a Path) -> Box<dyn Iterator<Item = Found> + 'a> {
        if path.is_dir() {
            Box::new(walk(path, self.recursive))
        } else {
            Box::new(std::iter::once(Ok(RecordingSource::from_path(path))))
        }
    }
}

/// Returns the recordings of a folder in name order, with those of its subfolders if `is_recursive` is set. A link to a
/// folder above it is an error, not a loop.
pub(super) fn walk(folder: &Path, is_recursive: bool) -> impl Iterator<Item = Found> + use<> {
    let depth = if is_recursive { usize::MAX } else { 1 };
    let walk = WalkDir::new(folder).max_depth(depth).follow_links(true).sort_by_file_name();
    walk.into_iter().filter_map(|entry| match entry {
        Ok(entry) if entry.file_type().is_file() && is_recording(entry.path()) => {
            Some(Ok(RecordingSource::File(entry.into_path())))
        }
        Ok(_) => None,
        Err(error) => {
            let path = error.path().map_or_else(String::new, |path| path.display().to_string());
            Some(Err((path, error.into())))
        }
    })
}

fn is_recording(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&&*extension))
}
