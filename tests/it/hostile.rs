//! Hostile files: damaged at random, found by the fuzzers, or small but expanding to hours of audio.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use voice_embedding_service::audio::{AudioError, DecodeOptions, decode};

use super::support::containers::crc;
use super::support::{KEY, Server, assert_error, files_under, fixture, repository, voice};

/// Number of random changes to a file of each encoding.
const MUTATIONS: u64 = 2_000;

/// Number of random changes to each unusual file.
const ODD_MUTATIONS: u64 = 400;

/// Number of changed files that are also sent to a server.
const SENT_MUTATIONS: u64 = 50;

/// The longest time for any file, also in an unoptimised build on a busy machine.
const MAX_TIME: Duration = Duration::from_secs(2);

/// Returns a file of each encoding.
fn formats() -> Vec<PathBuf> {
    let files = files_under(fixture("encodings"));
    assert!(files.len() >= 17);
    files
}

/// Returns a file of each encoding and of each unusual kind, with the number of changes to make.
fn all_kinds() -> VecDeque<(PathBuf, u64)> {
    let odd = files_under(fixture("odd"));
    assert!(odd.len() >= 26);
    let formats = formats().into_iter().map(|path| (path, MUTATIONS));
    formats.chain(odd.into_iter().map(|path| (path, ODD_MUTATIONS))).collect()
}

/// Returns the file with some bytes changed, most of them in its header, and perhaps cut short. The seed determines the changes.
fn mutated(file: &[u8], seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut file = file.to_vec();
    for _ in 0..random.usize(1..10) {
        let range = if random.bool() { file.len() } else { file.len().min(300) };
        let at = random.usize(..range);
        file[at] = if random.u8(..3) == 0 { 0xff } else { random.u8(..) };
    }
    if random.u8(..3) == 0 {
        file.truncate(random.usize(..file.len()));
    }
    file
}

#[test]
fn damaged_files_neither_panic_nor_take_long() {
    let files = Mutex::new(all_kinds());
    let work = || {
        while let Some((path, n_mutations)) = { files.lock().unwrap().pop_front() } {
            let whole = std::fs::read(&path).unwrap();
            for seed in 0..n_mutations {
                let begun = Instant::now();
                let outcome = decode(&mutated(&whole, seed), DecodeOptions::with_max_seconds(600.0));
                assert!(begun.elapsed() < MAX_TIME, "{} {seed}: {:?}", path.display(), begun.elapsed());
                if let Err(error) = outcome {
                    // A decoder's panic becomes this error.
                    let panicked = error.to_string().contains("cannot be decoded");
                    assert!(!panicked, "{} {seed}", path.display());
                }
            }
        }
    };
    let n_threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| (0..n_threads).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn damaged_files_are_never_our_fault() {
    let server = Server::start();
    for (path, _) in all_kinds() {
        let whole = std::fs::read(&path).unwrap();
        for seed in 0..SENT_MUTATIONS {
            let response = server.upload(mutated(&whole, seed));
            let status = response.status();
            assert!([200, 413, 415, 422].contains(&status.as_u16()), "{} {seed}: {status}", path.display());
        }
    }
}

/// Sends the fuzzers' seeds and the files that once broke something.
#[test]
fn what_fuzzers_found_is_answered() {
    let seeds = |target: &str| {
        let mut files = files_under(fixture("crashes").join(target));
        files.extend(files_under(repository().join("fuzz/seeds").join(target)));
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path))
    };
    let server = Server::start();
    for (file, path) in seeds("decode") {
        let status = server.upload(file).status().as_u16();
        assert!([200, 413, 415, 422].contains(&status), "{}: {status}", path.display());
    }
    assert!(seeds("json").count() > 5 && seeds("multipart").count() > 5);
    for (body, path) in seeds("json") {
        for route in ["/extract-embedding", "/compare-embeddings"] {
            let request = server.request("POST", route).header("Content-Type", "application/json");
            let status = request.body(body.clone()).send().unwrap().status().as_u16();
            assert!([200, 400, 415, 422].contains(&status), "{route} {}: {status}", path.display());
        }
    }
    for (body, path) in seeds("multipart") {
        let form = server
            .post("/extract-embedding/upload")
            .header("X-API-Key", KEY)
            .header("Content-Type", "multipart/form-data; boundary=X")
            // The fuzzer's first byte sets the size of the pieces.
            .body(body[1..].to_vec());
        let status = form.send().unwrap().status().as_u16();
        assert!([200, 415, 422].contains(&status), "{}: {status}", path.display());
    }
    assert_eq!(server.upload(voice()).status(), 200);
}

