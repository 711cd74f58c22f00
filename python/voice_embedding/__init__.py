"""Speaker embeddings, verification and diarization of recordings.

``import voice_embedding as resemblyzer`` runs programs that were written for Resemblyzer. :func:`embed_files`, :func:`verify`,
:func:`similarities` and :func:`diarize` add more. :class:`Client` and :class:`AsyncClient` send requests to a running service.
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
    from .client import AsyncClient as AsyncClient
    from .client import Client as Client
    from .client import EnrolledSpeaker as EnrolledSpeaker

__all__ = [
    "AudioError",
    "AudioReport",
    "AudioTooLong",
    "AudioTooShort",
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
    # Importing httpx, which the clients need, takes longer than importing everything else.
    if name not in ("AsyncClient", "Client", "EnrolledSpeaker"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import client
    except ModuleNotFoundError as error:
        raise ImportError("the clients need httpx: pip install voice-embedding[client]") from error
    return getattr(client, name)
