"""Speaker embeddings: whose voice a recording is.

``import voice_embedding as resemblyzer`` runs programs written for Resemblyzer; :func:`embed_files`, :func:`verify`,
:func:`similarities` and :func:`diarize` go beyond it, and :class:`Client` and :class:`AsyncClient` ask a running service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import audio, hparams
from ._core import __version__
from ._rate import SampleRateWarning
from .audio import normalize_volume, preprocess_wav, trim_long_silences, wav_to_mel_spectrogram
from .errors import (
    AudioError,
    AudioTooLong,
    AudioTooShort,
    CorruptAudio,
    NoSpeech,
    UnsupportedAudio,
    VoiceEmbeddingError,
)
from .hparams import sampling_rate
from .models import (
    AudioReport,
    Diarization,
    FileResult,
    Recording,
    Similarities,
    Speaker,
    SpeakerModel,
    Turn,
    Verification,
    Voice,
    decode,
    diarize,
    embed,
    embed_files,
    similarities,
    verify,
)
from .voice_encoder import VoiceEncoder

if TYPE_CHECKING:
    from .client import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "AudioError",
    "AudioReport",
    "AudioTooLong",
    "AudioTooShort",
    "Client",
    "CorruptAudio",
    "Diarization",
    "FileResult",
    "NoSpeech",
    "Recording",
    "SampleRateWarning",
    "Similarities",
    "Speaker",
    "SpeakerModel",
    "Turn",
    "UnsupportedAudio",
    "Verification",
    "Voice",
    "VoiceEmbeddingError",
    "VoiceEncoder",
    "__version__",
    "audio",
    "decode",
    "diarize",
    "embed",
    "embed_files",
    "hparams",
    "normalize_volume",
    "preprocess_wav",
    "sampling_rate",
    "similarities",
    "trim_long_silences",
    "verify",
    "wav_to_mel_spectrogram",
]


def __getattr__(name: str) -> Any:
    # The clients need httpx, which takes longer to import than everything else.
    if name in ("AsyncClient", "Client"):
        from . import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
