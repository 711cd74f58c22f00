"""Resemblyzer's preprocessing: from a recording to its speech, and from speech to a mel spectrogram."""

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
    """Returns the speech of a recording: resampled to 16 kHz, raised to -30 dBFS if it is quieter, and without long silences.

    Args:
        fpath_or_wav: A path, the bytes of a file, or a waveform with full scale at 1.
        source_sr: The sample rate of the waveform in Hz. By default it must be 16 kHz. Ignored for a path.

    Returns:
        Samples at 16 kHz. The array is empty if there is no speech.

    Raises:
        OSError: The file cannot be read.
        AudioError: The file cannot be decoded.
        TypeError, ValueError: The waveform is invalid, or ``source_sr`` is not from 4,000 to 384,000.
    """
    if isinstance(fpath_or_wav, (str, os.PathLike, bytes)):
        return _core.preprocess(fpath_or_wav)
    rate_hz = sampling_rate if source_sr is None else whole("source_sr", source_sr, *_core.SAMPLE_RATES_HZ)
    return _core.preprocess((as_waveform(fpath_or_wav), rate_hz))


def wav_to_mel_spectrogram(wav: Any) -> NDArray[np.float32]:
    """Returns the power mel spectrogram (not logarithmic) of a waveform at 16 kHz: ``[frames, 40]``, a frame every 10 ms."""
    return _core.mel_spectrogram(as_waveform(wav))


def trim_long_silences(wav: Any) -> NDArray[np.float32]:
    """Returns a waveform at 16 kHz without the parts that contain no speech. Short pauses stay.

    Samples beyond full scale are clipped. In the original, they wrap around.
    """
    return _core.trim_long_silences(as_samples(wav))


def normalize_volume(
    wav: Any, target_dBFS: float, increase_only: bool = False, decrease_only: bool = False
) -> NDArray[np.float32]:
    """Scales a waveform to an RMS level in dB relative to full scale. Digital silence stays unchanged.

    Raises:
        ValueError: Both ``increase_only`` and ``decrease_only`` are set.
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