/// Memory that decoding may take for any file, in bytes.
#[cfg(target_os = "linux")]
const MAX_MEMORY: u64 = 100 << 20;

#[cfg(target_os = "linux")]
#[test]
fn small_files_that_expand_to_hours_are_refused_in_little_memory() {
    let server = Server::start();
    server.upload(voice());
    let before = server.peak_memory_bytes();
    for (name, bomb) in bombs() {
        assert!(bomb.len() < 1 << 20, "{name}: {} bytes", bomb.len());
        assert_error(name, server.upload(bomb), 413, "audio_too_long", "600");
    }
    let used = server.peak_memory_bytes().saturating_sub(before);
    assert!(used < MAX_MEMORY, "{used} bytes");
}

#[test]
fn what_expands_is_decoded_up_to_the_limit() {
    for (name, bomb) in bombs() {
        let error = decode(&bomb, DecodeOptions::with_max_seconds(5.0)).unwrap_err();
        assert_eq!(error, AudioError::TooLong { max_seconds: 5.0 }, "{name}");
    }
}

/// Returns files that hold ten hours of audio in a few hundred kilobytes.
fn bombs() -> [(&'static str, Vec<u8>); 3] {
    const TEN_HOURS_AT_8_KHZ: u64 = 36_000 * 8_000;
    [
        ("FLAC that says one second", flac_silence(8_000)),
        ("FLAC that says ten hours", flac_silence(TEN_HOURS_AT_8_KHZ)),
        ("Opus that says one second", opus_silence(48_000)),
    ]
}

/// Returns ten hours of silence at 8 kHz, mono, 16 bits, as constant subframes (RFC 9639, sections 8.2, 9.1 and 9.2.3).
/// The header announces the given number of samples.
fn flac_silence(announced_samples: u64) -> Vec<u8> {
    const BLOCK: u16 = 60_000;
    const N_FRAMES: u32 = 4_800;
    let rate_channels_bits_samples: u64 = 8_000 << 44 | 15 << 36 | announced_samples;
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    file.extend([BLOCK.to_be_bytes(), BLOCK.to_be_bytes()].concat());
    file.extend([0; 6]);
    file.extend(rate_channels_bits_samples.to_be_bytes());
    file.extend([0; 16]);
    for number in 0..N_FRAMES {
        // Fixed block size, stored in 16 bits; 8 kHz; one channel; 16 bits.
        let mut frame = vec![0xff, 0xf8, 0x74, 0x08];
        frame.extend(char::from_u32(number).unwrap().to_string().bytes());
        frame.extend((BLOCK - 1).to_be_bytes());
        frame.push(crc(8, 0x07, &frame) as u8);
        // A constant subframe of zero.
        frame.extend([0, 0, 0]);
        frame.extend((crc(16, 0x8005, &frame) as u16).to_be_bytes());
        file.extend(frame);
    }
    file
}

/// Returns ten hours of Opus packets of two bytes (RFC 6716, section 3.2.5: six frames of 20 ms without data) in Ogg
/// pages (RFC 3533, section 6). The last page announces the given number of samples.
fn opus_silence(announced_samples: u64) -> Vec<u8> {
    const PACKETS: u32 = 300_000;
    const PACKETS_A_PAGE: u32 = 255;
    let page = |flags: u8, position: u64, number: u32, packets: &[&[u8]]| {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend(position.to_le_bytes());
        page.extend([1, 0, 0, 0]);
        page.extend(number.to_le_bytes());
        page.extend([0; 4]);
        page.push(packets.len() as u8);
        page.extend(packets.iter().map(|packet| packet.len() as u8));
        page.extend(packets.concat());
        let checksum = crc(32, 0x04c1_1db7, &page);
        page[22..26].copy_from_slice(&checksum.to_le_bytes());
        page
    };
    let mut file = page(2, 0, 0, &[b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0"]);
    file.extend(page(0, 0, 1, &[b"OpusTags\0\0\0\0\0\0\0\0"]));
    let packets = [&[0b0100_1011_u8, 6][..]; PACKETS_A_PAGE as usize];
    let n_pages = PACKETS / PACKETS_A_PAGE;
    for number in 0..n_pages {
        let is_last = number + 1 == n_pages;
        let position = u64::from((number + 1) * PACKETS_A_PAGE) * 5_760;
        let (flags, position) = if is_last { (4, announced_samples) } else { (0, position) };
        file.extend(page(flags, position, number + 2, &packets));
    }
    file
}
