//! Recognises a file's format by its content.

use super::amr::AmrKind;
use super::bytes::Bytes;
use super::error::AudioError;
use super::matroska::EBML_ID;
use super::{matroska, mp4, mpeg};

/// A supported container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Wav,
    Aiff,
    /// The AMR codec and the position at which the frames begin.
    Amr(AmrKind, usize),
    Au,
    Caf,
    /// The position of the marker, because an ID3 tag may precede it.
    Flac(usize),
    Ogg,
    Matroska,
    Mp4,
    /// Frames of MPEG audio or ADTS, and the position at which they begin.
    Frames(usize),
}

/// Returns the container of a file, and an error if it is not supported.
pub(super) fn recognise(file: &[u8]) -> Result<Container, AudioError> {
    let bytes = Bytes(file);
    let form = |name: &[u8]| bytes.has(8, name);
    if [b"RIFF", b"RF64", b"BW64", b"RIFX"].iter().any(|magic| bytes.has(0, *magic)) {
        if form(b"WAVE") {
            return Ok(Container::Wav);
        }
        if file.len() < 12 {
            return Err(AudioError::Corrupt("it ends within its header".into()));
        }
    }
    if bytes.has(0, b"FORM") && (form(b"AIFF") || form(b"AIFC")) {
        return Ok(Container::Aiff);
    }
    if let Some((kind, start)) = AmrKind::from_file(file) {
        return Ok(Container::Amr(kind, start));
    }
    let known: [(&[u8], Container); 5] = [
        (b".snd", Container::Au),
        (b"caff", Container::Caf),
        (b"fLaC", Container::Flac(0)),
        (b"OggS", Container::Ogg),
        (&EBML_ID, Container::Matroska),
    ];
    if let Some((_, container)) = known.iter().find(|(magic, _)| bytes.has(0, magic)) {
        return Ok(*container);
    }
    if mp4::is_mp4(file) {
        return Ok(Container::Mp4);
    }
    if let Some(at) = mpeg::behind_tags(file).filter(|at| bytes.has(*at, b"fLaC")) {
        return Ok(Container::Flac(at));
    }
    if matroska::is_headless(file) {
        return Err(AudioError::headless("WebM or Matroska"));
    }
    if other_name(file).is_none()
        && let Some(at) = mpeg::find_start(file)
    {
        return Ok(Container::Frames(at));
    }
    Err(unknown(file))
}

/// Returns the container's name, if the header identifies it beyond chance.
pub(super) fn header_name(file: &[u8]) -> Option<&'static str> {
    match recognise(file) {
        Ok(Container::Wav) => Some("a WAV file"),
        Ok(Container::Aiff) => Some("an AIFF file"),
        Ok(Container::Amr(..)) => Some("an AMR file"),
        Ok(Container::Au) => Some("an AU file"),
        Ok(Container::Caf) => Some("a CAF file"),
        Ok(Container::Flac(_)) => Some("a FLAC file"),
        Ok(Container::Ogg) => Some("an Ogg file"),
        Ok(Container::Matroska) => Some("a Matroska or WebM file"),
        Ok(Container::Mp4) => Some("an MP4 file"),
        Ok(Container::Frames(_)) if file.starts_with(b"ID3") => Some("an MP3 file"),
        Ok(Container::Frames(_)) | Err(_) => None,
    }
}

/// Returns the name of a format that is recognised but not supported. Tags may precede its header.
fn other_name(file: &[u8]) -> Option<&'static str> {
    let behind_tags = || Some(Bytes(file.get(mpeg::behind_tags(file)?..)?));
    name_of(Bytes(file)).or_else(|| name_of(behind_tags()?))
}

fn name_of(bytes: Bytes) -> Option<&'static str> {
    const NAMES: [(usize, &[u8], &str); 30] = [
        (0, b"MAC ", "Monkey's Audio"),
        (0, b"wvpk", "WavPack"),
        (0, b"#!AMR", "AMR of several channels"),
        (0, b"#!SILK", "SILK"),
        (1, b"#!SILK", "SILK"),
        (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF (WMA or WMV)"),
        (0, b"TTA1", "TTA"),
        (0, b"MPCK", "Musepack"),
        (0, b"MP+", "Musepack"),
        (0, b"ajkg", "Shorten"),
        (0, b"DSD ", "DSD"),
        (0, b"FRM8", "DSDIFF"),
        (0, b".RMF", "RealMedia"),
        (0, b".ra\xfd", "RealAudio"),
        (0, b"FLV\x01", "Flash Video"),
        (0, b"MThd", "MIDI"),
        (0, b"riff\x2e\x91\xcf\x11", "Wave64"),
        (0, b"NIST_1A", "NIST SPHERE"),
        (0, b"Creative Voice File", "a Creative Voice file"),
        (0, b"\x0b\x77", "AC-3"),
        (0, b"\x7f\xfe\x80\x01", "DTS"),
        (0, b"OFR ", "OptimFROG"),
        (0, b"PK\x03\x04", "a ZIP archive"),
        (0, b"\x1f\x8b", "a gzip archive"),
        (0, b"%PDF", "a PDF document"),
        (0, b"\x89PNG", "a PNG picture"),
        (0, b"\xff\xd8\xff", "a JPEG picture"),
        (0, b"GIF8", "a GIF picture"),
        (0, b"\x00\x00\x01\xba", "an MPEG program stream"),
        (0, b"\x7fELF", "a program"),
    ];
    if bytes.has(0, b"RIFF") {
        return match bytes.array(8) {
            Some(form) if form == *b"AVI " => Some("AVI"),
            Some(form) if form == *b"WEBP" => Some("a WebP picture"),
            _ => Some("RIFF without WAVE"),
        };
    }
    // A transport stream consists of packets of 188 bytes, each with a sync byte.
    if (0..3).all(|i| bytes.u8(188 * i) == Some(0x47)) {
        return Some("an MPEG transport stream");
    }
    NAMES.iter().find(|(at, magic, _)| bytes.has(*at, magic)).map(|(_, _, name)| *name)
}

/// Number of characters of a text file that the error message shows.
const TEXT_SHOWN: usize = 40;

fn unknown(file: &[u8]) -> AudioError {
    if let Some(name) = other_name(file) {
        return AudioError::Unsupported(format!("The file is {name}, which is not supported"));
    }
    let head = &file[..file.len().min(512)];
    let is_text = head.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e));
    if is_text {
        // The beginning lets a client see that it sent a file's name instead of the file.
        let beginning: String = head.iter().map(|byte| char::from(*byte)).take(TEXT_SHOWN).collect();
        return AudioError::Unsupported(format!("The file is text, not audio; it begins with {beginning:?}"));
    }
    AudioError::Unsupported(
        "The audio format is not supported; samples without a header need their encoding and sample rate"
            .into(),
    )
}
