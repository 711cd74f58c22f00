"""Recordings, golden arrays and a running service for the tests."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import voice_embedding
from voice_embedding._engine import _onnx_runtime

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests/fixtures"
PARITY_DATA = pathlib.Path(os.environ["PARITY_DATA"]) if os.environ.get("PARITY_DATA") else None

# The service uses the same ONNX Runtime as the package.
ONNX_RUNTIME = {"ORT_DYLIB_PATH": library} if (library := _onnx_runtime()) else {}

# A key with all rights.
KEY = "a-key-for-tests"


def voices(name: str) -> str:
    """Returns the path of a recording of a synthetic voice."""
    return str(FIXTURES / "audio" / f"{name}.wav")


def stages() -> list[pathlib.Path]:
    """Returns the folders of golden arrays, one per recording."""
    roots = [FIXTURES / "golden/stages"]
    if PARITY_DATA:
        roots.append(PARITY_DATA / "golden/stages")
    return [folder for root in roots for folder in sorted(root.iterdir())]


def golden(root: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the golden embeddings in a folder, with the paths of their recordings."""
    lines = (root / "golden/embeddings.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def array(folder: pathlib.Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy")


def cosine(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.fixture(scope="session")
def encoder() -> voice_embedding.VoiceEncoder:
    return voice_embedding.VoiceEncoder(verbose=False)


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    """Starts a service that stores speakers in memory, and yields its URL."""
    binary = os.environ.get("SERVICE")
    if not binary:
        pytest.skip("SERVICE names no binary of the service")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "API_KEY": KEY,
        "DATABASE_URL": "memory:",
        "ENCODER": "native",
        "MODELS": "resemblyzer",
        "MODELS_DIR": str(REPOSITORY / "models"),
        **ONNX_RUNTIME,
    }
    server = subprocess.Popen([binary, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert server.poll() is None, "the service ended by itself"
            try:
                with urllib.request.urlopen(f"{url}/ready", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail("the service is not ready after 30 seconds")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
