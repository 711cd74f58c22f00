//! Files and bodies whose counts, lengths and tables are larger than their bytes. Each takes at most two seconds of CPU
//! time, and little more memory than its size.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::blocking::multipart::{Form, Part};
use serde_json::json;
use voice_embedding_service::audio::{AudioError, DecodeOptions, decode};

use super::support::containers::{
    OPUS_HEAD, alac_cookie, atom, caf_chunk, caf_description, caf_packet_table, element, element_of_length,
    flac_frame, flac_head, from_description, full_atom, matroska_head, movie, ogg_page, sample_entry,
    wav_file, wav_format,
};
use super::support::{KEY, Server, files_under, repository, voice, wav};

/// CPU time that a response may take: two seconds, or three times as much if dependencies are not optimised, as in tests.
const MAX_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 6 } else { 2 });

/// Memory that a file may take in addition to its own bytes.
const MAX_MEMORY: u64 = 64 << 20;

/// Memory that ONNX Runtime takes for two windows of the segmentation network, for any file: up to 60 MB.
const NETWORK_MEMORY: u64 = 64 << 20;

/// Address space of the server under test, in bytes.
const ADDRESS_SPACE: u64 = 8_000_000_000;

const NONE: &[u8] = &[];

fn be32(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn alac() -> Vec<u8> {
    let cookie = [&[0; 4][..], &alac_cookie(4_096)].concat();
    sample_entry(b"alac", 1, 16, &atom(b"alac", &cookie))
}

fn opus_in_mp4(dops: &[u8]) -> Vec<u8> {
    sample_entry(b"Opus", 1, 16, &atom(b"dOps", dops))
}

const MONO_DOPS: &[u8] = &[0, 1, 1, 0x38, 0, 0, 0x3e, 0x80, 0, 0, 0];

fn tables(sizes: &[u32], offsets: &[u32], runs: &[u32]) -> Vec<u8> {
    [
        full_atom(b"stsz", 0, &be32(sizes)),
        full_atom(b"stco", 0, &be32(offsets)),
        full_atom(b"stsc", 0, &be32(runs)),
    ]
    .concat()
}

/// Returns a movie with 160 kB of audio.
fn with_audio(head: Vec<u8>) -> Vec<u8> {
    [head, atom(b"mdat", &vec![0x55; 160_000])].concat()
}

fn mp4_files() -> Vec<(&'static str, Vec<u8>)> {
    const MAX: u32 = u32::MAX;
    let once =
        |entry: &[u8], sizes: &[u32]| movie(entry, &tables(sizes, &[1, 600], &[1, 1, MAX, 1]), None, NONE);
    let many_offsets = |entry: &[u8], size: u32| {
        let offsets: Vec<u32> = [50_000].into_iter().chain(std::iter::repeat_n(700, 50_000)).collect();
        with_audio(movie(entry, &tables(&[size, MAX], &offsets, &[1, 1, 80_000, 1]), None, NONE))
    };
    let fragments = |flags: u32, per_run: u32, entry: &[u8]| {
        let extends = atom(b"mvex", &full_atom(b"trex", 0, &be32(&[1, 1, 1_024, 1, 0])));
        let head = movie(entry, &tables(&[0, 0], &[0], &[0]), None, &extends);
        let runs = full_atom(b"trun", flags, &be32(&[per_run])).repeat(12_000);
        let header = full_atom(b"tfhd", 0, &be32(&[1]));
        with_audio([head, atom(b"moof", &atom(b"traf", &[header, runs].concat()))].concat())
    };
    let edits = |announced: u32, n: usize| {
        let list: Vec<u8> = (0..n).flat_map(|i| be32(&[10, i as u32 * 7 % 1_000, 0x1_0000])).collect();
        let edits = [be32(&[announced]), list].concat();
        let tables = tables(&[0, 4, 100, 100, 100, 100], &[1, 600], &[1, 1, 4, 1]);
        with_audio(movie(&alac(), &tables, Some(&edits), NONE))
    };
    let turns = {
        // Chunks alternate between two descriptions, and each change requires a new decoder.
        let entries = [alac(), opus_in_mp4(MONO_DOPS)].concat();
        let runs: Vec<u32> = (1..=50_000).flat_map(|i| [i, 1, i % 2 + 1]).collect();
        let offsets: Vec<u32> = std::iter::repeat_n(700, 50_000).collect();
        let sizes: Vec<u32> = [0, 50_000].into_iter().chain(std::iter::repeat_n(3, 50_000)).collect();
        let tables = tables(&sizes, &[&[50_000][..], &offsets].concat(), &[&[50_000][..], &runs].concat());
        with_audio(movie(&entries, &tables, None, NONE))
    };
    let long_frames =
        sample_entry(b"alac", 1, 16, &atom(b"alac", &[&[0; 4][..], &alac_cookie(MAX)].concat()));
    let streams = [&[0, 8, 1, 0x38, 0, 0, 0x3e, 0x80, 0, 0, 1, 255, 255][..], &[0; 8]].concat();
    let channels = [&[0, 255, 1, 0x38, 0, 0, 0x3e, 0x80, 0, 0, 255, 255, 0][..], &[0; 255]].concat();
    vec![
        ("ALAC with 2^32 - 1 samples without a table", once(&alac(), &[0, MAX])),
        ("Opus with 2^32 - 1 samples without a table", once(&opus_in_mp4(MONO_DOPS), &[0, MAX])),
        ("ALAC with 2^32 - 1 samples of one byte", with_audio(once(&alac(), &[1, MAX]))),
        ("Opus with 2^32 - 1 samples of one byte", with_audio(once(&opus_in_mp4(MONO_DOPS), &[1, MAX]))),
        ("PCM with 2^32 - 1 samples", with_audio(once(&sample_entry(b"sowt", 1, 16, NONE), &[2, MAX]))),
        ("PCM with 50,000 chunks at one place", many_offsets(&sample_entry(b"sowt", 1, 16, NONE), 2)),
        ("MP3 with 50,000 chunks at one place", many_offsets(&sample_entry(b".mp3", 1, 16, NONE), 1)),
        ("ADPCM with 50,000 chunks at one place", many_offsets(&sample_entry(b"ima4", 1, 16, NONE), 1)),
        ("ALAC with 50,000 chunks at one place", many_offsets(&alac(), 1)),
        ("12,000 runs of the default size", fragments(0, 1 << 20, &alac())),
        ("12,000 runs of the default size, PCM", fragments(0, MAX, &sample_entry(b"sowt", 1, 16, NONE))),
        ("12,000 runs of 2^32 - 1 sizes", fragments(0x200, MAX, &alac())),
        ("AMR with 50,000 chunks at one place", many_offsets(&sample_entry(b"samr", 1, 16, NONE), 1)),
        (
            "AMR with 2^32 - 1 samples of one byte",
            with_audio(once(&sample_entry(b"sawb", 1, 16, NONE), &[1, MAX])),
        ),
        ("2^32 - 1 edits", edits(MAX, 3)),
        ("80,000 edits", edits(80_000, 80_000)),
        ("50,000 changes of the decoder", turns),
        ("ALAC frames of 2^32 - 1 samples", with_audio(once(&long_frames, &[100, 1_000]))),
        ("Opus of 255 streams", with_audio(once(&opus_in_mp4(&streams), &[510, 300]))),
        ("Opus of 255 channels", with_audio(once(&opus_in_mp4(&channels), &[510, 300]))),
        ("a box of 2^64 - 1 bytes", [&be32(&[1])[..], b"ftyp", &[0xff; 8], b"M4A "].concat()),
    ]
}

fn matroska_files() -> Vec<(&'static str, Vec<u8>)> {
    let opus = |more: &[u8], rest: &[u8]| [&matroska_head(b"A_OPUS", OPUS_HEAD, more)[..], rest].concat();
    let cluster = |blocks: &[u8]| element_of_length(0x1f43_b675, (1 << 56) - 1, blocks);
    let laced = element(0xa3, &[&[0x81, 0, 0, 2, 255][..], &[0; 255]].concat());
    let settings = element(0x4255, &vec![0xfc; 100_000]);
    let compression = element(0x5034, &[element(0x4254, &[3]), settings].concat());
    let stripped = element(0x6d80, &element(0x6240, &compression));
    let one_byte = element(0xa3, &[&[0x81, 0, 0, 4, 255][..], &[0x08; 256]].concat());
    let padded = |padding: u64| {
        let block = element(0xa1, &[0x81, 0, 0, 0, 0x08]);
        element(0xa0, &[block, element(0x75a2, &padding.to_be_bytes())].concat()).repeat(1_000)
    };
    vec![
        ("a million empty frames", opus(NONE, &cluster(&laced.repeat(4_000)))),
        ("100 kB taken off each of a million frames", opus(&stripped, &cluster(&one_byte.repeat(3_000)))),
        ("a delay of 2^64 - 1 ns", opus(&element(0x56aa, &[0xff; 8]), &cluster(&one_byte))),
        ("padding of 2^64 - 1 ns", opus(NONE, &cluster(&padded(u64::MAX)))),
        ("a block of 2^56 - 2 bytes", opus(NONE, &cluster(&element_of_length(0xa3, (1 << 56) - 2, &[0x81])))),
        ("a million elements of two bytes", opus(NONE, &cluster(&[0xec, 0x80].repeat(1_000_000)))),
        ("a million bytes that begin no element", opus(NONE, &cluster(&vec![0xa3; 1_000_000]))),
        ("25 hours of Opus in single bytes", opus(NONE, &cluster(&one_byte.repeat(6_000)))),
    ]
}

fn caf_files() -> Vec<(&'static str, Vec<u8>)> {
    let file = |description: Vec<u8>, table: Vec<u8>, data: &[u8]| {
        let content = [&[0; 4][..], data].concat();
        let data = caf_chunk(b"data", content.len() as u64, &content);
        [&b"caff\0\x01\0\0"[..], &description, &table, &data].concat()
    };
    let opus = caf_description(b"opus", 2, 5_760, 1);
    let listed = || caf_description(b"opus", 0, 960, 1);
    let packets = [0b0100_1011_u8, 6].repeat(450_000);
    let few = &packets[..2_000];
    let max = u32::MAX;
    vec![
        (
            "Opus with 2^32 - 1 frames of padding",
            file(opus.clone(), caf_packet_table(0, 0, max, NONE), &packets),
        ),
        (
            "a minute of Opus with 2^32 - 1 frames of padding",
            file(opus.clone(), caf_packet_table(0, 0, max, NONE), few),
        ),
        (
            "Opus with 2^32 - 1 frames of delay",
            file(opus.clone(), caf_packet_table(0, max, 0, NONE), &packets),
        ),
        ("2^64 - 1 packets", file(listed(), caf_packet_table(u64::MAX, 0, 0, &[2; 100]), few)),
        (
            "a million packets without bytes",
            file(listed(), caf_packet_table(1_000_000, 0, 0, &vec![0; 1_000_000]), few),
        ),
        ("a packet length of 300 bytes", file(listed(), caf_packet_table(1, 0, 0, &[0xff; 300]), few)),
        (
            "2^32 - 1 channels",
            file(caf_description(b"ima4", 34, 64, max), caf_packet_table(0, 0, 0, NONE), few),
        ),
        ("no channels", file(caf_description(b"ima4", 34, 64, 0), caf_packet_table(0, 0, 0, NONE), few)),
        (
            "a chunk of 2^63 - 1 bytes",
            [&b"caff\0\x01\0\0"[..], &caf_chunk(b"free", u64::MAX >> 1, &[0; 8])].concat(),
        ),
        ("ALAC frames of 2^32 - 1 samples", {
            let cookie = caf_chunk(b"kuki", 24, &alac_cookie(max));
            let table = [cookie, caf_packet_table(1_000, 0, 0, &[100; 1_000])].concat();
            file(caf_description(b"alac", 0, 4_096, 1), table, &vec![0x55; 100_000])
        }),
    ]
}

fn ogg_files() -> Vec<(&'static str, Vec<u8>)> {
    let stream = |head: &[u8], pages: &[Vec<u8>]| {
        let tags = ogg_page(0, 0, 1, &[16], b"OpusTags\0\0\0\0\0\0\0\0");
        [ogg_page(2, 0, 0, &[head.len() as u8], head), tags, pages.concat()].concat()
    };
    let pages = |n: u32, position: u64, lacing: u8| -> Vec<Vec<u8>> {
        let (lacing, body) = ([lacing; 255], vec![0x08; 255 * usize::from(lacing)]);
        (0..n).map(|i| ogg_page(0, position, i + 2, &lacing, &body)).collect()
    };
    let head = |channels: u8, family: u8, table: &[u8]| {
        let mut head = [&OPUS_HEAD[..18], &[family], table].concat();
        head[9] = channels;
        head
    };
    let mut chained = Vec::new();
    for _ in 0..5_000 {
        chained.extend(stream(OPUS_HEAD, &pages(1, 960, 1)[..1]));
    }
    vec![
        ("a million packets without bytes", stream(OPUS_HEAD, &pages(4_000, 960, 0))),
        ("ten hours of Opus in single bytes", stream(OPUS_HEAD, &pages(3_000, 960, 1))),
        ("a position of 2^64 - 2", stream(OPUS_HEAD, &pages(20, u64::MAX - 1, 1))),
        ("one packet of a megabyte", stream(OPUS_HEAD, &pages(16, u64::MAX, 255))),
        ("255 streams", stream(&head(1, 1, &[255, 255, 0]), &pages(20, 960, 1))),
        ("255 channels", stream(&head(255, 255, &[255; 100]), &pages(20, 960, 1))),
        ("5,000 streams chained", chained),
        ("Vorbis whose codebooks become 38 GB", vorbis(255, 131_072, 17)),
        ("Vorbis whose codebook has 2^24 entries without dimensions", vorbis(1, (1 << 24) - 1, 24)),
    ]
}

/// Bits of a Vorbis header. The least significant bit of each byte comes first.
#[derive(Default)]
struct Bits(Vec<u8>, usize);

impl Bits {
    fn put(&mut self, n: usize, value: u32) {
        for i in 0..n {
            self.0.resize(self.1 / 8 + 1, 0);
            self.0[self.1 / 8] |= ((value >> i & 1) as u8) << (self.1 % 8);
            self.1 += 1;
        }
    }
}

/// Returns Ogg Vorbis with codebooks in which all codes have the same length.
fn vorbis(n_codebooks: u32, entries: u32, code_len: u32) -> Vec<u8> {
    let identification = [&b"\x01vorbis\0\0\0\0\x01"[..], &16_000_u32.to_le_bytes(), &[0; 12], &[0xb8, 1]];
    let mut bits = Bits(b"\x05vorbis".to_vec(), 7 * 8);
    bits.put(8, n_codebooks - 1);
    for _ in 0..n_codebooks {
        bits.put(24, 0x56_4342);
        bits.put(16, u32::from(entries <= 131_072));
        bits.put(24, entries);
        bits.put(1, 1);
        bits.put(5, code_len - 1);
        bits.put((u32::BITS - entries.leading_zeros()) as usize, entries);
        bits.put(4, 0);
    }
    let setup = bits.0;
    let mut lacing = vec![255; setup.len() / 255];
    lacing.push((setup.len() % 255) as u8);
    let comment = b"\x03vorbis\0\0\0\0\0\0\0\0\x01";
    let headers = [&[comment.len() as u8][..], &lacing].concat();
    [
        ogg_page(2, 0, 0, &[30], &identification.concat()),
        ogg_page(0, 0, 1, &headers, &[&comment[..], &setup].concat()),
        ogg_page(4, 4_096, 2, &[4; 64], &[0; 256]),
    ]
    .concat()
}

fn other_files() -> Vec<(&'static str, Vec<u8>)> {
    let pcm = wav_format(1, 1, 16_000, 2, 16, NONE);
    let adpcm = |tag, channels, align, frames: u16| {
        let more = [&2_u16.to_le_bytes()[..], &frames.to_le_bytes()].concat();
        let format = wav_format(tag, channels, 16_000, align, 4, &more);
        wav_file(&format, (b"fact", 4, &[0xff; 4]), 100_000, &vec![0x11; 100_000])
    };
    let frames = |n: usize, channels: u8| -> Vec<u8> {
        (0..n).flat_map(|i| flac_frame((i % 128) as u8, 65_535, channels)).collect()
    };
    let flac = |samples: u64, rest: &[u8]| [&flac_head(65_535, 0, 8, samples)[..], rest].concat();
    let common = |channels: u16, codec: &[u8]| {
        let rate = [0x40, 0x0c, 0xfa, 0, 0, 0, 0, 0, 0, 0];
        let content = [&channels.to_be_bytes()[..], &[0xff; 4], &[0, 16], &rate, codec].concat();
        let sound = [&b"SSND"[..], &be32(&[0x7fff_ffff, u32::MAX]), &[0; 1_000]].concat();
        [&b"FORM\0\0\0\0AIFCCOMM"[..], &be32(&[content.len() as u32]), &content, &sound].concat()
    };
    let au =
        |channels: u32| [&b".snd"[..], &be32(&[24, u32::MAX - 1, 3, 16_000, channels]), &[0; 100]].concat();
    let id3 = [&b"ID3\x04\0\0\x7f\x7f\x7f\x7f"[..], &[0; 100]].concat();
    // An MP3 frame at 16 kHz and 8 kbit/s whose Xing header has all fields.
    let xing = {
        let mut frame = vec![0; 36];
        frame[..4].copy_from_slice(&[0xff, 0xf3, 0x18, 0xc4]);
        frame[13..21].copy_from_slice(b"Xing\0\0\0\x0f");
        [&frame[..], &[0xff; 200], &frame].concat()
    };
    vec![
        ("WAV of 2^32 - 2 bytes", wav_file(&pcm, (b"junk", 0, NONE), u32::MAX - 1, &[0; 1_000])),
        ("WAV with a chunk of 2^32 - 1 bytes", wav_file(&pcm, (b"junk", u32::MAX, NONE), 1_000, &[0; 1_000])),
        (
            "WAV of 65,535 channels",
            wav_file(&wav_format(1, 65_535, 16_000, 0, 16, NONE), (b"junk", 0, NONE), 1_000, &[0; 1_000]),
        ),
        (
            "WAV without channels",
            wav_file(&wav_format(1, 0, 16_000, 0, 16, NONE), (b"junk", 0, NONE), 1_000, &[0; 1_000]),
        ),
        ("WAV with a million chunks", [&b"RIFF\0\0\0\0WAVE"[..], &b"junk\0\0\0\0".repeat(125_000)].concat()),
        ("MS ADPCM of 65,535 channels", adpcm(2, 65_535, 65_535, 65_535)),
        ("MS ADPCM of one frame a block", adpcm(2, 1, 8, 1)),
        ("IMA ADPCM of 65,535 frames a block", adpcm(0x11, 1, 36, 65_535)),
        ("IMA ADPCM of 8,191 channels", adpcm(0x11, 8_191, 65_535, 1)),
        ("FLAC of 2^36 - 2 samples", flac((1 << 36) - 2, &frames(3, 8))),
        ("FLAC whose metadata has 2^24 - 1 bytes", [&b"fLaC\x06\xff\xff\xff"[..], &[0; 1_000]].concat()),
        ("FLAC with 20,000 files behind each other", flac_head(4_096, 0, 1, 0).repeat(20_000)),
        ("FLAC of 20,000 frames that are cut", {
            let frame = flac_frame(1, 65_535, 8);
            flac(0, &frame[..frame.len() - 2].repeat(20_000))
        }),
        ("eleven hours of FLAC with 8 channels", flac(0, &frames(10_000, 8))),
        ("AIFF of 65,535 channels", common(65_535, b"NONE")),
        ("AIFF-C of IMA ADPCM without channels", common(0, b"ima4")),
        ("AIFF-C of IMA ADPCM with 65,535 channels", common(65_535, b"ima4")),
        ("AU of 2^32 - 1 channels", au(u32::MAX)),
        ("AU without channels", au(0)),
        ("five hours of AMR in single bytes", [&b"#!AMR\n"[..], &[0x7c; 900_000]].concat()),
        ("five hours of AMR-WB in single bytes", [&b"#!AMR-WB\n"[..], &[0x7c; 900_000]].concat()),
        ("AMR of 2,000,000 bytes that begin no frame", [&b"#!AMR\n"[..], &[0xff; 2_000_000]].concat()),
        ("an ID3 tag of 256 MB", id3),
        ("MP3 whose Xing header counts 2^32 - 1", xing),
    ]
}

fn files() -> Vec<(String, Vec<u8>)> {
    let of = |container: &'static str, files: Vec<(&'static str, Vec<u8>)>| {
        files.into_iter().map(move |(name, file)| (format!("{container}: {name}"), file))
    };
    of("MP4", mp4_files())
        .chain(of("Matroska", matroska_files()))
        .chain(of("CAF", caf_files()))
        .chain(of("Ogg", ogg_files()))
        .chain(of("other", other_files()))
        .collect()
}

