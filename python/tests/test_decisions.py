"""The package, the command line and the service use the same engine, so their results are equal."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
from typing import Any

import numpy as np
import pytest
import voice_embedding
from conftest import KEY, ONNX_RUNTIME, PARITY_DATA, REPOSITORY, voices
from voice_embedding import Client, errors

PAIRS = [("alan-1", "alan-2"), ("alan-1", "beth-1"), ("beth-1", "beth-2"), ("cole-1", "alan-2")]

OPTIONS: list[dict[str, float]] = [{}, {"threshold": 0.9}, {"max_false_accept_rate": 0.01}, {"max_false_accept_rate": 1}]


def command(*arguments: str, expected: tuple[int, ...] = (0,), **environment: str) -> str:
    """Runs the command line and returns its standard output."""
    binary = os.environ.get("SERVICE")
    if not binary:
        pytest.skip("SERVICE names no binary of the service")
    environment = {**os.environ, "ENCODER": "native", "MODELS": "resemblyzer", "MODELS_DIR": str(REPOSITORY / "models"), **ONNX_RUNTIME, **environment}
    done = subprocess.run([binary, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in expected, done.stderr
    return done.stdout


def flags(options: dict[str, float]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_voices_are_verified_alike(pair: tuple[str, str], options: dict[str, Any], service: str) -> None:
    a, b = map(voices, pair)
    here = vars(voice_embedding.verify(a, b, **options))
    line = json.loads(command("verify", a, b, "--format", "json", *flags(options), expected=(0, 1)))
    with Client(service, KEY) as client:
        there = client.verify(a, b, **options)
    for name, value in here.items():
        value = list(value) if name == "warnings" else value
        assert value == line[name] == there[name], name
    assert line["model"] == there["model"]


@pytest.mark.parametrize("options", [{"threshold": 1.1}, {"max_false_accept_rate": -0.1}, {"max_false_accept_rate": 1.1},
                                     {"max_false_accept_rate": 1e-9}, {"threshold": 0.5, "max_false_accept_rate": 0.1}], ids=str)
def test_what_cannot_be_asked_is_refused_alike(options: dict[str, Any], service: str) -> None:
    a, b = voices("alan-1"), voices("alan-2")
    with pytest.raises(ValueError, match="threshold|rate|at least"):
        voice_embedding.verify(a, b, **options)
    command("verify", a, b, *flags(options), expected=(2,))
    with Client(service, KEY) as client, pytest.raises(errors.ValidationError):
        client.verify(a, b, **options)


def test_an_embedding_in_base64_is_a_voice_everywhere(service: str, tmp_path: pathlib.Path) -> None:
    with Client(service, KEY) as client:
        voice = voice_embedding.embed(voices("alan-1"))
        bytes_of = np.asarray(voice.embedding, "<f4").tobytes()
        sent = {"embedding": base64.b64encode(bytes_of).decode(), "model": voice.model, "speech_seconds": voice.audio.speech_seconds}
        there = client.verify(sent, voices("alan-2"))
    file = tmp_path / "voice.json"
    file.write_text(json.dumps(sent))
    line = json.loads(command("verify", str(file), voices("alan-2"), "--format", "json"))
    assert (line["similarity"], line["threshold"]) == (there["similarity"], there["threshold"])


def recordings() -> list[str]:
    """Returns recordings of one speaker, and of several if they are available."""
    conversations = sorted((PARITY_DATA / "conversations").glob("*.flac"))[:2] if PARITY_DATA else []
    return [voices("alan-1"), *map(str, conversations)]


@pytest.mark.parametrize("path", recordings(), ids=lambda path: pathlib.Path(path).stem)
def test_speakers_are_told_apart_alike(path: str, service: str) -> None:
    here = voice_embedding.diarize(path)
    line = json.loads(command("diarize", path, "--format", "json", "--quiet"))
    with Client(service, KEY) as client:
        there = client.diarize(path)
    turns = [{"start": turn.start, "end": turn.end, "label": turn.speaker, "margin": turn.margin} for turn in here.turns]
    assert line["segments"] == there["segments"]
    assert turns == there["segments"]
    assert line["speakers"] == there["speakers"]
    for speaker, other in zip(here.speakers, there["speakers"], strict=True):
        assert speaker.seconds == other["seconds"]
        assert np.allclose(speaker.embedding, other["embedding"], atol=1e-6)
    assert (line["audio"], line["model"]) == (there["audio"], there["model"])


def test_every_conversation_is_analysed_by_both_models() -> None:
    """The windows of a recording may differ in length, so the encoder must accept them one by one."""
    conversations = sorted((PARITY_DATA / "conversations").glob("*.flac")) if PARITY_DATA else []
    if not conversations:
        pytest.skip("PARITY_DATA names no conversations")
    for path in conversations:
        assert voice_embedding.diarize(path, model="campplus").turns, path


def test_a_voice_is_identified_alike(service: str, tmp_path: pathlib.Path) -> None:
    database = f"sqlite:{tmp_path / 'speakers.db'}"
    with Client(service, KEY) as client:
        for name in ("alan", "beth"):
            command("speakers", "enrol", name, voices(f"{name}-1"), DATABASE_URL=database)
            client.create_speaker(id=name, name=name, collection="alike")
            client.enrol(name, voices(f"{name}-1"), collection="alike")
        for name in ("alan-2", "beth-2", "cole-1"):
            line = json.loads(command("identify", voices(name), "--format", "jsonl", expected=(0, 1), DATABASE_URL=database))
            there = client.identify(voices(name), collection="alike")
            for of in (line, there):
                of.pop("path", None)
                of.pop("audio", None)
                for candidate in of["candidates"]:
                    candidate.pop("name")
            assert line == there, name
