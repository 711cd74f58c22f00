//! Every documented kind of recording in every usual container. The length is that of the decoded audio, the embedding is
//! that of the plain file, and each warning is true.

use std::ops::Range;

use voice_embedding_service::audio::{
    AudioError, Channel, DecodeOptions, Endian, RawFormat, Recording, SampleFormat, decode, decode_raw,
};
use voice_embedding_service::report::Warning;

use super::support::{cosine, fixture, pipeline, session};

fn read(path: &str) -> Vec<u8> {
    std::fs::read(fixture(path)).unwrap()
}

/// Two seconds of a synthetic voice at 16 kHz.
fn samples() -> Vec<i16> {
    let file = read("encodings/clip.wav");
    let data = &file[file.windows(4).position(|name| name == b"data").unwrap() + 8..];
    data.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect()
}

/// Returns the samples with the simplest header, which has 44 bytes.
fn clip() -> Vec<u8> {
    let data = bytes_of(i16::to_le_bytes);
    wav(*b"RIFF", 0, &fmt(1, 2, 16, &[]), data.len() as u32, &data)
}

fn decoded(file: &[u8]) -> Result<Recording, AudioError> {
    decode(file, DecodeOptions::with_max_seconds(30.0))
}

/// Returns a WAV file with this format chunk.
fn wav(magic: [u8; 4], riff_len: u32, fmt: &[u8], data_len: u32, data: &[u8]) -> Vec<u8> {
    let len = |n: u32| if magic == *b"RIFX" { n.to_be_bytes() } else { n.to_le_bytes() };
    let fmt_len = len(fmt.len() as u32);
    [&magic[..], &len(riff_len), b"WAVEfmt ", &fmt_len, fmt, b"data", &len(data_len), data].concat()
}

/// Returns a format chunk of little-endian numbers: codec, channels, rate, bytes per second, block size, bits and the rest.
fn fmt(tag: u16, align: u16, bits: u16, rest: &[u8]) -> Vec<u8> {
    let rate = 16_000_u32;
    let bytes_per_second = rate * u32::from(align);
    let fields = [&tag.to_le_bytes()[..], &1_u16.to_le_bytes(), &rate.to_le_bytes()];
    let more = [&bytes_per_second.to_le_bytes()[..], &align.to_le_bytes(), &bits.to_le_bytes(), rest];
    [fields.concat(), more.concat()].concat()
}

/// Returns the extension of an extensible format chunk: valid bits, no channel mask, and the codec in a GUID.
fn extension(valid_bits: u16, tag: u16) -> Vec<u8> {
    let guid_tail = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
    [&22_u16.to_le_bytes()[..], &valid_bits.to_le_bytes(), &[0; 4], &tag.to_le_bytes(), &guid_tail].concat()
}

fn bytes_of<const N: usize>(value: impl Fn(i16) -> [u8; N]) -> Vec<u8> {
    samples().into_iter().flat_map(value).collect()
}

