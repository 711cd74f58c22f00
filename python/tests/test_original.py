"""Compares each function with the original's, if Resemblyzer is installed (`make resemblyzer`)."""

from __future__ import annotations

import pathlib
import warnings

import numpy as np
import pytest
import voice_embedding
from conftest import FIXTURES, PARITY_DATA, cosine

with warnings.catch_warnings():
    # webrtcvad imports pkg_resources, which warns.
    warnings.simplefilter("ignore")
    resemblyzer = pytest.importorskip("resemblyzer", reason="resemblyzer is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")

RECORDINGS = sorted((FIXTURES / "audio").glob("*.wav"))
if PARITY_DATA:
    RECORDINGS += sorted((PARITY_DATA / "audio/librispeech").rglob("*.flac"))[::4]
EACH = pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def original() -> resemblyzer.VoiceEncoder:
    return resemblyzer.VoiceEncoder("cpu", verbose=False)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return resemblyzer.preprocess_wav(RECORDINGS[0])


@EACH
def test_recordings(path: pathlib.Path, original: resemblyzer.VoiceEncoder, encoder: voice_embedding.VoiceEncoder) -> None:
    theirs, ours = resemblyzer.preprocess_wav(path), voice_embedding.preprocess_wav(path)
    assert len(theirs) == len(ours)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert cosine(original.embed_utterance(theirs), encoder.embed_utterance(ours)) > 0.999998


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_other_rates(
    rate_hz: int, original: resemblyzer.VoiceEncoder, encoder: voice_embedding.VoiceEncoder
) -> None:
    wav = voice_embedding.decode(RECORDINGS[0]).samples
    times = np.arange(0, len(wav) / 16_000, 1 / rate_hz)
    wav = np.interp(times, np.arange(len(wav)) / 16_000, wav).astype(np.float32)
    theirs = original.embed_utterance(resemblyzer.preprocess_wav(wav, source_sr=rate_hz))
    ours = encoder.embed_utterance(voice_embedding.preprocess_wav(wav, source_sr=rate_hz))
    assert cosine(theirs, ours) > 0.999


def test_stages(speech: np.ndarray) -> None:
    wav = voice_embedding.decode(RECORDINGS[1]).samples
    np.testing.assert_array_equal(
        voice_embedding.trim_long_silences(wav), resemblyzer.trim_long_silences(wav)
    )
    for target in (-50, -30, -10):
        for which in ({}, {"increase_only": True}, {"decrease_only": True}):
            theirs = resemblyzer.normalize_volume(wav, target, **which)
            np.testing.assert_allclose(voice_embedding.normalize_volume(wav, target, **which), theirs, rtol=1e-5)
    for length in (200, 16_000, 25_600, len(speech)):
        theirs = resemblyzer.wav_to_mel_spectrogram(speech[:length])
        ours = voice_embedding.wav_to_mel_spectrogram(speech[:length])
        assert ours.shape == theirs.shape
        peak = theirs.max(axis=1, keepdims=True)
        assert (np.abs(ours - theirs) <= 1e-4 * np.maximum(theirs, 1e-7 * peak) + 1e-20).all()


def test_slices() -> None:
    for n_samples in (1, 159, 160, 25_599, 25_600, 31_519, 31_520, 40_000, 100_001, 960_000):
        for rate in (0.625, 1.0, 1.3, 2.0, 3.7, 16.0, 100.0):
            for min_coverage in (0.01, 0.5, 0.75, 1.0):
                arguments = (n_samples, rate, min_coverage)
                theirs = resemblyzer.VoiceEncoder.compute_partial_slices(*arguments)
                assert voice_embedding.VoiceEncoder.compute_partial_slices(*arguments) == theirs, arguments


@pytest.mark.parametrize("options", [{}, {"rate": 2}, {"rate": 16, "min_coverage": 0.5}])
def test_utterances_and_speakers(
    options: dict, speech: np.ndarray, original: resemblyzer.VoiceEncoder, encoder: voice_embedding.VoiceEncoder
) -> None:
    for wav in (speech, speech[:8_000], speech[:50_000].astype(np.float64)):
        theirs = original.embed_utterance(wav.astype(np.float32), return_partials=True, **options)
        ours = encoder.embed_utterance(wav, return_partials=True, **options)
        assert ours[2] == theirs[2]
        assert min(map(cosine, ours[1], theirs[1])) > 0.9999
        assert cosine(ours[0], theirs[0]) > 0.99999
    wavs = [speech, speech[:40_000]]
    theirs, ours = (each.embed_speaker(wavs, **options) for each in (original, encoder))
    assert cosine(theirs, ours) > 0.99999
    assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype)
