"""Arrays as the engine takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_samples(wav: Any) -> NDArray[np.float32]:
    """A waveform as contiguous ``float32``, without a copy if it is that already. It may be empty.

    Raises:
        TypeError: the samples are not floating point.
        ValueError: there is more than one dimension.
    """
    array = np.asarray(wav)
    if array.dtype.kind != "f":
        hint = f"; scale them: wav.astype(numpy.float32) / {2 ** (8 * array.dtype.itemsize - 1)}"
        raise TypeError(
            f"samples are floating point, full scale at 1, not {array.dtype}{hint if array.dtype.kind == 'i' else ''}"
        )
    if array.ndim != 1:
        raise ValueError(
            f"a waveform has one dimension, not the shape {array.shape}: take a channel, or the mean of all"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def as_waveform(wav: Any) -> NDArray[np.float32]:
    """As :func:`as_samples`, of at least one sample."""
    samples = as_samples(wav)
    if samples.size == 0:
        raise ValueError("the waveform is empty")
    return samples
