//! Lists of segments: RTTM, or CSV of path, start and end.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, ensure};

use super::files::RecordingSource;
use super::output::SegmentPlace;

/// The segments of all listed recordings.
pub(super) struct Segments {
    /// Segments by the recording's path or, for RTTM, by its file name without extension.
    by_name: HashMap<String, Vec<SegmentPlace>>,
    is_rttm: bool,
    /// The names that matched a recording.
    used: HashSet<String>,
}

impl Segments {
    /// Reads a list. It is RTTM if a line has the type `SPEAKER`, otherwise CSV.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = text.trim_start_matches('\u{feff}');
        let is_rttm = text.lines().any(|line| line.split_whitespace().next() == Some("SPEAKER"));
        let mut by_name: HashMap<String, Vec<SegmentPlace>> = HashMap::new();
        for (i, line) in text.lines().enumerate() {
            let parsed = if is_rttm { parse_rttm(line) } else { parse_csv(line, i == 0) };
            let parsed = parsed.with_context(|| format!("{}, line {}", path.display(), i + 1))?;
            if let Some((name, segment)) = parsed {
                by_name.entry(name).or_default().push(segment);
            }
        }
        ensure!(!by_name.is_empty(), "there are no segments in {}", path.display());
        Ok(Self { by_name, is_rttm, used: HashSet::new() })
    }

    /// Returns the segments of a recording, if it has any.
    pub(super) fn segments_of(&mut self, source: &RecordingSource) -> Option<&Vec<SegmentPlace>> {
        let name = source.name();
        let name = if self.is_rttm {
            Path::new(&name).file_stem()?.to_string_lossy().into_owned()
        } else {
            plain(&name).to_owned()
        };
        let segments = self.by_name.get(&name)?;
        self.used.insert(name);
        Some(segments)
    }

    /// Returns the names in the list that matched no recording.
    pub(super) fn unused(&self) -> Vec<&String> {
        let mut unused: Vec<&String> =
            self.by_name.keys().filter(|name| !self.used.contains(*name)).collect();
        unused.sort_unstable();
        unused
    }
}

/// Removes a leading `./` from a path.
fn plain(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

/// Parses a line `SPEAKER file channel start duration <NA> <NA> speaker <NA> <NA>`. Lines of other types hold no segments.
fn parse_rttm(line: &str) -> anyhow::Result<Option<(String, SegmentPlace)>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.first() != Some(&"SPEAKER") {
        return Ok(None);
    }
    ensure!(fields.len() >= 5, "a line SPEAKER has file, channel, start and duration");
    let (start, duration): (f64, f64) = (number(fields[3])?, number(fields[4])?);
    let label = fields.get(7).filter(|label| **label != "<NA>").map(|label| (*label).to_owned());
    Ok(Some((fields[1].to_owned(), segment(start, start + duration, label)?)))
}

/// Parses a line `path,start,end` with an optional label. The first line may be a header.
fn parse_csv(line: &str, is_first: bool) -> anyhow::Result<Option<(String, SegmentPlace)>> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(line.as_bytes());
    let Some(record) = reader.records().next().transpose()? else { return Ok(None) };
    let cell = |i: usize| record.get(i).unwrap_or_default();
    if is_first && cell(1).parse::<f64>().is_err() {
        return Ok(None);
    }
    ensure!(record.len() >= 3, "a line has path, start and end");
    let label = Some(cell(3)).filter(|label| !label.is_empty()).map(str::to_owned);
    Ok(Some((plain(cell(0)).to_owned(), segment(number(cell(1))?, number(cell(2))?, label)?)))
}

fn number(text: &str) -> anyhow::Result<f64> {
    text.parse().with_context(|| format!("{text:?} is no number"))
}

fn segment(start: f64, end: f64, label: Option<String>) -> anyhow::Result<SegmentPlace> {
    ensure!(start >= 0.0 && start < end && end.is_finite(), "a segment should have 0 <= start < end");
    Ok(SegmentPlace { seconds: start..end, label })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn read(text: &str) -> anyhow::Result<Segments> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Segments::read(file.path())
    }

    fn segments(start: f64, end: f64, label: Option<&str>) -> SegmentPlace {
        SegmentPlace { seconds: start..end, label: label.map(str::to_owned) }
    }

    #[test]
    fn rttm_and_csv_are_read() {
        let rttm = ";; a comment\nSPEAKER call 1 0.5 2.25 <NA> <NA> anna <NA> <NA>\n\nSPEAKER call 1 3 1 <NA> <NA> <NA> <NA>\n";
        let call = RecordingSource::File(PathBuf::from("folder/call.wav"));
        let expected = [segments(0.5, 2.75, Some("anna")), segments(3.0, 4.0, None)];
        assert_eq!(read(rttm).unwrap().segments_of(&call).unwrap()[..], expected);
        assert_eq!(read(&rttm.replace(' ', "\t")).unwrap().segments_of(&call).unwrap()[..], expected);
        let csv = "path,start,end,speaker\nfolder/call.wav, 0.5, 2.75,anna\n\"folder/call.wav\",3,4\n";
        let mut list = read(&csv.replace("folder", "./folder")).unwrap();
        assert_eq!(list.unused(), ["folder/call.wav"]);
        assert_eq!(list.segments_of(&call).unwrap()[..], expected);
        assert_eq!(list.segments_of(&RecordingSource::File(PathBuf::from("other.wav"))), None);
        assert!(list.unused().is_empty());
    }

    #[test]
    fn bad_lists_are_named_by_line() {
        for (text, expected) in [
            ("", "no segments"),
            ("SPEAKER call 1 0.5\n", "line 1"),
            ("a.wav,0,1\na.wav,2,one\n", "line 2"),
            ("a.wav,0,1\na.wav,2\n", "line 2"),
            ("a.wav,2,1\n", "line 1"),
        ] {
            let error = read(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
