"""Runs the examples of the README."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from conftest import KEY, voices

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(code: str, folder: pathlib.Path) -> str:
    for name, file in (("alan-1", "ann.wav"), ("alan-2", "unknown.wav"), ("beth-1", "meeting.wav")):
        shutil.copy(voices(name), folder / file)
    (folder / "recordings").mkdir()
    shutil.copy(voices("cole-1"), folder / "recordings/a.wav")
    (folder / "recordings/notes.txt").write_text("no recording")
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_for_resemblyzer(tmp_path: pathlib.Path) -> None:
    out = run(BLOCKS[0], tmp_path)
    assert "Loaded the voice encoder model" in out and float(out.split()[-1]) > 0.75


def test_what_goes_beyond(tmp_path: pathlib.Path) -> None:
    out = run(BLOCKS[1], tmp_path)
    assert "recordings/a.wav (256,)" in out and "recordings/notes.txt unsupported_audio" in out
    assert "[[0, 1], [2]]" in out and out.splitlines()[-1].split()[-1] == "S1"


@pytest.mark.skipif(not importlib.util.find_spec("httpx"), reason="httpx is not installed")
def test_the_client(tmp_path: pathlib.Path, service: str) -> None:
    code = BLOCKS[2].replace("http://localhost:8000", service).replace("dev-key-change-me", KEY)
    out = run(code, tmp_path).splitlines()
    assert out[0] == "True" and out[1] == "ann" and "label" in out[2]
    assert len(BLOCKS) == 3
