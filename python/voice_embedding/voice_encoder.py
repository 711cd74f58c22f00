"""Resemblyzer's ``VoiceEncoder`` on this engine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Optional, Union, overload

import numpy as np
from numpy.typing import NDArray

from . import _core, _rate
from ._arrays import as_samples
from ._engine import Encoder, load
from .errors import NoSpeech
from .hparams import *  # noqa: F403  as in the original
from .hparams import mel_n_channels, mel_window_step, partials_n_frames, sampling_rate


class VoiceEncoder:
    """Embeds voices as Resemblyzer does. Threads and forked processes may share it.

    With ``encoder="ort"`` components differ from the original by 1e-5 at most; the native encoder computes in 16-bit integers, and its
    embeddings have a cosine of 0.999998 or more to those.

    Args:
        device: taken for compatibility; everything runs on the CPU.
        verbose: whether to print how long loading took.
        weights_fpath: other weights: a checkpoint of PyTorch (``.pt``) or an ONNX file.
        encoder: ``"native"`` or ``"ort"`` (ONNX Runtime); by default the faster one that the machine has.
    """

    def __init__(
        self,
        device: Any = None,
        verbose: bool = True,
        weights_fpath: Optional[Union[Path, str]] = None,
        *,
        encoder: Optional[Encoder] = None,
    ) -> None:
        start = time.perf_counter()
        self.device = "cpu"
        self._arguments = (device, False, weights_fpath, encoder)
        self._model = load("resemblyzer", encoder, weights_fpath)
        if verbose:
            seconds = time.perf_counter() - start
            print(f"Loaded the voice encoder model on {self.device} in {seconds:.2f} seconds.")

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, self._arguments

    @property
    def model(self) -> str:
        """The fingerprint of weights and preprocessing: embeddings can be compared if it is equal."""
        return self._model.fingerprint

    def to(self, device: Any) -> VoiceEncoder:
        """Does nothing, as everything runs on the CPU."""
        return self

    def eval(self) -> VoiceEncoder:
        """Does nothing, as nothing can be trained."""
        return self

    def forward(self, mels: Any) -> NDArray[np.float32]:
        """Mel spectrograms of equal length, ``[n, frames, 40]`` -> their embeddings, ``[n, 256]``, L2 norm 1.

        The original takes and gives tensors; here they are arrays.
        """
        array = np.ascontiguousarray(np.asarray(mels), dtype=np.float32)
        if array.ndim != 3 or array.shape[1] == 0 or array.shape[2] != mel_n_channels:
            raise ValueError(f"mels have the shape [n, frames, {mel_n_channels}], not {list(array.shape)}")
        if not np.isfinite(array).all():
            raise ValueError("the mels hold infinite or not-a-number values")
        return self._model.embed_windows(array)

    __call__ = forward

    @staticmethod
    def compute_partial_slices(
        n_samples: int, rate: float = 1.3, min_coverage: float = 0.75
    ) -> tuple[list[slice], list[slice]]:
        """Where an utterance is cut into windows of 1.6 seconds.

        Args:
            n_samples: its length at 16 kHz.
            rate: windows a second, from 0.625 to 100.
            min_coverage: the share of the last window that must be audio for it to count, unless it is the only one.

        Returns:
            Slices of the waveform, which may reach beyond its end, and of its mel spectrogram.
        """
        step_frames = _step_frames(rate, min_coverage)
        samples_per_frame = sampling_rate * mel_window_step // 1000
        starts = _core.window_starts(n_samples, step_frames, min_coverage)
        mel_slices = [slice(start, start + partials_n_frames) for start in starts]
        wav_slices = [slice(s.start * samples_per_frame, s.stop * samples_per_frame) for s in mel_slices]
        return wav_slices, mel_slices

    @overload
    def embed_utterance(
        self, wav: Any, return_partials: Literal[False] = ..., rate: float = ..., min_coverage: float = ...
    ) -> NDArray[np.float32]: ...

    @overload
    def embed_utterance(
        self, wav: Any, return_partials: Literal[True], rate: float = ..., min_coverage: float = ...
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], list[slice]]: ...

    def embed_utterance(
        self, wav: Any, return_partials: bool = False, rate: float = 1.3, min_coverage: float = 0.75
    ) -> Union[NDArray[np.float32], tuple[NDArray[np.float32], NDArray[np.float32], list[slice]]]:
        """The embedding of an utterance: the mean of those of its windows, scaled to L2 norm 1.

        Args:
            wav: what :func:`~voice_embedding.preprocess_wav` gave.
            return_partials: whether to return the windows' embeddings, too.
            rate, min_coverage: as for :meth:`compute_partial_slices`.

        Returns:
            The embedding, ``[256]``; with ``return_partials`` also those of the windows, ``[n, 256]``, and their slices of the waveform.

        Raises:
            NoSpeech: the waveform is empty or digital silence. The original embeds those, so that they all match each other.
            TypeError, ValueError: the waveform is not one, or a number is out of its range.

        Warns:
            SampleRateWarning: the waveform sounds like one of another rate than 16 kHz.
        """
        samples = as_samples(wav)
        step_frames = _step_frames(rate, min_coverage)
        if not samples.any():
            raise NoSpeech("No speech was found in the audio: the waveform is empty or silent")
        embedding, partials, starts = self._model.embed_utterance(samples, step_frames, min_coverage)
        _rate.check(embedding, self.model)
        if not return_partials:
            return embedding
        hop = sampling_rate * mel_window_step // 1000
        slices = [slice(start * hop, (start + partials_n_frames) * hop) for start in starts]
        return embedding, partials, slices

    def embed_speaker(self, wavs: Iterable[Any], **kwargs: Any) -> NDArray[np.float32]:
        """The mean of the embeddings of several utterances, each counting as much, scaled to L2 norm 1.

        Args:
            wavs: what :func:`~voice_embedding.preprocess_wav` gave, at least one.
            kwargs: ``rate`` and ``min_coverage`` of :meth:`embed_utterance`.
        """
        embeddings = [self.embed_utterance(wav, return_partials=False, **kwargs) for wav in wavs]
        if not embeddings:
            raise ValueError("there is no utterance to embed")
        mean = np.mean(embeddings, axis=0, dtype=np.float32)
        return np.asarray(mean / np.linalg.norm(mean, 2), np.float32)


def _step_frames(rate: float, min_coverage: float) -> int:
    """Frames from one window to the next."""
    if not 0 < min_coverage <= 1:
        raise ValueError(f"min_coverage is above 0 and at most 1, not {min_coverage}")
    if not rate > 0:
        raise ValueError(f"the rate is above 0, not {rate}")
    frame_step = int(np.round((sampling_rate / rate) / (sampling_rate * mel_window_step // 1000)))
    if frame_step == 0:
        raise ValueError("The rate is too high")
    if frame_step > partials_n_frames:
        raise ValueError(f"The rate is too low, it should be {1000 / mel_window_step / partials_n_frames} at least")
    return frame_step


def _unpickled(device: Any, verbose: bool, weights: Optional[Union[Path, str]], encoder: Optional[Encoder]) -> VoiceEncoder:
    return VoiceEncoder(device, verbose, weights, encoder=encoder)
