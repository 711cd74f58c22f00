"""Detects waveforms whose sample rate is not 16 kHz."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The threshold along the direction in `_rate.npy`. That direction leads from the mean embedding of speech at 16 kHz to the mean
# embedding of speech at 44.1 and 48 kHz that is read as 16 kHz (scripts/misread_rate.py). It was tested on 56 recordings, each
# with a direction computed without its speaker: recordings at 16 kHz lie below 0.02, those at 44.1 and 48 kHz above 0.07.
_THRESHOLD = 0.05

# The model for which the direction was computed.
_MODEL = "resemblyzer-0.1.4/39373b86"


class SampleRateWarning(UserWarning):
    """A waveform sounds as if it had another sample rate than assumed."""


@lru_cache(maxsize=None)
def _direction() -> NDArray[np.float32]:
    direction: NDArray[np.float32] = np.load(Path(__file__).with_name("_rate.npy"), allow_pickle=False)
    return direction


def check(embedding: NDArray[np.float32], model: str) -> None:
    """Warns if an embedding resembles those of speech at 44.1 or 48 kHz that is read as 16 kHz."""
    if model == _MODEL and float(embedding @ _direction()) > _THRESHOLD:
        warnings.warn(
            "the waveform sounds like one at 44.1 or 48 kHz that is taken for 16 kHz: pass source_sr to preprocess_wav",
            SampleRateWarning,
            stacklevel=3,
        )
