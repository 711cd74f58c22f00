"""Recordings -> embeddings -> decisions, with any model: what Resemblyzer has not."""

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

# A recording: its path, the bytes of the file, or a waveform (then with its rate).
Source = Union[PathLike, bytes, NDArray[Any]]


@dataclass(frozen=True)
class AudioReport:
    """What is known of a recording."""

    duration_seconds: float
    """Its length."""
    speech_seconds: float
    """Length of the speech in it."""
    sample_rate_hz: int
    """Of the file or array."""
    channels: int
    """Of the file."""
    level_dbfs: float
    """As decoded, before any gain, relative to full scale, as RMS."""
    windows: int
    """Windows or pieces that the encoder took."""
    warnings: tuple[str, ...]
    """Why to trust the embedding less: ``short_speech``, ``narrowband``, ``clipped``, ``low_level``, ``truncated``, ``noise``, ``several_speakers``."""


@dataclass(frozen=True, eq=False)
class Voice:
    """A voice in a recording."""

    embedding: NDArray[np.float32]
    """L2 norm 1, of the model's dimension."""
    audio: AudioReport
    model: str
    """The model's fingerprint; embeddings can be compared if it is equal."""


@dataclass(frozen=True, eq=False)
class FileResult:
    """What became of a file: a voice, or an error."""

    path: PathLike
    """As it was given."""
    voice: Optional[Voice]
    error: Optional[Exception]
    """``OSError`` if it could not be read, an ``AudioError`` if it has no embedding, ``ValidationError`` if it has no such channel."""

    @property
    def embedding(self) -> Optional[NDArray[np.float32]]:
        """The embedding, if there is one."""
        return self.voice.embedding if self.voice else None

    @property
    def code(self) -> Optional[str]:
        """The kind of error, if there is one: that of a ``VoiceEmbeddingError``, ``unreadable`` for an ``OSError``, else ``internal``."""
        if self.error is None:
            return None
        return "unreadable" if isinstance(self.error, OSError) else getattr(self.error, "code", "internal")


@dataclass(frozen=True, eq=False)
class Recording:
    """A decoded recording."""

    samples: NDArray[np.float32]
    """One channel at 16 kHz, full scale at 1."""
    duration_seconds: float
    sample_rate_hz: int
    """Of the file."""
    channels: int
    """Of the file."""
    level_dbfs: float
    clipped: bool
    """More than one sample in a thousand is at full scale."""
    truncated: bool
    """The file proves that something is missing."""


@dataclass(frozen=True)
class Verification:
    """Whether two voices are one speaker's."""

    similarity: float
    """Cosine, from -1 to 1."""
    threshold: float
    is_same_speaker: bool
    """The similarity is above the threshold."""
    log_likelihood_ratio: Optional[float]
    """Natural logarithm of how much more likely the similarity is for one speaker than for two."""
    false_accept_rate: Optional[float]
    """The share of comparisons of different speakers of the same sex, with as much speech, that score at least this."""
    false_accept_rate_is_bound: bool
    """The rate is only known to be no more."""
    calibration_note: str
    """What the rate was measured on, or why there is none."""
    calibration: Optional[str] = None
    """What the claims are computed with."""
    warnings: tuple[str, ...] = ()
    """Reasons to trust the decision less: those of both sides, and ``level_mismatch``."""


@dataclass(frozen=True, eq=False)
class Similarities:
    """Voices compared with each other."""

    matrix: NDArray[np.float32]
    """Cosines, ``[n, n]``."""
    clusters: list[list[int]]
    """Places of the voices that belong together: average linkage, cut at the threshold."""
    threshold: float


@dataclass(frozen=True)
class Turn:
    """One speaker's speech."""

    start: float
    """Seconds of the recording."""
    end: float
    speaker: str
    """A label: ``S1`` and so on."""
    margin: Optional[float]
    """How much more alike it is to this speaker than to the next; none if there is no other, or nothing of it is heard without others."""


@dataclass(frozen=True, eq=False)
class Speaker:
    """A speaker of a recording."""

    label: str
    seconds: float
    """Of the turns."""
    embedding: Optional[NDArray[np.float32]]
    """The voice, of what is heard without others; none where nobody is heard alone."""


