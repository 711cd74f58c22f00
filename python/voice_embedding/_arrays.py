"""Checks and conversions of arrays and numbers for the engine."""

from __future__ import annotations

import operator
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray


def as_samples(wav: Any) -> NDArray[np.float32]:
    """Returns a waveform as contiguous ``float32``, without a copy if possible. It may be empty.

    Raises:
        TypeError: The samples are not floating point.
        ValueError: The array has more than one dimension.
    """
    array = np.asarray(wav)
    if array.dtype.kind != "f":
        scale = {"int16": 2**15, "int32": 2**31}.get(array.dtype.name)
        hint = f"; scale them: wav.astype(numpy.float32) / {scale}" if scale else ""
        raise TypeError(f"samples are floating point, full scale at 1, not {array.dtype}{hint}")
    if array.ndim != 1:
        raise ValueError(
            f"a waveform has one dimension, not the shape {array.shape}: take a channel, or the mean of all"
        )
    return aligned(array, np.float32)


def aligned(array: Any, dtype: Any) -> NDArray[Any]:
    """Returns an array that Rust can read, without a copy if possible."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def whole(name: str, value: Any, least: int, most: int) -> int:
    """Returns a whole number within its bounds.

    Raises:
        TypeError: The value is not a whole number.
        ValueError: The number is out of its bounds.
    """
    number = operator.index(value)
    if not least <= number <= most:
        raise ValueError(f"{name} is from {least} to {most}, not {number}")
    return number


def optional(name: str, value: Optional[Any], least: int, most: int) -> Optional[int]:
    """As :func:`whole`, but accepts ``None``."""
    return None if value is None else whole(name, value, least, most)


def as_waveform(wav: Any) -> NDArray[np.float32]:
    """As :func:`as_samples`, but requires at least one sample."""
    samples = as_samples(wav)
    if samples.size == 0:
        raise ValueError("the waveform is empty")
    return samples
