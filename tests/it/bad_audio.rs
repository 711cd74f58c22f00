//! Recordings that have no embedding, and the warnings about recordings that barely have one.

use std::io::Cursor;

use proptest::prelude::*;
use serde_json::Value;
use voice_embedding_service::audio::{AudioError, DecodeOptions, decode};

use super::support::{Server, assert_error, voice_samples, wav, wav_at};

const RATE_HZ: u32 = 16_000;

fn float_wav(samples: impl IntoIterator<Item = f32>) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE_HZ,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples.into_iter().for_each(|s| writer.write_sample(s).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// Returns the synthetic voice as WAV with the simplest header.
fn plain_voice() -> Vec<u8> {
    wav(voice_samples())
}

/// Returns the plain voice with some bytes of its 44-byte header replaced.
fn voice_with(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut voice = plain_voice();
    voice[offset..offset + bytes.len()].copy_from_slice(bytes);
    voice
}

// Offsets of fields in the 44-byte header.
const FORMAT_TAG: usize = 20;
const CHANNELS: usize = 22;
const SAMPLE_RATE: usize = 24;
const BYTE_RATE: usize = 28;
const BLOCK_ALIGN: usize = 32;
const DATA_LEN: usize = 40;

#[test]
fn what_has_no_embedding_says_why() {
    let server = Server::start_with(&[("MAX_AUDIO_SECONDS", "20"), ("MIN_SPEECH_SECONDS", "0.5")]);
    let tone = |hz: f32| {
        wav((0..48_000).map(move |i| (i as f32 * hz / RATE_HZ as f32 * std::f32::consts::TAU).sin() * 0.5))
    };
    let zero_rate = {
        let mut file = voice_with(SAMPLE_RATE, &[0; 4]);
        file[BYTE_RATE..BYTE_RATE + 4].fill(0);
        file
    };
    let many_channels = {
        let mut file = voice_with(CHANNELS, &65_535_u16.to_le_bytes());
        file[BLOCK_ALIGN..BLOCK_ALIGN + 2].copy_from_slice(&65_535_u16.to_le_bytes());
        file
    };
    let nine_channels = {
        let mut file = voice_with(CHANNELS, &9_u16.to_le_bytes());
        file[BLOCK_ALIGN..BLOCK_ALIGN + 2].copy_from_slice(&18_u16.to_le_bytes());
        file[BYTE_RATE..BYTE_RATE + 4].copy_from_slice(&(18 * RATE_HZ).to_le_bytes());
        // The data has a whole number of frames, so that only the channel count is wrong.
        file[DATA_LEN..DATA_LEN + 4].copy_from_slice(&18_000_u32.to_le_bytes());
        file
    };
    let cases = [
        ("silence", wav(vec![0.0; 48_000]), 422, "no_speech", "audio: 3.0 s of digital silence"),
        ("a tone", tone(440.0), 422, "no_speech", "dBFS"),
        ("a higher tone", tone(1_000.0), 422, "no_speech", "No speech"),
        ("10 ms", wav(voice_samples()[..160].to_vec()), 422, "no_speech", "No speech"),
        (
            "a syllable",
            wav(voice_samples()[8_000..14_400].to_vec()),
            422,
            "audio_too_short",
            "at least 0.5 are needed",
        ),
        (
            "21 seconds",
            wav(voice_samples().into_iter().cycle().take(21 * 16_000)),
            413,
            "audio_too_long",
            "20 seconds",
        ),
        ("nothing", Vec::new(), 422, "corrupt_audio", "empty"),
        ("cut in the header", plain_voice()[..30].to_vec(), 422, "corrupt_audio", "header"),
        ("cut in the tag", b"RIFF".to_vec(), 422, "corrupt_audio", "header"),
        ("a header alone", plain_voice()[..44].to_vec(), 422, "corrupt_audio", "no samples"),
        ("zero samples", wav([]), 422, "corrupt_audio", "no samples"),
        ("zero sample rate", zero_rate, 422, "corrupt_audio", "0 Hz"),
        ("3 kHz", wav_at(3_000, vec![0.1; 9_000]), 422, "corrupt_audio", "3000 Hz"),
        ("65,535 channels", many_channels, 422, "corrupt_audio", ""),
        ("9 channels", nine_channels, 415, "unsupported_audio", "9 channels"),
        ("no channels", voice_with(CHANNELS, &[0, 0]), 422, "corrupt_audio", "zero channels"),
        ("not-a-number samples", float_wav([0.1, f32::NAN, 0.1]), 422, "corrupt_audio", "not-a-number"),
        ("infinite samples", float_wav([0.1, f32::INFINITY]), 422, "corrupt_audio", "infinite"),
        (
            "absurdly loud samples",
            float_wav(voice_samples().iter().map(|s| s * 1e20)),
            422,
            "corrupt_audio",
            "large",
        ),
        ("no format", voice_with(12, b"junk"), 422, "corrupt_audio", "fmt"),
        ("an unknown codec", voice_with(FORMAT_TAG, &[0x99, 0x99]), 415, "unsupported_audio", "WAV (PCM"),
        ("RIFF of another kind", voice_with(8, b"AVI "), 415, "unsupported_audio", "WAV (PCM"),
        ("text", b"this is no audio".to_vec(), 415, "unsupported_audio", "WAV (PCM"),
        ("binary", vec![0xff; 10_000], 415, "unsupported_audio", "WAV (PCM"),
    ];
    for (name, file, status, code, detail) in cases {
        assert_error(name, server.upload(file), status, code, detail);
    }
}

#[test]
fn warnings_are_earned() {
    let server = Server::start();
    let voice = voice_samples();
    let scaled = |gain: f32| wav(voice.iter().map(|s| s * gain).collect::<Vec<_>>());
    let half_rate = wav_at(8_000, voice.iter().step_by(2).copied().collect::<Vec<_>>());
    let cut = plain_voice()[..150_000].to_vec();
    let lying = voice_with(DATA_LEN, &1_000_000_u32.to_le_bytes());
    let cases: [(&str, Vec<u8>, &[&str]); 9] = [
        ("as it is", plain_voice(), &[]),
        ("one second", wav(voice[8_000..24_000].to_vec()), &["short_speech"]),
        ("8 kHz", half_rate, &["narrowband"]),
        ("20 times too loud", scaled(20.0), &["clipped"]),
        ("at full scale but for a few samples", scaled(0.98 / peak(&voice)), &[]),
        ("very quiet", scaled(0.005), &["low_level"]),
        ("quiet", scaled(0.1), &[]),
        ("cut short", cut, &["truncated"]),
        ("a header that announces too much", lying, &["truncated"]),
    ];
    for (name, file, warnings) in cases {
        let response = server.upload(file);
        assert_eq!(response.status(), 200, "{name}");
        let body: Value = response.json().unwrap();
        assert_eq!(body["audio"]["warnings"], serde_json::json!(warnings), "{name}: {}", body["audio"]);
    }
}

/// Programs that write to a pipe cannot know the length. Some programs write chunks of odd length before the audio.
#[test]
fn unusual_headers_are_read_as_they_are_meant() {
    let plain = plain_voice();
    let expected = decode(&plain, DecodeOptions::with_max_seconds(60.0)).unwrap();
    let odd_chunk = [&plain[..36], b"LIST\x03\0\0\0abc\0", &plain[36..]].concat();
    let broken_frame = [plain.as_slice(), b"x"].concat();
    let cases = [
        ("unknown length", voice_with(DATA_LEN, &[0xff; 4]), false),
        ("no length", voice_with(DATA_LEN, &[0; 4]), false),
        ("a chunk of odd length", odd_chunk, false),
        ("trailing bytes", broken_frame.clone(), false),
        (
            "unknown length and half a sample",
            [&broken_frame[..DATA_LEN], &[0xff; 4], &broken_frame[44..]].concat(),
            false,
        ),
        ("an odd length beyond the end", voice_with(DATA_LEN, &1_000_001_u32.to_le_bytes()), true),
        ("a wrong length of the file", voice_with(4, &[1, 2, 3, 4]), false),
    ];
    for (name, file, truncated) in cases {
        let recording =
            decode(&file, DecodeOptions::with_max_seconds(60.0)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(recording.waveform == expected.waveform, "{name}");
        assert_eq!(recording.truncated, truncated, "{name}");
    }
}

fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, s| s.abs().max(peak))
}

#[test]
fn the_limit_on_seconds_is_exact() {
    let second = wav(vec![0.25; 16_000]);
    assert!(decode(&second, DecodeOptions::with_max_seconds(1.0)).is_ok());
    let error = decode(&second, DecodeOptions::with_max_seconds(0.999)).unwrap_err();
    assert_eq!(error, AudioError::TooLong { max_seconds: 0.999 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Decoding a damaged file returns a recording or an error.
    #[test]
    fn mutated_files_never_panic(
        edits in prop::collection::vec((0_usize..60, any::<u8>()), 0..6),
        length in 0_usize..2_000,
    ) {
        let mut file = plain_voice()[..2_000].to_vec();
        edits.iter().for_each(|(at, byte)| file[*at] = *byte);
        file.truncate(length);
        if let Ok(recording) = decode(&file, DecodeOptions::with_max_seconds(1.0)) {
            prop_assert!(recording.duration_seconds <= 1.0);
        }
    }
}
