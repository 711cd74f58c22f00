"""Resemblyzer's ``VoiceEncoder``, computed by this engine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Optional, Union, overload

import numpy as np
from numpy.typing import NDArray

from . import _core, _rate
from ._arrays import aligned, as_samples, whole
from ._engine import Encoder, load
from .errors import NoSpeech
from .hparams import *  # noqa: F403  as in the original
from .hparams import mel_n_channels, mel_window_step, partials_n_frames, sampling_rate


# The number of samples from one frame of a mel spectrogram to the next.
HOP_SAMPLES = sampling_rate * mel_window_step // 1000

# The longest waveform, about three days.
MAX_SAMPLES = 2**32 - 1


class Device(str):
    """The CPU, with the same name as in the original."""

    @property
    def type(self) -> str:
        """``cpu``."""
        return str(self)


class VoiceEncoder:
    """Embeds voices as Resemblyzer does. Threads and forked processes may share it.

    With ``encoder="ort"``, components differ from the original by at most 1e-5. The native encoder computes in 16-bit integers,
    and its embeddings have a cosine of at least 0.999998 to those of ``"ort"``.

    Args:
        device: Accepted for compatibility. Everything runs on the CPU.
        verbose: Whether to print the loading time.
        weights_fpath: The original's checkpoint (``pretrained.pt``), or an ONNX file with other weights.
        encoder: ``"native"`` or ``"ort"`` (ONNX Runtime). The default is the faster one that the machine supports.
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
        self.device = Device("cpu")
        self._arguments = ("resemblyzer", encoder, weights_fpath)
        self._model = load(*self._arguments)
        if verbose:
            seconds = time.perf_counter() - start
            print(f"Loaded the voice encoder model on {self.device} in {seconds:.2f} seconds.")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._model = load(*self._arguments)

    @property
    def model(self) -> str:
        """The fingerprint of weights and preprocessing. Only embeddings with equal fingerprints can be compared."""
        return self._model.fingerprint

    def to(self, *_: Any, **__: Any) -> VoiceEncoder:
        """Does nothing, because everything runs on the CPU and the model cannot be trained.

        The same holds for ``cpu``, ``cuda``, ``eval`` and ``train``.
        """
        return self

    cpu = cuda = eval = train = to

    def forward(self, mels: Any) -> NDArray[np.float32]:
        """Embeds mel spectrograms of equal length, ``[n, frames, 40]``, as ``[n, 256]`` with L2 norm 1.

        The original uses tensors, this method arrays. With ``encoder="ort"``, the number of frames must be 160.
        """
        array = aligned(mels, np.float32)
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
        """Returns the windows of 1.6 seconds into which an utterance is cut.

        Args:
            n_samples: The length of the utterance at 16 kHz.
            rate: The number of windows per second, from 0.625 to 100.
            min_coverage: The share of the last window that audio must cover. Otherwise the window is left out, unless it is the
                only one.

        Returns:
            Slices of the waveform, which may extend beyond its end, and of its mel spectrogram.
        """
        step_frames = _step_frames(rate, min_coverage)
        n_samples = whole("n_samples", n_samples, 0, MAX_SAMPLES)
        starts = _core.window_starts(n_samples, step_frames, min_coverage)
        return _wav_slices(starts), [slice(start, start + partials_n_frames) for start in starts]

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
        """Returns the embedding of an utterance: the mean of its windows' embeddings, scaled to L2 norm 1.

        Args:
            wav: The result of :func:`~voice_embedding.preprocess_wav`.
            return_partials: Whether to return the windows' embeddings, too.
            rate, min_coverage: As for :meth:`compute_partial_slices`.

        Returns:
            The embedding, ``[256]``. With ``return_partials``, also the embeddings of the windows, ``[n, 256]``, and their slices
            of the waveform.

        Raises:
            NoSpeech: The waveform is empty or digital silence. The original embeds such waveforms, and they all match each other.
            TypeError, ValueError: The waveform is invalid, or a number is out of its range.

        Warns:
            SampleRateWarning: The waveform sounds as if its sample rate were not 16 kHz.
        """
        samples = as_samples(wav)
        step_frames = _step_frames(rate, min_coverage)
        if not samples.any():
            raise NoSpeech("No speech was found in the audio: the waveform is empty or silent")
        embedding, partials, starts = self._model.embed_utterance(samples, step_frames, min_coverage)
        _rate.check(embedding, self.model)
        if not return_partials:
            return embedding
        return embedding, partials, _wav_slices(starts)

    def embed_speaker(self, wavs: Iterable[Any], **kwargs: Any) -> NDArray[np.float32]:
        """Returns the mean of several utterances' embeddings with equal weights, scaled to L2 norm 1.

        Args:
            wavs: At least one result of :func:`~voice_embedding.preprocess_wav`.
            kwargs: ``rate`` and ``min_coverage`` of :meth:`embed_utterance`.
        """
        embeddings = [self.embed_utterance(wav, return_partials=False, **kwargs) for wav in wavs]
        if not embeddings:
            raise ValueError("there is no utterance to embed")
        mean = np.mean(embeddings, axis=0, dtype=np.float32)
        return np.asarray(mean / np.linalg.norm(mean, 2), np.float32)


def _step_frames(rate: float, min_coverage: float) -> int:
    """Returns the number of frames from one window to the next."""
    if not 0 < min_coverage <= 1:
        raise ValueError(f"min_coverage is above 0 and at most 1, not {min_coverage}")
    if not rate > 0:
        raise ValueError(f"the rate is above 0, not {rate}")
    frame_step = int(np.round((sampling_rate / rate) / HOP_SAMPLES))
    if frame_step == 0:
        raise ValueError("The rate is too high")
    if frame_step > partials_n_frames:
        raise ValueError(f"The rate is too low, it should be {1000 / mel_window_step / partials_n_frames} at least")
    return frame_step


def _wav_slices(starts: list[int]) -> list[slice]:
    """Returns the slices of the waveform for windows with these first frames."""
    return [slice(start * HOP_SAMPLES, (start + partials_n_frames) * HOP_SAMPLES) for start in starts]
