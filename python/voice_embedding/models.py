"""Embeddings of recordings and decisions about them, with any model. Resemblyzer does not have these functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from . import _core, _engine
from ._arrays import aligned, as_waveform, optional, whole
from ._engine import Encoder

PathLike = Union[str, "os.PathLike[str]"]

# A recording: its path, the bytes of the file, or a waveform, which needs its sample rate.
Source = Union[PathLike, bytes, NDArray[Any]]


@dataclass(frozen=True)
class AudioReport:
    """A report on a recording."""

    duration_seconds: float
    """The length of the recording."""
    speech_seconds: float
    """The length of the speech in it."""
    sample_rate_hz: int
    """The sample rate of the file or array."""
    channels: int
    """The number of channels in the file."""
    level_dbfs: float
    """The RMS level of the decoded samples before any gain, relative to full scale."""
    windows: int
    """The number of windows or pieces that the encoder processed."""
    warnings: tuple[str, ...]
    """Reasons to trust the embedding less.

    The possible warnings are ``short_speech``, ``narrowband``, ``clipped``, ``low_level``, ``truncated``, ``noise`` and
    ``several_speakers``.
    """


@dataclass(frozen=True, eq=False)
class Voice:
    """A voice in a recording."""

    embedding: NDArray[np.float32]
    """The embedding, with L2 norm 1 and the model's dimension."""
    audio: AudioReport
    model: str
    """The model's fingerprint. Only embeddings with equal fingerprints can be compared."""


@dataclass(frozen=True, eq=False)
class FileResult:
    """The result for a file: a voice or an error."""

    path: PathLike
    """The path as passed to the function."""
    voice: Optional[Voice]
    error: Optional[Exception]
    """The error, if there is no voice.

    It is an ``OSError`` if the file cannot be read, an ``AudioError`` if it cannot be embedded, and a ``ValidationError`` if it
    lacks the channel.
    """

    @property
    def embedding(self) -> Optional[NDArray[np.float32]]:
        """The embedding, if there is one."""
        return self.voice.embedding if self.voice else None

    @property
    def code(self) -> Optional[str]:
        """The kind of error, if there is one.

        This is the code of a ``VoiceEmbeddingError``, ``unreadable`` for an ``OSError``, or else ``internal``.
        """
        if self.error is None:
            return None
        return "unreadable" if isinstance(self.error, OSError) else getattr(self.error, "code", "internal")


@dataclass(frozen=True, eq=False)
class Recording:
    """A decoded recording."""

    samples: NDArray[np.float32]
    """One channel at 16 kHz, with full scale at 1."""
    duration_seconds: float
    sample_rate_hz: int
    """The sample rate of the file."""
    channels: int
    """The number of channels in the file."""
    level_dbfs: float
    clipped: bool
    """Whether more than one sample in a thousand is at full scale."""
    truncated: bool
    """Whether the file shows that a part of it is missing."""


@dataclass(frozen=True)
class Verification:
    """The decision whether two voices are of the same speaker."""

    similarity: float
    """The cosine, from -1 to 1."""
    threshold: float
    is_same_speaker: bool
    """Whether the similarity is above the threshold."""
    log_likelihood_ratio: Optional[float]
    """The natural logarithm of the likelihood ratio between one speaker and two speakers at this similarity."""
    false_accept_rate: Optional[float]
    """The share of comparisons of different speakers of the same sex, with as much speech, that score at least as high."""
    false_accept_rate_is_bound: bool
    """Whether the rate is only an upper bound."""
    calibration_note: str
    """The recordings on which the rate was measured, or the reason why there is no rate."""
    calibration: Optional[str] = None
    """The name of the calibration behind the rates."""
    warnings: tuple[str, ...] = ()
    """Reasons to trust the decision less: the warnings of both voices, and ``level_mismatch``."""


@dataclass(frozen=True, eq=False)
class Similarities:
    """Comparisons of all voices with each other."""

    matrix: NDArray[np.float32]
    """The cosines, ``[n, n]``."""
    clusters: list[list[int]]
    """The indices of voices that belong together, by average linkage with a cut at the threshold."""
    threshold: float


