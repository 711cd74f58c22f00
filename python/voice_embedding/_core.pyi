import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional, Union, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CHANNELS",
    "Files",
    "Model",
    "SAMPLE_RATES_HZ",
    "SPEAKERS",
    "THREADS",
    "__version__",
    "decode",
    "diarize",
    "embed_files",
    "mel_spectrogram",
    "preprocess",
    "similarities",
    "trim_long_silences",
    "verify",
    "window_starts",
]

__version__: str
SAMPLE_RATES_HZ: tuple[int, int]
CHANNELS: tuple[int, int]
THREADS: tuple[int, int]
SPEAKERS: tuple[int, int]

_Source = Union[bytes, tuple[NDArray[np.float32], int], str, os.PathLike[str]]
_Side = tuple[NDArray[np.float64], Optional[float], Optional[float], list[str]]
_Embedded = tuple[NDArray[np.float32], dict[str, Any]]

@final
class Model:
    def __new__(
        cls,
        name: str,
        weights: Optional[bytes],
        encoder: Optional[str],
        library: Optional[Union[str, os.PathLike[str]]],
        max_audio_seconds: float,
        min_speech_seconds: float,
    ) -> Model: ...
    @property
    def id(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def encoder(self) -> str: ...
    def embed_windows(self, mels: NDArray[np.float32]) -> NDArray[np.float32]: ...
    def embed_utterance(
        self, wav: NDArray[np.float32], step_frames: int, min_coverage: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], list[int]]: ...
    def embed(self, source: _Source, number: Optional[int]) -> _Embedded: ...

@final
class Files:
    def __iter__(self) -> Iterator[tuple[Any, Optional[_Embedded], Optional[Exception]]]: ...
    def close(self) -> None: ...
    def __next__(self) -> tuple[Any, Optional[_Embedded], Optional[Exception]]: ...

def decode(
    source: _Source, number: Optional[int], max_seconds: float
) -> tuple[NDArray[np.float32], dict[str, Any]]: ...
def preprocess(source: Union[_Source, os.PathLike[Any]]) -> NDArray[np.float32]: ...
def trim_long_silences(wav: NDArray[np.float32]) -> NDArray[np.float32]: ...
def mel_spectrogram(wav: NDArray[np.float32]) -> NDArray[np.float32]: ...
def window_starts(n_samples: int, step_frames: int, min_coverage: float) -> list[int]: ...
def verify(
    model: Model,
    sides: Sequence[_Side],
    threshold: Optional[float],
    max_false_accept_rate: Optional[float],
) -> dict[str, Any]: ...
def similarities(
    model: Model, embeddings: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.float32], list[list[int]]]: ...
def embed_files(
    model: Model, paths: Iterable[Union[str, os.PathLike[str]]], number: Optional[int], threads: Optional[int]
) -> Files: ...
def diarize(
    model: Model,
    source: _Source,
    number: Optional[int],
    threads: Optional[int],
    bounds: tuple[Optional[int], Optional[int]],
    overlap: bool,
    name: str,
) -> dict[str, Any]: ...
