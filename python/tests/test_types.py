"""Type checkers find the package's types, and the types are correct."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")

PROGRAM = """
import numpy as np
from numpy.typing import NDArray
import voice_embedding as resemblyzer

encoder = resemblyzer.VoiceEncoder()
embedding: NDArray[np.float32] = encoder.embed_utterance(resemblyzer.preprocess_wav("a.wav"))
whole, partials, slices = encoder.embed_utterance(embedding, return_partials=True, rate=16)
start: int = slices[0].start
for result in resemblyzer.embed_files(["a.wav"]):
    if result.voice is not None:
        seconds: float = result.voice.audio.speech_seconds
is_same: bool = resemblyzer.verify("a.wav", "b.wav").is_same_speaker
client = resemblyzer.Client("http://localhost:8000", "key")
client.identify("a.wav", top=3)
client.identify("a.wav", tpo=3)  # error
resemblyzer.VoiceEncoder(encoder="tpu")  # error
"""


def run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a tool in a folder from which only the installed package can be imported."""
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=folder)


def test_the_package_is_typed(tmp_path: pathlib.Path) -> None:
    checked = run(tmp_path, "mypy", "--strict", "--package", "voice_embedding")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_stub_is_the_modules(tmp_path: pathlib.Path) -> None:
    checked = run(tmp_path, "mypy.stubtest", "voice_embedding._core")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_programs_are_checked(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    checked = run(tmp_path, "mypy", "--strict", str(program))
    errors = [line for line in checked.stdout.splitlines() if ": error:" in line]
    wrong = [number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# error")]
    assert [int(line.split(":")[1]) for line in errors] == wrong, checked.stdout