@dataclass(frozen=True)
class Turn:
    """A turn of one speaker."""

    start: float
    """The start in seconds of the recording."""
    end: float
    speaker: str
    """The speaker's label: ``S1``, ``S2`` and so on."""
    margin: Optional[float]
    """The similarity to this speaker minus the similarity to the next best one.

    ``None`` if there is no other speaker, or if the whole turn overlaps with others.
    """


@dataclass(frozen=True, eq=False)
class Speaker:
    """A speaker of a recording."""

    label: str
    seconds: float
    """The total length of the turns."""
    embedding: Optional[NDArray[np.float32]]
    """The embedding of the speech without others. ``None`` if the speaker is never heard alone."""


@dataclass(frozen=True, eq=False)
class Diarization:
    """The turns and speakers of a recording."""

    turns: list[Turn]
    """The turns in the order of their starts. Turns of different speakers may overlap."""
    speakers: list[Speaker]
    overlap_seconds: float
    """The length of overlapping speech."""
    audio: AudioReport
    model: str
    rttm: str
    """The turns as lines of RTTM."""


class SpeakerModel:
    """A loaded model. Threads and forked processes may share it.

    Args:
        name: ``"resemblyzer"`` or ``"campplus"``.
        encoder: ``"native"`` or ``"ort"``. The default is the faster one that the machine supports.
        weights: A file with other weights.
        max_audio_seconds: The length of the longest accepted recording.
        min_speech_seconds: The shortest accepted length of speech. 0 accepts any length.
    """

    def __init__(
        self,
        name: str = "resemblyzer",
        *,
        encoder: Optional[Encoder] = None,
        weights: Optional[Union[str, Path]] = None,
        max_audio_seconds: float = _engine.MAX_AUDIO_SECONDS,
        min_speech_seconds: float = 0.0,
    ) -> None:
        self._arguments = (name, encoder, weights, max_audio_seconds, min_speech_seconds)
        self._model = _engine.load(*self._arguments)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._model = _engine.load(*self._arguments)

    @property
    def id(self) -> str:
        """``resemblyzer`` or ``campplus``."""
        return self._model.id

    @property
    def fingerprint(self) -> str:
        """The fingerprint of weights and preprocessing."""
        return self._model.fingerprint

    @property
    def dimension(self) -> int:
        """The number of components in an embedding."""
        return self._model.dimension

    @property
    def threshold(self) -> float:
        """The default threshold. A similarity above it counts as the same speaker."""
        return self._model.threshold

    @property
    def encoder(self) -> str:
        """The encoder that runs the model: ``ort``, or ``native-`` and the CPU's instruction set."""
        return self._model.encoder

    def embed(self, source: Source, *, sample_rate: Optional[int] = None, channel: Optional[int] = None) -> Voice:
        """Embeds the voice in a recording.

        Args:
            source: A path, the bytes of a file, or a waveform.
            sample_rate: The sample rate of the waveform in Hz. Required for an array.
            channel: The channel of a file, from 0. The default is the mean of all channels.

        Raises:
            OSError: The file cannot be read.
            AudioError: The recording cannot be embedded.
            ValidationError: The channel does not exist.
        """
        embedding, report = self._model.embed(_source(source, sample_rate), _channel(channel))
        return Voice(embedding, AudioReport(**report), self.fingerprint)

    def embed_files(
        self, paths: Iterable[PathLike], *, channel: Optional[int] = None, threads: Optional[int] = None
    ) -> Iterator[FileResult]:
        """Embeds the voices in many files. Yields results in the order of the files while all cores compute.

        Args:
            paths: The files. They are read only as needed, so a generator of any length works.
            channel: As for :meth:`embed`.
            threads: The number of threads. The default is the number of cores.
        """
        return self._results(_core.embed_files(self._model, paths, _channel(channel), _threads(threads)))

    def _results(self, files: _core.Files) -> Iterator[FileResult]:
        try:
            for path, embedded, error in files:
                voice = Voice(embedded[0], AudioReport(**embedded[1]), self.fingerprint) if embedded else None
                yield FileResult(path, voice, error)
        finally:
            files.close()

    def verify(
        self,
        a: Union[Voice, Source],
        b: Union[Voice, Source],
        *,
        threshold: Optional[float] = None,
        max_false_accept_rate: Optional[float] = None,
    ) -> Verification:
        """Decides whether two voices are of the same speaker.

        Each voice is a recording, a :class:`Voice` or an embedding (an array).

        Args:
            a: The first voice.
            b: The second voice.
            threshold: The decision threshold. The default is the similarity above which one speaker is more likely than two,
                for as much speech.
            max_false_accept_rate: The highest allowed rate at which different speakers with as much speech are accepted as the
                same. An alternative to a threshold.
        """
        sides = (self._side(a), self._side(b))
        return Verification(**_core.verify(self._model, sides, threshold, max_false_accept_rate))

    def similarities(
        self, voices: Sequence[Union[Voice, Source]], *, threshold: Optional[float] = None
    ) -> Similarities:
        """Compares all voices with each other and groups them.

        Each voice is a recording, a :class:`Voice` or an embedding (an array).
        """
        if isinstance(voices, (str, bytes)):
            raise TypeError("voices are a list")
        threshold = self.threshold if threshold is None else threshold
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold is a cosine, from -1 to 1, not {threshold}")
        rows = [self._side(voice)[0] for voice in voices]
        matrix = np.stack(rows) if rows else np.zeros((0, self.dimension))
        similarities, clusters = _core.similarities(self._model, matrix, threshold)
        return Similarities(similarities, clusters, threshold)

    def diarize(
        self,
        source: Source,
        *,
        sample_rate: Optional[int] = None,
        channel: Optional[int] = None,
        num_speakers: Optional[int] = None,
        min_speakers: Optional[int] = None,
        max_speakers: Optional[int] = None,
        overlap: bool = True,
        threads: Optional[int] = None,
    ) -> Diarization:
        """Finds who spoke when in a recording.

        Args:
            source, sample_rate, channel: As for :meth:`embed`.
            num_speakers: The number of speakers, if it is known.
            min_speakers: The default is 1.
            max_speakers: The default is 10, and the highest value 30.
            overlap: Whether turns of different speakers may overlap. If not, overlapping speech goes to the speaker who is heard
                most.
            threads: The number of threads. The default is the number of cores.

        Raises:
            RuntimeError: The segmentation network cannot run. With ``encoder="ort"``, it needs ONNX Runtime.
        """
        if num_speakers is not None:
            if min_speakers is not None or max_speakers is not None:
                raise ValueError("num_speakers, or min_speakers and max_speakers")
            min_speakers = max_speakers = num_speakers
        stem = Path(os.fsdecode(source)).stem if isinstance(source, (str, os.PathLike)) else "recording"
        # Characters that are not UTF-8 are replaced.
        name = stem.encode(errors="replace").decode()
        found = _core.diarize(
            self._model,
            _source(source, sample_rate),
            _channel(channel),
            _threads(threads),
            (
                optional("min_speakers", min_speakers, *_core.SPEAKERS),
                optional("max_speakers", max_speakers, *_core.SPEAKERS),
            ),
            bool(overlap),
            name,
        )
        return Diarization(
            [Turn(*turn) for turn in found["turns"]],
            [Speaker(*speaker) for speaker in found["speakers"]],
            found["overlap_seconds"],
            AudioReport(**found["audio"]),
            self.fingerprint,
            found["rttm"],
        )

    def _side(self, voice: Union[Voice, Source]) -> _Side:
        """Returns the embedding of a voice, its seconds of speech, its level and its warnings."""
        if isinstance(voice, np.ndarray):
            if voice.shape != (self.dimension,):
                raise ValueError(
                    f"an embedding has the shape ({self.dimension},), not {voice.shape}; "
                    "of a waveform, compare embed(wav, sample_rate=...)"
                )
            return aligned(voice, np.float64), None, None, []
        if not isinstance(voice, Voice):
            voice = self.embed(voice)
        if voice.model != self.fingerprint:
            raise ValueError(f"embeddings of {voice.model} and of {self.fingerprint} cannot be compared")
        audio = voice.audio
        return voice.embedding.astype(np.float64), audio.speech_seconds, audio.level_dbfs, list(audio.warnings)