/// A server with a limited address space, whose responses are measured.
struct Limited(Server);

impl Limited {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--as={ADDRESS_SPACE}"))
            .arg(env!("CARGO_BIN_EXE_voice-embedding-service"))
            .current_dir(repository())
            .envs([("API_KEY", KEY), ("DATABASE_URL", "memory:"), ("WORKERS", "1")])
            .envs(variables.to_vec());
        let server = Server::spawn(&mut command);
        server.wait_until_ready();
        // Memory that the worker loads for the first recording does not count towards the file.
        assert_eq!(server.upload(voice()).status(), 200);
        let turns = server.request("POST", "/v1/diarize").header("Content-Type", "audio/wav");
        assert_eq!(turns.body(voice()).send().unwrap().status(), 200);
        Self(server)
    }

    /// Sends a request of `n_bytes` bytes. Returns its status, or the limit that the response breaks.
    fn ask(
        &self,
        n_bytes: usize,
        ask: impl FnOnce(&Server) -> reqwest::Result<reqwest::blocking::Response>,
    ) -> Result<u16, String> {
        // The service holds the body of JSON or a form, and also the recording extracted from it.
        self.ask_within(MAX_MEMORY + 2 * n_bytes as u64, ask)
    }

    /// As [`Self::ask`], with a memory limit.
    fn ask_within(
        &self,
        allowed: u64,
        ask: impl FnOnce(&Server) -> reqwest::Result<reqwest::blocking::Response>,
    ) -> Result<u16, String> {
        let before = self.0.reset_peak_memory();
        let cpu_before = self.0.cpu_time();
        let answer = ask(&self.0).map_err(|error| format!("no answer: {error}"))?;
        let status = answer.status().as_u16();
        let body = answer.bytes().map_or(0, |body| body.len());
        let took = self.0.cpu_time().saturating_sub(cpu_before);
        let memory = self.0.peak_memory_bytes().saturating_sub(before);
        let megabytes = |bytes: u64| bytes >> 20;
        match status {
            500.. => Err(format!("status {status}")),
            _ if took > MAX_TIME => Err(format!("it took {took:?} (status {status})")),
            _ if memory > allowed => Err(format!("{} MB, at most {}", megabytes(memory), megabytes(allowed))),
            _ if body > 100_000 => Err(format!("an answer of {body} bytes")),
            _ => Ok(status),
        }
    }
}