#[test]
fn wav_headers_are_read_as_their_writers_meant() {
    let s16 = clip()[44..].to_vec();
    let left = bytes_of(|s| (i32::from(s) << 16).to_le_bytes());
    let right = bytes_of(|s| (i32::from(s) << 8 | 1).to_le_bytes());
    let s24 = bytes_of(|s| [0, s.to_le_bytes()[0], s.to_le_bytes()[1]]);
    let f32 = bytes_of(|s| (f32::from(s) / 32_768.0).to_le_bytes());
    let f64 = bytes_of(|s| (f64::from(s) / 32_768.0).to_le_bytes());
    let n = |data: &[u8]| data.len() as u32;
    let big_fmt: Vec<u8> =
        [&[0, 1, 0, 1][..], &16_000_u32.to_be_bytes(), &32_000_u32.to_be_bytes(), &[0, 2, 0, 16]].concat();
    let big = bytes_of(i16::to_be_bytes);
    let ds64 = [&0_u64.to_le_bytes()[..], &u64::from(n(&f64)).to_le_bytes(), &[0; 12]].concat();
    let rf64 = [
        b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0",
        &ds64[..],
        &wav(*b"RIFF", 0, &fmt(3, 8, 64, &[]), u32::MAX, &f64)[12..],
    ]
    .concat();
    let cases = [
        (
            "24 valid bits at the high end of 32",
            wav(*b"RIFF", 0, &fmt(0xfffe, 4, 32, &extension(24, 1)), n(&left), &left),
        ),
        (
            "24 valid bits at the low end of 32",
            wav(*b"RIFF", 0, &fmt(0xfffe, 4, 32, &extension(24, 1)), n(&right), &right),
        ),
        ("24 bits in 4 bytes without an extension", wav(*b"RIFF", 0, &fmt(1, 4, 24, &[]), n(&left), &left)),
        ("20 bits in 3 bytes", wav(*b"RIFF", 0, &fmt(1, 3, 20, &[]), n(&s24), &s24)),
        ("12 bits in 2 bytes", wav(*b"RIFF", 0, &fmt(1, 2, 12, &[]), n(&s16), &s16)),
        ("align 0", wav(*b"RIFF", 0, &fmt(1, 0, 16, &[]), n(&s16), &s16)),
        ("a fmt chunk of 20 bytes", wav(*b"RIFF", 0, &fmt(1, 2, 16, &[2, 0, 0, 0]), n(&s16), &s16)),
        ("float with a fmt chunk of 40 bytes", wav(*b"RIFF", 0, &fmt(3, 4, 32, &[0; 24]), n(&f32), &f32)),
        ("extensible float", wav(*b"RIFF", 0, &fmt(0xfffe, 4, 32, &extension(32, 3)), n(&f32), &f32)),
        ("float of 64 bits in RF64", rf64),
        ("RIFX", wav(*b"RIFX", 0, &big_fmt, n(&big), &big)),
        ("lengths of a pipe", wav(*b"RIFF", u32::MAX, &fmt(1, 2, 16, &[]), u32::MAX, &s16)),
        ("lengths of 0x7fffffff", wav(*b"RIFF", 0x7fff_ffff, &fmt(1, 2, 16, &[]), 0x7fff_ffff, &s16)),
    ];
    let plain = decoded(&clip()).unwrap();
    for (name, file) in cases {
        let recording = decoded(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!recording.truncated, "{name}");
        let worst =
            recording.waveform.samples().iter().zip(plain.waveform.samples()).map(|(a, b)| (a - b).abs());
        assert_eq!(recording.waveform.samples().len(), plain.waveform.samples().len(), "{name}");
        assert!(worst.fold(0.0, f32::max) < 1e-4, "{name}");
    }
}

