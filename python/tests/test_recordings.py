"""Tests of the functions that Resemblyzer lacks: files, decisions, diarization and the other model."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import time
from collections.abc import Iterator

import numpy as np
import pytest
import voice_embedding
from conftest import FIXTURES, PARITY_DATA, REPOSITORY, cosine, voices

HAS_ORT = importlib.util.find_spec("onnxruntime") is not None

NEEDS_CAMPPLUS = pytest.mark.skipif(
    not importlib.util.find_spec("voice_embedding_campplus"), reason="voice_embedding_campplus is not installed"
)


def test_a_recording_has_an_embedding_and_a_report(encoder: voice_embedding.VoiceEncoder) -> None:
    voice = voice_embedding.embed(voices("alan-1"))
    wav = voice_embedding.preprocess_wav(voices("alan-1"))
    np.testing.assert_allclose(voice.embedding, encoder.embed_utterance(wav), rtol=0, atol=1e-6)
    assert voice.model == encoder.model == "resemblyzer-0.1.4/39373b86"
    assert voice.embedding.dtype == np.float32 and voice.embedding.shape == (256,)
    report = voice.audio
    assert (report.sample_rate_hz, report.channels, report.windows, report.warnings) == (16_000, 1, 7, ())
    assert report.duration_seconds == pytest.approx(6.2036, abs=1e-4)
    assert report.speech_seconds == pytest.approx(5.97)
    assert -40 < report.level_dbfs < -10


def test_bytes_and_arrays_are_as_good_as_files() -> None:
    path = pathlib.Path(voices("beth-1"))
    expected = voice_embedding.embed(path)
    of_bytes = voice_embedding.embed(path.read_bytes())
    np.testing.assert_array_equal(of_bytes.embedding, expected.embedding)
    assert of_bytes.audio == expected.audio
    decoded = voice_embedding.decode(path)
    of_samples = voice_embedding.embed(decoded.samples, sample_rate=16_000)
    np.testing.assert_allclose(of_samples.embedding, expected.embedding, rtol=0, atol=1e-6)
    assert of_samples.audio.sample_rate_hz == 16_000


@pytest.mark.parametrize("path", sorted((FIXTURES / "encodings").iterdir()), ids=lambda path: path.name)
def test_every_encoding_is_decoded(path: pathlib.Path) -> None:
    recording = voice_embedding.decode(path)
    assert recording.samples.dtype == np.float32
    assert len(recording.samples) == pytest.approx(recording.duration_seconds * 16_000, abs=2)
    assert 1.8 < recording.duration_seconds < 2.3
    assert not recording.clipped


def test_a_channel_is_taken() -> None:
    left = np.sin(np.arange(16_000) / 9).astype(np.float32) * 0.3
    wav = _wav(np.stack([left, -left]))
    mixed = voice_embedding.decode(wav)
    assert mixed.channels == 2 and np.abs(mixed.samples).max() < 1e-4
    np.testing.assert_allclose(voice_embedding.decode(wav, channel=1).samples, -left, atol=1e-4)
    with pytest.raises(voice_embedding.VoiceEmbeddingError, match="channel"):
        voice_embedding.decode(wav, channel=2)


def _wav(channels: np.ndarray) -> bytes:
    """Returns a 16-bit WAV file at 16 kHz."""
    import io
    import wave

    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((channels.T * 32_767).astype("<i2").tobytes())
    return out.getvalue()


@pytest.mark.parametrize("threads", [1, 2, None])
def test_files_come_in_order_and_bad_ones_are_values(tmp_path: pathlib.Path, threads: int) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no recording")
    silence = tmp_path / "silence.wav"
    silence.write_bytes(_wav(np.zeros((1, 48_000))))
    names = ["alan-1", "beth-1", "cole-1", "alan-2", "beth-2", "cole-2"]
    paths = [*(pathlib.Path(voices(name)) for name in names), text, str(tmp_path / "missing.wav"), silence]
    results = list(voice_embedding.embed_files(paths * 40, threads=threads))
    assert [result.path for result in results] == paths * 40
    expected = [voice_embedding.embed(path).embedding for path in paths[:6]]
    for start in range(0, len(results), len(paths)):
        good, bad = results[start : start + 6], results[start + 6 : start + 9]
        for result, embedding in zip(good, expected):
            np.testing.assert_allclose(result.embedding, embedding, rtol=0, atol=1e-6)
            assert result.error is None and result.code is None and result.voice.audio.windows > 1
        assert [result.code for result in bad] == ["unsupported_audio", "unreadable", "no_speech"]
        assert [result.embedding for result in bad] == [None] * 3
        assert isinstance(bad[1].error, FileNotFoundError) and isinstance(bad[2].error, voice_embedding.NoSpeech)


def test_files_may_be_an_endless_generator() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield voices("alan-1")

    results = voice_embedding.embed_files(endless(), threads=2)
    assert [next(results).error for _ in range(5)] == [None] * 5
    assert taken < 1_000
    results.close()
    assert list(voice_embedding.embed_files([])) == []


def test_an_error_of_the_generator_is_raised() -> None:
    def failing() -> Iterator[str]:
        yield voices("alan-1")
        raise KeyError("a")

    results = voice_embedding.embed_files(failing())
    # Files before the error still have results.
    assert next(results).error is None
    with pytest.raises(KeyError):
        next(results)


def test_a_slow_source_holds_no_answer_back() -> None:
    handed_out = 0

    def slow() -> Iterator[str]:
        nonlocal handed_out
        for _ in range(1_000):
            handed_out += 1
            time.sleep(0.05)
            yield voices("beth-2")

    results = voice_embedding.embed_files(slow(), threads=1)
    for _ in range(3):
        assert next(results).error is None
    assert handed_out < 60
    results.close()


def test_module_functions_are_described() -> None:
    for function in (voice_embedding.embed_files, voice_embedding.verify, voice_embedding.diarize):
        assert "Args:" in function.__doc__ and "``model``" in function.__doc__


def test_voices_are_verified() -> None:
    same = voice_embedding.verify(voices("alan-1"), voices("alan-2"))
    other = voice_embedding.verify(voices("alan-1"), voices("beth-1"))
    assert same.is_same_speaker and not other.is_same_speaker
    assert 0.75 < same.threshold < other.threshold < 0.8, "by the seconds of speech"
    a, b = voice_embedding.embed(voices("alan-1")), voice_embedding.embed(voices("alan-2"))
    assert same.similarity == pytest.approx(cosine(a.embedding, b.embedding))
    assert voice_embedding.verify(a, b) == same
    assert same.log_likelihood_ratio > 0 and 0 < same.false_accept_rate < 0.1
    assert "LibriSpeech" in same.calibration_note
    # Embeddings without a report have no known seconds of speech.
    plain = voice_embedding.verify(a.embedding, b.embedding)
    assert plain.similarity == same.similarity
    assert plain.false_accept_rate is None and "seconds of speech" in plain.calibration_note
    strict = voice_embedding.verify(a, b, max_false_accept_rate=0.001)
    assert strict.threshold > 0.75
    assert not voice_embedding.verify(a, b, threshold=0.999).is_same_speaker


def test_similarities_are_a_matrix_and_groups() -> None:
    names = ["alan-1", "beth-1", "alan-2", "cole-1", "beth-2", "cole-2"]
    found = voice_embedding.similarities([voices(name) for name in names])
    assert found.clusters == [[0, 2], [1, 4], [3, 5]]
    assert found.matrix.shape == (6, 6) and found.matrix.dtype == np.float32
    np.testing.assert_array_equal(found.matrix, found.matrix.T)
    assert found.matrix[0, 2] == pytest.approx(
        voice_embedding.verify(voices("alan-1"), voices("alan-2")).similarity, abs=1e-6
    )
    assert voice_embedding.similarities([voices(name) for name in names], threshold=0.0).clusters == [[*range(6)]]
    assert voice_embedding.similarities([]).matrix.shape == (0, 0)


def test_who_spoke_when() -> None:
    parts = [voice_embedding.decode(voices(name)).samples for name in ("alan-1", "beth-1", "alan-2")]
    found = voice_embedding.diarize(np.concatenate(parts), sample_rate=16_000, num_speakers=2)
    assert [turn.speaker for turn in found.turns] == ["S1", "S2", "S1"]
    assert [speaker.label for speaker in found.speakers] == ["S1", "S2"]
    assert found.turns[1].start == pytest.approx(len(parts[0]) / 16_000, abs=0.5)
    alan = voice_embedding.embed(voices("alan-1"))
    assert cosine(found.speakers[0].embedding, alan.embedding) > 0.9
    assert found.speakers[0].seconds == pytest.approx(
        # Each start and end is rounded to milliseconds.
        sum(turn.end - turn.start for turn in found.turns if turn.speaker == "S1"), abs=0.003
    )
    assert found.rttm.splitlines()[0].startswith("SPEAKER recording 1 ") and len(found.rttm.splitlines()) == 3
    one = voice_embedding.diarize(np.concatenate(parts), sample_rate=16_000, num_speakers=1, threads=1)
    assert {turn.speaker for turn in one.turns} == {"S1"} and one.turns[0].margin is None
    of_file = voice_embedding.diarize(voices("beth-1"))
    assert of_file.rttm.startswith("SPEAKER beth-1 ") and len(of_file.speakers) == 1


def test_people_who_speak_at_once() -> None:
    alan, beth = (voice_embedding.decode(voices(name)).samples for name in ("alan-1", "beth-1"))
    start = len(alan) // 2
    both = np.zeros(start + len(beth), np.float32)
    both[: len(alan)] += alan
    both[start:] += beth
    found = voice_embedding.diarize(both, sample_rate=16_000, num_speakers=2)
    first, second = found.turns
    assert first.speaker != second.speaker
    assert first.end - second.start == pytest.approx((len(alan) - start) / 16_000, abs=0.5)
    assert found.overlap_seconds == pytest.approx(first.end - second.start, abs=0.003)
    in_turn = voice_embedding.diarize(both, sample_rate=16_000, num_speakers=2, overlap=False)
    assert in_turn.overlap_seconds == 0.0
    assert all(turn.end <= following.start for turn, following in zip(in_turn.turns, in_turn.turns[1:]))


@pytest.mark.skipif(PARITY_DATA is None, reason="PARITY_DATA names no folder of real speech")
def test_conversations_have_their_speakers() -> None:
    for recording in sorted((PARITY_DATA / "conversations").glob("conv0[1-3].flac")):
        speakers = {line.split()[7] for line in recording.with_suffix(".rttm").read_text().splitlines()}
        found = voice_embedding.diarize(recording, num_speakers=len(speakers))
        assert len(found.speakers) == len(speakers), recording


@NEEDS_CAMPPLUS
def test_campplus_has_its_golden_embeddings() -> None:
    model = voice_embedding.SpeakerModel("campplus")
    assert (model.dimension, model.encoder.split("-")[0]) == (192, "native")
    lines = (FIXTURES / "golden/campplus/embeddings.jsonl").read_text().splitlines()
    assert lines
    for line in map(json.loads, lines):
        voice = model.embed(FIXTURES / "audio" / pathlib.Path(line["path"]).name)
        assert cosine(voice.embedding, line["embedding"]) > 0.999
        assert voice.model == model.fingerprint
    assert voice_embedding.verify(voices("alan-1"), voices("alan-2"), model="campplus").similarity > 0.5
    with pytest.raises(ValueError, match="cannot be compared"):
        model.verify(voice_embedding.embed(voices("alan-1")), voices("alan-2"))
    if HAS_ORT:
        in_ort = voice_embedding.SpeakerModel("campplus", encoder="ort")
        assert cosine(in_ort.embed(voices("alan-1")).embedding, model.embed(voices("alan-1")).embedding) > 0.99999


def test_campplus_without_its_weights_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "voice_embedding_campplus" else find_spec(name, *rest)  # noqa: E731
    monkeypatch.setattr("voice_embedding._engine.find_spec", hidden)
    with pytest.raises(FileNotFoundError, match=r"pip install voice-embedding\[campplus\]"):
        voice_embedding.SpeakerModel("campplus")
    monkeypatch.setenv("MODELS_DIR", str(REPOSITORY / "models"))
    assert voice_embedding.SpeakerModel("campplus").dimension == 192


def test_ort_without_onnx_runtime_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DYLIB_PATH", raising=False)
    monkeypatch.setattr("voice_embedding._engine.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install onnxruntime"):
        voice_embedding.SpeakerModel(encoder="ort")
    # The native encoder does not need ONNX Runtime.
    assert voice_embedding.SpeakerModel().encoder.startswith("native-")
    monkeypatch.setenv("MODELS_DIR", str(REPOSITORY / "models"))
    assert voice_embedding.SpeakerModel("campplus").encoder.startswith("native-")


@pytest.mark.skipif(not HAS_ORT, reason="onnxruntime is not installed")
def test_onnx_runtime_may_be_loaded_by_others_too() -> None:
    import onnxruntime

    encoder = voice_embedding.VoiceEncoder(verbose=False, encoder="ort")
    session = onnxruntime.InferenceSession(str(REPOSITORY / "models/resemblyzer.onnx"))
    mels = np.random.default_rng(1).random((2, 160, 40), np.float32)
    (expected,) = session.run(None, {session.get_inputs()[0].name: mels})
    np.testing.assert_allclose(encoder(mels), expected, rtol=0, atol=1e-6)