_Side = tuple[NDArray[np.float64], Optional[float], Optional[float], list[str]]

Model = Union[str, SpeakerModel]


def decode(
    source: Source,
    *,
    sample_rate: Optional[int] = None,
    channel: Optional[int] = None,
    max_seconds: float = _engine.MAX_AUDIO_SECONDS,
) -> Recording:
    """Decodes a recording to samples at 16 kHz.

    Args:
        source, sample_rate, channel: As for :meth:`SpeakerModel.embed`.
        max_seconds: The length of the longest accepted recording.

    Raises:
        OSError: The file cannot be read.
        AudioError: The file cannot be decoded.
    """
    if not max_seconds > 0:
        raise ValueError("max_seconds is above 0")
    samples, noticed = _core.decode(_source(source, sample_rate), _channel(channel), max_seconds)
    return Recording(samples, **noticed)


def embed(
    source: Source, *, sample_rate: Optional[int] = None, channel: Optional[int] = None, model: Model = "resemblyzer"
) -> Voice:
    """See :meth:`SpeakerModel.embed`."""
    return _loaded(model).embed(source, sample_rate=sample_rate, channel=channel)


def embed_files(
    paths: Iterable[PathLike],
    *,
    channel: Optional[int] = None,
    threads: Optional[int] = None,
    model: Model = "resemblyzer",
) -> Iterator[FileResult]:
    """See :meth:`SpeakerModel.embed_files`."""
    return _loaded(model).embed_files(paths, channel=channel, threads=threads)


