"""Bad input raises an exception of the right type with a helpful message."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import voice_embedding as resemblyzer
from conftest import FIXTURES, voices
from voice_embedding import errors

GOOD = np.sin(np.arange(32_000) / 7).astype(np.float32) * 0.1
NOT_FINITE = np.where(np.arange(32_000) == 5, np.nan, GOOD)

# Functions that take a waveform, and whether an empty waveform is an error.
FUNCTIONS = {
    "preprocess_wav": (resemblyzer.preprocess_wav, True),
    "wav_to_mel_spectrogram": (resemblyzer.wav_to_mel_spectrogram, True),
    "trim_long_silences": (resemblyzer.trim_long_silences, False),
    "normalize_volume": (lambda wav: resemblyzer.normalize_volume(wav, -30), True),
    "embed_utterance": (lambda wav: resemblyzer.VoiceEncoder(verbose=False).embed_utterance(wav), True),
    "embed": (lambda wav: resemblyzer.embed(wav, sample_rate=16_000), True),
    "decode": (lambda wav: resemblyzer.decode(wav, sample_rate=16_000), True),
    "diarize": (lambda wav: resemblyzer.diarize(wav, sample_rate=16_000), True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("wav", "error", "message"),
    [
        ((GOOD * 32_767).astype(np.int16), TypeError, r"not int16; scale them: wav.astype\(numpy.float32\) / 32768"),
        (GOOD.astype(np.complex64), TypeError, "not complex64"),
        (GOOD > 0, TypeError, "not bool"),
        (np.array(["a", "b"]), TypeError, "not <U1"),
        (np.stack([GOOD, GOOD]), ValueError, r"one dimension, not the shape \(2, 32000\)"),
        (np.array(1.0), ValueError, r"not the shape \(\)"),
        (NOT_FINITE, ValueError, "not-a-number"),
        (GOOD * np.float32(1e20), ValueError, "absurdly large"),
    ],
    ids=["int16", "complex", "bool", "text", "2-D", "0-D", "NaN", "huge"],
)  # fmt: skip
def test_a_waveform_that_is_none(name: str, wav: Any, error: type[Exception], message: str) -> None:
    if name == "normalize_volume" and message == "absurdly large":
        pytest.skip("it scales what it gets")
    with pytest.raises(error, match=message):
        FUNCTIONS[name][0](wav)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_empty_waveform(name: str) -> None:
    function, is_error = FUNCTIONS[name]
    empty = np.zeros(0, np.float32)
    if is_error:
        with pytest.raises((ValueError, resemblyzer.NoSpeech), match="empty"):
            function(empty)
    else:
        assert function(empty).shape == (0,)


def test_other_floats_and_strides_are_taken(encoder: resemblyzer.VoiceEncoder) -> None:
    wav = resemblyzer.preprocess_wav(voices("alan-1"))
    expected = encoder.embed_utterance(wav)
    misaligned = np.frombuffer(b"ab" + wav.tobytes(), np.float32, offset=2)
    for same in (wav.astype(np.float64), np.repeat(wav, 2)[::2], wav.astype(">f4"), wav.tolist(), misaligned):
        np.testing.assert_array_equal(encoder.embed_utterance(same), expected)
    read_only = wav.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(encoder.embed_utterance(read_only), expected)


def test_silence_has_no_embedding(encoder: resemblyzer.VoiceEncoder) -> None:
    silence = np.zeros(48_000, np.float32)
    assert resemblyzer.preprocess_wav(silence).shape == (0,)
    assert resemblyzer.normalize_volume(silence, -30).tolist() == silence.tolist()
    for wav in (silence, resemblyzer.preprocess_wav(silence)):
        with pytest.raises(resemblyzer.NoSpeech, match="No speech was found"):
            encoder.embed_utterance(wav)
    with pytest.raises(resemblyzer.NoSpeech):
        resemblyzer.embed(silence, sample_rate=16_000)


def test_files_that_are_none(tmp_path: Any) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no recording")
    torn = tmp_path / "torn.flac"
    torn.write_bytes((FIXTURES / "encodings/clip.flac").read_bytes()[:40])
    for function in (resemblyzer.preprocess_wav, resemblyzer.embed, resemblyzer.decode, resemblyzer.diarize):
        with pytest.raises(FileNotFoundError) as missing:
            function(str(tmp_path / "missing.wav"))
        assert missing.value.filename == str(tmp_path / "missing.wav")
        with pytest.raises(IsADirectoryError):
            function(tmp_path)
        with pytest.raises(resemblyzer.UnsupportedAudio) as unsupported:
            function(text)
        assert (unsupported.value.code, unsupported.value.status) == ("unsupported_audio", None)
        with pytest.raises(resemblyzer.CorruptAudio):
            function(torn)
        with pytest.raises(resemblyzer.AudioError):
            function(torn)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e, wav: e.embed_utterance(wav, rate=0), ValueError, "rate is above 0"),
        (lambda e, wav: e.embed_utterance(wav, rate=0.5), ValueError, "too low, it should be 0.625 at least"),
        (lambda e, wav: e.embed_utterance(wav, rate=1_000), ValueError, "too high"),
        (lambda e, wav: e.embed_utterance(wav, rate=float("nan")), ValueError, "rate is above 0"),
        (lambda e, wav: e.embed_utterance(wav, min_coverage=0), ValueError, "min_coverage"),
        (lambda e, wav: e.embed_speaker([]), ValueError, "no utterance"),
        (lambda e, wav: e(np.zeros((2, 160, 39))), ValueError, r"\[n, frames, 40\]"),
        (lambda e, wav: e(np.full((1, 160, 40), np.inf)), ValueError, "infinite"),
        (lambda e, wav: resemblyzer.preprocess_wav(wav, source_sr=100), ValueError, "source_sr is from 4000 to 384000, not 100"),
        (lambda e, wav: resemblyzer.normalize_volume(wav, -30, True, True), ValueError, "Both"),
        (lambda e, wav: resemblyzer.embed(wav), ValueError, "needs its sample_rate"),
        (lambda e, wav: resemblyzer.embed("a.wav", sample_rate=16_000), ValueError, "of its own"),
        (lambda e, wav: resemblyzer.verify(wav, wav), ValueError, "an embedding has the shape"),
        (lambda e, wav: resemblyzer.verify(np.zeros(256), np.ones(256)), ValueError, "all components are zero"),
        (lambda e, wav: resemblyzer.verify(np.full(256, np.nan), np.ones(256)), ValueError, "not finite"),
        (lambda e, wav: resemblyzer.verify(np.ones(256), np.ones(256), threshold=2), ValueError, "cosine"),
        (lambda e, wav: resemblyzer.verify(np.ones(256), np.ones(256), max_false_accept_rate=1e-9), ValueError, "at least 0.001"),
        (lambda e, wav: resemblyzer.verify(np.ones(256), np.ones(256), threshold=0.5, max_false_accept_rate=0.1), ValueError, "not both"),
        (lambda e, wav: resemblyzer.diarize(voices("alan-1"), min_speakers=3, max_speakers=2), ValueError, "above max"),
        (lambda e, wav: resemblyzer.diarize(voices("alan-1"), num_speakers=0), ValueError, "from 1 to 30, not 0"),
        (lambda e, wav: resemblyzer.diarize(voices("alan-1"), num_speakers=31), ValueError, "from 1 to 30, not 31"),
        (lambda e, wav: list(resemblyzer.embed_files([voices("alan-1")], threads=0)), ValueError, "threads"),
        (lambda e, wav: list(resemblyzer.embed_files([None])), TypeError, "not NoneType"),
        (lambda e, wav: resemblyzer.embed_files([voices("alan-1")], threads=5_000), ValueError, "from 1 to 1024"),
        (lambda e, wav: resemblyzer.embed(wav, sample_rate=16_000.0), TypeError, "float"),
        (lambda e, wav: resemblyzer.embed(wav, sample_rate=2**40), ValueError, "from 4000 to 384000"),
        (lambda e, wav: resemblyzer.embed(voices("alan-1"), channel=-1), ValueError, "channel is from 0 to 7"),
        (lambda e, wav: resemblyzer.decode(voices("alan-1"), max_seconds=float("nan")), ValueError, "above 0"),
        (lambda e, wav: resemblyzer.similarities("ann.wav"), TypeError, "list"),
        (lambda e, wav: resemblyzer.similarities([], threshold=float("nan")), ValueError, "cosine"),
        (lambda e, wav: resemblyzer.normalize_volume(NOT_FINITE, -30), ValueError, "not-a-number"),
        (lambda e, wav: e.compute_partial_slices(2**63), ValueError, "n_samples"),
        (lambda e, wav: resemblyzer.embed(None), TypeError, "not NoneType"),
        (lambda e, wav: resemblyzer.SpeakerModel("pyannote"), ValueError, "only resemblyzer and campplus"),
        (lambda e, wav: resemblyzer.SpeakerModel(encoder="tpu"), ValueError, '"native" or "ort"'),
        (lambda e, wav: resemblyzer.SpeakerModel(weights=voices("alan-1")), RuntimeError, "model"),
        (lambda e, wav: resemblyzer.SpeakerModel(max_audio_seconds=0), ValueError, "above 0"),
        (lambda e, wav: resemblyzer.VoiceEncoder(weights_fpath="missing.pt"), FileNotFoundError, "missing.pt"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be(
    encoder: resemblyzer.VoiceEncoder, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(encoder, GOOD)


def test_limits_of_a_model() -> None:
    with pytest.raises(resemblyzer.AudioTooLong, match="limit of 2 seconds"):
        resemblyzer.SpeakerModel(max_audio_seconds=2).embed(voices("alan-1"))
    with pytest.raises(resemblyzer.AudioTooShort, match="at least 30 are needed"):
        resemblyzer.SpeakerModel(min_speech_seconds=30).embed(voices("alan-1"))
    with pytest.raises(errors.ValidationError, match="channel"):
        resemblyzer.embed(voices("alan-1"), channel=3)


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_an_evidently_wrong_rate_is_warned_of(encoder: resemblyzer.VoiceEncoder, rate_hz: int) -> None:
    for name in ("alan-1", "beth-1", "cole-1"):
        wav = resemblyzer.decode(voices(name)).samples
        times = np.arange(0, len(wav) / 16_000, 1 / rate_hz)
        faster = np.interp(times, np.arange(len(wav)) / 16_000, wav).astype(np.float32)
        with pytest.warns(resemblyzer.SampleRateWarning, match="pass source_sr"):
            encoder.embed_utterance(resemblyzer.preprocess_wav(faster))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder.embed_utterance(resemblyzer.preprocess_wav(faster, source_sr=rate_hz))
            encoder.embed_utterance(resemblyzer.preprocess_wav(wav))


@pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="onnxruntime is not installed")
def test_windows_of_another_length_need_the_native_encoder() -> None:
    mels = np.ones((2, 100, 40), np.float32)
    assert resemblyzer.VoiceEncoder(verbose=False, encoder="native")(mels).shape == (2, 256)
    with pytest.raises(ValueError, match="160 frames, not 100"):
        resemblyzer.VoiceEncoder(verbose=False, encoder="ort")(mels)


def test_exceptions_survive_pickling() -> None:
    error = errors.from_code("no_speech", "No speech")
    error.status = 422
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.code, copy.status) == (resemblyzer.NoSpeech, "No speech", "no_speech", 422)
    assert type(errors.from_code("a_new_code", "?")) is resemblyzer.VoiceEmbeddingError
