//! Comparisons from a folder that contains one folder of recordings per speaker: every recording with every other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::comparisons::{Builder, ComparedVoices, Comparisons, KnownVoices, embedded};
use crate::cli::embedder::EmbeddingArgs;
use crate::cli::files::{RecordingSource, walk};
use crate::cli::outcome::say;

/// The maximum number of recordings to compare.
const MAX_RECORDINGS: usize = 20_000;

/// The approximate maximum of same-speaker comparisons, and of comparisons of different speakers. Each speaker and each
/// pair of speakers gets an equal share.
const MAX_OF_A_KIND: usize = 1_000_000;

pub(super) fn compare(folder: &Path, args: EmbeddingArgs, is_quiet: bool) -> anyhow::Result<Comparisons> {
    let FolderSpeakers { recordings: speakers, n_unreadable } = FolderSpeakers::of(folder)?;
    let paths: Vec<PathBuf> = speakers.values().flatten().cloned().collect();
    ensure!(!paths.is_empty(), "{} holds no folders of recordings, one for each speaker", folder.display());
    ensure!(speakers.len() > 1, "{} holds recordings of one speaker only", folder.display());
    ensure!(paths.len() <= MAX_RECORDINGS, "there are more than {MAX_RECORDINGS} recordings");
    let embedding = args.start()?;
    let (voices, n_failed) = embedded(&embedding, &paths, is_quiet)?;
    let voices = ComparedVoices::new(voices, n_failed + n_unreadable, embedding.model());
    let mut of_speakers: Vec<Vec<usize>> = Vec::new();
    let mut next = 0;
    for recordings in speakers.values() {
        let places = next..next + recordings.len();
        next = places.end;
        of_speakers.push(places.filter(|place| voices.has(*place)).collect());
    }
    let mut builder = Builder::new(voices);
    let n = of_speakers.len();
    let most_of_one = MAX_OF_A_KIND.div_ceil(n);
    let most_of_a_pair = MAX_OF_A_KIND.div_ceil((n * (n - 1) / 2).max(1));
    for (a, of_a) in of_speakers.iter().enumerate() {
        // The matrix of all recordings against each other is symmetric, so only one half is compared.
        for (i, j) in pick_evenly(of_a.len(), of_a.len(), 2 * most_of_one).filter(|(i, j)| i < j) {
            builder.compare([of_a[i], of_a[j]], [a as u32; 2], KnownVoices::default())?;
        }
        for (b, of_b) in of_speakers.iter().enumerate().skip(a + 1) {
            for (i, j) in pick_evenly(of_a.len(), of_b.len(), most_of_a_pair) {
                builder.compare([of_a[i], of_b[j]], [a as u32, b as u32], KnownVoices::default())?;
            }
        }
    }
    let names = paths.iter().map(|path| path.strip_prefix(folder).unwrap_or(path).display().to_string());
    Ok(builder.finish(names.collect(), embedding.model(), false))
}

/// Returns distinct cells of a table: all cells or, in a larger table, `most` cells spread over rows and columns.
fn pick_evenly(n_rows: usize, n_columns: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let n = n_rows * n_columns;
    // The multiples of this stride reach every cell, since it has no common divisor with their number. A value near the
    // golden section spreads them evenly.
    let from = (n as f64 * 0.618) as usize + 1;
    let stride = (from..from + n).find(|stride| gcd(*stride, n) == 1).unwrap_or(1);
    (0..n.min(most)).map(move |k| k * stride % n).map(move |cell| (cell / n_columns, cell % n_columns))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The recordings of each speaker, by the speaker's name.
struct FolderSpeakers {
    recordings: BTreeMap<String, Vec<PathBuf>>,
    n_unreadable: u64,
}

impl FolderSpeakers {
    /// Finds the recordings in each subfolder of a folder, recursively.
    fn of(folder: &Path) -> anyhow::Result<Self> {
        let mut speakers = Self { recordings: BTreeMap::new(), n_unreadable: 0 };
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut n_beside = 0;
        for entry in entries {
            let path = entry?.path();
            if !path.is_dir() {
                n_beside += 1;
                continue;
            }
            let recordings = speakers.readable(&path);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !recordings.is_empty() {
                speakers.recordings.insert(name, recordings);
            }
        }
        if n_beside > 0 {
            say(&format!("files beside the folders of speakers are not used: {n_beside}"));
        }
        Ok(speakers)
    }

    fn readable(&mut self, folder: &Path) -> Vec<PathBuf> {
        let mut recordings = Vec::new();
        for found in walk(folder, true) {
            match found {
                Ok(RecordingSource::File(recording)) => recordings.push(recording),
                Ok(RecordingSource::Stdin) => {}
                Err((path, reason)) => {
                    self.n_unreadable += 1;
                    say(&format!("{path}: unreadable: {reason}"));
                }
            }
        }
        recordings
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::pick_evenly;

    #[test]
    fn every_cell_comes_once_and_a_part_of_them_is_spread() {
        for (rows, columns) in (0..=12).flat_map(|rows| (0..=12).map(move |columns| (rows, columns))) {
            let cells: Vec<_> = pick_evenly(rows, columns, usize::MAX).collect();
            assert_eq!(cells.len(), rows * columns, "{rows} x {columns}");
            assert_eq!(cells.iter().collect::<BTreeSet<_>>().len(), rows * columns, "{rows} x {columns}");
            assert!(cells.iter().all(|(row, column)| *row < rows && *column < columns));
        }
        let some: Vec<_> = pick_evenly(100, 200, 100).collect();
        assert_eq!(some.len(), 100);
        let distinct = |of: fn(&(usize, usize)) -> usize| some.iter().map(of).collect::<BTreeSet<_>>().len();
        assert!(distinct(|cell| cell.0) > 50 && distinct(|cell| cell.1) > 50, "{some:?}");
    }
}