@dataclass(frozen=True, eq=False)
class Diarization:
    """Who spoke when."""

    turns: list[Turn]
    """In the order of their starts. Those of different speakers may overlap."""
    speakers: list[Speaker]
    overlap_seconds: float
    """Seconds in which more than one speaks."""
    audio: AudioReport
    model: str
    rttm: str
    """The turns as lines of RTTM."""


class SpeakerModel:
    """A model, loaded. Threads and forked processes may share it.

    Args:
        name: ``"resemblyzer"`` or ``"campplus"``.
        encoder: ``"native"`` or ``"ort"``; by default the faster one that the machine has.
        weights: a file with other weights.
        max_audio_seconds: the longest recording.
        min_speech_seconds: the least speech; 0 accepts any.
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
        """Names weights and preprocessing."""
        return self._model.fingerprint

    @property
    def dimension(self) -> int:
        """Components of an embedding."""
        return self._model.dimension

    @property
    def threshold(self) -> float:
        """The similarity that counts as one speaker's when exceeded, unless another is given."""
        return self._model.threshold

    @property
    def encoder(self) -> str:
        """What runs it: ``ort``, or ``native-`` and the CPU's instructions."""
        return self._model.encoder

    def embed(self, source: Source, *, sample_rate: Optional[int] = None, channel: Optional[int] = None) -> Voice:
        """The voice in a recording.

        Args:
            source: a path, the bytes of a file, or a waveform.
            sample_rate: of the waveform, in Hz; an array needs it.
            channel: the channel of a file to take, from 0; by default the mean of all.

        Raises:
            OSError: the file cannot be read.
            AudioError: there is no embedding.
            ValidationError: there is no such channel.
        """
        embedding, report = self._model.embed(_source(source, sample_rate), _channel(channel))
        return Voice(embedding, AudioReport(**report), self.fingerprint)

    def embed_files(
        self, paths: Iterable[PathLike], *, channel: Optional[int] = None, threads: Optional[int] = None
    ) -> Iterator[FileResult]:
        """The voices in many files, in their order, computed by all cores while it is iterated over.

        Args:
            paths: taken as there is room, so that it may be a generator of any length.
            channel: as for :meth:`embed`.
            threads: by default as many as there are cores.
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
        """Whether two voices are one speaker's. Each is a recording, a :class:`Voice` or an embedding (an array).

        Args:
            a: a voice.
            b: another.
            threshold: by default the similarity from which on one speaker is more likely than two, for as much speech.
            max_false_accept_rate: instead of a threshold: how often different speakers with as much speech may be taken for one.
        """
        sides = (self._side(a), self._side(b))
        return Verification(**_core.verify(self._model, sides, threshold, max_false_accept_rate))

    def similarities(
        self, voices: Sequence[Union[Voice, Source]], *, threshold: Optional[float] = None
    ) -> Similarities:
        """All voices compared with each other, and grouped. Each is a recording, a :class:`Voice` or an embedding (an array)."""
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
        """Who spoke when in a recording.

        Args:
            source, sample_rate, channel: as for :meth:`embed`.
            num_speakers: how many there are, if that is known.
            min_speakers: 1 unless given.
            max_speakers: 10 unless given, up to 30.
            overlap: whether turns of different speakers may overlap; if not, who is heard most speaks.
            threads: by default as many as there are cores.

        Raises:
            RuntimeError: there is no ONNX Runtime, which the segmentation network takes.
        """
        if num_speakers is not None:
            if min_speakers is not None or max_speakers is not None:
                raise ValueError("num_speakers, or min_speakers and max_speakers")
            min_speakers = max_speakers = num_speakers
        stem = Path(os.fsdecode(source)).stem if isinstance(source, (str, os.PathLike)) else "recording"
        # A name that is not UTF-8 keeps what is.
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
        """The embedding of a voice, its seconds of speech, its level and its warnings."""
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
    """Any recording that the engine reads, as samples at 16 kHz.

    Args:
        source, sample_rate, channel: as for :meth:`SpeakerModel.embed`.
        max_seconds: the longest recording.

    Raises:
        OSError: the file cannot be read.
        AudioError: it cannot be decoded.
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
    """A recording as the engine takes it."""
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
    _function.__doc__ = f"{getattr(SpeakerModel, _function.__name__).__doc__}\n\n    ``model`` is the name of a model, or one that is loaded.\n    "