#[test]
fn files_that_lie_are_answered_soon_and_in_little_memory() {
    let server = Limited::start(&[]);
    let mut wrong = String::new();
    for (name, file) in files() {
        for (route, network_memory) in [("/extract-embedding", 0), ("/v1/diarize", NETWORK_MEMORY)] {
            let allowed = MAX_MEMORY + network_memory + 2 * file.len() as u64;
            let asked = server.ask_within(allowed, |server| {
                let request =
                    server.request("POST", route).header("Content-Type", "application/octet-stream");
                request.body(file.clone()).send()
            });
            match asked {
                Ok(200) if name.contains("hours") => writeln!(wrong, "{name} {route}: status 200").unwrap(),
                Ok(200 | 413 | 415 | 422) => {}
                Ok(status) => writeln!(wrong, "{name} {route}: status {status}").unwrap(),
                Err(reason) => writeln!(wrong, "{name} {route}: {reason}").unwrap(),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(server.0.upload(voice()).status(), 200);
}

/// Decodes the seeds of the fuzzer of structures, and files from many random descriptions.
#[test]
fn described_files_take_no_longer_than_their_audio() {
    let seeds = files_under(repository().join("fuzz/seeds/structure"));
    assert!(seeds.len() >= 8);
    let mut descriptions: Vec<Vec<u8>> = seeds.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let mut random = fastrand::Rng::with_seed(7);
    for kind in 0..4_000_u32 {
        let rest = std::iter::repeat_with(|| random.u8(..)).take(200);
        descriptions.push(std::iter::once(kind as u8).chain(rest).collect());
    }
    for description in descriptions {
        let file = from_description(&description);
        let begun = Instant::now();
        if let Err(error) = decode(&file, DecodeOptions::with_max_seconds(20.0)) {
            // A decoder's panic becomes this error.
            assert!(!error.to_string().contains("cannot be decoded"), "{description:?}");
        }
        assert!(begun.elapsed() < MAX_TIME, "{description:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn padding_and_delays_are_those_of_codecs() {
    let [(_, padded), ..] = &caf_files()[1..] else { panic!("a file is missing") };
    let error = decode(padded, DecodeOptions::with_max_seconds(600.0)).unwrap_err();
    assert!(matches!(error, AudioError::Corrupt(_)), "{error}");
}

/// Frames that an edit list leaves out are decoded, so they count towards the limit.
#[test]
fn what_is_not_heard_counts_against_the_limit() {
    let samples = vec![0_u8; 20 * 16_000 * 2];
    let edits = |at: u32| be32(&[1, 1_000, at, 0x1_0000]);
    let file = |at: u32| {
        let entry = sample_entry(b"sowt", 1, 16, NONE);
        let head = |offset: u32| {
            movie(&entry, &tables(&[2, 320_000], &[1, offset], &[1, 1, 320_000, 1]), Some(&edits(at)), NONE)
        };
        let offset = head(0).len() as u32 + 8;
        [head(offset), atom(b"mdat", &samples)].concat()
    };
    let limit = DecodeOptions::with_max_seconds(10.0);
    let heard = decode(&file(0), limit).unwrap();
    assert!((heard.duration_seconds - 1_000.0 / 16_000.0).abs() < 0.01, "{}", heard.duration_seconds);
    assert_eq!(decode(&file(300_000), limit), Err(AudioError::TooLong { max_seconds: 10.0 }));
}

/// Sends bodies with more options, items, parts or text than each route accepts.
#[test]
fn bodies_that_lie_are_answered_soon_and_in_little_memory() {
    const JSON: &str = "application/json";
    let server = Limited::start(&[("MAX_DIARIZE_BODY_BYTES", "67108864")]);
    let list = |item: &str, n: usize| format!("[{}]", vec![item; n].join(","));
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let audio = r#"{"audio_base64":"UklGRg=="}"#;
    let part = r#"{"start":0,"end":1,"text":"a"}"#;
    let word = r#"{"start":0,"end":1,"word":"a"}"#;
    let voice_with = |field: &str| format!(r#"{{"voice":{{"audio_base64":"UklGRg==",{field}}}}}"#);
    let transcript = |json: &str| format!(r#"{{"voice":{audio},"transcript":{json}}}"#);
    let embedding = |text: &str| format!(r#"{{"voice":{{"embedding":{text},"model":"resemblyzer"}}}}"#);
    let bodies: Vec<(&str, &str, String)> = vec![
        (
            "/extract-embedding",
            "a channel that is a list",
            format!(r#"{{"audio_base64":"","channel":{}}}"#, list("1", 2_000_000)),
        ),
        (
            "/extract-embedding",
            "two million fields",
            format!("{{{}}}", (0..2_000_000).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(",")),
        ),
        (
            "/compare-embeddings",
            "two lists of 500,000 numbers",
            format!(r#"{{"embedding1":{},"embedding2":{}}}"#, list("1", 250_000), list("1", 250_000)),
        ),
        ("/v1/embeddings", "two million inputs", format!(r#"{{"input":{}}}"#, list("\"\"", 2_000_000))),
        ("/v1/embeddings", "an input of a million lists", format!(r#"{{"input":{}}}"#, nested(1_000_000))),
        (
            "/v1/verify",
            "a voice of two million fields",
            format!(r#"{{"a":{{"audio":{}}},"b":{audio}}}"#, list("{}", 2_000_000)),
        ),
        ("/v1/similarities", "a million voices", format!(r#"{{"voices":{}}}"#, list("{}", 1_000_000))),
        (
            "/v1/similarities",
            "two million labels",
            format!(r#"{{"voices":[],"labels":{}}}"#, list("\"\"", 2_000_000)),
        ),
        (
            "/v1/identify",
            "a channel of two million lists",
            voice_with(&format!(r#""channel":{}"#, list("[]", 2_000_000))),
        ),
        (
            "/v1/identify",
            "a segment of two million numbers",
            voice_with(&format!(r#""segments":[{}]"#, list("1", 2_000_000))),
        ),
        (
            "/v1/identify",
            "two million segments",
            voice_with(&format!(r#""segments":{}"#, list("[]", 2_000_000))),
        ),
        ("/v1/identify", "an embedding of two million numbers", embedding(&list("1", 2_000_000))),
        (
            "/v1/identify",
            "an embedding of 10 MB of base64",
            embedding(&format!("\"{}\"", "AAAA".repeat(2_500_000))),
        ),
        (
            "/v1/identify",
            "two million warnings",
            voice_with(&format!(r#""warnings":{}"#, list("\"\"", 2_000_000))),
        ),
        ("/v1/speakers", "two million voices", format!(r#"{{"voices":{}}}"#, list("{}", 2_000_000))),
        (
            "/v1/speakers",
            "metadata of a million lists",
            format!(r#"{{"metadata":{{"a":{}}}}}"#, nested(1_000_000)),
        ),
        ("/v1/speakers", "metadata of 10 MB", format!(r#"{{"metadata":{{"a":{}}}}}"#, list("0", 5_000_000))),
        ("/v1/speakers", "a name of 10 MB", format!(r#"{{"name":"{}"}}"#, "a".repeat(10_000_000))),
        ("/v1/diarize", "a transcript of two million objects", transcript(&list("{\"a\":0}", 2_000_000))),
        ("/v1/diarize", "a transcript of 400,000 parts", transcript(&list(part, 400_000))),
        (
            "/v1/diarize",
            "a part of 500,001 words",
            transcript(&format!(r#"[{{"start":0,"end":1,"text":"a","words":{}}}]"#, list(word, 500_001))),
        ),
        (
            "/v1/diarize",
            "a part of 200,000 fields",
            transcript(&format!(
                "[{{{}}}]",
                (0..200_000).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(",")
            )),
        ),
        (
            "/v1/diarize",
            "a transcript of a million channels",
            transcript(&format!(r#"{{"results":{{"channels":{}}}}}"#, list("{}", 1_000_000))),
        ),
        (
            "/v1/diarize",
            "a transcript of 300,000 lists of channels with lists of words",
            transcript(&format!(
                r#"{{"results":{{"channels":{}}}}}"#,
                list(r#"{"alternatives":[{"words":[]}]}"#, 300_000)
            )),
        ),
        (
            "/v1/diarize",
            "a transcript of 500,001 items",
            transcript(&format!(r#"{{"results":{{"items":{}}}}}"#, list("{}", 500_001))),
        ),
        (
            "/v1/diarize",
            "a million names",
            format!(r#"{{"voice":{audio},"known_speaker_names":{}}}"#, list("\"a\"", 1_000_000)),
        ),
        ("/v1/diarize", "a transcript of a million lists", transcript(&nested(1_000_000))),
        ("/v1/diarize", "a transcript of 40 MB", transcript(&format!("\"{}\"", "a".repeat(40_000_000)))),
    ];
    let mut wrong = String::new();
    let mut check = |name: &str, asked: Result<u16, String>| match asked {
        Ok(400 | 404 | 413 | 415 | 422) => {}
        Ok(status) => writeln!(wrong, "{name}: status {status}").unwrap(),
        Err(reason) => writeln!(wrong, "{name}: {reason}").unwrap(),
    };
    for (route, name, body) in bodies {
        let asked = server.ask(body.len(), |server| {
            server.request("POST", route).header("Content-Type", JSON).body(body.clone()).send()
        });
        check(&format!("{route}, {name}"), asked);
    }

    // Unknown options are rejected with any value.
    let form = |route: &str, parts: Vec<(String, String)>, n_bytes: usize| {
        server.ask(n_bytes, |server| {
            let file = Part::bytes(voice()).file_name("voice.wav");
            let form = parts
                .into_iter()
                .fold(Form::new().part("file", file), |form, (name, text)| form.text(name, text));
            server.request("POST", route).multipart(form).send()
        })
    };
    let nulls: Vec<(String, String)> = (0..20_000).map(|i| (format!("option{i}"), "null".into())).collect();
    let empty: Vec<(String, String)> = (0..20_000).map(|_| ("file".to_owned(), String::new())).collect();
    for route in
        ["/v1/embeddings", "/v1/identify", "/v1/diarize", "/v1/speakers", "/v1/speakers/anna/enrolments"]
    {
        check(&format!("{route}, 20,000 options that are null"), form(route, nulls.clone(), 1_600_000));
        check(&format!("{route}, 20,000 parts"), form(route, empty.clone(), 1_600_000));
        let option = vec![("model".to_owned(), "a".repeat(10_000_000))];
        check(&format!("{route}, an option of 10 MB"), form(route, option, 10_000_000));
    }
    let query = (0..6_000).map(|i| format!("o{i}=null")).collect::<Vec<_>>().join("&");
    for route in ["/v1/identify", "/v1/diarize"] {
        let asked = server.ask(query.len(), |server| {
            let request = server.request("POST", &format!("{route}?{query}"));
            request.header("Content-Type", "audio/wav").body(voice()).send()
        });
        check(&format!("{route}, 6,000 options that are null"), asked);
    }
    let asked =
        server.ask(query.len(), |server| server.request("GET", &format!("/v1/speakers?{query}")).send());
    check("/v1/speakers, 6,000 options that are null", asked);
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// All texts of cues are read, in time proportional to their length.
#[test]
fn cues_of_any_text_are_answered() {
    let server = Limited::start(&[]);
    let cue = |text: &str| format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{text}\n");
    let texts = [
        ("a million <", cue(&"<".repeat(1_000_000))),
        ("300,000 voice tags that do not end", cue(&"<v a".repeat(300_000))),
        ("300,000 voice tags and one end", cue(&format!("{}>", "<v a".repeat(300_000)))),
        ("90,000 cues", format!("WEBVTT\n\n{}", "00:00.000 --> 00:01.000\na\n\n".repeat(90_000))),
        ("a line of a million characters", format!("1\n00:00:00,000 --> {}\n", "1".repeat(1_000_000))),
    ];
    let mut wrong = String::new();
    for (name, text) in texts {
        // The response repeats the request's text.
        let asked = server.ask(3 * text.len(), |server| {
            let file = Part::bytes(wav(vec![0.0; 16_000])).file_name("voice.wav");
            let form = Form::new().part("file", file).text("model", "resemblyzer");
            let transcript = Part::bytes(text.clone().into_bytes()).file_name("a.vtt");
            server.request("POST", "/v1/diarize").multipart(form.part("transcript", transcript)).send()
        });
        match asked {
            Ok(422) => {}
            other => writeln!(wrong, "{name}: {other:?}").unwrap(),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Imports an export whose first line lists implausibly many models.
#[test]
fn an_import_of_many_models_is_refused_at_once() {
    let server = Limited::start(&[]);
    let models: Vec<_> =
        (0..100_000).map(|i| json!({"fingerprint": format!("m/{i}"), "dimension": 256})).collect();
    let head = json!({"format": "voice-embedding-service/speakers/1", "models": models, "exported_at": "2026-01-01T00:00:00Z"});
    let body = format!("{head}\n{}\n", json!({"end": true, "speakers": 0}));
    let asked = server.ask(body.len(), |server| {
        let request = server.request("POST", "/v1/import").header("Content-Type", "application/x-ndjson");
        request.body(body.clone()).send()
    });
    assert_eq!(asked, Ok(422));
}
