"""Resemblyzer's preprocessing: a recording -> the speech in it -> a mel spectrogram."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import as_samples, as_waveform, whole
from .hparams import *  # noqa: F403  as in the original
from .hparams import sampling_rate

int16_max = (2**15) - 1


def preprocess_wav(fpath_or_wav: Union[str, Path, Any], source_sr: Optional[int] = None) -> NDArray[np.float32]:
    """The speech of a recording: resampled to 16 kHz, raised to -30 dBFS if it is quieter, long silences cut out.

    Args:
        fpath_or_wav: a path, the bytes of a file, or a waveform, full scale at 1.
        source_sr: the rate of the waveform in Hz; without it, the waveform must be at 16 kHz. Ignored for a path.

    Returns:
        Samples at 16 kHz; none if there is no speech.

    Raises:
        OSError: the file cannot be read.
        AudioError: it cannot be decoded.
        TypeError, ValueError: the waveform is not one, or ``source_sr`` is not from 4,000 to 384,000.
    """
    if isinstance(fpath_or_wav, (str, os.PathLike, bytes)):
        return _core.preprocess(fpath_or_wav)
    rate_hz = sampling_rate if source_sr is None else whole("source_sr", source_sr, *_core.SAMPLE_RATES_HZ)
    return _core.preprocess((as_waveform(fpath_or_wav), rate_hz))


def wav_to_mel_spectrogram(wav: Any) -> NDArray[np.float32]:
    """The power mel spectrogram of a waveform at 16 kHz, not logarithmic: ``[frames, 40]``, a frame each 10 ms."""
    return _core.mel_spectrogram(as_waveform(wav))


def trim_long_silences(wav: Any) -> NDArray[np.float32]:
    """A waveform at 16 kHz without the parts that hold no speech; short pauses stay.

    Samples beyond full scale count as full scale; the original lets them wrap around.
    """
    return _core.trim_long_silences(as_samples(wav))


def normalize_volume(
    wav: Any, target_dBFS: float, increase_only: bool = False, decrease_only: bool = False
) -> NDArray[np.float32]:
    """A waveform scaled to a level, in dB relative to full scale, as RMS. Digital silence stays as it is.

    Raises:
        ValueError: both ``increase_only`` and ``decrease_only`` are set.
    """
    if increase_only and decrease_only:
        raise ValueError("Both increase only and decrease only are set")
    samples = as_waveform(wav)
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    if not np.isfinite(power):
        raise ValueError("the samples hold infinite or not-a-number values")
    change_db = target_dBFS - 10 * np.log10(power) if power > 0 else 0.0
    if (change_db < 0 and increase_only) or (change_db > 0 and decrease_only):
        return samples
    scaled: NDArray[np.float32] = samples * np.float32(10 ** (change_db / 20))
    return scaled
