"""Compares each function of Resemblyzer with the original, on the original's own input."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Optional

import numpy as np
import pytest
import voice_embedding as resemblyzer
from conftest import FIXTURES, PARITY_DATA, array, cosine, golden, stages

STAGES = pytest.mark.parametrize("folder", stages(), ids=lambda folder: folder.name)

# The original sums squares in float32.
LEVEL_TOLERANCE = 1e-6

# Relative, down to 1e-7 of a frame's peak, because the two compute spectra in different orders.
MEL_TOLERANCE, MEL_FLOOR = 1e-4, 1e-7

# LSTM steps in float32 are summed in another order.
EMBEDDING_TOLERANCE = 1e-5

# The native encoder computes in 16-bit integers. The first limit applies to a window, the second to the mean of several windows.
NATIVE_WINDOW_COSINE, NATIVE_COSINE = 0.9999, 0.999998

# The resampling filter differs from that of soxr.
RESAMPLED_COSINE = 0.999


@STAGES
def test_volume_is_the_originals(folder: pathlib.Path) -> None:
    normalized = resemblyzer.normalize_volume(array(folder, "resampled"), -30, increase_only=True)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized, array(folder, "normalized"), rtol=0, atol=LEVEL_TOLERANCE)


@STAGES
def test_silences_are_the_originals(folder: pathlib.Path) -> None:
    np.testing.assert_array_equal(
        resemblyzer.trim_long_silences(array(folder, "normalized")), array(folder, "voiced")
    )


@STAGES
def test_preprocessing_is_the_originals(folder: pathlib.Path) -> None:
    speech = resemblyzer.preprocess_wav(array(folder, "resampled"))
    np.testing.assert_allclose(speech, array(folder, "voiced"), rtol=0, atol=LEVEL_TOLERANCE)


@STAGES
def test_slices_are_the_originals(folder: pathlib.Path) -> None:
    wav_slices, mel_slices = resemblyzer.VoiceEncoder.compute_partial_slices(len(array(folder, "voiced")))
    starts = array(folder, "window_starts").tolist()
    assert mel_slices == [slice(start, start + 160) for start in starts]
    assert wav_slices == [slice(start * 160, (start + 160) * 160) for start in starts]


@STAGES
def test_mels_are_the_originals(folder: pathlib.Path) -> None:
    expected = array(folder, "mel")
    padded = np.zeros((len(expected) - 1) * 160, np.float32)
    voiced = array(folder, "voiced")
    padded[: len(voiced)] = voiced[: len(padded)]
    mels = resemblyzer.wav_to_mel_spectrogram(padded)
    assert mels.shape == expected.shape and mels.dtype == np.float32
    tolerance = MEL_TOLERANCE * np.maximum(expected, MEL_FLOOR * expected.max(axis=1, keepdims=True))
    # The last frames differ if the waveform continues.
    assert (np.abs(mels - expected) <= tolerance).all()


@STAGES
@pytest.mark.parametrize("program", ["native", "ort"])
def test_partials_and_embedding_are_the_originals(folder: pathlib.Path, program: Optional[str]) -> None:
    if program == "ort" and not importlib.util.find_spec("onnxruntime"):
        pytest.skip("onnxruntime is not installed")
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False, encoder=program)
    embedding, partials, slices = encoder.embed_utterance(array(folder, "voiced"), return_partials=True)
    starts = array(folder, "window_starts")
    mels = array(folder, "mel")
    of_mels = encoder(np.stack([mels[start : start + 160] for start in starts]))
    assert [s.start for s in slices] == (starts * 160).tolist()
    expected, expected_partials = array(folder, "embedding"), array(folder, "partials")
    for actual in (partials, of_mels):
        assert actual.shape == expected_partials.shape and actual.dtype == np.float32
    if program == "ort":
        np.testing.assert_allclose(of_mels, expected_partials, rtol=0, atol=EMBEDDING_TOLERANCE)
        np.testing.assert_allclose(partials, expected_partials, rtol=0, atol=EMBEDDING_TOLERANCE)
        np.testing.assert_allclose(embedding, expected, rtol=0, atol=EMBEDDING_TOLERANCE)
    for actual in (partials, of_mels):
        assert min(map(cosine, actual, expected_partials)) >= NATIVE_WINDOW_COSINE
    assert cosine(embedding, expected) >= NATIVE_COSINE


@pytest.mark.parametrize("root", [FIXTURES, PARITY_DATA], ids=["fixtures", "PARITY_DATA"])
def test_recordings_have_the_originals_embeddings(
    root: Optional[pathlib.Path], encoder: resemblyzer.VoiceEncoder
) -> None:
    if root is None:
        pytest.skip("PARITY_DATA names no folder of real speech")
    audio = root / "audio"
    found = 0
    for line in golden(root):
        path = audio / line["path"] if (audio / line["path"]).exists() else audio / pathlib.Path(line["path"]).name
        # Other encodings have other decoders. docs/parity.md states their accuracy.
        if not path.exists() or path.suffix not in (".wav", ".flac") or "encodings" in path.parts:
            continue
        speech = resemblyzer.preprocess_wav(str(path))
        is_resampled = line["sample_rate"] != 16_000
        if not is_resampled:
            assert len(speech) == line["samples_voiced"], path
        similarity = cosine(encoder.embed_utterance(speech), line["embedding"])
        assert similarity >= (RESAMPLED_COSINE if is_resampled else NATIVE_COSINE), (path, similarity)
        found += 1
    assert found >= 6


def test_a_speaker_is_the_mean_of_utterances(encoder: resemblyzer.VoiceEncoder) -> None:
    wavs = [resemblyzer.preprocess_wav(FIXTURES / f"audio/alan-{n}.wav") for n in (1, 2)]
    mean = np.mean([encoder.embed_utterance(wav) for wav in wavs], axis=0)
    expected = mean / np.linalg.norm(mean)
    np.testing.assert_allclose(encoder.embed_speaker(wavs), expected, rtol=0, atol=1e-6)
    assert encoder.embed_speaker(wavs, rate=2).shape == (256,)


@pytest.mark.parametrize(
    ("n_samples", "rate", "min_coverage", "n"),
    # The original computed these counts.
    [(1, 1.3, 0.75, 1), (31_519, 1.3, 0.75, 1), (31_520, 1.3, 0.75, 2), (43_840, 1.3, 0.75, 3), (240_000, 1.3, 0.75, 18),
     (240_000, 16, 0.75, 225), (240_000, 0.625, 1.0, 9), (26_000, 1.3, 0.01, 2)],
)  # fmt: skip
def test_windows_are_counted_as_the_original_does(n_samples: int, rate: float, min_coverage: float, n: int) -> None:
    wav_slices, mel_slices = resemblyzer.VoiceEncoder.compute_partial_slices(n_samples, rate, min_coverage)
    assert (len(wav_slices), len(mel_slices)) == (n, n)


def test_hparams_and_modules_have_the_originals_names() -> None:
    from voice_embedding.audio import int16_max, preprocess_wav
    from voice_embedding.hparams import mel_n_channels, partials_n_frames
    from voice_embedding.voice_encoder import VoiceEncoder

    assert (int16_max, mel_n_channels, partials_n_frames, resemblyzer.sampling_rate) == (32767, 40, 160, 16000)
    assert preprocess_wav is resemblyzer.preprocess_wav and VoiceEncoder is resemblyzer.VoiceEncoder
    assert resemblyzer.hparams.audio_norm_target_dBFS == -30


def test_weights_may_be_a_checkpoint(encoder: resemblyzer.VoiceEncoder) -> None:
    checkpoint = FIXTURES.parents[1] / "target/resemblyzer/pretrained.pt"
    if not checkpoint.exists():
        pytest.skip("there is no checkpoint: make checkpoint")
    other = resemblyzer.VoiceEncoder(verbose=False, weights_fpath=checkpoint)
    assert other.model == encoder.model == "resemblyzer-0.1.4/39373b86"
    wav = resemblyzer.preprocess_wav(FIXTURES / "audio/alan-1.wav")
    np.testing.assert_array_equal(other.embed_utterance(wav), encoder.embed_utterance(wav))


def test_loading_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    resemblyzer.VoiceEncoder(device="cpu").to("cpu").eval()
    assert capsys.readouterr().out.startswith("Loaded the voice encoder model on cpu in ")