#[test]
fn companded_wav_is_read_behind_every_header() {
    let file = read("encodings/clip-mulaw.wav");
    let data = &file[file.windows(4).position(|name| name == b"data").unwrap() + 8..];
    let raw = RawFormat { format: SampleFormat::MuLaw, sample_rate_hz: 16_000, channels: 1 };
    let expected = decode_raw(data, raw, DecodeOptions::with_max_seconds(30.0)).unwrap();
    let n = data.len() as u32;
    let fact = |fmt: Vec<u8>, frames: u32| {
        let head = wav(*b"RIFF", 0, &fmt, n, data);
        let at = head.windows(4).position(|name| name == b"data").unwrap();
        [&head[..at], b"fact\x04\0\0\0", &frames.to_le_bytes(), &head[at..]].concat()
    };
    let cases = [
        ("16 bytes", wav(*b"RIFF", 0, &fmt(7, 1, 8, &[]), n, data)),
        ("18 bytes", wav(*b"RIFF", n, &fmt(7, 1, 8, &[0, 0]), n, data)),
        ("20 bytes", wav(*b"RIFF", n, &fmt(7, 1, 8, &[2, 0, 0, 0]), n, data)),
        ("extensible", wav(*b"RIFF", n, &fmt(0xfffe, 1, 8, &extension(8, 7)), n, data)),
        ("a pipe", wav(*b"RIFF", u32::MAX, &fmt(7, 1, 8, &[]), u32::MAX, data)),
        ("a count of no frames", fact(fmt(7, 1, 8, &[]), 0)),
        ("a count of too many frames", fact(fmt(7, 1, 8, &[]), u32::MAX)),
    ];
    for (name, file) in cases {
        let recording = decoded(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(recording.waveform == expected.waveform && !recording.truncated, "{name}");
    }
}

/// Files that ffmpeg made from the clip, and their lowest allowed cosine to it. An encoder adds at most 0.12 seconds.
const FILES: [(&str, f64); 31] = [
    ("vbr-without-xing.mp3", 0.98),
    ("clip.mp2", 0.96),
    ("clip.aac", 0.98),
    ("alac.m4a", 0.999_999),
    ("alac.caf", 0.999_999),
    ("opus.mp4", 0.95),
    ("opus.caf", 0.95),
    ("family-255.opus", 0.9),
    ("mov-s24be.mov", 0.999_999),
    ("mov-f32be.mov", 0.999_999),
    ("fragments.mp4", 0.98),
    ("hevc.mp4", 0.98),
    ("flac-in.mp4", 0.999_999),
    ("flac.oga", 0.999_999),
    ("flac.mka", 0.999_999),
    ("pcm.mka", 0.999_999),
    ("aac.mkv", 0.98),
    ("chapters.mka", 0.98),
    ("vorbis-surround.ogg", 0.98),
    ("clip.au", 0.999_999),
    ("sowt.aifc", 0.999_999),
    ("fl32.aifc", 0.999_999),
    ("ulaw.aifc", 0.95),
    ("ima4.aifc", 0.95),
    ("ms-adpcm.wav", 0.95),
    ("clip.3gp", 0.7),
    ("mp2.mp4", 0.96),
    ("clip.awb", 0.9),
    ("clip-wb.3gp", 0.9),
    ("mp3.wav", 0.98),
    ("../encodings/clip.flac", 0.999_999),
];

#[test]
fn every_kind_has_the_embedding_of_the_plain_file() {
    let (pipeline, mut session) = (pipeline(), session());
    let (plain, _) = pipeline.embed(&mut session, &clip()).unwrap();
    let mut wrong = Vec::new();
    for (name, least) in FILES {
        let (embedding, report) = pipeline
            .embed(&mut session, &read(&format!("odd/{name}")))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let (cosine, seconds) = (cosine(embedding.components(), plain.components()), report.duration_seconds);
        let is_cut = report.warnings.contains(&Warning::Truncated);
        if cosine < least || !(1.99..2.13).contains(&seconds) || is_cut {
            wrong.push(format!("{name}: cosine {cosine:.6}, {seconds} s, truncated {is_cut}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn opus_is_the_same_in_every_container() {
    let in_webm = decoded(&read("encodings/clip.webm")).unwrap();
    let in_ogg = decoded(&read("encodings/clip.opus")).unwrap();
    for (name, recording) in [("WebM", in_webm), ("Ogg", in_ogg)] {
        assert_eq!(recording.waveform.samples().len(), 32_000, "{name}");
    }
    assert_eq!(decoded(&read("odd/opus.mp4")).unwrap().waveform.samples().len(), 32_000);
}

#[test]
fn amr_is_the_same_in_a_file_and_in_3gp() {
    for (alone, in_3gp, n_frames) in
        [("encodings/clip.amr", "odd/clip.3gp", 101), ("odd/clip.awb", "odd/clip-wb.3gp", 100)]
    {
        let (alone, in_3gp) = (decoded(&read(alone)).unwrap(), decoded(&read(in_3gp)).unwrap());
        assert_eq!(alone.waveform.samples().len(), n_frames * 320);
        // An edit list may leave out the padding of the last frame, so the resampler's output differs slightly earlier.
        let (alone, in_3gp) = (alone.waveform.samples(), in_3gp.waveform.samples());
        assert!((32_000..=alone.len()).contains(&in_3gp.len()), "{}", in_3gp.len());
        assert!(alone[..31_000] == in_3gp[..31_000]);
    }
}

/// The length is that of the decoded audio, not the count in a header.
#[test]
fn no_count_in_a_header_is_taken_for_the_length() {
    let mp3 = read("encodings/clip.mp3");
    let whole = decoded(&mp3).unwrap().duration_seconds;
    let tag = mp3.windows(4).position(|name| name == b"Xing" || name == b"Info").unwrap();
    let counting = |frames: u32| {
        let mut file = mp3.clone();
        file[tag + 8..tag + 12].copy_from_slice(&frames.to_be_bytes());
        file
    };
    let flac = read("encodings/clip.flac");
    let flac_counting = |low: &[u8; 5]| {
        let mut file = flac.clone();
        file[21] = file[21] & 0xf0 | low[0] & 0x0f;
        file[22..26].copy_from_slice(&low[1..]);
        file
    };
    let opus = read("encodings/clip.opus");
    let audio_begins = mp3_frame_behind(&mp3);
    let cases = [
        ("Xing counts 0", counting(0), whole, 0.01),
        ("Xing counts all that it can", counting(u32::MAX), whole, 0.01),
        ("Xing counts one", counting(1), whole, 0.01),
        ("two joined MP3 files", [mp3.as_slice(), &mp3].concat(), 2.0 * whole, 0.2),
        ("MP3 behind a line break", [b"\r\n".as_slice(), &mp3].concat(), whole, 0.15),
        ("MP3 behind zeros", [&[0; 1_000][..], &mp3].concat(), whole, 0.15),
        ("MP3 behind an APE tag", [ape_tag(), mp3.clone()].concat(), whole, 0.01),
        ("MP3 from the middle of a frame", mp3[audio_begins + 100..].to_vec(), whole, 0.2),
        ("MP3 with an ID3v1 tag", [mp3.as_slice(), &id3v1()].concat(), whole, 0.01),
        ("FLAC counts none", flac_counting(&[0; 5]), 2.0, 0.001),
        ("FLAC counts 2^36 - 1", flac_counting(&[0xff; 5]), 2.0, 0.001),
        ("FLAC with an ID3v1 tag", [flac.as_slice(), &id3v1()].concat(), 2.0, 0.001),
        ("FLAC with a cue sheet of a CD", with_cue_sheet(&flac), 2.0, 0.001),
        ("FLAC behind an ID3v2 tag", [b"ID3\x04\0\0\0\0\0\x05aaaaa".as_slice(), &flac].concat(), 2.0, 0.001),
        ("two chained FLAC files", [flac.as_slice(), &flac].concat(), 4.0, 0.001),
        ("Opus whose positions begin at an hour", shifted(&opus, 3_600 * 48_000), 2.0, 0.03),
        ("AAC behind zeros", [&[0; 500][..], &read("odd/clip.aac")].concat(), 2.0, 0.13),
    ];
    for (name, file, seconds, tolerance) in cases {
        let recording = decoded(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = recording.duration_seconds;
        assert!((found - seconds).abs() <= tolerance, "{name}: {found} s instead of {seconds}");
        assert!(!recording.truncated, "{name}: nothing is missing");
    }
}

/// Returns the offset of the second frame of an MP3 file, after the frame with the Xing header.
fn mp3_frame_behind(file: &[u8]) -> usize {
    let tag = file.windows(4).position(|name| name == b"Xing" || name == b"Info").unwrap();
    tag + 4 + file[tag + 4..].windows(2).position(|sync| sync[0] == 0xff && sync[1] & 0xe0 == 0xe0).unwrap()
}

fn id3v1() -> Vec<u8> {
    [&b"TAG"[..], &[b'a'; 125]].concat()
}

/// Returns a tag with a header and one item.
fn ape_tag() -> Vec<u8> {
    let item = b"\x01\0\0\0\0\0\0\0Title\0a";
    let size = (item.len() as u32 + 32).to_le_bytes();
    let part = |flags: u32| {
        [&b"APETAGEX\xd0\x07\0\0"[..], &size, &1_u32.to_le_bytes(), &flags.to_le_bytes(), &[0; 8]].concat()
    };
    [&part(0xa000_0000)[..], item, &part(0x8000_0000)].concat()
}

fn with_cue_sheet(flac: &[u8]) -> Vec<u8> {
    // STREAMINFO is the first block. It has 34 bytes after its header of 4 bytes.
    let mut block = vec![5, 0, 1, 0x8c];
    block.resize(4 + 396, 0);
    block[4 + 136] = 0x80;
    let mut head = flac[..42].to_vec();
    head[4] &= 0x7f;
    let rest = if flac[4] & 0x80 == 0 { &flac[42..] } else { &[] };
    let frames = if rest.is_empty() { &flac[42..] } else { rest };
    if flac[4] & 0x80 != 0 {
        block[0] |= 0x80;
    }
    [&head[..], &block, frames].concat()
}

/// Returns an Ogg file whose positions start later.
fn shifted(file: &[u8], by: u64) -> Vec<u8> {
    let mut file = file.to_vec();
    let pages: Vec<usize> = (0..file.len() - 4).filter(|at| &file[*at..*at + 4] == b"OggS").collect();
    for at in pages.into_iter().skip(2) {
        let position = u64::from_le_bytes(file[at + 6..at + 14].try_into().unwrap());
        file[at + 6..at + 14].copy_from_slice(&(position + by).to_le_bytes());
        let n_segments = usize::from(file[at + 26]);
        let len: usize = file[at + 27..at + 27 + n_segments].iter().map(|len| usize::from(*len)).sum();
        file[at + 22..at + 26].fill(0);
        let checksum = ogg_checksum(&file[at..at + 27 + n_segments + len]);
        file[at + 22..at + 26].copy_from_slice(&checksum.to_le_bytes());
    }
    file
}

/// Computes the checksum of a page as defined in RFC 3533.
fn ogg_checksum(page: &[u8]) -> u32 {
    let shift = |sum: u32| if sum >> 31 == 1 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
    page.iter().fold(0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| shift(sum)))
}

/// Returns a file without a range of bytes.
fn without(file: &[u8], stretch: Range<usize>) -> Vec<u8> {
    [&file[..stretch.start], &file[stretch.end..]].concat()
}

/// Returns the offsets of some bytes in a file.
fn places(file: &[u8], bytes: &[u8]) -> Vec<usize> {
    (0..file.len()).filter(|at| file[*at..].starts_with(bytes)).collect()
}

#[test]
fn edit_lists_cut_both_ends() {
    let mut file = read("encodings/clip.m4a");
    let whole = decoded(&file).unwrap().duration_seconds;
    let list = file.windows(4).position(|name| name == b"elst").unwrap() + 4;
    // Version 0, one entry: length in the movie's ticks (milliseconds), then the start in the media.
    file[list + 8..list + 12].copy_from_slice(&1_000_u32.to_be_bytes());
    let cut = decoded(&file).unwrap().duration_seconds;
    assert!((whole - 2.0).abs() < 0.07 && (cut - 1.0).abs() < 0.01, "{whole} s, {cut} s");
}

#[test]
fn what_is_missing_is_said() {
    let fragments = read("odd/fragments.mp4");
    let live = read("encodings/clip-live.webm");
    let flac = read("encodings/clip.flac");
    let mp3 = read("encodings/clip.mp3");
    let cases = [
        ("a fragmented MP4 in its last part", fragments[..fragments.len() - 1_500].to_vec()),
        ("a WebM without lengths", live[..live.len() * 3 / 4].to_vec()),
        ("a FLAC of unknown length", flac[..flac.len() - 200].to_vec()),
        ("an MP3 in a frame", mp3[..mp3.len() - 10].to_vec()),
        ("an Ogg with a page whose checksum is wrong", {
            let mut opus = read("encodings/clip.opus");
            *opus.last_mut().unwrap() ^= 1;
            opus
        }),
        ("a WebM without its second cluster", {
            let clusters = places(&live, b"\x1f\x43\xb6\x75");
            without(&live, clusters[1]..clusters[2])
        }),
        ("an MP4 without its second fragment", {
            let moofs = places(&fragments, b"moof");
            without(&fragments, moofs[1] - 4..moofs[2] - 4)
        }),
        ("an AMR with 40 wrong bytes", {
            let mut amr = read("encodings/clip.amr");
            amr[1_000..1_040].fill(0xff);
            amr
        }),
        ("an Ogg in a page", read("encodings/clip.ogg")[..9_000].to_vec()),
    ];
    for (name, file) in cases {
        let recording = decoded(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(recording.truncated, "{name}: {} s", recording.duration_seconds);
    }
}

#[test]
fn a_refusal_names_what_was_recognised() {
    let m4a = read("encodings/clip.m4a");
    let (live, fragments) = (read("encodings/clip-live.webm"), read("odd/fragments.mp4"));
    let mut twelve_channels = fmt(1, 24, 16, &[]);
    twelve_channels[2] = 12;
    let replaced = |file: &[u8], from: &[u8], to: &[u8]| {
        let mut file = file.to_vec();
        let at = file.windows(from.len()).position(|bytes| bytes == from).unwrap();
        file[at..at + to.len()].copy_from_slice(to);
        file
    };
    let without_index = m4a[..m4a.windows(4).position(|name| name == b"moov").unwrap() - 4].to_vec();
    let speex = replaced(&read("encodings/clip.opus"), b"OpusHead", b"Speex   ");
    let cases = [
        ("AC-3", replaced(&m4a, b"mp4a", b"ac-3"), true, "with AC-3"),
        ("no audio track", read("odd/video-alone.mp4"), true, "MP4 without an audio track"),
        ("Speex", speex, true, "Ogg with Speex"),
        ("Monkey's Audio", b"MAC \x96\x0f\0\0".to_vec(), true, "Monkey's Audio"),
        ("AMR of two channels", b"#!AMR_MC1.0\n\0\0\0\x02".to_vec(), true, "AMR of several channels"),
        (
            "AC-3 behind a tag",
            b"ID3\x04\0\0\0\0\0\x04\0\0\0\0\x0b\x77\x0c\xc0\x14\x40".to_vec(),
            true,
            "AC-3",
        ),
        ("12 channels", wav(*b"RIFF", 0, &twelve_channels, 4_800, &[0; 4_800]), true, "12 channels"),
        (
            "a cluster alone",
            live[places(&live, b"\x1f\x43\xb6\x75")[1]..].to_vec(),
            true,
            "send the first piece",
        ),
        ("blocks alone", live[places(&live, b"\x81\0\0")[1] - 2..].to_vec(), true, "send the first piece"),
        (
            "a fragment alone",
            fragments[places(&fragments, b"moof")[1] - 4..].to_vec(),
            true,
            "send the first piece",
        ),
        (
            "samples alone",
            samples().iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            true,
            "samples without a header need",
        ),
        ("WMA", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9".to_vec(), true, "ASF"),
        ("text", b"@voice.wav".to_vec(), true, "it begins with \"@voice.wav\""),
        ("GSM", wav(*b"RIFF", 0, &fmt(0x31, 65, 0, &[]), 65, &[0; 65]), true, "WAV with GSM"),
        ("no index", without_index, false, "the index at its end is missing"),
    ];
    for (name, file, is_unsupported, says) in cases {
        let error = decoded(&file).unwrap_err();
        assert!(error.to_string().contains(says), "{name}: {error}");
        assert_eq!(matches!(error, AudioError::Unsupported(_)), is_unsupported, "{name}: {error}");
    }
}

#[test]
fn one_channel_is_taken_or_their_mean() {
    let voice = samples();
    let stereo = |right: fn(i16) -> i16| -> Vec<u8> {
        let data: Vec<u8> =
            voice.iter().flat_map(|s| [s.to_le_bytes(), right(*s).to_le_bytes()].concat()).collect();
        let mut header = clip()[..44].to_vec();
        header[22..24].copy_from_slice(&2_u16.to_le_bytes());
        header[32..34].copy_from_slice(&4_u16.to_le_bytes());
        header[40..44].copy_from_slice(&(data.len() as u32).to_le_bytes());
        [header, data].concat()
    };
    let mono = decoded(&clip()).unwrap().waveform;
    let take = |file: &[u8], channel| decode(file, DecodeOptions { max_seconds: 30.0, channel });
    let silent_right = stereo(|_| 0);
    assert!(take(&silent_right, Channel::One(0)).unwrap().waveform == mono);
    assert!(take(&silent_right, Channel::One(1)).unwrap().waveform.samples().iter().all(|s| *s == 0.0));
    let beyond = take(&silent_right, Channel::One(2)).unwrap_err();
    assert_eq!(beyond, AudioError::NoSuchChannel { channel: 2, channels: 2 });
    let opposite = take(&stereo(|s| -s), Channel::Mix).unwrap();
    assert!(opposite.channels_cancel);
    assert!(!take(&stereo(|s| s), Channel::Mix).unwrap().channels_cancel);
    assert!(!take(&silent_right, Channel::Mix).unwrap().channels_cancel);
}

#[test]
fn samples_without_a_header_are_what_their_sender_says() {
    let raw = |format| RawFormat { format, sample_rate_hz: 16_000, channels: 1 };
    let options = DecodeOptions::with_max_seconds(30.0);
    let expected = decoded(&clip()).unwrap().waveform;
    let cases = [
        (SampleFormat::S16(Endian::Little), bytes_of(i16::to_le_bytes)),
        (SampleFormat::S16(Endian::Big), bytes_of(i16::to_be_bytes)),
        (SampleFormat::F32(Endian::Little), bytes_of(|s| (f32::from(s) / 32_768.0).to_le_bytes())),
    ];
    for (format, bytes) in cases {
        let recording = decode_raw(&bytes, raw(format), options).unwrap();
        assert!(recording.waveform == expected, "{format:?}");
    }
    let s16 = SampleFormat::S16(Endian::Little);
    let bad = [
        ("a header", clip(), raw(s16), "it is a WAV file"),
        ("a cut frame", vec![1; 3], raw(s16), "the last one is cut"),
        ("a rate of 1 Hz", vec![0; 4], RawFormat { sample_rate_hz: 1, ..raw(s16) }, "1 Hz"),
        ("9 channels", vec![0; 18], RawFormat { channels: 9, ..raw(s16) }, "9 channels"),
        ("nothing", Vec::new(), raw(s16), "empty"),
    ];
    for (name, bytes, format, says) in bad {
        let error = decode_raw(&bytes, format, options).unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}