def verify(
    a: Union[Voice, Source],
    b: Union[Voice, Source],
    *,
    threshold: Optional[float] = None,
    max_false_accept_rate: Optional[float] = None,
    model: Model = "resemblyzer",
) -> Verification:
    """See :meth:`SpeakerModel.verify`."""
    return _loaded(model).verify(a, b, threshold=threshold, max_false_accept_rate=max_false_accept_rate)


def similarities(
    voices: Sequence[Union[Voice, Source]], *, threshold: Optional[float] = None, model: Model = "resemblyzer"
) -> Similarities:
    """See :meth:`SpeakerModel.similarities`."""
    return _loaded(model).similarities(voices, threshold=threshold)


def diarize(
    source: Source,
    *,
    sample_rate: Optional[int] = None,
    channel: Optional[int] = None,
    num_speakers: Optional[int] = None,
    min_speakers: Optional[int] = None,
    max_speakers: Optional[int] = None,
    overlap: bool = True,
    threads: Optional[int] = None,
    model: Model = "resemblyzer",
) -> Diarization:
    """See :meth:`SpeakerModel.diarize`."""
    return _loaded(model).diarize(
        source,
        sample_rate=sample_rate,
        channel=channel,
        num_speakers=num_speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        overlap=overlap,
        threads=threads,
    )


@lru_cache(maxsize=None)
def _of_name(name: str) -> SpeakerModel:
    return SpeakerModel(name)


def _loaded(model: Model) -> SpeakerModel:
    return _of_name(model) if isinstance(model, str) else model


def _channel(channel: Optional[int]) -> Optional[int]:
    return optional("channel", channel, *_core.CHANNELS)


def _threads(threads: Optional[int]) -> Optional[int]:
    return optional("threads", threads, *_core.THREADS)


def _source(source: Source, sample_rate: Optional[int]) -> Union[str, bytes, tuple[NDArray[np.float32], int]]:
    """Converts a recording to the engine's format."""
    if isinstance(source, (str, os.PathLike)):
        source = os.fsdecode(source)
    elif isinstance(source, np.ndarray):
        if sample_rate is None:
            raise ValueError("a waveform needs its sample_rate")
        return as_waveform(source), whole("sample_rate", sample_rate, *_core.SAMPLE_RATES_HZ)
    elif not isinstance(source, bytes):
        raise TypeError(f"a recording is a path, bytes or an array, not {type(source).__name__}")
    if sample_rate is not None:
        raise ValueError("a file has a sample_rate of its own")
    return source


for _function in (embed, embed_files, verify, similarities, diarize):
    _function.__doc__ = f"{getattr(SpeakerModel, _function.__name__).__doc__}\n\n    ``model`` is the name of a model or a loaded model.\n    "
